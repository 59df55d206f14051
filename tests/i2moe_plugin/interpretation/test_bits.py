"""Parts in bits against naive restatements, on outputs whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, log_softmax

from i2moe_plugin import Classification, ConfigError, Multilabel, Regression
from i2moe_plugin import interpretation as interpret
from i2moe_plugin.interactions.evidence import target_totals
from i2moe_plugin.interactions.fitted import Fitted, Members

TASKS = [Classification(2), Classification(3), Multilabel(3), Regression(2)]
MEMBERS = Members(2, copies=2, joint=2)


def drawn(task=TASKS[0], samples=400, seed=0, training=0, strength=(0.0, 0.0, 0.0, 0.0)):
    """A run whose models know so much: of x1, of x2, additively, together."""
    rng = np.random.default_rng(seed)
    width = task.num_outputs

    def split(count, rng):
        if isinstance(task, Classification):
            target = rng.integers(width, size=count)
            signal = np.eye(width)[target]
        elif isinstance(task, Multilabel):
            target = rng.integers(2, size=(count, width)).astype(float)
            signal = target - 0.5
        else:
            target = signal = rng.normal(size=(count, width))
        models = [*strength[:3], *strength[:3], strength[3], strength[3]]
        noise = np.random.default_rng((seed, training)).normal(size=(count, len(models), width))
        return target, np.array(models)[None, :, None] * signal[:, None] + 0.3 * noise

    valid, outputs = split(300, rng)
    totals = target_totals(task, valid)
    fitted = Fitted.fit(MEMBERS, task, outputs, valid, totals, len(valid))
    target, outputs = split(samples, rng)
    return interpret.Outputs(
        task=task,
        prediction=fitted.predict(outputs),
        target=target,
        sample_id=np.array([f"s{row}" for row in range(samples)]),
        class_names=tuple(f"class {c}" for c in range(width)),
        modalities=("audio", "video"),
        model_outputs=outputs,
        fitted=fitted,
    )


@pytest.mark.parametrize("task", TASKS)
def test_means_and_errors(task):
    outputs = drawn(task, strength=(1.0, 0.5, 1.5, 2.0))
    fitted, models = outputs.evidence()
    parts = fitted.parts(models, outputs.target)
    copies = fitted.parts_of_copies(models, outputs.target)
    found = interpret.evidence(outputs)
    assert len(found) == (1 if isinstance(task, Classification) else task.num_outputs)
    for column, one in enumerate(found):
        np.testing.assert_allclose(one.bits, parts[:, column].mean(0))
        samples = parts[:, column].var(0, ddof=1) / len(parts)
        means = np.stack([copy[:, column].mean(0) for copy in copies])
        np.testing.assert_allclose(one.errors, np.sqrt(samples + means.var(0, ddof=1) / 2))
        total = parts[:, column].sum(1)
        assert one.total == pytest.approx(total.mean())
        assert one.parts == ("unique: audio", "unique: video", "synergy", "redundancy")
        assert one.redundancy[0] <= one.redundancy[1]
        assert one.as_dict()["parts"][2]["bits"] == one.bits[2]


def test_the_error_over_runs_is_their_spread_and_the_samples():
    runs = [drawn(training=k, strength=(1.0, 0.5, 1.5, 2.0)) for k in range(4)]
    (one,) = interpret.evidence(runs)
    parts = [run.fitted.parts(run.model_outputs, run.target)[:, 0] for run in runs]
    means = np.stack([part.mean(0) for part in parts])
    np.testing.assert_allclose(one.bits, means.mean(0))
    samples = np.mean([part.var(0, ddof=1) / len(part) for part in parts], 0)
    np.testing.assert_allclose(one.errors, np.sqrt(samples + means.var(0, ddof=1) / 4))
    assert one.runs == 4


def test_noise_claims_nothing():
    (one,) = interpret.evidence(drawn())
    assert not one.something
    assert one.claimed == (False,) * 4
    assert one.ranking == ()
    (sentence,) = one.sentences()
    assert sentence.startswith("Nothing is known beyond the classes' shares")


def test_what_is_claimed_is_ranked_by_bits():
    (one,) = interpret.evidence(drawn(strength=(0.0, 0.0, 0.0, 4.0), seed=1))
    assert one.ranking == (2,)
    assert one.claimed == (False, False, True, False)
    said = " ".join(one.sentences())
    assert "largest first: synergy" in said
    assert "Not distinguishable from zero: unique: audio, unique: video, redundancy." in said
    assert "additive definition" in said
    (one,) = interpret.evidence(drawn(strength=(3.0, 3.0, 3.0, 3.0), samples=2000))
    assert one.ranking[0] == 3


def test_parts_that_are_not_there_are_seldom_claimed():
    invented = []
    for seed in range(60):
        (one,) = interpret.evidence(drawn(strength=(0.0, 0.0, 0.0, 4.0), seed=seed))
        invented.append(bool({0, 1, 3} & {*one.ranking}))
    assert np.mean(invented) <= 0.1


def test_an_expert_that_learned_too_little_is_said():
    outputs = drawn(strength=(1.0, 0.5, 1.5, 4.0))
    probes = (
        interpret.Probe("audio", "logistic regression", 0.9, 0.5, 0.4, 0.05),
        interpret.Probe("video", "gradient boosting", 0.5, 0.4, 0.1, 0.06),
    )
    (one,) = interpret.evidence(replace(outputs, probes=probes))
    (sentence,) = [line for line in one.sentences() if "overstated" in line]
    assert sentence.startswith("Logistic regression knows 0.400 bit more from audio")
    assert [probe["modality"] for probe in one.as_dict()["probes_ahead"]] == ["audio"]


def test_what_is_worse_than_the_prior_is_said():
    one = replace(
        interpret.evidence(drawn(strength=(0.0, 0.0, 0.0, 4.0), seed=1))[0],
        bits=np.array([0.0, 0.0, 1.0, -0.5]),
        errors=np.full(4, 0.01),
    )
    assert one.ranking == (2,)
    assert "Below zero: redundancy -0.500 bit" in " ".join(one.sentences())


def test_what_models_may_still_learn_is_not_claimed():
    plain = interpret.evidence(drawn(strength=(3.0, 0.0, 3.0, 4.0), seed=1))[0]
    assert np.isnan(plain.margins).all(), "nothing is known of training"
    assert [one["margin"] for one in plain.as_dict()["parts"]] == [None] * 4
    one = replace(
        plain,
        bits=np.array([0.5, 0.06, 0.03, -0.5]),
        errors=np.array([0.01, 0.01, 0.02, 0.01]),
        margins=np.array([0.2, 0.05, 0.2, 0.9]),
    )
    assert one.claimed == (True, False, False, True)
    assert one.doubtful == (False, True, False, False)
    assert one.ranking == (0,)
    said = " ".join(one.sentences())
    assert "Doubtful: unique: video 0.060 (by 0.050) bit" in said
    assert "Not distinguishable from zero: synergy." in said
    assert one.as_dict()["parts"][1]["margin"] == 0.05
    tiny = replace(one, bits=np.array([0.0004, -0.0004, 0.0, 1.0]), errors=np.full(4, 1e-6))
    assert tiny.claimed == (False, False, False, True)
    nothing = replace(one, total=0.0)
    assert nothing.claimed == nothing.doubtful == (False,) * 4


def test_margins_are_means_over_runs_and_stand_in_the_summary():
    seen = np.random.default_rng(5).normal(size=(50, 8, 2))
    runs = []
    for training in range(2):
        run = drawn(training=training, strength=(1.0, 0.5, 1.5, 2.0))
        target = np.random.default_rng(training).integers(2, size=50)
        # Training data of which the models know much: their outputs for it are the labels.
        known = 3 * np.eye(2)[target][:, None] + 0.1 * seen
        runs.append(replace(run, fitted=run.fitted.with_training(known, target)))
    (one,) = interpret.evidence(runs)
    np.testing.assert_allclose(one.margins, np.mean([run.fitted.margins[0] for run in runs], 0))
    assert (one.margins > 0).any()
    frame = interpret.part_summary(runs)
    np.testing.assert_allclose(frame["margin"], [*one.margins, 0])
    assert frame["doubtful"].tolist() == [*one.doubtful, False]


def test_groups_are_parts_of_the_whole():
    outputs = drawn(Classification(3), strength=(1.0, 0.5, 1.5, 2.0))
    whole = interpret.part_summary(outputs)
    by = interpret.part_summary(outputs, "class")
    assert set(by["group"]) == set(outputs.class_names)
    for part, rows in by.groupby("part"):
        mean = (rows["bits"] * rows["samples"]).sum() / rows["samples"].sum()
        (expected,) = whole[whole["part"] == part]["bits"]
        assert mean == pytest.approx(expected)
    outputs = drawn(Classification(3), strength=(0.2, 0.1, 0.3, 0.4))
    assert set(interpret.part_summary(outputs, "correct")["group"]) == {"correct", "wrong"}


def test_a_waterfall_ends_at_the_prediction():
    outputs = drawn(Classification(3), strength=(1.0, 0.5, 1.5, 2.0))
    one = interpret.waterfall(outputs, "s5")
    prior = outputs.fitted.calibration.prior
    np.testing.assert_allclose(one.steps["prior"], np.exp(prior))
    probability = np.exp(log_softmax(outputs.prediction[5]))
    np.testing.assert_allclose(one.steps["probability"], probability)
    parts = one.steps[["unique: audio", "unique: video", "synergy", "redundancy"]]
    gained = np.log2(probability / np.exp(prior))
    np.testing.assert_allclose(parts.sum(axis=1), gained, atol=1e-9)
    np.testing.assert_allclose(one.steps["total"], gained, atol=1e-9)
    divergence = (probability * gained).sum()
    assert one.expected.sum() == pytest.approx(divergence)


def test_waterfalls_of_labels_and_values():
    outputs = drawn(Multilabel(3), strength=(1.0, 0.5, 1.5, 2.0))
    one = interpret.waterfall(outputs, 3)
    np.testing.assert_allclose(one.steps["probability"], expit(outputs.prediction[3]))
    gained = np.log2(one.steps["probability"] / one.steps["prior"])
    np.testing.assert_allclose(one.steps["total"], gained, atol=1e-9)
    outputs = drawn(Regression(2), strength=(1.0, 0.5, 1.5, 2.0))
    one = interpret.waterfall(outputs, 3)
    bits = outputs.fitted.parts(outputs.model_outputs, outputs.target)[3]
    np.testing.assert_allclose(one.steps["total"], bits.sum(1))
    assert one.steps["probability"].isna().all()


@pytest.mark.parametrize("task", TASKS)
def test_the_figure_draws_every_part_with_its_interval(task):
    outputs = drawn(task, strength=(1.0, 0.5, 1.5, 0.0))
    frame = interpret.part_summary(outputs, "correct")
    figure = interpret.figures.parts(frame)
    bars = [trace for trace in figure.data if trace.type == "bar"]
    assert [trace.name for trace in bars] == [
        *("unique: audio", "unique: video", "synergy", "redundancy")
    ]
    for trace in bars:
        rows = frame[frame["part"] == trace.name]
        np.testing.assert_allclose(trace.x, rows["bits"], atol=1e-4)
        np.testing.assert_allclose(trace.error_x.array, 2 * rows["error"], atol=1e-4)
        hollow = [colour == "rgba(0,0,0,0)" for colour in trace.marker.color]
        assert hollow == [not claimed for claimed in rows["claimed"]]
    assert "total" in figure.layout.meta["alt"]
    with pytest.raises(ConfigError, match="no parts to draw"):
        interpret.figures.parts(frame[:0])


def test_what_has_no_parts_is_refused():
    outputs = drawn()
    with pytest.raises(ConfigError, match="tested on other samples"):
        interpret.evidence([outputs, outputs.rows([0, 1])])
    with pytest.raises(ConfigError, match="no run, or it has no test samples"):
        interpret.evidence([])
    plain = interpret.Outputs(
        Classification(2), np.zeros((1, 2)), np.zeros(1, int), np.array(["a"]), ("n", "y"), ("a",)
    )
    with pytest.raises(ConfigError, match="only a run of method evidence"):
        interpret.evidence(plain)
    with pytest.raises(ConfigError, match="no test sample 's9999'"):
        interpret.waterfall(outputs, "s9999")
