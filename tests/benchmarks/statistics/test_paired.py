import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from i2moe_plugin.benchmarks.statistics.paired import (
    compare,
    correct,
    corrected_resampled,
    holm,
    summarise,
    what_permutation_can,
)
from i2moe_plugin.errors import ConfigError

values = st.lists(st.floats(0, 1), min_size=3, max_size=8)


def pair(data, vanilla):
    return data.draw(st.lists(st.floats(0, 1), min_size=len(vanilla), max_size=len(vanilla)))


@given(values, st.data())
def test_interval_is_scipys_paired_t_interval(vanilla, data):
    i2moe = pair(data, vanilla)
    spread = np.std(np.subtract(i2moe, vanilla), ddof=1)
    if spread < 1e-6:
        return
    item = compare("accuracy", vanilla, i2moe)
    test = stats.ttest_rel(i2moe, vanilla)
    oracle = test.confidence_interval(0.95)
    assert item.low == pytest.approx(oracle.low, abs=1e-9)
    assert item.high == pytest.approx(oracle.high, abs=1e-9)
    assert item.p == pytest.approx(test.pvalue, abs=1e-9)
    assert (item.verdict in ("better", "worse")) == (oracle.low > 0 or oracle.high < 0)


def test_verdicts():
    base = [0.90, 0.91, 0.92, 0.90, 0.91]
    up = [v + d for v, d in zip(base, [0.02, 0.03, 0.02, 0.025, 0.03], strict=True)]
    assert compare("accuracy", base, up).verdict == "better"
    assert compare("accuracy", up, base).verdict == "worse"
    assert compare("mae", base, up).verdict == "worse"  # an error that grows
    assert compare("accuracy", base, base[::-1]).verdict == "no difference shown"
    assert compare("accuracy", base, base).verdict == "no difference shown"


def test_few_seeds_give_no_verdict():
    one = compare("accuracy", [0.5], [0.9])
    assert (one.low, one.high, one.p, one.bootstrap, one.effect) == (None,) * 5
    assert one.verdict == "too few seeds to tell"
    assert compare("accuracy", [0.5, 0.5], [0.9, 0.91]).verdict == "too few seeds to tell"


def test_undefined_metric_gives_no_verdict():
    item = compare("auroc", [math.nan] * 3, [0.5] * 3)
    assert math.isnan(item.difference)
    assert item.verdict == "no difference shown"
    assert compare("auroc", [math.nan], [0.5]).verdict == "too few seeds to tell"


@pytest.mark.parametrize(("vanilla", "i2moe"), [([], []), ([0.1], [0.1, 0.2])])
def test_unpaired_values_are_refused(vanilla, i2moe):
    with pytest.raises(ConfigError, match="paired"):
        compare("accuracy", vanilla, i2moe)


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=7))
def test_permutation_p_by_brute_force(differences):
    """Whole numbers: ties are exact."""
    observed = abs(sum(differences))
    flips = itertools.product((1, -1), repeat=len(differences))
    sums = [sum(s * d for s, d in zip(signs, differences, strict=True)) for signs in flips]
    expected = sum(abs(value) >= observed for value in sums) / len(sums)
    item = compare("accuracy", [0.0] * len(differences), differences)
    assert item.p_permutation == pytest.approx(expected)
    assert item.p_permutation >= item.p_smallest - 1e-12


def test_five_seeds_never_reach_five_per_cent_by_permutation():
    item = compare("accuracy", [0.1] * 5, [0.5, 0.51, 0.52, 0.53, 0.54])
    assert item.p < 1e-5
    assert item.p_permutation == item.p_smallest == 1 / 16
    assert "1/16 (one-sided: 1/32)" in what_permutation_can(5)
    assert compare("accuracy", [0.1] * 6, [0.5, 0.51, 0.52, 0.53, 0.54, 0.5]).p_permutation < 0.05


def test_many_seeds_are_drawn_and_agree_with_the_t_test():
    generator = np.random.default_rng(1)
    first = generator.normal(size=40)
    second = first + generator.normal(0.3, 1, size=40)
    item = compare("correlation", first, second)
    assert item.p_permutation == pytest.approx(item.p, abs=0.01)
    assert compare("correlation", first, second) == item  # drawn from a fixed seed
    low, high = item.bootstrap
    assert low == pytest.approx(item.low, abs=0.06)
    assert high == pytest.approx(item.high, abs=0.06)


@given(values, st.data())
def test_effect_sizes_by_their_definitions(vanilla, data):
    i2moe = pair(data, vanilla)
    item = compare("accuracy", vanilla, i2moe)
    wins = [(b > a) - (b < a) for a in vanilla for b in i2moe]
    assert item.cliffs_delta == pytest.approx(np.mean(wins))
    difference = np.subtract(i2moe, vanilla)
    spread = difference.std(ddof=1)
    if spread < 1e-6:
        return
    n = len(difference)
    exact = math.gamma((n - 1) / 2) / (math.sqrt((n - 1) / 2) * math.gamma((n - 2) / 2))
    assert item.effect == pytest.approx(difference.mean() / spread * exact, rel=0.06)


def test_bootstrap_against_scipy():
    difference = np.array([0.01, 0.03, -0.01, 0.02, 0.05, 0.0, 0.02])
    item = compare("accuracy", np.zeros(7), difference)
    oracle = stats.bootstrap(
        (difference,), np.mean, method="percentile", rng=np.random.default_rng(3)
    ).confidence_interval
    assert item.bootstrap == pytest.approx(tuple(oracle), abs=1e-3)


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_by_its_definition(p_values):
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    expected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - rank)))
        expected[index] = largest
    assert holm(p_values) == pytest.approx(expected)


def test_holm_by_statsmodels():
    p_values = np.random.default_rng(0).uniform(0, 0.2, 12).round(2)  # some are equal
    assert holm(p_values) == multipletests(p_values, method="holm")[1].tolist()


def test_correction_over_a_table():
    base = [0.90, 0.91, 0.92, 0.90, 0.91]
    barely = compare("accuracy", base, [0.91, 0.92, 0.92, 0.92, 0.93])
    clearly = compare("mae", base, [0.80, 0.81, 0.82, 0.805, 0.81])
    one = compare("accuracy", [0.5], [0.6])
    assert (barely.verdict, clearly.verdict) == ("better", "better")
    first, second, third = correct([barely, clearly, one])
    assert first.p_adjusted == pytest.approx(barely.p)  # the last step of Holm multiplies by 1
    many = correct([barely] * 5 + [clearly, one])
    assert many[0].p_adjusted == pytest.approx(5 * barely.p)
    assert many[0].verdict == "better"
    assert many[0].verdict_adjusted == "no difference shown"
    assert many[5].verdict_adjusted == "better"
    assert (third.p_adjusted, third.verdict_adjusted) == (None, "too few seeds to tell")
    assert second.verdict_adjusted == "better"


def test_summary_uses_the_sample_deviation():
    assert summarise([1.0, 2.0, 4.0]) == {
        "mean": pytest.approx(7 / 3),
        "deviation": pytest.approx(np.std([1, 2, 4], ddof=1)),
        "n": 3,
    }
    assert summarise([1.0])["deviation"] is None


@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
def test_two_seeds_have_no_interval(seeds):
    """Of two, Student's is 12.7 deviations wide to either side: it says nothing of a difference."""
    found = compare(
        "accuracy", [0.5, 0.6, 0.7, 0.5, 0.6][:seeds], [0.6, 0.8, 0.7, 0.5, 0.7][:seeds]
    )
    for interval in ((found.low, found.high), found.bootstrap or (None, None)):
        assert (None in interval) == (seeds < 3)
    assert (found.verdict == "too few seeds to tell") == (seeds < 3)


def test_corrected_resampled_is_scikit_learns_published_example():
    """Of its page on comparing models: 10 times 10 folds of 300 samples, one-sided."""
    t_plain, t_corrected, p_one_sided = 2.611, 0.750, 0.227
    random = np.random.default_rng(0).normal(size=100)
    scaled = (random - random.mean()) / random.std(ddof=1) + t_plain / 10  # plain t of 2.611
    assert stats.ttest_1samp(scaled, 0).statistic == pytest.approx(t_plain)
    (low, high), p = corrected_resampled(scaled, 30 / 270)
    assert p / 2 == pytest.approx(p_one_sided, abs=5e-4)
    half = stats.t.ppf(0.975, 99) * scaled.mean() / t_corrected
    assert (high - low) / 2 == pytest.approx(half, rel=2e-3)


@given(values, st.data(), st.floats(0.05, 1))
def test_a_comparison_over_splits_restated(vanilla, data, share):
    ours = pair(data, vanilla)
    splits = [str(place % max(2, len(ours) // 2)) for place in range(len(ours))]
    item = compare("accuracy", vanilla, ours, splits, share)
    by_split = {}
    for split, one, two in zip(splits, vanilla, ours, strict=True):
        by_split.setdefault(split, []).append(two - one)
    means = [sum(some) / len(some) for some in by_split.values()]
    count, mean = len(means), sum(means) / len(means)
    assert (item.splits, item.seeds) == (count, len(ours))
    assert item.difference == pytest.approx(mean, abs=1e-12)
    spread = sum((one - mean) ** 2 for one in means) / (count - 1)
    if spread < 1e-12:
        return
    error = math.sqrt((1 / count + share) * spread)
    assert item.p == pytest.approx(2 * stats.t.sf(abs(mean) / error, count - 1), abs=1e-9)
    if count < 3:
        assert (item.low, item.verdict) == (None, "too few seeds to tell")
    else:
        half = stats.t.ppf(0.975, count - 1) * error
        assert (item.low, item.high) == pytest.approx((mean - half, mean + half), abs=1e-9)
        assert (item.verdict in ("better", "worse")) == (abs(mean) > half)
    assert (item.bootstrap, item.p_permutation) == (None, None)


def test_what_a_comparison_covers():
    one = compare("accuracy", [0.1, 0.2, 0.3], [0.2, 0.3, 0.5])
    assert one.rests_on == "paired over 3 seeds, on this one split alone"
    many = compare("accuracy", [0.1, 0.2, 0.3], [0.2, 0.3, 0.5], ["1", "2", "3"], 0.2)
    assert "over 3 splits" in many.rests_on
    assert "fresh splits of this data and seeds" in many.rests_on
    with pytest.raises(ConfigError, match="test_share"):
        compare("accuracy", [0.1, 0.2], [0.2, 0.3], ["1", "2"])
