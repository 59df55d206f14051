import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, softmax

from i2moe_plugin import Classification, ConfigError, Multilabel, Regression
from i2moe_plugin.interpretation import explain
from i2moe_plugin.interpretation.local import matter, probability


def test_products_are_weight_times_output_and_sum_to_the_prediction(draw, task):
    outputs = draw(task)
    found = explain(outputs, "s7")
    experts, classes = found.experts, found.classes.set_index("class")
    np.testing.assert_allclose(experts["product"], experts["weight"] * experts["output"], rtol=1e-6)
    for name, total in experts.groupby("class")["product"].sum().items():
        assert total == pytest.approx(classes.loc[name, "prediction"], abs=1e-5)
        column = outputs.class_names.index(name)
        assert classes.loc[name, "prediction"] == outputs.prediction[7, column]
    assert experts.groupby("expert", sort=False)["weight"].first().sum() == pytest.approx(1)
    assert found.push["weight"].tolist() == outputs.weights[7].tolist()


def test_pushes_sum_to_the_margin(draw):
    outputs = draw(Classification(5))
    for row in range(10):
        found = explain(outputs, row)
        second, first = np.sort(outputs.prediction[row])[-2:]
        assert found.push["push"].sum() == pytest.approx(first - second, abs=1e-5)
        assert found.against == outputs.class_names[np.argsort(outputs.prediction[row])[-2]]


def test_pushes_do_not_change_with_a_constant_added_to_an_expert(draw):
    outputs = draw(Classification(4))
    shifted = outputs.expert_outputs + np.array([3, -5, 0, 9], np.float32)[None, :, None]
    other = draw(
        Classification(4),
        expert_outputs=shifted,
        prediction=np.einsum("ne,nec->nc", outputs.weights, shifted),
    )
    np.testing.assert_allclose(
        explain(outputs, 3).push["push"], explain(other, 3).push["push"], atol=1e-4
    )


def test_pushes_of_labels_restated(draw):
    outputs = draw(Multilabel(4))
    found = explain(outputs, 5)
    for e, push in enumerate(found.push["push"]):
        parts = [
            outputs.weights[5, e] * outputs.expert_outputs[5, e, c] * (1 if decided else -1)
            for c, decided in enumerate(outputs.prediction[5] > 0)
        ]
        assert push == pytest.approx(np.mean(parts), abs=1e-6)


@given(
    samples=st.integers(1, 8), width=st.integers(2, 9), classes=st.integers(1, 9), data=st.data()
)
def test_the_classes_that_matter(draw, samples, width, classes, data):
    task = data.draw(st.sampled_from([Classification(width), Multilabel(width)]))
    outputs = draw(task, samples=samples, seed=data.draw(st.integers(0, 99)))
    for row, chosen in enumerate(matter(outputs, classes)):
        kept = chosen[chosen >= 0].tolist()
        scores = outputs.prediction[row]
        if isinstance(task, Classification):
            must = {int(scores.argmax()), int(outputs.target[row])}
        else:
            must = set(np.flatnonzero((scores > 0) | (outputs.target[row] > 0)).tolist())
        assert must <= set(kept)
        assert len(kept) == len(set(kept)) == max(len(must), min(classes, width))
        assert scores[kept].tolist() == sorted(scores[kept], reverse=True)
        rest = [c for c in range(width) if c not in kept]
        free = [c for c in kept if c not in must]
        assert not rest or not free or scores[rest].max() <= scores[free].min()


def test_probabilities(draw):
    one, many = draw(Classification(4)), draw(Multilabel(4))
    np.testing.assert_allclose(probability(one), softmax(one.prediction, 1), rtol=1e-5)
    np.testing.assert_allclose(probability(many), expit(many.prediction), rtol=1e-5)
    assert np.isnan(probability(draw(Regression(2)))).all()
    assert np.isfinite(probability(draw(Multilabel(2), prediction=np.full((60, 2), 1e4)))).all()


def test_what_is_told_of_a_sample(draw):
    outputs = draw(Classification(5))
    found = explain(outputs, "s3", classes=2)
    decided = outputs.class_names[outputs.prediction[3].argmax()]
    assert (found.decision, found.label) == (decided, "class 3")
    assert found.correct == (decided == "class 3")
    assert found.classes.set_index("class")["decided"].to_dict()[decided]
    assert found.classes.set_index("class")["label"].to_dict()["class 3"]
    assert len(found.classes) + found.classes_left_out == 5


def test_a_sample_that_is_not_there(draw, vanilla):
    outputs = draw(Classification(3))
    with pytest.raises(ConfigError, match=r"Did you mean .*There are 60, for instance 's0'"):
        explain(outputs, "s_3")
    double = draw(Classification(3), sample_id=np.array(["x"] * 60))
    with pytest.raises(ConfigError, match="60 samples are called 'x'"):
        explain(double, "x")
    with pytest.raises(ConfigError, match="no experts"):
        explain(vanilla, "s1")
