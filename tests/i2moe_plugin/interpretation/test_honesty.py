import numpy as np
import pytest
from scipy.stats import permutation_test, spearmanr

from i2moe_plugin import Classification, ConfigError, Multilabel, Regression
from i2moe_plugin.interpretation import deletion, permuted_labels, stability
from i2moe_plugin.interpretation.honesty import LARGEST, RANDOM, SMALLEST, without
from i2moe_plugin.tasks import HIGHER_IS_BETTER


def dropped_by_hand(outputs, row, expert):
    kept = [e for e in range(len(outputs.experts)) if e != expert]
    weights = outputs.weights[row, kept].astype(float)
    return sum(
        w * outputs.expert_outputs[row, e]
        for w, e in zip(weights / weights.sum(), kept, strict=True)
    )


def test_dropping_renormalises_the_rest(draw, task):
    outputs = draw(task)
    dropped = np.arange(60) % 4
    for row, prediction in enumerate(without(outputs, dropped)):
        by_hand = dropped_by_hand(outputs, row, dropped[row])
        np.testing.assert_allclose(prediction, by_hand, rtol=1e-5, atol=1e-6)


def test_an_expert_that_held_all_the_weight_leaves_the_others_equal(draw):
    weights = np.tile(np.array([0.0, 1.0, 0.0, 0.0], np.float32), (60, 1))
    outputs = draw(Classification(3), weights=weights)
    found = without(outputs, np.full(60, 1))
    np.testing.assert_allclose(
        found, outputs.expert_outputs[:, [0, 2, 3]].mean(1), rtol=1e-5, atol=1e-6
    )


def test_the_fall_of_every_rule_restated(draw, task):
    outputs = draw(task, samples=40)
    metric = task.metric_names[0]
    sign = 1 if HIGHER_IS_BETTER[metric] else -1
    frame = deletion(outputs, metric).set_index("dropped")
    before = task.metric(metric, outputs.prediction, outputs.target)
    rules = {label: [e] * 40 for e, label in enumerate(outputs.expert_labels)}
    rules |= {LARGEST: outputs.weights.argmax(1), SMALLEST: outputs.weights.argmin(1)}
    for name, rule in rules.items():
        prediction = np.stack([dropped_by_hand(outputs, row, e) for row, e in enumerate(rule)])
        after = task.metric(metric, prediction, outputs.target)
        assert frame.loc[name, "metric"] == pytest.approx(after, abs=1e-6)
        assert frame.loc[name, "fall"] == pytest.approx(sign * (before - after), abs=1e-6)
    assert frame.loc[RANDOM, "low"] <= frame.loc[RANDOM, "fall"] <= frame.loc[RANDOM, "high"]


def test_a_random_expert_falls_as_the_mean_of_all_does(draw):
    """Accuracy is a mean over samples: a random expert's expected fall is the experts' mean."""
    outputs = draw(Classification(3), samples=3000)
    frame = deletion(outputs, "accuracy", draws=30).set_index("dropped")
    experts = frame.loc[list(outputs.expert_labels), "fall"].mean()
    assert frame.loc[RANDOM, "fall"] == pytest.approx(experts, abs=0.003)


def test_the_interval_of_a_fall_covers_the_truth(draw):
    """Of many drawn test splits, some 95 % of the intervals hold the fall of a huge one."""
    truth = deletion(draw(Classification(3), samples=200_000, seed=99), "accuracy", draws=2)
    inside = []
    for seed in range(60):
        frame = deletion(draw(Classification(3), samples=200, seed=seed), "accuracy", draws=2)
        inside.append(frame["low"][0] <= truth["fall"][0] <= frame["high"][0])
    assert np.mean(inside) >= 0.85


def test_the_expert_that_carries_everything_is_found(draw):
    """Only the third expert knows the answer and it has the largest weight."""
    target = np.arange(400) % 4
    said = np.random.default_rng(0).normal(size=(400, 4, 4)).astype(np.float32)
    said[:, 2] = 6 * np.eye(4)[target]
    weights = np.tile(np.array([0.1, 0.2, 0.6, 0.1], np.float32), (400, 1))
    prediction = np.einsum("ne,nec->nc", weights, said)
    outputs = draw(
        Classification(4),
        samples=400,
        target=target,
        expert_outputs=said,
        weights=weights,
        prediction=prediction,
    )
    frame = deletion(outputs, "accuracy").set_index("dropped")
    assert frame["fall"].idxmax() in ("synergy", LARGEST)
    assert frame.loc[LARGEST, "fall"] > frame.loc[RANDOM, "high"]
    assert frame.loc["synergy", "low"] > 0


def test_metrics_that_the_task_does_not_have(draw, vanilla):
    with pytest.raises(ConfigError, match="has no metric 'mae'; it has accuracy"):
        deletion(draw(Classification(3)), "mae")
    with pytest.raises(ConfigError, match="no experts"):
        deletion(vanilla, "accuracy")


def test_stability_is_the_mean_of_spearmans_correlations(draw):
    runs = [draw(Classification(3), seed=seed) for seed in range(3)]
    shuffled = [run.rows(np.random.default_rng(i).permutation(60)) for i, run in enumerate(runs)]
    frame = stability(shuffled)
    for e in range(4):
        pairs = [
            spearmanr(runs[a].weights[:, e], runs[b].weights[:, e]).statistic
            for a, b in ((0, 1), (0, 2), (1, 2))
        ]
        assert frame["correlation"][e] == pytest.approx(np.mean(pairs))
        assert frame["lowest"][e] == pytest.approx(min(pairs))
    assert (frame["low"] <= frame["correlation"]).all()
    assert (frame["samples"] == 60).all()


def test_the_jackknife_interval_covers_the_truth(draw):
    """Seeds share a component of the weights; the interval covers the expected correlation."""
    rng = np.random.default_rng(0)

    def runs(count, samples, shared):
        raw = [shared + rng.normal(size=(samples, 4)) for _ in range(count)]
        return [
            draw(Classification(2), samples=samples, weights=np.exp(r) / np.exp(r).sum(1)[:, None])
            for r in raw
        ]

    shared = rng.normal(size=(400, 4))
    truth = stability(runs(25, 400, shared))["correlation"]
    inside = []
    for _ in range(30):
        frame = stability(runs(5, 400, shared))
        inside += ((frame["low"] <= truth) & (truth <= frame["high"])).tolist()
    assert np.mean(inside) >= 0.85


def test_stability_at_the_edges(draw):
    one = draw(Classification(3))
    same = stability([one, one])
    np.testing.assert_allclose(same["correlation"], 1)
    assert same[["low", "high"]].isna().all(axis=None)  # two seeds allow no interval
    constant = draw(Classification(3), weights=np.full((60, 4), 0.25, np.float32))
    assert stability([one, constant, one])["correlation"].isna().all()
    with pytest.raises(ConfigError, match="at least 2"):
        stability([one])
    with pytest.raises(ConfigError, match="different experts"):
        stability([one, draw(Classification(3), modalities=3)])
    other = draw(Classification(3), sample_id=np.array([f"t{i}" for i in range(60)]))
    with pytest.raises(ConfigError, match="in common"):
        stability([one, other])


def test_the_share_of_variance_between_classes_restated(draw):
    outputs = draw(Classification(3))
    frame = permuted_labels(outputs, draws=20)
    rows = frame[frame["statistic"] == "class"].set_index("expert")
    for e, name in enumerate(outputs.expert_labels):
        w = outputs.weights[:, e].astype(float)
        between = sum(
            (outputs.target == c).sum() * (w[outputs.target == c].mean() - w.mean()) ** 2
            for c in range(3)
        )
        assert rows.loc[name, "observed"] == pytest.approx(between / ((w - w.mean()) ** 2).sum())


def test_other_statistics_restated(draw):
    labels = draw(Multilabel(3))
    rows = permuted_labels(labels, draws=5).set_index(["statistic", "expert"])["observed"]
    w = labels.weights[:, 2].astype(float)
    shares = []
    for c in range(3):
        parts = [w[labels.target[:, c] == value] for value in (0, 1)]
        between = sum(len(part) * (part.mean() - w.mean()) ** 2 for part in parts)
        shares.append(between / ((w - w.mean()) ** 2).sum())
    assert rows["class", "synergy"] == pytest.approx(np.mean(shares))
    gap = w[labels.correct].mean() - w[~labels.correct].mean()
    assert rows["correct", "synergy"] == pytest.approx(abs(gap))

    real = draw(Regression(1))
    rows = permuted_labels(real, draws=5).set_index(["statistic", "expert"])["observed"]
    rho = spearmanr(real.weights[:, 2], real.target[:, 0]).statistic
    assert rows["class", "synergy"] == pytest.approx(rho**2)


def test_p_agrees_with_scipys_permutation_test(draw):
    outputs = draw(Classification(2), samples=80, seed=4)
    found = permuted_labels(outputs, draws=2000).set_index(["statistic", "expert"])["p"]
    correct, weights = outputs.correct, outputs.weights[:, 2].astype(float)

    def gap(one, other, axis):
        return np.abs(one.mean(axis=axis) - other.mean(axis=axis))

    oracle = permutation_test(
        (weights[correct], weights[~correct]),
        gap,
        vectorized=True,
        n_resamples=5000,
        alternative="greater",
        rng=np.random.default_rng(1),
    )
    assert found["correct", "synergy"] == pytest.approx(oracle.pvalue, abs=0.05)


def test_chance_gives_even_p_values(draw):
    """Labels that weights do not know: p is small no more often than it says."""
    values = [
        permuted_labels(draw(Classification(3), samples=45, seed=seed), draws=99)["p"].to_numpy()[0]
        for seed in range(80)
    ]
    assert 0.35 < np.mean(values) < 0.65
    assert np.mean(np.array(values) <= 0.05) < 0.15


def test_weights_that_know_the_class_are_told_from_chance(draw):
    weights = np.full((60, 4), 0.2, np.float32)
    target = np.arange(60) % 3
    weights[np.arange(60), target] = 0.4
    frame = permuted_labels(draw(Classification(3), weights=weights, target=target), draws=99)
    rows = frame[frame["statistic"] == "class"].set_index("expert")
    assert rows["p"].tolist()[:3] == [0.01] * 3
    assert rows.loc["synergy", "permuted_high"] < rows.loc["synergy", "observed"]
    assert np.isnan(rows.loc["redundancy", "p"])  # it does not vary: nothing to explain


def test_all_right_has_no_gap(draw):
    outputs = draw(Classification(3))
    right = draw(Classification(3), target=outputs.prediction.argmax(1))
    rows = permuted_labels(right, draws=5)
    assert rows[rows["statistic"] == "correct"]["p"].isna().all()
