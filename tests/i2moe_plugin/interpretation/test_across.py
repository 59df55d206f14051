from itertools import pairwise

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, mean_absolute_error

from i2moe_plugin import Classification, ConfigError, Multilabel, Regression
from i2moe_plugin.interpretation import (
    agreement,
    calibration,
    calibration_error,
    expert_metrics,
    similarity,
    training_curves,
    weight_summary,
)
from i2moe_plugin.interpretation.local import probability


def test_weight_summary_restated(draw, task):
    outputs = draw(task)
    frame = weight_summary(outputs).set_index("expert")
    for e, name in enumerate(outputs.expert_labels):
        column = np.sort(outputs.weights[:, e].astype(float))
        row = frame.loc[name]
        assert row["samples"] == 60
        assert row["mean"] == pytest.approx(sum(column) / 60)
        assert row["median"] == pytest.approx((column[29] + column[30]) / 2)
        assert (row["min"], row["max"]) == (column[0], column[-1])
    assert frame["mean"].sum() == pytest.approx(1)


@pytest.mark.parametrize("by", ["class", "correct"])
def test_weight_summary_in_groups(draw, task, by):
    outputs = draw(task)
    frame = weight_summary(outputs, by)
    for group, mask in outputs.groups(by):
        rows = frame[frame["group"] == group]
        assert rows["samples"].tolist() == [mask.sum()] * 4
        np.testing.assert_allclose(rows["mean"], outputs.weights[mask].mean(0), rtol=1e-5)


def test_of_many_classes_those_with_most_samples_are_kept_in_their_order(draw):
    target = np.r_[[0] * 5, [1] * 30, [2] * 5, [3] * 20]
    outputs = draw(Classification(5), target=target)
    everything = outputs.groups("class")
    for most, kept in ((2, [1, 3]), (3, [0, 1, 3]), (9, range(5))):
        groups = outputs.groups("class", most)
        assert [name for name, _ in groups] == [everything[place][0] for place in kept]
        frame = weight_summary(outputs, "class", most)
        assert frame["group"].unique().tolist() == [everything[place][0] for place in kept]
        whole = weight_summary(outputs, "class")
        assert frame.equals(whole[whole["group"].isin(frame["group"])].reset_index(drop=True))


def test_a_group_without_samples_has_no_numbers(draw):
    outputs = draw(Classification(3), target=np.zeros(60, dtype=int))
    frame = weight_summary(outputs, "class")
    empty = frame[frame["group"] == "class 2"]
    assert empty["samples"].tolist() == [0] * 4
    assert empty[["mean", "median", "min"]].isna().all(axis=None)


def test_experts_alone(draw):
    outputs = draw(Classification(5))
    frame = expert_metrics(outputs).set_index("model")
    for e, name in enumerate(outputs.expert_labels):
        alone = outputs.expert_outputs[:, e].argmax(1)
        assert frame.loc[name, "accuracy"] == accuracy_score(outputs.target, alone)
    mean = outputs.expert_outputs.mean(1).argmax(1)
    assert frame.loc["plain average", "accuracy"] == accuracy_score(outputs.target, mean)
    ensemble = outputs.prediction.argmax(1)
    assert frame.loc["ensemble", "accuracy"] == accuracy_score(outputs.target, ensemble)
    real = draw(Regression(2))
    found = expert_metrics(real).set_index("model").loc["synergy", "mae"]
    assert found == pytest.approx(mean_absolute_error(real.target, real.expert_outputs[:, 2]))


@pytest.mark.parametrize("task", [Classification(2), Multilabel(2)])
def test_agreement_by_brute_force(draw, task):
    outputs = draw(task, samples=2000)
    counts = {("agree", "correct"): 0, ("agree", "wrong"): 0}
    counts |= {("disagree", "correct"): 0, ("disagree", "wrong"): 0}
    for said, prediction, target in zip(
        outputs.expert_outputs, outputs.prediction, outputs.target, strict=True
    ):
        if isinstance(task, Multilabel):
            decisions = [[value > 0 for value in one] for one in said]
            right = all((p > 0) == (t == 1) for p, t in zip(prediction, target, strict=True))
        else:
            decisions = [max(range(2), key=lambda c: one[c]) for one in said]
            right = max(range(2), key=lambda c: prediction[c]) == target
        agree = all(a == b for a, b in pairwise(decisions))
        counts["agree" if agree else "disagree", "correct" if right else "wrong"] += 1
    frame = agreement(outputs).set_index(["experts", "ensemble"])
    assert frame["samples"].to_dict() == counts
    assert all(counts.values())  # the drawn case has every kind
    np.testing.assert_allclose(frame["share"], frame["samples"] / 2000)


def test_agreement_of_real_values_is_refused(draw):
    with pytest.raises(ConfigError, match="real-valued"):
        agreement(draw(Regression(1)))


def test_similarity_restated(draw):
    outputs = draw(Classification(5))
    frame = similarity(outputs)
    for a in range(4):
        for b in range(4):
            cosines = [
                np.dot(said[a], said[b]) / (np.linalg.norm(said[a]) * np.linalg.norm(said[b]))
                for said in outputs.expert_outputs.astype(float)
            ]
            assert frame.iloc[a, b] == pytest.approx(np.mean(cosines))
    decisions = outputs.expert_outputs.argmax(2)
    same = similarity(outputs, "decisions")
    assert same.loc["synergy", "unique: video"] == np.mean(decisions[:, 2] == decisions[:, 1])
    real = draw(Regression(1))
    matrix = np.corrcoef(real.expert_outputs[:, :, 0].T.astype(float))
    np.testing.assert_allclose(similarity(real), matrix)
    assert similarity(draw(Multilabel(3)), "decisions").to_numpy().diagonal().tolist() == [1] * 4
    with pytest.raises(ConfigError):
        similarity(real, "decisions")


@pytest.mark.parametrize("task", [Classification(2), Classification(5), Multilabel(4)])
def test_calibration_against_a_naive_loop(draw, task):
    outputs = draw(task, samples=300)
    scores, pairs = probability(outputs), []
    for row in range(300):
        if isinstance(task, Multilabel):
            pairs += list(zip(scores[row], outputs.target[row], strict=True))
        else:
            decided = scores[row].argmax()
            pairs.append((scores[row, decided], decided == outputs.target[row]))
    frame, error = calibration(outputs), 0.0
    for b in range(10):
        inside = [(p, t) for p, t in pairs if b / 10 < p <= (b + 1) / 10]
        rows = frame[np.isclose(frame["low"], b / 10)]
        assert len(rows) == bool(inside)
        if inside:
            predicted, true = np.mean(inside, axis=0)
            assert rows["samples"].item() == len(inside)
            assert rows["predicted"].item() == pytest.approx(predicted)
            assert rows["true"].item() == pytest.approx(true)
            error += abs(predicted - true) * len(inside) / len(pairs)
    assert calibration_error(frame) == pytest.approx(error)


def test_a_perfectly_calibrated_prediction_has_no_error(draw):
    rng = np.random.default_rng(0)
    probability = rng.random((20_000, 2))
    outputs = draw(
        Multilabel(2),
        samples=20_000,
        prediction=np.log(probability / (1 - probability)),
        target=(rng.random((20_000, 2)) < probability).astype(float),
    )
    assert calibration_error(calibration(outputs)) < 0.01


def test_calibration_of_real_values(draw):
    outputs = draw(Regression(1), samples=100)
    frame = calibration(outputs)
    assert frame["samples"].tolist() == [10] * 10
    order = np.argsort(outputs.prediction[:, 0])[:10]
    assert frame["true"].iloc[0] == pytest.approx(outputs.target[order, 0].mean())
    same = calibration(draw(Regression(1), prediction=np.ones((60, 1))))
    assert same["samples"].tolist() == [60]


def test_training_curves():
    history = [
        {
            "epoch": 1,
            "train": {"loss": 2.0, "interaction": [0.1, 0.2]},
            "valid": {"loss": 3.0, "accuracy": None},
            "seconds": 1,
        },
        {"epoch": 2, "train": {"loss": 1.0, "interaction": [0.3, 0.4]}, "valid": {"loss": 2.5}},
    ]
    frame = training_curves(history, ["a", "b"])
    assert len(frame) == 9
    rows = frame[(frame["term"] == "interaction") & (frame["expert"] == "b")]
    assert rows["value"].tolist() == [0.2, 0.4]
    assert frame[frame["term"] == "accuracy"]["value"].isna().all()
    assert training_curves([], []).empty
