import numpy as np
import pytest

from i2moe_plugin import Classification, ConfigError, Multilabel, Regression, ShapeError
from i2moe_plugin.interpretation import Outputs


def test_experts_are_named_for_people(draw):
    outputs = draw(Classification(3), modalities=3)
    assert outputs.expert_labels == (
        "unique: audio",
        "unique: video",
        "unique: text",
        "synergy",
        "redundancy",
    )


def test_all_that_does_not_fit_is_told_at_once(draw):
    outputs = draw(Classification(3))
    with pytest.raises(ShapeError) as error:
        Outputs(
            task=Classification(4),
            prediction=outputs.prediction,
            target=outputs.target[:5],
            sample_id=outputs.sample_id,
            class_names=("a",),
            modalities=outputs.modalities,
            experts=outputs.experts,
            expert_outputs=outputs.expert_outputs,
            weights=None,
        )
    for words in ("prediction", "expert_outputs", "weights", "target has 5", "1 class names"):
        assert words in str(error.value)


def test_correct_and_agree_restated(draw, task):
    outputs = draw(task)
    if isinstance(task, Regression):
        assert outputs.correct is None
        assert outputs.agree is None
        return
    for row in range(len(outputs)):
        if isinstance(task, Classification):
            decided = int(np.argmax(outputs.prediction[row]))
            alone = {int(np.argmax(said)) for said in outputs.expert_outputs[row]}
            right = decided == outputs.target[row]
        else:
            alone = {tuple(said > 0) for said in outputs.expert_outputs[row]}
            right = tuple(outputs.prediction[row] > 0) == tuple(outputs.target[row] > 0.5)
        assert outputs.correct[row] == right
        assert outputs.agree[row] == (len(alone) == 1)


def test_groups_by_class_are_the_classes(draw):
    outputs = draw(Classification(5))
    groups = dict(outputs.groups("class"))
    assert list(groups) == list(outputs.class_names)
    assert np.sum(list(groups.values()), axis=0).tolist() == [1] * len(outputs)
    labels = draw(Multilabel(4))
    for c, (_, mask) in enumerate(labels.groups("class")):
        np.testing.assert_array_equal(mask, labels.target[:, c] == 1)


def test_real_values_are_grouped_in_thirds_and_by_error(draw):
    outputs = draw(Regression(1), samples=90)
    assert [int(mask.sum()) for _, mask in outputs.groups("class")] == [30, 30, 30]
    (_, small), (_, large) = outputs.groups("correct")
    error = np.abs(outputs.prediction - outputs.target)[:, 0]
    assert error[small].max() <= error[large].min()
    np.testing.assert_array_equal(small, ~large)


def test_an_unknown_grouping_is_refused(draw):
    with pytest.raises(ConfigError, match="Did you mean 'correct'"):
        draw(Classification(2)).groups("corect")


def test_decisions_in_words(draw):
    assert draw(Classification(3)).describe(2) == "class 2"
    assert draw(Multilabel(3)).describe([1, 0, 1]) == "class 0, class 2"
    assert draw(Multilabel(3)).describe([0, 0, 0]) == "none"
    assert draw(Regression(1)).describe(np.array([0.12345])) == "0.123"


def test_vanilla_has_no_experts(vanilla):
    with pytest.raises(ConfigError, match="no experts"):
        vanilla.mixture()
    assert vanilla.correct.dtype == bool
