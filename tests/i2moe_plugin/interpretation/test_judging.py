"""Confusion, classes, curves and residuals against scikit-learn, for every kind of task."""

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn import metrics

from i2moe_plugin import interpretation as interpret
from i2moe_plugin.errors import ConfigError
from i2moe_plugin.interpretation import Outputs, figures
from i2moe_plugin.tasks import Classification, Multilabel, Regression

TASKS = [Classification(2), Classification(4), Multilabel(3), Regression(2)]
NAMES = ("a", "b<i>", "c", "d")


@pytest.fixture(params=TASKS, ids=str)
def outputs(request):
    task, random, count = request.param, np.random.default_rng(0), 80
    prediction = random.normal(size=(count, task.num_outputs))
    if isinstance(task, Classification):
        target = random.integers(task.num_outputs, size=count)
    elif isinstance(task, Multilabel):
        target = random.integers(2, size=(count, task.num_outputs))
    else:
        target = random.normal(size=(count, task.num_outputs))
    return Outputs(
        task=task,
        prediction=prediction,
        target=target,
        sample_id=np.arange(count).astype(str),
        class_names=NAMES[: task.num_outputs],
        modalities=("x", "y"),
    )


def scores(outputs):
    if isinstance(outputs.task, Classification):
        return softmax(outputs.prediction, axis=1), np.eye(outputs.task.num_outputs)[outputs.target]
    return expit(outputs.prediction), outputs.target


def test_confusion(outputs):
    if not isinstance(outputs.task, Classification):
        with pytest.raises(ConfigError, match="is of classes"):
            interpret.confusion(outputs)
        return
    found = interpret.confusion(outputs)
    known = metrics.confusion_matrix(outputs.target, outputs.decided)
    assert (found.to_numpy() == known).all()
    drawn = figures.confusion(found)
    assert f"{np.trace(known)} of 80 decisions are right" in drawn.layout.meta["alt"]


def test_class_metrics(outputs):
    if isinstance(outputs.task, Regression):
        with pytest.raises(ConfigError, match="real values"):
            interpret.class_metrics(outputs)
        return
    found = interpret.class_metrics(outputs)
    known = metrics.precision_recall_fscore_support(
        outputs.target, outputs.decided, zero_division=np.nan
    )
    columns = (found["precision"], found["recall"], found["f1"], found["samples"])
    for column, values in zip(columns, known, strict=True):
        assert column.to_numpy() == pytest.approx(values, nan_ok=True)
    assert "recall" in figures.class_metrics(found).layout.meta["alt"]


def test_curves(outputs):
    if isinstance(outputs.task, Regression):
        for curve in (interpret.roc, interpret.precision_recall):
            with pytest.raises(ConfigError, match="real values"):
                curve(outputs)
        return
    ranks, recalls = interpret.roc(outputs), interpret.precision_recall(outputs)
    probability, truth = scores(outputs)
    two = outputs.task == Classification(2)
    shown = outputs.class_names[1:] if two else outputs.class_names
    assert list(dict.fromkeys(ranks["class"])) == list(shown)
    for name in shown:
        place = outputs.class_names.index(name)
        one = (truth[:, place], probability[:, place])
        rows = ranks[ranks["class"] == name]
        assert rows["area"].iloc[0] == pytest.approx(metrics.roc_auc_score(*one))
        points = rows[["false_positive_rate", "true_positive_rate"]].to_numpy()
        assert metrics.auc(*points.T) == pytest.approx(metrics.roc_auc_score(*one))
        rows = recalls[recalls["class"] == name]
        average = metrics.average_precision_score(*one)
        assert rows["average_precision"].iloc[0] == pytest.approx(average)
        steps = -np.diff(rows["recall"]) @ rows["precision"].to_numpy()[:-1]
        assert steps == pytest.approx(average)
        assert rows["share"].iloc[0] == truth[:, place].mean()
    for figure in (figures.roc(ranks), figures.precision_recall(recalls)):
        assert all(f"{name} 0." in figure.layout.meta["alt"] for name in shown)


def test_a_class_without_samples_has_no_curve(outputs):
    if outputs.task != Classification(4):
        return
    some = outputs.rows(np.flatnonzero(outputs.target < 2))
    assert list(dict.fromkeys(interpret.roc(some)["class"])) == ["a", "b<i>"]
    none = outputs.rows(np.flatnonzero(outputs.target == 0))
    assert len(interpret.roc(none)) == len(interpret.precision_recall(none)) == 0
    assert "undefined" in figures.roc(interpret.roc(none)).layout.meta["alt"]


def test_residuals(outputs):
    if not isinstance(outputs.task, Regression):
        with pytest.raises(ConfigError, match="real values"):
            interpret.residuals(outputs)
        return
    found = interpret.residuals(outputs)
    assert (found["predicted"] - found["true"]).to_numpy() == pytest.approx(found["residual"])
    first = found[found["output"] == "a"]
    assert first["true"].to_numpy() == pytest.approx(outputs.target[:, 0])
    assert (found["residual"] ** 2).mean() == pytest.approx(
        metrics.mean_squared_error(outputs.target, outputs.prediction)
    )
    assert "mean" in figures.residuals(found).layout.meta["alt"]
