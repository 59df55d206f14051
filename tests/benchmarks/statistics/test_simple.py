"""Simple models against scikit-learn's own, and against constants worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error
from sklearn.preprocessing import StandardScaler

from i2moe_plugin.benchmarks.statistics import simple
from i2moe_plugin.benchmarks.statistics.simple import (
    SIMPLE_MODELS,
    STRENGTHS,
    boosting,
    constant,
    linear,
)
from i2moe_plugin.tasks import Classification, Multilabel, Regression, SignClassification


def features(seed, count=90):
    return np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32)


def classes(seed):
    rows, labels = features(seed), np.arange(90) % 3
    return rows + 2 * np.eye(3, 4, dtype=np.float32)[labels], labels


def labels(seed):
    rows = features(seed)
    return rows, (rows[:, :3] + 0.5 > 0).astype(np.int64)


def values(seed):
    rows = features(seed)
    noise = np.random.default_rng(seed + 10).normal(size=(90, 2))
    return rows, 100 + rows[:, :2] * 5 + 0.5 * noise


TASKS = [
    (Classification(3), "accuracy", classes),
    (Multilabel(3), "micro_f1", labels),
    (Regression(2), "mse", values),
    (SignClassification(), "accuracy", lambda seed: (features(seed), features(seed)[:, 0] * 3)),
]


@pytest.mark.parametrize(("task", "metric", "draw"), TASKS)
@pytest.mark.parametrize("name", SIMPLE_MODELS)
def test_every_model_takes_every_task_and_what_reads_features_beats_a_constant(
    task, metric, draw, name
):
    splits = [draw(0), draw(1), draw(2)]
    found = SIMPLE_MODELS[name](task, metric, *splits)
    assert set(found.test) == set(task.metric_names)
    assert found.note == ""
    if name != "constant":
        floor = constant(task, metric, *splits).test[metric]
        better = found.test[metric] < floor if metric == "mse" else found.test[metric] > floor
        assert better


def test_constants_are_scikit_learns():
    train, valid, test = ((rows, np.r_[y[:60], y[:30] * 0]) for rows, y in map(classes, range(3)))
    found = constant(Classification(3), "accuracy", train, valid, test)
    most = DummyClassifier(strategy="most_frequent").fit(*train)
    assert found.name == "majority class"
    assert found.test["accuracy"] == most.score(*test)
    assert found.test["auroc"] == 0.5
    train, valid, test = values(0), values(1), values(2)
    for metric, strategy in (("mse", "mean"), ("mae", "median")):
        found = constant(Regression(2), metric, train, valid, test)
        dummy = DummyRegressor(strategy=strategy).fit(*train)
        assert found.name == f"training {strategy}"
        expected = mean_absolute_error(test[1], dummy.predict(test[0]))
        assert found.test["mae"] == pytest.approx(expected)


def test_the_majority_is_of_each_label():
    rows, target = features(0), np.tile([1, 0, 1], (90, 1))
    target[:40, 2] = 0
    found = constant(Multilabel(3), "micro_f1", (rows, target), (rows, target), (rows, target))
    assert found.test["micro_f1"] == f1_score(target, np.tile([1, 0, 1], (90, 1)), average="micro")


def test_logistic_regression_is_scikit_learns_of_the_strength_that_validation_chose():
    train, valid, test = classes(0), classes(1), classes(2)
    found = linear(Classification(3), "accuracy", train, valid, test)
    scaler = StandardScaler().fit(train[0])
    scaled = [(scaler.transform(rows), y) for rows, y in (train, valid, test)]
    models = [LogisticRegression(C=c, max_iter=2000).fit(*scaled[0]) for c in STRENGTHS]
    best = int(np.argmax([model.score(*scaled[1]) for model in models]))
    assert found.chosen == {"C": STRENGTHS[best]}
    assert found.test["accuracy"] == models[best].score(*scaled[2])


def test_ridge_regression_is_scikit_learns():
    train, valid, test = values(0), values(1), values(2)
    found = linear(Regression(2), "mae", train, valid, test)
    scaler = StandardScaler().fit(train[0])
    scaled = [scaler.transform(rows) for rows, _ in (train, valid, test)]
    models = [Ridge(90 / 1000 / strength).fit(scaled[0], train[1]) for strength in STRENGTHS]
    errors = [mean_absolute_error(valid[1], model.predict(scaled[1])) for model in models]
    best = int(np.argmin(errors))
    assert found.name == "ridge regression"
    assert found.chosen == {"strength": STRENGTHS[best]}
    expected = mean_absolute_error(test[1], models[best].predict(scaled[2]))
    assert found.test["mae"] == pytest.approx(expected, rel=1e-4)


OPTIONS = {"max_bins": 63, "max_features": 0.3, "early_stopping": False, "random_state": 0}


def test_boosting_is_scikit_learns_of_as_many_trees_as_validation_chose():
    train, valid, test = classes(0), classes(1), classes(2)
    found = boosting(Classification(3), "accuracy", train, valid, test)
    model = HistGradientBoostingClassifier(max_iter=100, **OPTIONS).fit(*train)
    scores = [accuracy_score(valid[1], y) for y in model.staged_predict(valid[0])]
    trees = int(np.argmax(scores)) + 1
    assert found.chosen == {"trees": trees}
    fewer = HistGradientBoostingClassifier(max_iter=trees, **OPTIONS).fit(*train)
    assert found.test["accuracy"] == fewer.score(*test)


def test_boosting_of_values_is_a_model_each():
    train, valid, test = values(0), values(1), values(2)
    found = boosting(Regression(2), "mse", train, valid, test)
    columns = []
    for column in train[1].T:
        model = HistGradientBoostingRegressor(max_iter=found.chosen["trees"], **OPTIONS)
        columns.append(model.fit(train[0], column).predict(test[0]))
    assert found.test["mse"] == pytest.approx(np.mean((np.stack(columns, 1) - test[1]) ** 2))


@pytest.mark.parametrize("model", [linear, boosting])
def test_classes_that_training_rows_lack_are_never_predicted(model):
    rows, target = classes(0)
    for present in ([0, 2], [2]):
        kept = np.isin(target, present)
        found = model(Classification(3), "accuracy", (rows[kept], target[kept]), *[classes(1)] * 2)
        share = np.isin(classes(1)[1], present).mean()
        assert 0.2 < found.test["accuracy"] <= share + 1e-9


def test_a_label_that_training_rows_never_show_is_never_predicted():
    rows, target = labels(0)
    target[:, 1] = 0
    for model in (linear, boosting):
        found = model(Multilabel(3), "micro_f1", (rows, target), (rows, target), (rows, target))
        assert found.test["micro_f1"] > 0.9


def test_a_metric_that_validation_leaves_undefined_takes_the_first_choice():
    valid = classes(1)
    absent = (valid[0][valid[1] < 2], valid[1][valid[1] < 2])  # AUROC needs every class
    found = linear(Classification(3), "auroc", classes(0), absent, classes(2))
    assert found.chosen == {"C": STRENGTHS[0]}


def test_what_would_take_too_long_sees_fewer_rows_and_says_so(monkeypatch):
    monkeypatch.setattr(simple, "MOST_WORK", 1.0)
    # A round of boosting takes 3 classes' trees, of 4 features, with these rows and its own splits.
    others = simple.SPLITS_OF_BINS + simple.SPLITS_OF_A_ROW * 180 / 4
    monkeypatch.setattr(simple, "MOST_SPLITS", simple.FEWEST_TREES * 3 * 4 * (others + 210))
    rows, target = (np.repeat(part, 5, 0) for part in classes(0))
    for model, kept in ((linear, 200), (boosting, 210)):
        found = model(Classification(3), "accuracy", (rows, target), classes(1), classes(2))
        assert f"fitted on {kept} of 450 training rows" in found.note


def test_boosting_that_would_take_too_long_whatever_its_rows_is_undefined_and_says_so(monkeypatch):
    monkeypatch.setattr(simple, "MOST_SPLITS", 1.0)
    found = boosting(Classification(3), "accuracy", classes(0), classes(1), classes(2))
    assert found.note == "not fitted, since 3 trees in each of its rounds take too long"
    assert np.isnan(list(found.test.values())).all()


@pytest.mark.parametrize("iterations", [1, 4, 10_000])
def test_logistic_regression_takes_as_many_iterations_as_it_may_in_all(monkeypatch, iterations):
    taken = []
    fit = LogisticRegression.fit

    def counted(model, *given):
        fit(model, *given)
        taken.append((model.C, int(model.n_iter_[0])))
        return model

    monkeypatch.setattr(LogisticRegression, "fit", counted)
    step = 3 * (4 * 4 + simple.WORK_OF_A_PROBABILITY)
    monkeypatch.setattr(simple, "MOST_WORK", iterations * step * 90)
    monkeypatch.setattr(simple, "FEWEST_ITERATIONS", 1)
    found = linear(Classification(3), "accuracy", classes(0), classes(1), classes(2))
    assert sum(count for _, count in taken) <= iterations
    strengths = [strength for strength, _ in taken]
    assert strengths == list(simple.TRIED)[: len(strengths)]
    if iterations < 100:
        said = ", ".join(map(str, strengths))
        assert found.note == f"fitted with C={said} in {iterations} iterations in all"
    else:
        assert len(taken) == len(STRENGTHS)
        assert found.note == ""
