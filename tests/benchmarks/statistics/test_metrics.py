"""Names and formats of figures: every metric of every task has them, and a linear baseline."""

import pytest

from i2moe_plugin.benchmarks.statistics.metrics import (
    COSTS,
    format_interval,
    format_mean,
    format_value,
    metric_heading,
    metric_title,
    verdict_words,
)
from i2moe_plugin.benchmarks.statistics.paired import compare
from i2moe_plugin.tasks import HIGHER_IS_BETTER


@pytest.mark.parametrize("metric", [*HIGHER_IS_BETTER, *COSTS])
def test_every_figure_has_a_name_and_a_format(metric):
    assert metric_title(metric)
    assert metric_heading(metric).removesuffix(" %") == metric_title(metric)
    number = float(format_value(metric, 0.25).replace(",", ""))
    assert number in ((25, 0.25) if metric in HIGHER_IS_BETTER else (0, 0.25))
    assert format_value(metric, float("nan")) == format_value(metric, None) == "undefined"
    assert format_mean(metric, [0.5, float("nan")]) == "undefined"


def test_the_interval_and_the_verdict_of_a_comparison():
    item = compare("accuracy", [0.90, 0.91, 0.92], [0.93, 0.94, 0.96])
    assert format_interval(item) == "+1.90 to +4.77"
    assert verdict_words(item, "i2moe", "vanilla") == "I2MoE is better than vanilla on accuracy"
    few = compare("accuracy", [0.9], [0.8])
    assert format_interval(few) == ""
    assert "too few seeds" in verdict_words(few, "i2moe", "vanilla")
