import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy as scipy_entropy
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import mutual_info_score

from i2moe_plugin.benchmarks.statistics.information.joint import (
    Joint,
    binary_information,
    entropy,
)
from i2moe_plugin.errors import ConfigError, ShapeError


def table(seed, shape=(3, 2, 2), concentration=0.5):
    flat = np.random.default_rng(seed).dirichlet(np.full(np.prod(shape), concentration))
    return flat.reshape(shape)


tables = st.builds(
    table, st.integers(0, 10_000), st.sampled_from([(2, 2, 2), (3, 2, 4), (2, 3, 2, 3)])
)


@given(tables)
def test_information_by_entropies_of_the_dense_table(dense):
    joint = Joint.from_table(dense)
    for chosen in ([0], [1], list(range(dense.ndim - 1))):
        others = tuple(axis for axis in range(dense.ndim - 1) if axis not in chosen)
        both = dense.sum(others)
        flat = both.reshape(-1, both.shape[-1])
        oracle = sum(scipy_entropy(part, base=2) for part in (flat.sum(0), flat.sum(1)))
        oracle -= scipy_entropy(flat.reshape(-1), base=2)
        assert joint.information(chosen) == pytest.approx(oracle, abs=1e-9)
    np.testing.assert_allclose(joint.table(), dense)


@given(tables)
@settings(max_examples=30)
def test_additive_information_lies_between_what_one_and_what_all_know(dense):
    joint = Joint.from_table(dense)
    everything = list(range(joint.modalities))
    known = joint.additive_information(everything)
    assert known <= joint.information(everything) + 1e-6
    assert known >= max(joint.information([m]) for m in everything) - 1e-4


@pytest.mark.parametrize("seed", range(4))
def test_additive_information_is_that_of_a_saturated_logistic_regression(seed):
    dense = table(seed, (4, 3, 3), 2.0)
    symbols = np.indices(dense.shape[:2]).reshape(2, -1).T
    dummies = np.concatenate([np.eye(4)[symbols[:, 0]], np.eye(3)[symbols[:, 1]]], 1)
    rows, labels = np.repeat(dummies, 3, axis=0), np.tile(np.arange(3), len(dummies))
    weight = dense.reshape(-1)
    model = LogisticRegression(C=1e9, max_iter=10_000, tol=1e-10)
    model.fit(rows, labels, sample_weight=weight * 1000)
    log_loss = -(weight * np.log2(model.predict_proba(rows)[np.arange(len(rows)), labels])).sum()
    oracle = entropy(dense.sum((0, 1))) - log_loss
    assert Joint.from_table(dense).additive_information([0, 1]) == pytest.approx(oracle, abs=1e-5)


def test_additive_models_know_nothing_of_xor_and_all_of_and():
    both = {"xor": np.zeros((2, 2, 2)), "and": np.zeros((2, 2, 2))}
    for a, b in np.ndindex(2, 2):
        both["xor"][a, b, a ^ b] = both["and"][a, b, a & b] = 1 / 4
    assert Joint.from_table(both["xor"]).additive_information([0, 1]) == pytest.approx(0, abs=1e-6)
    conjunction = Joint.from_table(both["and"])
    assert conjunction.additive_information([0, 1]) == pytest.approx(
        conjunction.information([0, 1]), abs=1e-4
    )


def test_samples_are_counted_as_scikit_learn_counts_them():
    rng = np.random.default_rng(0)
    symbols, labels = rng.integers(3, size=(500, 2)), rng.integers(4, size=500)
    joint = Joint.from_samples(symbols, labels)
    for m in range(2):
        oracle = mutual_info_score(symbols[:, m], labels) / np.log(2)
        assert joint.information([m]) == pytest.approx(oracle)
    soft = Joint.from_samples(symbols, np.eye(4)[labels])
    np.testing.assert_allclose(soft.table(), joint.table())


def test_marginals_keep_what_they_are_of():
    joint = Joint.from_table(table(3, (2, 3, 2, 2)))
    assert joint.marginal([2, 0]).information([0]) == pytest.approx(joint.information([2]))
    assert joint.information([]) == 0


def test_binary_information_by_a_table():
    conditional, weight = np.array([0.1, 0.7, 0.95]), np.array([0.2, 0.5, 0.3])
    dense = np.stack([1 - conditional, conditional], 1) * weight[:, None]
    assert binary_information(conditional, weight) == pytest.approx(
        Joint.from_table(dense).information([0])
    )


@pytest.mark.parametrize("shapes", [((3, 2), (4, 2)), ((3,), (3, 2))])
def test_arrays_that_do_not_fit_are_refused(shapes):
    with pytest.raises(ShapeError, match="of the same cells"):
        Joint(np.zeros(shapes[0], int), np.full(shapes[1], 0.125))


@pytest.mark.parametrize("values", [[[0.5, 0.6]], [[1.5, -0.5]]])
def test_what_is_no_distribution_is_refused(values):
    with pytest.raises(ConfigError, match="sum to 1"):
        Joint(np.zeros((1, 1), int), np.array(values))
