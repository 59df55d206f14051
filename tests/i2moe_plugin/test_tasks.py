import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, log_softmax
from scipy.special import softmax as scipy_softmax
from sklearn import metrics as sk

from i2moe_plugin import (
    Classification,
    ConfigError,
    DatasetError,
    Multilabel,
    Regression,
    ShapeError,
    SignClassification,
    SignedRegression,
)
from i2moe_plugin.tasks import HIGHER_IS_BETTER, task_from

TASKS = [Classification(2), Classification(4), Multilabel(3), Regression(1), Regression(2)]


def drawn(task, samples, seed=0):
    """Outputs and targets as arrays; every class occurs where there are enough samples."""
    rng = np.random.default_rng(seed)
    prediction = rng.normal(size=(samples, task.num_outputs)).astype(np.float32)
    if task.name == "classification":
        target = rng.permutation(np.arange(samples) % task.num_outputs)
    elif task.name == "multilabel":
        target = (rng.random((samples, task.num_outputs)) < 0.4).astype(np.float32)
    else:
        target = rng.normal(size=(samples, task.num_outputs)).astype(np.float32)
    return prediction, target


def restated_loss(task, prediction, target):
    prediction = prediction.astype(np.float64)
    if task.name == "classification":
        each = -log_softmax(prediction, 1)[np.arange(len(target)), target]
        weights = np.ones(task.num_outputs) if task.class_weights is None else task.class_weights
        weights = np.asarray(weights)[target]
        return (each * weights).sum() / weights.sum()
    if task.name == "multilabel":
        p = expit(prediction)
        return -(target * np.log(p) + (1 - target) * np.log(1 - p)).mean()
    gap = np.abs(prediction - target)
    if task.criterion != "smooth_l1":
        return (gap if task.criterion == "mae" else gap**2).mean()
    return np.where(gap < 1, gap**2 / 2, gap - 0.5).mean()


LOSSES = [
    *TASKS,
    Classification(2, (0.25, 0.75)),
    Regression(2, criterion="mae"),
    Regression(2, criterion="mse"),
]


@pytest.mark.parametrize("task", LOSSES, ids=repr)
@given(samples=st.integers(1, 30), seed=st.integers(0, 10**6))
def test_the_loss_is_the_restated_formula(task, samples, seed):
    prediction, target = drawn(task, samples, seed)
    prepared = task.prepare(torch.from_numpy(target))
    loss = task.loss(torch.from_numpy(prediction), prepared)
    assert loss.shape == ()
    np.testing.assert_allclose(loss, restated_loss(task, prediction, target), rtol=1e-4)


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_metrics_are_scikit_learns_called_plainly(task):
    """E1: upstream's test MAE is computed against labels it has made boolean."""
    prediction, target = drawn(task, 40)
    found = task.metrics(prediction, target)
    if task.name == "classification":
        decided = prediction.argmax(1)
        scores = scipy_softmax(prediction.astype(np.float64), 1)
        expected = {
            "accuracy": np.mean(decided == target),
            "macro_f1": sk.f1_score(target, decided, average="macro"),
            "auroc": sk.roc_auc_score(target, scores[:, 1])
            if task.num_outputs == 2
            else sk.roc_auc_score(target, scores, multi_class="ovr"),
        }
    elif task.name == "multilabel":
        decided = (expit(prediction) > 0.5).astype(int)
        expected = {
            "micro_f1": sk.f1_score(target, decided, average="micro"),
            "macro_f1": sk.f1_score(target, decided, average="macro"),
            "accuracy": np.mean((decided == target).all(1)),
        }
    else:
        columns = range(task.num_outputs)
        expected = {
            "mae": np.abs(prediction - target).mean(),
            "mse": ((prediction - target) ** 2).mean(),
            "correlation": np.mean(
                [np.corrcoef(prediction[:, c], target[:, c])[0, 1] for c in columns]
            ),
        }
    assert found.keys() == expected.keys()
    assert found == pytest.approx(expected, rel=1e-5)
    assert all(type(value) is float for value in found.values())
    assert found.keys() <= HIGHER_IS_BETTER.keys()


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_each_metric_prefers_the_truth_in_the_direction_it_says(task):
    prediction, target = drawn(task, 40)
    if task.name == "classification":
        truth = 9.0 * np.eye(task.num_outputs)[target]
    else:
        truth = (2 * target - 1) if task.name == "multilabel" else target
    good, bad = task.metrics(truth, target), task.metrics(prediction, target)
    for name in good:
        assert (good[name] > bad[name]) == HIGHER_IS_BETTER[name]


def test_auroc_ovo_and_ovr():
    prediction, target = drawn(Classification(4), 41)
    scores = scipy_softmax(prediction.astype(np.float64), 1)
    values = {}
    for kind in ("ovr", "ovo"):
        values[kind] = Classification(4, auroc=kind).metrics(prediction, target)["auroc"]
        assert values[kind] == pytest.approx(sk.roc_auc_score(target, scores, multi_class=kind))
    assert values["ovo"] != values["ovr"]


@pytest.mark.parametrize("outputs", [2, 3, 20])
def test_auroc_with_an_absent_class_is_nan_without_a_warning(outputs):
    prediction, target = drawn(Classification(outputs), 60)
    for kind in ("ovr", "ovo"):
        found = Classification(outputs, auroc=kind).metrics(
            prediction[target != 1], target[target != 1]
        )
        assert np.isnan(found["auroc"])
        assert 0 <= found["accuracy"] <= 1
        assert 0 <= found["macro_f1"] <= 1


@pytest.mark.parametrize("outputs", [2, 5])
def test_auprc_is_average_precision_where_it_is_asked_for(outputs):
    prediction, target = drawn(Classification(outputs), 60)
    task = Classification(outputs, auprc=True)
    scores = scipy_softmax(prediction.astype(np.float64), 1)
    places = [1] if outputs == 2 else range(outputs)
    expected = np.mean([sk.average_precision_score(target == c, scores[:, c]) for c in places])
    assert task.metrics(prediction, target)["auprc"] == pytest.approx(expected)
    assert np.isnan(task.metric("auprc", prediction[target != 1], target[target != 1]))
    assert "auprc" not in Classification(outputs).metrics(prediction, target)
    assert task_from(task.describe()) == task


def test_multilabel_decides_above_one_half_and_counts_whole_vectors():
    task = Multilabel(2)
    logits = np.array([[0.0, 1e-3], [-1e-3, 5.0]], dtype=np.float32)
    assert task.decide(logits).tolist() == [[0, 1], [0, 1]]
    found = task.metrics(logits, np.array([[0.0, 1.0], [1.0, 1.0]]))
    assert found["accuracy"] == 0.5
    assert found["micro_f1"] == pytest.approx(0.8)  # 2 hits, 1 miss
    assert found["macro_f1"] == pytest.approx(0.5)  # 0 and 1


def test_f1_without_a_positive_is_zero_without_a_warning():
    nothing = Multilabel(2).metrics(np.full((3, 2), -1.0), np.zeros((3, 2)))
    assert nothing == {"micro_f1": 0.0, "macro_f1": 0.0, "accuracy": 1.0}


def test_the_decision_of_the_other_tasks():
    logits = np.array([[0.1, 0.3, 0.2], [3.0, 1.0, 2.0]])
    assert Classification(3).decide(logits).tolist() == [1, 0]
    assert Regression(3).decide(logits) is logits


@pytest.mark.parametrize(
    ("prediction", "target"), [([[1.0], [2.0]], [[3.0], [3.0]]), ([[1.0]], [[2.0]])]
)
def test_correlation_that_is_undefined_is_nan_without_a_warning(prediction, target):
    found = Regression(1).metrics(np.array(prediction), np.array(target))
    assert np.isnan(found["correlation"])
    assert np.isfinite([found["mae"], found["mse"]]).all()


def test_m7_regression_never_broadcasts():
    """M7: MultiBench compares [B, 1] with [B] as [B, B]."""
    task, prediction, target = Regression(1), torch.randn(4, 1), torch.randn(4)
    with pytest.raises(ShapeError, match=r"target \[4\] does not match prediction \[4, 1\]"):
        task.loss(prediction, target)
    expected = torch.nn.functional.smooth_l1_loss(prediction[:, 0], target)
    assert task.loss(prediction, task.prepare(target)) == expected
    found = task.metrics(prediction.numpy(), target.numpy())
    assert found["mae"] == pytest.approx((prediction[:, 0] - target).abs().mean().item())


@pytest.mark.parametrize("task", TASKS, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_floating_types_of_prediction_and_target_go_together(task, dtype):
    values, target = drawn(task, 6)
    prediction = torch.from_numpy(values).to(dtype).requires_grad_()
    for other in (torch.float32, torch.float64, torch.int64):
        if other == torch.int64 and task.name == "regression":
            continue
        loss = task.loss(prediction, task.prepare(torch.from_numpy(target).to(other)))
        (gradient,) = torch.autograd.grad(loss, prediction)
        assert gradient.dtype == dtype
        assert loss.item() == pytest.approx(restated_loss(task, values, target), rel=1e-4)


@pytest.mark.parametrize(
    ("task", "target", "shape"),
    [
        (Classification(3), torch.tensor([[0], [2]]), (2,)),
        (Classification(3), torch.tensor([0.0, 2.0]), (2,)),
        (Multilabel(3), torch.ones(2, 3, dtype=torch.bool), (2, 3)),
        (Regression(1), torch.ones(2), (2, 1)),
        (Regression(1), torch.ones(1), (1, 1)),
        (Regression(2), torch.ones(3, 2, 1), (3, 2)),
        (Regression(1), torch.ones(2, dtype=torch.int64), (2, 1)),
    ],
)
def test_targets_are_brought_into_shape(task, target, shape):
    prepared = task.prepare(target)
    assert prepared.shape == shape
    assert prepared.is_floating_point() == (task.name != "classification")
    assert prepared.flatten().tolist() == target.flatten().tolist()
    task.loss(torch.zeros(shape[0], task.num_outputs), prepared)


@pytest.mark.parametrize(
    ("task", "target"),
    [
        (Classification(3), torch.zeros(2, 3)),
        (Classification(3), torch.tensor(1)),
        (Multilabel(3), torch.zeros(3)),
        (Multilabel(3), torch.zeros(2, 4)),
        (Regression(1), torch.tensor(1.0)),
        (Regression(1), torch.zeros(2, 2)),
        (Regression(2), torch.zeros(2)),
    ],
)
def test_targets_of_the_wrong_shape_are_refused(task, target):
    with pytest.raises(ShapeError, match=f"{task.name} target is .*; got "):
        task.prepare(target)


@pytest.mark.parametrize("labels", [[0, 3], [-1, 0], [0, -100], [0.5, 1.0], [float("nan"), 0]])
def test_labels_of_no_class_are_refused(labels):
    """-100 would be left out of the loss, 0.5 become 0, and 3 end in torch's IndexError."""
    with pytest.raises(DatasetError, match=r"a whole number from 0 to 2; this batch has "):
        Classification(3).prepare(torch.tensor(labels))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Classification(1), "at least 2 outputs, not 1"),
        (lambda: Classification(3, (1.0, 2.0)), "2 class weights for 3 classes"),
        (lambda: Multilabel(1), "at least 2 labels"),
        (lambda: Regression(0), "at least 1 output, not 0"),
        (lambda: Regression(1, criterion="rmse"), "'rmse' is not smooth_l1, mae or mse"),
    ],
)
def test_tasks_that_make_no_sense_are_refused(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


def test_each_task_names_its_interaction_losses():
    kinds = [task.objective for task in (Classification(2), Multilabel(2), Regression(1))]
    assert kinds == ["classification", "classification", "regression"]


@pytest.mark.parametrize("task", [*LOSSES, Classification(3, auroc="ovo")])
def test_a_task_comes_back_from_its_description(task):
    record = json.loads(json.dumps(task.describe()))
    assert task_from(record) == task


@pytest.mark.parametrize("record", [{}, {"name": "task"}, {"name": "regression", "classes": 3}])
def test_what_describes_no_task_is_refused(record):
    with pytest.raises(ConfigError, match="task"):
        task_from(record)


def test_tasks_judge_without_torch():
    code = "import sys, i2moe_plugin.tasks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Signs of scores


def _scored(samples=60):
    rng = np.random.default_rng(5)
    score = np.round(rng.normal(size=samples) * 2) / 2  # some are zero
    assert (score == 0).sum() > 3
    return rng.normal(size=(samples, 2)).astype(np.float32), score.astype(np.float32)


def test_a_sign_is_a_class_and_its_loss_cross_entropy():
    prediction, score = _scored()
    task = SignClassification()
    target = task.prepare(torch.from_numpy(score)[:, None])
    assert torch.equal(target, torch.from_numpy(score))
    classes = (score > 0).astype(int)
    expected = Classification(2).loss(torch.from_numpy(prediction), torch.from_numpy(classes))
    assert torch.equal(task.loss(torch.from_numpy(prediction), target), expected)
    np.testing.assert_array_equal(task.truth(score), classes)


def test_a_score_of_zero_is_not_above_zero_or_is_left_out():
    prediction, score = _scored()
    found = SignClassification().metrics(prediction, score)
    classes = (score > 0).astype(int)
    plain = Classification(2).metrics(prediction, classes)
    assert {name: found[name] for name in plain} == plain
    kept = score != 0
    decided = prediction.argmax(1)
    assert found["accuracy_nonzero"] == sk.accuracy_score(classes[kept], decided[kept])
    assert found["accuracy_nonzero"] != found["accuracy"]


def test_what_is_kept_of_signs_is_judged_as_a_classification():
    prediction, score = _scored()
    task = SignClassification()
    kept = task_from(json.loads(json.dumps(task.describe())))
    assert kept == Classification(2)
    found = kept.metrics(prediction, task.truth(score))
    assert found["accuracy"] == task.metric("accuracy", prediction, score)


def test_signed_regression_judges_values_and_signs():
    prediction, score = _scored()
    prediction = prediction[:, :1]
    task = SignedRegression()
    target = task.prepare(torch.from_numpy(score))
    found = task.metrics(prediction, target.numpy())
    plain = Regression(1).metrics(prediction, target.numpy())
    assert {name: found[name] for name in plain} == plain  # against values, never their signs
    assert found["mae"] == pytest.approx(np.abs(prediction[:, 0] - score).mean())
    above = prediction[:, 0] > 0
    assert found["accuracy"] == sk.accuracy_score(score > 0, above)
    kept = score != 0
    assert found["accuracy_nonzero"] == sk.accuracy_score(score[kept] > 0, above[kept])
    assert found["accuracy"] != found["accuracy_nonzero"]
    assert task_from(json.loads(json.dumps(task.describe()))) == task


@pytest.mark.parametrize("task", [SignClassification(), SignedRegression()])
def test_scores_of_zero_alone_have_no_accuracy_without_zeros(task):
    found = task.metric("accuracy_nonzero", np.zeros((3, task.num_outputs)), np.zeros(3))
    assert np.isnan(found)


@pytest.mark.parametrize("build", [lambda: SignClassification(3), lambda: SignedRegression(2)])
def test_tasks_of_signs_have_one_width(build):
    with pytest.raises(ConfigError, match="not"):
        build()


def test_scores_are_one_a_sample():
    with pytest.raises(ShapeError, match=r"is \[B\]; got \[2, 3\]"):
        SignClassification().prepare(torch.zeros(2, 3))
