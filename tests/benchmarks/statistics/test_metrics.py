"""Names and formats of figures: every metric of every task has them, and a linear baseline."""

import numpy as np
import pytest

from i2moe_plugin import Classification
from i2moe_plugin.benchmarks.statistics.linear import STRENGTHS, logistic_regression
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
    assert number in ((25, 0.25) if metric in HIGHER_IS_BETTER else (0, 0.2))
    assert format_value(metric, float("nan")) == format_value(metric, None) == "undefined"
    assert format_mean(metric, [0.5, float("nan")]) == "undefined"


def test_the_interval_and_the_verdict_of_a_comparison():
    item = compare("accuracy", [0.90, 0.91, 0.92], [0.93, 0.94, 0.96])
    assert format_interval(item) == "+1.90 to +4.77"
    assert verdict_words(item, "i2moe", "vanilla") == "I2MoE is better than vanilla on accuracy"
    few = compare("accuracy", [0.9], [0.8])
    assert format_interval(few) == ""
    assert "too few seeds" in verdict_words(few, "i2moe", "vanilla")


def rows(seed, count=60):
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    return generator.normal(size=(count, 4)) + 3 * np.eye(3, 4)[labels], labels


def test_logistic_regression_is_scikit_learns_of_the_strength_that_validation_chose():
    from sklearn.linear_model import LogisticRegression

    train, valid, test = rows(0), rows(1), rows(2)
    found = logistic_regression(Classification(3), "accuracy", train, valid, test)
    scores = [LogisticRegression(C=c, max_iter=2000).fit(*train).score(*valid) for c in STRENGTHS]
    assert found["C"] == STRENGTHS[int(np.argmax(scores))]
    model = LogisticRegression(C=found["C"], max_iter=2000).fit(*train)
    assert found["test"]["accuracy"] == model.score(*test)


def test_a_metric_that_validation_leaves_undefined_ends_in_no_assertion():
    valid = rows(1)
    absent = (valid[0][valid[1] < 2], valid[1][valid[1] < 2])  # AUROC needs every class
    with np.errstate(all="ignore"):
        found = logistic_regression(Classification(3), "auroc", rows(0), absent, rows(2))
    assert found["C"] == STRENGTHS[0]
