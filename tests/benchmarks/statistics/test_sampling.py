"""Intervals over test samples: metrics by weights against scikit-learn's on repeated rows."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from i2moe_plugin.benchmarks.statistics import sampling
from i2moe_plugin.benchmarks.statistics.sampling import (
    FEWEST_RESAMPLES,
    Judged,
    resamples_for,
    sample_intervals,
    weighted_metric,
)
from i2moe_plugin.tasks import (
    Classification,
    Multilabel,
    Regression,
    SignClassification,
    SignedRegression,
)

TASKS = [
    Classification(2, auprc=True),
    Classification(4, auprc=True),
    Classification(3, auroc="ovo"),
    SignClassification(),
    Multilabel(3),
    Regression(1),
    Regression(3),
    SignedRegression(),
]
each = pytest.mark.parametrize("task", TASKS, ids=str)


def drawn(task, random, count=25):
    """Coarse outputs, so that scores are tied."""
    prediction = random.integers(-3, 4, size=(count, task.num_outputs)) / 2
    if isinstance(task, Classification):
        target = random.integers(task.num_outputs, size=count)
    elif isinstance(task, Multilabel):
        target = random.integers(2, size=(count, task.num_outputs))
    else:
        target = random.integers(-2, 3, size=(count, task.num_outputs)).astype(float)
    return Judged(prediction, target, np.arange(count).astype(str))


@each
@settings(max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_weights_are_rows_repeated(task, seed):
    random = np.random.default_rng(seed)
    run = drawn(task, random)
    weights = random.multinomial(25, np.full(25, 1 / 25), size=4)
    for name in task.metric_names:
        found = weighted_metric(task, name, run)(weights.astype(float))
        for value, row in zip(found, weights, strict=True):
            some = np.repeat(np.arange(25), row)
            known = task.metric(name, run.prediction[some], run.target[some])
            assert value == pytest.approx(known, abs=1e-9, nan_ok=True), name


@each
def test_of_one_run_it_is_the_plain_bootstrap(task):
    """Other draws of the same bootstrap, by scikit-learn's metrics, give about the same ends."""
    random = np.random.default_rng(3)
    run = drawn(task, random, 150)
    found = sample_intervals(task, [run], task.metric_names)
    for name in task.metric_names:
        values = [
            task.metric(name, run.prediction[some], run.target[some])
            for some in random.integers(150, size=(300, 150))
        ]
        low, high = np.quantile(values, [0.025, 0.975])
        assert found[name] == pytest.approx((low, high), abs=0.35 * (high - low))


def test_of_an_accuracy_it_is_the_binomial_one():
    """0.8 of 400: the normal interval is 0.8 ± 0.0392."""
    target = np.zeros(400, int)
    prediction = np.eye(2)[(np.arange(400) >= 320).astype(int)]
    run = Judged(prediction, target, np.arange(400))
    (low, high) = sample_intervals(Classification(2), [run] * 3, ["accuracy"])["accuracy"]
    assert (low, high) == pytest.approx((0.8 - 0.0392, 0.8 + 0.0392), abs=0.005)


def test_samples_of_one_group_are_drawn_together():
    """Forty copies of each of ten samples tell no more than the ten."""
    right = np.repeat(np.arange(10) < 6, 40)
    prediction = np.eye(2)[(~right).astype(int)]
    runs = [
        Judged(prediction, np.zeros(400, int), unit)
        for unit in (np.arange(400), np.repeat(np.arange(10), 40))
    ]
    single, grouped = (
        np.ptp(sample_intervals(Classification(2), [run], ["accuracy"])["accuracy"]) for run in runs
    )
    assert grouped / single == pytest.approx(40**0.5, rel=0.15)


def test_runs_that_agree_are_no_more_samples():
    task, random = Classification(3), np.random.default_rng(0)
    run = drawn(task, random, 100)
    one, five = (sample_intervals(task, [run] * many, ["accuracy"]) for many in (1, 5))
    assert one["accuracy"] == pytest.approx(five["accuracy"], abs=1e-12)


def test_runs_on_other_samples_have_their_own():
    """Two disjoint test splits are as one of twice the size."""
    right = np.random.default_rng(1).random(200) < 0.75
    prediction = np.eye(2)[(~right).astype(int)]
    whole = Judged(prediction, np.zeros(200, int), np.arange(200))
    halves = [
        Judged(prediction[part], np.zeros(100, int), np.arange(200)[part])
        for part in (slice(None, None, 2), slice(1, None, 2))
    ]
    task = Classification(2)
    one, two = (np.ptp(sample_intervals(task, runs, ["accuracy"])["accuracy"])
                for runs in ([whole], halves))  # fmt: skip
    assert one == pytest.approx(two, rel=0.15)


def test_a_class_with_one_sample_has_no_interval_of_auroc():
    task = Classification(3)
    run = drawn(task, np.random.default_rng(0), 60)
    target = np.arange(60) % 2
    target[0] = 2
    found = sample_intervals(task, [Judged(run.prediction, target, run.unit)], task.metric_names)
    assert found["auroc"] is None
    assert found["accuracy"] is not None


def test_large_test_data_take_seconds():
    task = Classification(20)
    random = np.random.default_rng(0)
    count = 4000
    run = Judged(random.normal(size=(count, 20)), random.integers(20, size=count), np.arange(count))
    assert resamples_for(task, [run]) == 1000
    assert resamples_for(task, [run] * 1000) == FEWEST_RESAMPLES
    start = time.process_time()
    sample_intervals(task, [run], task.metric_names)
    assert time.process_time() - start < 20


def test_what_is_undefined_from_the_start_is_not_computed_a_thousand_times(monkeypatch):
    """AUROC of classes with one test sample each: hardly a resample has them all."""
    task, random = Classification(40), np.random.default_rng(0)
    run = Judged(random.normal(size=(40, 40)), np.arange(40), np.arange(40))
    rows = []
    whole = sampling.weighted_metric

    def counted(task, name, run):
        judge = whole(task, name, run)
        return lambda weights: (rows.append((name, len(weights))), judge(weights))[1]

    monkeypatch.setattr(sampling, "weighted_metric", counted)
    found = sampling.sample_intervals(task, [run], ("accuracy", "auroc"))
    assert found["auroc"] is None
    assert found["accuracy"] is not None
    assert sum(count for name, count in rows if name == "auroc") == sampling.PROBED
    assert sum(count for name, count in rows if name == "accuracy") > 1000
