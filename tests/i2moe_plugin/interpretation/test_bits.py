"""Parts in bits against naive restatements, on outputs whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, log_softmax

from i2moe_plugin import Classification, ConfigError, Multilabel, Regression
from i2moe_plugin import interpretation as interpret
from i2moe_plugin.interactions.evidence import target_totals
from i2moe_plugin.interactions.fitted import Fitted, Members
from i2moe_plugin.interactions.sets import sampling_variance, standard_errors

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


def test_no_state_says_of_what_is_far_from_zero_that_it_is_not():
    known = interpret.evidence(drawn(strength=(0.0, 0.0, 0.0, 4.0), seed=1))[0]
    assert known.states[2] == known.states[-1] == "claimed"
    one = replace(known, bits=np.array([-1.0, 0.0, -3.0, 0.0]), errors=np.full(4, 0.1), total=-4.0)
    unclear = "not distinguishable from zero"
    assert one.states == ("not claimed", unclear, "not claimed", unclear, "worse than the prior")
    (said,) = one.sentences()
    assert "Nothing is known" in said
    assert "worse than the classes' shares alone" in said
    about = replace(one, total=0.0, total_error=0.1)
    assert about.states[-1] == unclear
    assert about.states[0] == "not claimed"
    assert "worse" not in about.sentences()[0]


@pytest.mark.parametrize("validation", [1, 19, 20])
def test_nothing_is_claimed_that_was_hardly_validated(validation):
    known = interpret.evidence(drawn(strength=(0.0, 0.0, 0.0, 4.0), seed=1))[0]
    one = replace(known, validation=validation)
    few, said = validation < 20, " ".join(one.sentences())
    assert one.ranking == (() if few else (2,))
    assert one.states[2] == ("doubtful" if few else "claimed")
    assert one.something, "the total is measured on test data"
    assert ("No part is claimed" in said) is few
    assert ("1 validation sample," in said) is (validation == 1)


def test_a_sum_of_two_effects_is_not_left_as_an_interaction():
    """In bits a sum of real values has synergy: together its terms leave hardly anything open."""
    rng = np.random.default_rng(0)
    task, models = Regression(1), []

    def split(count, product):
        x = rng.normal(size=(count, 2, 1))
        y = x.prod(1) if product else x.sum(1)
        alone = np.zeros((count, 3, 1)) if product else np.stack([x[:, 0], x[:, 1], y], 1)
        models = np.concatenate([alone, alone, y[:, None], y[:, None]], 1)
        return y, models + 0.1 * rng.normal(size=models.shape)

    for product in (False, True):
        valid, outputs = split(2000, product)
        fitted = Fitted.fit(MEMBERS, task, outputs, valid, target_totals(task, valid), 2000)
        target, models = split(2000, product)
        (one,) = interpret.evidence(
            interpret.Outputs(
                task=task,
                prediction=fitted.predict(models),
                target=target,
                sample_id=np.arange(2000).astype(str),
                class_names=("y",),
                modalities=("audio", "video"),
                model_outputs=models,
                fitted=fitted,
            )
        )
        assert one.bits[2] > 1, "both are much of a gain in bits"
        assert bool(one.explained.parts[2] > 0.5) is product
        assert "effects which only add up" in " ".join(one.sentences())
        for synergy, error, shown in ((0.01, 0.01, False), (0.03, 0.01, True)):
            parts, errors = np.array([0.4, 0.4, synergy, 0.0]), np.full(4, error)
            explained = replace(one.explained, parts=parts, errors=errors)
            said = replace(one, explained=explained).sentences()[-1]
            assert said.endswith("go by its synergy." if shown else "shows no interaction here.")
        nothing = replace(one, bits=np.array([1.0, 1.0, 0.0, 0.0]))
        assert "only add up" not in " ".join(nothing.sentences())


def test_a_part_of_minus_nothing_is_nothing():
    one = replace(
        interpret.evidence(drawn(strength=(0.0, 0.0, 0.0, 4.0), seed=1))[0],
        bits=np.array([0.0, 0.0, 1.0, -1e-5]),
        redundancy_most=-1e-5,
    )
    assert "-0.000" not in " ".join(one.sentences())


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
    with pytest.raises(ConfigError, match="single test sample shows no error"):
        interpret.evidence(outputs.rows([0]))
    for row in (-1, len(outputs)):
        with pytest.raises(ConfigError, match=f"no row {row}: there are 400 test samples"):
            interpret.waterfall(outputs, row)
    plain = replace(outputs, model_outputs=None, fitted=None)
    with pytest.raises(ConfigError, match="only a run of method evidence"):
        interpret.evidence(plain)
    with pytest.raises(ConfigError, match="no test sample 's9999'"):
        interpret.waterfall(outputs, "s9999")


def test_parts_of_r_squared_sum_to_it():
    outputs = drawn(Regression(2), strength=(1.0, 0.5, 1.5, 2.0))
    fitted, models = outputs.evidence()
    prior, readings = (
        fitted.calibration.prior,
        fitted.calibration.readings(fitted.members.pooled(models)),
    )
    for column, one in enumerate(interpret.evidence(outputs)):
        y = outputs.target[:, column]
        before = ((y - prior[column]) ** 2).sum()
        squared = np.array(
            [1 - ((y - readings[:, place, column]) ** 2).sum() / before for place in range(4)]
        )
        wanted = fitted.calibration.coefficients[column] @ squared
        np.testing.assert_allclose(one.explained.parts, wanted, atol=1e-9)
        assert one.explained.total == pytest.approx(squared[-1], abs=1e-9)
        assert one.explained.parts.sum() == pytest.approx(squared[-1], abs=1e-9)
        assert f"R^2 about the training mean is {squared[-1]:.3f}" in " ".join(one.sentences())
        told = one.as_dict()["r_squared"]
        assert told["total"]["value"] == pytest.approx(squared[-1])
        assert [row["part"] for row in told["parts"]] == list(one.parts)
    assert interpret.evidence(drawn(strength=(1.0, 0.5, 1.5, 2.0)))[0].explained is None


def test_the_error_of_r_squared_is_that_of_drawing_samples_anew():
    outputs = drawn(Regression(1), samples=300, strength=(0.6, 0.3, 0.8, 1.0))
    fitted, models = outputs.evidence()
    found = standard_errors(fitted.explained(models, outputs.target)[0])
    rng = np.random.default_rng(0)
    means = []
    for _ in range(400):
        rows = rng.integers(300, size=300)
        means.append(fitted.explained(models[rows], outputs.target[rows])[0].mean(0))
    np.testing.assert_allclose(found, np.std(means, 0), rtol=0.15, atol=1e-4)


@pytest.mark.parametrize("modalities", [2, 3])
def test_redundancy_is_named_by_two_definitions(modalities):
    """Three that share in pairs have more of it than the minimum rule counts."""
    names = [f"unique: x{m + 1}" for m in range(modalities)]
    one = replace(
        interpret.evidence(drawn(strength=(3.0, 3.0, 3.0, 3.0)))[0],
        parts=(*names, "synergy", "redundancy"),
        bits=np.array([0.0] * (modalities + 1) + [0.5]),
        errors=np.full(modalities + 2, 0.01),
        margins=np.zeros(modalities + 2),
        alone=np.full(modalities, 0.3),
        redundancy_most=0.3,
    )
    (said,) = [line for line in one.sentences() if line.startswith("Redundancy is")]
    assert "0.500 bit by the additive definition and 0.300 by the minimum rule" in said
    assert ("lie between" in said) is (modalities == 2)
    assert ("pairs of modalities" in said) is (modalities == 3)


def test_a_probe_is_compared_with_the_experts_of_all_runs():
    outputs = drawn(strength=(1.0, 0.5, 1.5, 4.0))

    def run(difference, name="logistic regression"):
        probe = interpret.Probe("audio", name, 0.5 + difference, 0.5, difference, 0.05)
        return replace(outputs, probes=(probe,))

    assert interpret.evidence([run(0.2), run(0.0), run(-0.2)])[0].ahead == ()
    (one,) = interpret.evidence([run(0.2), run(0.3), run(0.3, "gradient boosting")])[0].ahead
    assert one.difference == pytest.approx(0.8 / 3)
    assert one.error == pytest.approx((0.05**2 + np.var([0.2, 0.3, 0.3], ddof=1) / 3) ** 0.5)
    assert one.probe == "logistic regression or gradient boosting"


@pytest.mark.parametrize("task", TASKS[::3])
def test_errors_are_over_groups_where_samples_are_not_independent(task):
    outputs = drawn(task, samples=200, strength=(0.6, 0.3, 0.8, 1.0))
    five = np.repeat(np.arange(200), 5)
    copied = replace(outputs.rows(five), group=five.astype(str))
    for one, many in zip(interpret.evidence(outputs), interpret.evidence(copied), strict=True):
        np.testing.assert_allclose(many.bits, one.bits)
        np.testing.assert_allclose(many.errors, one.errors, rtol=1e-6, atol=1e-9)
        assert (many.samples, many.groups, one.groups) == (1000, 200, None)
        assert "over 1,000 test samples in 200 groups" in " ".join(many.sentences())
        if one.explained is not None:
            np.testing.assert_allclose(many.explained.errors, one.explained.errors, rtol=1e-6)
    frame = interpret.part_summary(copied, "correct")
    expected = interpret.part_summary(outputs, "correct")
    np.testing.assert_allclose(frame["error"], expected["error"], rtol=1e-6, atol=1e-9)
    with pytest.raises(ConfigError, match="single group of test samples shows no error"):
        interpret.evidence(replace(outputs, group=np.full(200, "a")))


def test_the_error_over_groups_is_that_of_drawing_groups_anew():
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 9, size=60)
    groups = np.repeat(np.arange(60), sizes)
    values = np.repeat(rng.normal(size=60), sizes) + rng.normal(size=len(groups))
    by_group = [values[groups == name] for name in range(60)]
    means = [
        np.concatenate([by_group[name] for name in rng.integers(60, size=60)]).mean()
        for _ in range(3000)
    ]
    found = sampling_variance(values, groups) ** 0.5
    assert found == pytest.approx(np.std(means), rel=0.1)
    assert found > 1.3 * sampling_variance(values) ** 0.5
