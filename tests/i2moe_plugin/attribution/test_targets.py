"""What is explained of a prediction, for every kind of task."""

from __future__ import annotations

import pytest
import torch

from i2moe_plugin.attribution.targets import choose_targets
from i2moe_plugin.errors import ConfigError, ShapeError
from i2moe_plugin.tasks import Classification, Multilabel, Regression, SignClassification

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [-3.0, -2.0, -2.5]])


def test_of_classes_the_predicted_one():
    targets = choose_targets(Classification(3), LOGITS)
    assert targets.score(LOGITS).tolist() == [2.0, -2.0]
    expected = LOGITS.softmax(1)[[0, 1], [0, 1]]
    torch.testing.assert_close(targets.support(LOGITS), expected)


def test_of_classes_the_true_one():
    targets = choose_targets(Classification(3), LOGITS, torch.tensor([2, 0]))
    assert targets.score(LOGITS).tolist() == [0.5, -3.0]


def test_of_labels_those_that_are_predicted_or_the_most_probable():
    targets = choose_targets(Multilabel(3), LOGITS)
    assert targets.chosen.tolist() == [[True, False, True], [False, True, False]]
    assert targets.score(LOGITS).tolist() == [1.25, -2.0]
    torch.testing.assert_close(
        targets.support(LOGITS)[0], (LOGITS[0, 0].sigmoid() + LOGITS[0, 2].sigmoid()) / 2
    )


def test_of_labels_the_true_ones_or_the_most_probable():
    truth = torch.tensor([[0.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    targets = choose_targets(Multilabel(3), LOGITS, truth)
    assert targets.chosen.tolist() == [[False, True, True], [False, True, False]]


def test_of_real_values_all_and_support_is_nearness():
    outputs = torch.tensor([[1.0, 3.0], [0.0, -1.0]])
    targets = choose_targets(Regression(2), outputs)
    assert targets.score(outputs).tolist() == [2.0, -0.5]
    assert targets.support(outputs).tolist() == [0.0, 0.0]
    assert targets.support(outputs + torch.tensor([1.0, -3.0])).tolist() == [-2.0, -2.0]


def test_of_a_sign_its_class():
    targets = choose_targets(SignClassification(), LOGITS[:, :2])
    assert targets.score(LOGITS[:, :2]).tolist() == [2.0, -2.0]


def test_what_was_chosen_stays_when_the_input_is_masked():
    targets = choose_targets(Classification(3), LOGITS)
    assert targets.score(LOGITS.flip(1)).tolist() == [0.5, -2.0]


def test_one_sample_in_many_versions():
    one = choose_targets(Classification(3), LOGITS).of(1)
    versions = torch.randn(7, 3)
    assert torch.equal(one.score(versions), versions[:, 1])


def test_the_choice_carries_no_gradient_and_the_score_does():
    outputs = LOGITS.clone().requires_grad_()
    targets = choose_targets(Classification(3), outputs)
    assert not targets.complete.requires_grad
    targets.score(outputs).sum().backward()
    assert outputs.grad.tolist() == [[1, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize(
    ("task", "outputs", "truth", "error"),
    [
        (Classification(4), LOGITS, None, ShapeError),
        (Classification(3), LOGITS, torch.zeros(3, dtype=torch.long), ShapeError),
        (Multilabel(3), LOGITS, torch.zeros(2, 2), ShapeError),
        (Regression(3), LOGITS, LOGITS, ConfigError),
    ],
)
def test_what_does_not_fit(task, outputs, truth, error):
    with pytest.raises(error):
        choose_targets(task, outputs, truth)


def test_outputs_that_do_not_fit():
    with pytest.raises(ShapeError, match="outputs must be"):
        choose_targets(Classification(3), LOGITS).score(LOGITS[:, :2])
