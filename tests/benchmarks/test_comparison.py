import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from i2moe_plugin.benchmarks.comparison import compare, summarise
from i2moe_plugin.errors import ConfigError

values = st.lists(st.floats(0, 1), min_size=3, max_size=8)


@given(values, st.data())
def test_interval_is_scipys_paired_t_interval(vanilla, data):
    i2moe = data.draw(st.lists(st.floats(0, 1), min_size=len(vanilla), max_size=len(vanilla)))
    spread = np.std(np.subtract(i2moe, vanilla), ddof=1)
    if spread < 1e-6:
        return
    item = compare("accuracy", vanilla, i2moe)
    oracle = stats.ttest_rel(i2moe, vanilla).confidence_interval(0.95)
    assert item.low == pytest.approx(oracle.low, abs=1e-9)
    assert item.high == pytest.approx(oracle.high, abs=1e-9)
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
    assert (one.low, one.high) == (None, None)
    assert one.verdict == "too few seeds to tell"
    assert compare("accuracy", [0.5, 0.5], [0.9, 0.91]).verdict == "too few seeds to tell"


def test_undefined_metric_gives_no_verdict():
    item = compare("auroc", [math.nan] * 3, [0.5] * 3)
    assert math.isnan(item.difference)
    assert item.verdict == "no difference shown"


@pytest.mark.parametrize(("vanilla", "i2moe"), [([], []), ([0.1], [0.1, 0.2])])
def test_unpaired_values_are_refused(vanilla, i2moe):
    with pytest.raises(ConfigError, match="paired"):
        compare("accuracy", vanilla, i2moe)


def test_summary_uses_the_sample_deviation():
    assert summarise([1.0, 2.0, 4.0]) == {
        "mean": pytest.approx(7 / 3),
        "deviation": pytest.approx(np.std([1, 2, 4], ddof=1)),
        "n": 3,
    }
    assert summarise([1.0])["deviation"] is None
