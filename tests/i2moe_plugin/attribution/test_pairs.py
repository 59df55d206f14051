"""Scores of pairs: definitions, shapiq, and what drawing contexts may and may not change."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from i2moe_plugin.attribution.pairs import (
    SCORES,
    exact_pairs,
    sample_pairs,
)
from i2moe_plugin.errors import BackboneError, ConfigError, ShapeError


def game_of(function):
    """A batched value function from one of a frozenset."""

    def value(present):
        rows = [frozenset(np.flatnonzero(row).tolist()) for row in present.cpu().numpy()]
        return torch.tensor([float(function(row)) for row in rows], dtype=torch.float64)

    return value


def random_table(players, seed):
    table = np.random.default_rng(seed).normal(size=2**players)
    return lambda coalition: table[sum(1 << player for player in coalition)]


GAMES = {
    "and": (4, lambda s: {0, 1} <= s),
    "or": (4, lambda s: bool({0, 1} & s)),
    "additive": (5, lambda s: sum((0.5, 2.0, -1.0, 0.25, 3.0)[p] for p in s)),
    "dummy": (4, lambda s: 2.0 * (0 in s) + 3.0 * ({2, 3} <= s)),  # 1 does nothing
    "random-2": (2, random_table(2, 0)),
    "random-5": (5, random_table(5, 1)),
    "random-10": (10, random_table(10, 2)),
}


def by_definition(function, players, i, j):
    """Every score as a weighted sum over subsets, written out from the definitions."""
    others = [p for p in range(players) if p not in (i, j)]
    totals = dict.fromkeys(SCORES, 0.0)
    for size in range(len(others) + 1):
        weight = (
            math.factorial(size) * math.factorial(players - size - 2) / math.factorial(players - 1)
        )
        for subset in itertools.combinations(others, size):
            base, full = frozenset(subset), frozenset({*subset, i, j})

            def lost(leaving, full=full):
                return function(full) - function(full - leaving)

            derivative = (
                function(full) - function(full - {j}) - function(full - {i}) + function(base)
            )
            d_i, d_j, d_ij = lost({i}), lost({j}), lost({i, j})
            totals["interaction"] += weight * derivative
            totals["redundancy_joint"] += weight * (d_ij - max(d_i, d_j))
            totals["redundancy_sub"] += weight * (d_ij - d_i - d_j)
            totals["redundancy_min"] += weight * (
                min(function(full - {j}), function(full - {i})) - function(base)
            )
    return totals


def all_pairs(players):
    return list(itertools.combinations(range(players), 2))


@pytest.mark.parametrize("name", GAMES)
@pytest.mark.parametrize("score", SCORES)
def test_exact_scores_are_those_of_the_definitions(name, score):
    players, function = GAMES[name]
    pairs = all_pairs(players)[:: 1 if players < 10 else 7]
    found = exact_pairs(game_of(function), players, pairs).estimate(score)
    expected = [by_definition(function, players, i, j)[score] for i, j in pairs]
    np.testing.assert_allclose(found.mean, expected, atol=1e-12)
    assert (found.standard_error == 0).all()


@pytest.mark.parametrize("name", GAMES)
def test_exact_interactions_are_those_of_shapiq(name):
    from shapiq import ExactComputer

    players, function = GAMES[name]

    def shapiqs(coalitions):
        return np.array([function(frozenset(np.flatnonzero(row))) for row in coalitions], float)

    expected = ExactComputer(game=shapiqs, n_players=players)(index="SII", order=2)
    found = exact_pairs(game_of(function), players, all_pairs(players)).estimate("interaction")
    for pair, mean in zip(all_pairs(players), found.mean.tolist(), strict=True):
        assert mean == pytest.approx(expected[pair], abs=1e-12)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # of the pair (0, 1): interaction, joint, sub, min
        ("and", (1, 0, -1, 0)),
        ("or", (-1, 1, 1, 1)),
        ("additive", (0, 0.5, 0, 0.5)),
        ("dummy", (0, 0, 0, 0)),
    ],
)
def test_known_games(name, expected):
    players, function = GAMES[name]
    terms = sample_pairs(game_of(function), players, [(0, 1)], draws=16)
    for score, wanted in zip(SCORES, expected, strict=True):
        found = terms.estimate(score)
        assert found.mean.item() == pytest.approx(wanted, abs=1e-12)
        assert found.standard_error.item() == pytest.approx(0, abs=1e-12)


@given(st.lists(st.floats(-1e3, 1e3), min_size=4, max_size=4))
def test_two_of_the_three_redundancies_are_one(values):
    corners = torch.tensor(values, dtype=torch.float64)
    joint, least = SCORES["redundancy_joint"](corners), SCORES["redundancy_min"](corners)
    assert joint.item() == pytest.approx(least.item(), abs=1e-9)
    assert SCORES["redundancy_sub"](corners).item() == pytest.approx(
        -SCORES["interaction"](corners).item(), abs=1e-9
    )


@pytest.mark.parametrize("antithetic", [True, False])
@pytest.mark.parametrize("presence", [(0.0, 1.0), (0.5, 0.5), (0.8, 1.0)])
@pytest.mark.parametrize("score", ["interaction", "redundancy_joint"])
def test_drawn_scores_are_unbiased_and_their_errors_honest(antithetic, presence, score):
    players, pairs = 7, [(0, 1), (2, 6), (3, 4)]
    value = game_of(random_table(players, 5))
    truth = exact_pairs(value, players, pairs, presence=presence).estimate(score).mean
    runs = [
        sample_pairs(
            value, players, pairs, draws=32, seed=s, antithetic=antithetic, presence=presence
        ).estimate(score)
        for s in range(150)
    ]
    errors = torch.stack([run.mean - truth for run in runs])
    said = torch.stack([run.standard_error for run in runs]).square().mean(0).sqrt()
    spread = errors.std(0)
    assert (errors.mean(0).abs() < 4 * spread / len(runs) ** 0.5).all()
    assert (said / spread > 0.8).all()
    assert (said / spread < 1.3).all()


@pytest.mark.parametrize("antithetic", [True, False])
def test_sizes_of_contexts_are_even(antithetic):
    """Shapley's contexts: of the other players, each number is there equally often."""
    drawn = sample_pairs(
        lambda present: present[:, 2:].sum(1), 8, [(0, 1)], draws=4096, antithetic=antithetic
    )
    shares = torch.bincount(drawn.corners[0, :, 0].long(), minlength=7) / 4096
    assert (shares - 1 / 7).abs().max() < 0.02


def test_spread_and_complements_lower_the_error():
    """What antithetic is for, measured on a game with interactions of three."""
    players, pairs = 8, [(0, 1), (2, 3), (4, 5)]
    cube = torch.randn(8, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def value(present):
        x = present.double()
        return torch.einsum("bi,bj,bk,ijk->b", x, x, x, cube)

    truth = exact_pairs(value, players, pairs).estimate().mean
    error = {
        antithetic: torch.stack(
            [
                sample_pairs(value, players, pairs, draws=16, seed=s, antithetic=antithetic)
                .estimate()
                .mean
                - truth
                for s in range(40)
            ]
        )
        .square()
        .mean()
        .sqrt()
        for antithetic in (True, False)
    }
    assert error[True] < 1e-9 < error[False]  # its derivative is linear in the context


def test_one_context_serves_all_pairs_and_gives_what_a_loop_gives():
    players, pairs = 6, [(0, 3), (0, 4), (1, 3), (2, 5), (5, 2)]
    value = game_of(random_table(players, 9))
    seen = []

    def counting(present):
        assert len(present) <= 10
        seen.extend(map(tuple, present.tolist()))
        return value(present)

    together = sample_pairs(counting, players, pairs, draws=12, batch_size=10)
    assert len(seen) == len(set(seen)) == together.evaluations, "a coalition is evaluated once"
    assert together.evaluations <= 2**players < 12 * (1 + 6 + 5)
    assert together.naive == 4 * 12 * 5
    for place, pair in enumerate(pairs):
        alone = sample_pairs(value, players, [pair], draws=12)
        torch.testing.assert_close(together.corners[place], alone.corners[0])
    i_first, j_first = together.corners[3], together.corners[4]
    torch.testing.assert_close(i_first, j_first[:, [0, 2, 1, 3]])


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 200), st.integers(0, 3))
def test_batches_do_not_change_digits(batch_size, seed):
    value = game_of(random_table(5, 3))
    pairs = [(0, 1), (1, 4)]
    whole = sample_pairs(value, 5, pairs, draws=8, seed=seed)
    parts = sample_pairs(value, 5, pairs, draws=8, seed=seed, batch_size=batch_size)
    assert torch.equal(whole.corners, parts.corners)


def test_contexts_come_from_the_seed_alone():
    value = game_of(random_table(6, 3))
    first = sample_pairs(value, 6, [(0, 1)], seed=1).corners
    torch.manual_seed(123)
    assert torch.equal(first, sample_pairs(value, 6, [(0, 1)], seed=1).corners)
    assert not torch.equal(first, sample_pairs(value, 6, [(0, 1)], seed=2).corners)


def test_convergence_ends_at_the_estimate():
    terms = sample_pairs(game_of(random_table(6, 3)), 6, [(0, 1), (2, 3)], draws=64)
    curve = terms.convergence("redundancy_joint")
    sizes = [size for size, _ in curve]
    assert sizes[0] == 4
    assert sizes[-1] == 64
    assert sizes == sorted(set(sizes))
    assert torch.equal(curve[-1][1].mean, terms.estimate("redundancy_joint").mean)


def test_values_in_half_precision_are_subtracted_in_double():
    terms = sample_pairs(lambda present: present.sum(1).half(), 4, [(0, 1)])
    assert terms.corners.dtype == torch.float64


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"players": 1}, "needs two players"),
        ({"pairs": []}, "at least one pair"),
        ({"pairs": [(0, 1, 2)]}, r"\[P, 2\]"),
        ({"pairs": [(0, 4)]}, "from 0 to 3"),
        ({"pairs": [(-1, 2)]}, "from 0 to 3"),
        ({"pairs": [(2, 2)]}, "two different players"),
        ({"draws": 7}, "even"),
        ({"draws": 2}, "at least 4"),
        ({"presence": (0.5, 1.2)}, "range within 0 and 1"),
        ({"presence": (0.6, 0.4)}, "range within 0 and 1"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_settings_that_cannot_be_used(changes, message):
    arguments = {"players": 4, "pairs": [(0, 1)]} | changes
    with pytest.raises(ConfigError, match=message):
        sample_pairs(lambda present: present.sum(1), **arguments)


def test_all_problems_are_named_at_once():
    with pytest.raises(ConfigError) as raised:
        sample_pairs(lambda present: present.sum(1), 4, [(0, 1)], draws=3, batch_size=0)
    assert len(raised.value.problems) == 2


def test_too_many_players_for_all_contexts():
    with pytest.raises(ConfigError, match="sample_pairs takes any number"):
        exact_pairs(lambda present: present.sum(1), 17, [(0, 1)])


def test_values_of_the_wrong_shape():
    with pytest.raises(ShapeError, match=r"not \[\d+, 4\]"):
        sample_pairs(lambda present: present.float(), 4, [(0, 1)])
    with pytest.raises(ShapeError, match="not float"):
        sample_pairs(lambda present: 1.0, 4, [(0, 1)])


def test_values_that_are_not_finite():
    with pytest.raises(BackboneError, match="NaN"):
        sample_pairs(lambda present: present.sum(1) / present.sum(1), 3, [(0, 1)])


@pytest.mark.parametrize("score", ["interactions", "sii"])
def test_a_score_that_is_not_there(score):
    terms = sample_pairs(lambda present: present.sum(1), 4, [(0, 1)])
    with pytest.raises(ConfigError, match="Known: interaction"):
        terms.estimate(score)


@pytest.mark.parametrize("draws", [1, 2, 7, 66])
def test_draws_that_were_not_made(draws):
    terms = sample_pairs(lambda present: present.sum(1), 4, [(0, 1)], draws=64)
    with pytest.raises(ConfigError, match="multiple of 2 from 4 to 64"):
        terms.estimate(draws=draws)


def test_exact_terms_have_no_draws():
    with pytest.raises(ConfigError, match="no draws"):
        exact_pairs(lambda present: present.sum(1), 4, [(0, 1)]).estimate(draws=4)
