import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2moe_plugin.errors import ConfigError, ShapeError
from i2moe_plugin.interpretation import coalitions
from i2moe_plugin.interpretation.coalitions import (
    additive_projection,
    coalition_values,
    intershap,
)


def features(seed, count, samples=7):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(samples, 2 + m)) for m in range(count)]


def product(rows):
    """A model that only interacts, two outputs."""
    total = np.ones(len(rows[0]))
    for x in rows:
        total = total * x[:, 0]
    return np.stack([total, -total], 1)


def additive(rows):
    total = sum(np.sin(x).sum(1) * (m + 1) for m, x in enumerate(rows))
    return np.stack([total, 2 * total], 1)


@pytest.mark.parametrize("count", [2, 3])
def test_an_additive_model_is_its_own_projection(count):
    x = features(0, count)
    np.testing.assert_allclose(additive_projection(additive, x), additive(x))


@pytest.mark.parametrize("count", [2, 3])
def test_the_projection_is_the_least_squares_fit_of_main_effects(count, monkeypatch):
    monkeypatch.setattr(coalitions, "BLOCK", 10)
    samples = 5
    x = features(1, count, samples)
    every = list(itertools.product(range(samples), repeat=count))
    outputs = product([x[m][[row[m] for row in every]] for m in range(count)])
    design = np.concatenate([np.eye(samples)[[row[m] for row in every]] for m in range(count)], 1)
    fitted = design @ np.linalg.lstsq(design, outputs, rcond=None)[0]
    own = [every.index((n,) * count) for n in range(samples)]
    np.testing.assert_allclose(additive_projection(product, x), fitted[own], atol=1e-12)


def test_drawn_projections_come_close_to_the_exact_one():
    x = features(2, 2, 30)
    exact = additive_projection(product, x)
    drawn = additive_projection(product, x, draws=2000, seed=1)
    assert np.abs(drawn - exact).max() < 0.15
    np.testing.assert_array_equal(drawn, additive_projection(product, x, draws=2000, seed=1))


def test_too_many_combinations_are_refused():
    x = [np.zeros((1000, 1))] * 3
    with pytest.raises(ConfigError, match="give draws"):
        additive_projection(product, x)
    with pytest.raises(ShapeError, match=r"\[3, 4\]"):
        additive_projection(product, [np.zeros((3, 1)), np.zeros((4, 1))])


def brute_force(values, count):
    """Shapley values and pairwise indices by all orders, from their definitions."""
    shapley, pairs = np.zeros(count), np.zeros((count, count))
    for order in itertools.permutations(range(count)):
        before = 0
        for m in order:
            shapley[m] += values[before | 1 << m] - values[before]
            before |= 1 << m
    shapley /= math.factorial(count)
    for i, j in itertools.combinations(range(count), 2):
        others = [k for k in range(count) if k not in (i, j)]
        # the pair is one player among the others
        orders = list(itertools.permutations([*others, "pair"]))
        for order in orders:
            before = sum(1 << k for k in order[: order.index("pair")])
            first, second = before | 1 << i, before | 1 << j
            pairs[i, j] += (
                values[first | second] - values[first] - values[second] + values[before]
            ) / len(orders)
    return shapley, pairs + pairs.T


@given(st.integers(2, 4), st.integers(0, 1000))
def test_interactions_by_brute_force(count, seed):
    values = np.random.default_rng(seed).normal(size=(3, 2**count))
    found = intershap(values)
    for row in range(3):
        shapley, pairs = brute_force(values[row], count)
        np.testing.assert_allclose(found.matrix[row].sum(1), shapley, atol=1e-9)
        off = ~np.eye(count, dtype=bool)
        np.testing.assert_allclose(found.matrix[row][off], pairs[off] / 2, atol=1e-9)
    total = values[:, -1] - values[:, 0]
    np.testing.assert_allclose(found.matrix.sum((1, 2)), total, atol=1e-9)
    absolute = np.abs(found.matrix.mean(0))
    assert found.share == pytest.approx(1 - np.trace(absolute) / absolute.sum())


def test_interactions_against_shapiq():
    shapiq = pytest.importorskip("shapiq")
    values = np.random.default_rng(5).normal(size=(1, 8))
    game = lambda sets: np.array(  # noqa: E731
        [values[0, sum(1 << m for m in np.flatnonzero(row))] for row in np.atleast_2d(sets)]
    )
    exact = shapiq.ExactComputer(game=game, n_players=3)(index="SII", order=2)
    for i, j in itertools.combinations(range(3), 2):
        assert intershap(values).matrix[0, i, j] * 2 == pytest.approx(exact[(i, j)], abs=1e-6)


def test_an_additive_model_has_no_share_and_a_product_nothing_else():
    x, rest = features(3, 2, 50), features(4, 2, 40)
    alone = lambda rows: additive(rows)[:, :1]  # noqa: E731
    assert intershap(coalition_values(alone, x, rest)).share == pytest.approx(0, abs=1e-9)
    centred = [part - part.mean(0) for part in rest]
    both = lambda rows: product(rows)[:, :1]  # noqa: E731
    found = intershap(coalition_values(both, x, centred))
    np.testing.assert_allclose(found.local, 1)
    assert np.isnan(intershap(np.zeros((1, 4))).share)


def test_values_are_of_the_class_that_the_complete_input_gets():
    x, rest = features(6, 2, 9), features(7, 2, 8)
    values = coalition_values(product, x, rest)
    np.testing.assert_allclose(values[:, 3], product(x).max(1))
    means = [np.broadcast_to(part.mean(0), (9, part.shape[1])) for part in rest]
    best = product(x).argmax(1)
    np.testing.assert_allclose(values[:, 1], product([x[0], means[1]])[np.arange(9), best])
    np.testing.assert_allclose(values[:, 2], product([means[0], x[1]])[np.arange(9), best])
    drawn = coalition_values(product, x, rest, draws=4000, seed=1)
    expected = np.mean(
        [product([x[0], np.tile(row, (9, 1))])[np.arange(9), best] for row in rest[1]], 0
    )
    np.testing.assert_allclose(drawn[:, 1], expected, atol=0.15)


@pytest.mark.parametrize("shape", [(3, 6), (3, 2), (8,)])
def test_values_of_another_shape_are_refused(shape):
    with pytest.raises(ShapeError, match=r"\[N, 2\^M\]"):
        intershap(np.zeros(shape))
