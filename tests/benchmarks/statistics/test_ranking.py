"""Ranks over data sets: Demsar's published example, and scipy."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from i2moe_plugin.benchmarks.statistics.paired import holm
from i2moe_plugin.benchmarks.statistics.ranking import rank_methods
from i2moe_plugin.errors import ConfigError

#: AUC of C4.5 and three variants on 14 data sets: table 6 of Demsar, 2006.
NAMES = ("C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf")
AUC = [
    [0.763, 0.768, 0.771, 0.798],
    [0.599, 0.591, 0.590, 0.569],
    [0.954, 0.971, 0.968, 0.967],
    [0.628, 0.661, 0.654, 0.657],
    [0.882, 0.888, 0.886, 0.898],
    [0.936, 0.931, 0.916, 0.931],
    [0.661, 0.668, 0.609, 0.685],
    [0.583, 0.583, 0.563, 0.625],
    [0.775, 0.838, 0.866, 0.875],
    [1.000, 1.000, 1.000, 1.000],
    [0.940, 0.962, 0.965, 0.962],
    [0.619, 0.666, 0.614, 0.669],
    [0.972, 0.981, 0.97501, 0.975],  # ranked there by more digits than are printed
    [0.957, 0.978, 0.946, 0.970],
]
tables = st.integers(2, 9).flatmap(
    lambda count: st.integers(3, 5).flatmap(
        lambda many: st.lists(
            st.lists(st.integers(0, 20), min_size=many, max_size=many),
            min_size=count,
            max_size=count,
        )
    )
)


def ranked(values, higher=True):
    values = np.asarray(values, float)
    names = [f"m{number}" for number in range(values.shape[1])]
    sets = [f"d{number}" for number in range(len(values))]
    return rank_methods(names, sets, values, [higher] * len(values))


def test_demsars_example():
    found = rank_methods(NAMES, range(14), AUC, [True] * 14)
    assert found.mean_ranks == pytest.approx((3.143, 2.000, 2.893, 1.964), abs=5e-4)
    assert found.friedman == pytest.approx(9.28, abs=5e-3)
    assert found.statistic == pytest.approx(3.69, abs=5e-3)
    assert stats.f.isf(0.05, 3, 39) == pytest.approx(2.85, abs=6e-3)
    assert found.p < 0.05
    assert found.critical_difference == pytest.approx(1.25, abs=5e-3)
    assert found.cliques == [("C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5")]


@given(tables)
def test_against_scipy(values):
    array = np.array(values, float)
    found = ranked(array)
    oracle = stats.rankdata(-array, axis=1).mean(0)
    assert found.mean_ranks == pytest.approx(tuple(oracle))
    if all(len(set(row)) == len(row) for row in values):  # scipy corrects for ties, Demsar does not
        known = stats.friedmanchisquare(*array.T).statistic
        assert found.friedman == pytest.approx(known, abs=1e-9)
    flipped = ranked(-array, higher=False)
    assert flipped.mean_ranks == found.mean_ranks
    pairs = list(itertools.combinations(range(array.shape[1]), 2))
    raw = []
    for one, two in pairs:
        some = (array[:, two] - array[:, one])[array[:, two] != array[:, one]]
        raw.append(stats.wilcoxon(some).pvalue if len(some) else 1.0)
    assert list(found.pairs.values()) == pytest.approx(holm(raw))


@given(tables)
def test_groups_hold_what_is_not_told_apart(values):
    found = ranked(values)
    rank = dict(zip(found.names, found.mean_ranks, strict=True))
    for one, two in itertools.combinations(found.names, 2):
        near = abs(rank[one] - rank[two]) < found.critical_difference
        assert near == any({one, two} <= set(group) for group in found.cliques)
    for one, two in itertools.permutations(found.cliques, 2):
        assert not set(one) <= set(two)


def test_a_method_that_is_always_best():
    found = ranked([[3, 2, 1]] * 8)
    assert (found.statistic, found.p) == (None, 0.0)
    assert found.mean_ranks == (1, 2, 3)


@pytest.mark.parametrize("values", [[[1, 2]], [[1], [2]], [[1, np.nan], [1, 2]]])
def test_what_cannot_be_ranked(values):
    with pytest.raises(ConfigError, match="at least 2 methods on 2 data sets"):
        ranked(values)
