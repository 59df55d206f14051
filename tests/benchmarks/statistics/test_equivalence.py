"""TOST against scipy's one-sided tests, and against what 'the same' must mean."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from i2moe_plugin.benchmarks.statistics.equivalence import (
    equivalent_pairs,
    equivalent_to,
    equivalent_to_mean,
)
from i2moe_plugin.errors import ConfigError

some = st.lists(st.floats(-1, 1), min_size=2, max_size=8)
margins = st.floats(0.01, 1)


def spread(values):
    return np.std(values, ddof=1)


@given(some, st.floats(-1, 1), margins)
def test_against_a_number_as_two_t_tests(values, target, margin):
    if spread(values) < 1e-6:
        return
    found = equivalent_to(values, target, margin)
    above = stats.ttest_1samp(values, target - margin, alternative="greater")
    below = stats.ttest_1samp(values, target + margin, alternative="less")
    assert found.p == pytest.approx(max(above.pvalue, below.pvalue), abs=1e-9)
    oracle = stats.ttest_1samp(values, target).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx(
        (oracle.low - target, oracle.high - target), abs=1e-9
    )
    inside = -margin < found.low and found.high < margin
    outside = found.low > margin or found.high < -margin
    assert found.outcome == ("equivalent" if inside else "different" if outside else "not shown")


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=2, max_size=8), margins)
def test_pairs_are_their_differences_against_zero(pairs, margin):
    first, second = zip(*pairs, strict=True)
    assert equivalent_pairs(first, second, margin) == equivalent_to(
        np.subtract(second, first), 0, margin
    )


@given(some, some, margins)
def test_against_a_mean_as_two_welch_tests(values, theirs, margin):
    if min(spread(values), spread(theirs)) < 1e-6:
        return
    found = equivalent_to_mean(values, np.mean(theirs), spread(theirs), len(theirs), margin)
    ours = np.asarray(values)
    above = stats.ttest_ind(ours + margin, theirs, equal_var=False, alternative="greater")
    below = stats.ttest_ind(ours - margin, theirs, equal_var=False, alternative="less")
    assert found.p == pytest.approx(max(above.pvalue, below.pvalue), abs=1e-9)
    oracle = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((oracle.low, oracle.high), abs=1e-9)


def test_no_spread_is_decided_by_the_margin_alone():
    assert equivalent_to([0.5] * 3, 0.51, 0.02).outcome == "equivalent"
    assert equivalent_to([0.5] * 3, 0.6, 0.02).outcome == "different"
    assert equivalent_to_mean([0.5] * 3, 0.51, 0.0, 3, 0.02).outcome == "equivalent"
    assert equivalent_to_mean([0.5] * 3, 0.6, 0.0, 3, 0.02).outcome == "different"


def test_one_seed_shows_nothing():
    assert equivalent_to([0.5], 0.5, 0.1).outcome == "not shown"
    with pytest.raises(ConfigError, match="2 seeds"):
        equivalent_to_mean([0.5], 0.5, 0.1, 3, 0.1)


def test_wrong_arguments():
    with pytest.raises(ConfigError, match="paired"):
        equivalent_pairs([0.1], [0.1, 0.2], 0.1)
    with pytest.raises(ConfigError, match="needs values"):
        equivalent_to([], 0.1, 0.1)
    with pytest.raises(ConfigError, match="positive, not 0"):
        equivalent_to([0.1, 0.2], 0.1, 0)


@given(st.lists(st.floats(-0.1, 0.1), min_size=3, max_size=9), st.floats(0.05, 1))
def test_equivalence_over_splits_is_two_corrected_one_sided_tests(differences, share):
    spread = np.std(differences, ddof=1)
    if spread < 1e-6:
        return
    splits = [str(place) for place in range(len(differences))]
    zeros = [0.0] * len(differences)
    item = equivalent_pairs(zeros, differences, 0.05, splits, share)
    error = spread * np.sqrt(1 / len(differences) + share)
    degrees, mean = len(differences) - 1, np.mean(differences)
    above = stats.t.sf((mean + 0.05) / error, degrees)
    below = stats.t.cdf((mean - 0.05) / error, degrees)
    assert item.p == pytest.approx(max(above, below), abs=1e-9)
    half = stats.t.ppf(0.95, degrees) * error
    assert (item.low, item.high) == pytest.approx((mean - half, mean + half), abs=1e-9)
    assert (item.outcome == "equivalent") == (item.p < 0.05)
