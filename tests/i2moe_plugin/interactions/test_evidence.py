import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from i2moe_plugin import Classification, Multilabel, Regression
from i2moe_plugin.errors import ConfigError, ShapeError
from i2moe_plugin.interactions.evidence import (
    calibrate,
    calibrated_losses,
    prior_outputs,
    target_totals,
)
from i2moe_plugin.interactions.fitted import Fitted, Members
from i2moe_plugin.interactions.sets import modality_sets, part_coefficients, standard_errors

TASKS = [Classification(2), Classification(4), Multilabel(3), Regression(1), Regression(2)]


def drawn(task, modalities, samples=40, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    outputs = rng.normal(0, scale, (samples, 2**modalities, task.num_outputs))
    if isinstance(task, Classification):
        target = rng.integers(task.num_outputs, size=samples)
    elif isinstance(task, Multilabel):
        target = rng.integers(2, size=(samples, task.num_outputs)).astype(float)
    else:
        target = rng.normal(size=(samples, task.num_outputs))
    return outputs, target


def prior_of(task, target, **options):
    return prior_outputs(task, target_totals(task, target), len(target), **options)


def log_likelihood(task, scores, target, variance=None):
    """[N, L], naively, in nats."""
    if isinstance(task, Classification):
        return log_softmax(scores, 1)[np.arange(len(scores)), target][:, None]
    if isinstance(task, Multilabel):
        yes = 1 / (1 + np.exp(-scores))
        return np.log(np.where(target > 0.5, yes, 1 - yes))
    return -0.5 * np.log(2 * np.pi * variance) - (target - scores) ** 2 / (2 * variance)


@given(
    st.sampled_from(TASKS), st.integers(2, 5), st.integers(0, 1000), st.sampled_from([0.1, 1, 30])
)
@settings(max_examples=60, deadline=None)
def test_parts_sum_to_the_predictions_gain_over_the_prior(task, modalities, seed, scale):
    outputs, target = drawn(task, modalities, seed=seed, scale=scale)
    prior = prior_of(task, target)
    calibration = calibrate(task, outputs, target, prior)
    new, other = drawn(task, modalities, seed=seed + 1, scale=scale)
    parts = calibration.parts(calibration.information(new, other))
    wide = calibration.variances[-2:] if isinstance(task, Regression) else (None, None)
    gain = log_likelihood(task, calibration.predict(new), other, wide[0])
    alone = np.broadcast_to(prior, new[:, 0].shape)
    gain = (gain - log_likelihood(task, alone, other, wide[1])) / np.log(2)
    assert parts.shape == (40, gain.shape[1], modalities + 2)
    np.testing.assert_allclose(parts.sum(-1), gain, atol=1e-5, rtol=1e-9)


@pytest.mark.parametrize("task", [TASKS[1], TASKS[2]], ids=str)
def test_bits_of_every_class_hold_those_of_the_true_one(task):
    outputs, target = drawn(task, 3)
    calibration = calibrate(task, outputs, target, prior_of(task, target))
    every = calibration.information_of_classes(outputs)
    observed = calibration.information(outputs, target)
    columns = np.arange(observed.shape[1])
    true = target.astype(int).reshape(len(target), -1)
    chosen = every[np.arange(len(target))[:, None], columns, true]
    np.testing.assert_allclose(chosen, observed)
    parts = calibration.parts(every)
    np.testing.assert_allclose(parts.sum(-1), every[..., -1], atol=1e-9)
    # over what the prediction holds for probable, the mean gain is a divergence: never below 0
    bits = every[..., -1]
    prior = np.exp(log_softmax(calibration.prior)) if task.num_outputs == 4 else None
    if prior is not None:
        expected = (2**bits * prior * bits).sum(-1)
        assert (expected >= -1e-9).all()


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_models_that_say_noise_tell_nothing(task):
    outputs, target = drawn(task, 2, samples=4000, scale=3)
    calibration = calibrate(task, outputs, target, prior_of(task, target))
    fresh, other = drawn(task, 2, samples=4000, seed=9, scale=3)
    parts = calibration.parts(calibration.information(fresh, other)).mean((0, 1))
    assert np.abs(parts).max() < 2e-3
    flipped = calibrate(task, -outputs, target, prior_of(task, target))
    # of a model and its opposite, at most one is believed
    alone = (np.diagonal(part.weights, axis1=1, axis2=2)[:, :-1] for part in (calibration, flipped))
    assert (np.minimum(*alone) == 0).all()


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_a_weight_of_zero_is_exactly_the_prior(task):
    outputs, target = drawn(task, 2)
    prior = prior_of(task, target)
    constant = np.broadcast_to(prior, outputs.shape)
    calibration = calibrate(task, constant, target, prior)
    np.testing.assert_allclose(calibration.weights, 0, atol=1e-9)
    parts = calibration.parts(calibration.information(outputs, target))
    np.testing.assert_allclose(parts, 0, atol=1e-7)


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_calibrated_losses_by_trying_weights(task):
    outputs, target = drawn(task, 2, samples=60, seed=3)
    prior = prior_of(task, target)
    found = calibrated_losses(task, outputs, target, prior)
    squares = isinstance(task, Regression)
    # Of each column by itself, the mean over columns; the square of a weight counts 1 / N.
    scale = ((target - prior) ** 2).mean(0) * 2 if squares else 1.0
    for model, loss in enumerate(found):
        tried = []
        for weight in np.linspace(0, 4, 401):
            scores = prior + weight * (outputs[:, model] - prior)
            known = (target - scores) ** 2 if squares else -log_likelihood(task, scores, target)
            tried.append((known.mean(0) / scale + weight**2 / 60, known.mean(0)))
        penalised, losses = (np.array(part) for part in zip(*tried, strict=True))
        best = losses[penalised.argmin(0), np.arange(losses.shape[1])].mean()
        assert loss == pytest.approx(best, abs=2e-3)
    sure = prior + 2 * (outputs - prior)  # too sure by twice
    np.testing.assert_allclose(calibrated_losses(task, sure, target, prior), found, atol=0.02)


def test_weights_by_logistic_regression():
    rng = np.random.default_rng(3)
    target = rng.integers(2, size=500)
    score = (2 * target - 1) * 0.4 + rng.normal(size=500)
    outputs = np.zeros((500, 4, 2))
    outputs[:, :, 1] = score[:, None]
    prior = np.zeros(2)
    calibration = calibrate(Classification(2), outputs, target, prior)
    # sum of losses + weight^2 is scikit-learn's with C = 1/2
    oracle = LogisticRegression(C=0.5, fit_intercept=False, tol=1e-10).fit(score[:, None], target)
    weights = np.diagonal(calibration.weights[0])[:-1]
    np.testing.assert_allclose(weights, oracle.coef_[0, 0], atol=1e-4)


def test_regression_is_least_squares_with_the_variance_that_is_left():
    rng = np.random.default_rng(4)
    target = rng.normal(size=(300, 1))
    outputs = np.repeat((0.5 * target + 0.2 * rng.normal(size=(300, 1)))[:, None], 4, 1)
    calibration = calibrate(Regression(1), outputs, target, prior := target.mean(0))
    excess = outputs[:, 0, 0] - prior
    slope = (excess @ (target[:, 0] - prior)) / (excess @ excess)
    weights = np.diagonal(calibration.weights[0])[:-1]
    np.testing.assert_allclose(weights, slope, rtol=0.03)
    left = ((target[:, 0] - prior - weights[0] * excess) ** 2).mean()
    np.testing.assert_allclose(calibration.variances[:3, 0], left)
    bits = calibration.information(outputs, target).mean(0)
    np.testing.assert_allclose(bits[0, :3], 0.5 * np.log2(target.var() / left), atol=1e-6)


def gate(function, noise=0.1):
    """Every combination of bits and label, as often as it is probable, and exact models of it."""
    rows = []
    for a, b in itertools.product((0, 1), repeat=2):
        label = function(a, b)
        rows += [(a, b, label)] * round(100 * (1 - noise)) + [(a, b, 1 - label)] * round(
            100 * noise
        )
    bits, target = np.array(rows)[:, :2], np.array(rows)[:, 2]
    outputs = np.zeros((len(rows), 4, 2))
    for index, chosen in enumerate([[0], [1], None, [0, 1]]):
        encoded = bits  # main effects alone
        if chosen is not None:
            encoded = np.eye(4)[bits[:, chosen] @ [1, 2][: len(chosen)]]
        model = LogisticRegression(C=1e6, tol=1e-10, max_iter=1000).fit(encoded, target)
        outputs[:, index] = model.predict_log_proba(encoded)
    return outputs, target


ENTROPY = 1 + 0.1 * np.log2(0.1) + 0.9 * np.log2(0.9)


@pytest.mark.parametrize(
    ("function", "parts"),
    [
        (lambda a, b: a ^ b, [0, 0, ENTROPY, 0]),
        (lambda a, b: a, [ENTROPY, 0, 0, 0]),
        (lambda a, b: b, [0, ENTROPY, 0, 0]),
    ],
)
def test_parts_of_exact_models_of_gates(function, parts):
    outputs, target = gate(function)
    task = Classification(2)
    calibration = calibrate(task, outputs, target, prior_of(task, target))
    found = calibration.parts(calibration.information(outputs, target)).mean((0, 1))
    np.testing.assert_allclose(found, parts, atol=2e-3)


def test_columns_have_parts_of_their_own():
    """The first label is the first modality's, the second both modalities' alike."""
    rng = np.random.default_rng(0)
    target = rng.integers(2, size=(400, 2)).astype(float)
    outputs = np.zeros((400, 4, 2))
    for model in (0, 2, 3):
        outputs[:, model, 0] = 3 * (2 * target[:, 0] - 1)
    outputs[:, :, 1] = 3 * (2 * target[:, 1:] - 1)
    task = Multilabel(2)
    calibration = calibrate(task, outputs, target, prior_of(task, target))
    found = calibration.parts(calibration.information(outputs, target)).mean(0)
    assert found[0].argmax() == 0
    assert found[1].argmax() == 3
    np.testing.assert_allclose(found.max(1), found.sum(1), atol=0.01)


def test_class_weights_are_taken_out_of_the_bits_and_kept_in_decisions():
    rng = np.random.default_rng(0)
    target = (rng.random(4000) < 0.1).astype(int)
    x = target + rng.normal(size=4000)
    task = Classification(2, class_weights=(1.0, 9.0))
    exact = np.stack([np.zeros(4000), x - 0.5 + np.log(0.1 / 0.9)], 1)
    weighted = exact + np.log([1.0, 9.0])
    prior = prior_of(task, target)
    trained = prior_of(task, target, weighted=True)
    plain = calibrate(task, np.repeat(exact[:, None], 4, 1), target, prior)
    corrected = calibrate(task, np.repeat(weighted[:, None], 4, 1), target, prior, trained)
    np.testing.assert_allclose(corrected.bits, plain.bits, atol=1e-4)
    decisions = corrected.predict(np.repeat(weighted[:, None], 4, 1)).argmax(1)
    assert (decisions == (x > 0.5)).mean() > 0.99
    assert plain.predict(np.repeat(exact[:, None], 4, 1)).argmax(1).mean() < decisions.mean()


@given(st.integers(2, 4), st.integers(0, 1000))
def test_coefficients_follow_the_modalities_when_they_change_places(modalities, seed):
    rng = np.random.default_rng(seed)
    sets = modality_sets(modalities)
    bits = rng.random(len(sets) + 1)
    turn = rng.permutation(modalities)
    place = [sets.index(tuple(sorted(int(turn[m]) for m in chosen))) for chosen in sets]
    turned = np.append(bits[place], bits[-1])
    first, second = part_coefficients(bits) @ bits, part_coefficients(turned) @ turned
    np.testing.assert_allclose(second[:modalities], first[turn], atol=1e-9)
    np.testing.assert_allclose(second[modalities:], first[modalities:], atol=1e-9)


@given(st.lists(st.floats(-1, 1), min_size=8, max_size=8))
def test_coefficients_sum_to_the_joint_model(bits):
    np.testing.assert_allclose(part_coefficients(bits).sum(0), np.eye(8)[-1], atol=1e-12)


def test_coefficients_by_the_formulas():
    """M = 3, with i1 > i2 > i3, by hand."""
    bits = dict(
        zip([*modality_sets(3), ()], [0.5, 0.4, 0.3, 0.7, 0.6, 0.55, 0.75, 0.9], strict=True)
    )
    gains = [0.5, min(0.4, 0.7 - 0.5), min(0.3, 0.75 - 0.7)]
    unique = [min(0.5, 0.75 - 0.55), min(gains[1], 0.75 - 0.6), min(gains[2], 0.75 - 0.7)]
    expected = [*unique, 0.9 - sum(gains), sum(gains) - sum(unique)]
    values = list(bits.values())
    np.testing.assert_allclose(part_coefficients(values) @ values, expected)


@pytest.mark.parametrize("shape", [(5, 3, 2), (5, 4), (5, 4, 3), (5, 2, 2)])
def test_outputs_of_another_shape_are_refused(shape):
    with pytest.raises(ShapeError, match=r"2\^M, 2"):
        calibrate(Classification(2), np.zeros(shape), np.zeros(5, int), np.zeros(2))


def test_nothing_to_calibrate_on_is_refused():
    with pytest.raises(ConfigError, match="there is none"):
        calibrate(Classification(2), np.zeros((0, 4, 2)), np.zeros(0, int), np.zeros(2))
    with pytest.raises(ConfigError, match="2 to 8 modalities"):
        modality_sets(9)
    outputs, target = drawn(Regression(1), 2)
    calibration = calibrate(Regression(1), outputs, target, target.mean(0))
    with pytest.raises(ConfigError, match="observed target"):
        calibration.information_of_classes(outputs)


def test_a_model_that_is_worse_than_a_subsets_is_replaced_by_it():
    """The second modality harms: its part is exactly 0, not redundancy against uniqueness."""
    first, second, both, joint = 0.9, 0.1, 0.85, 0.95
    values = [first, second, both, joint]
    np.testing.assert_allclose(part_coefficients(values) @ values, [0.8, 0, 0.05, 0.1])
    np.testing.assert_array_equal(part_coefficients(values)[1], 0)
    # and from set to set: all three are no better than the first alone
    values = [0.5, 0.1, 0.0, 0.45, 0.4, 0.1, 0.3, 0.5]
    np.testing.assert_allclose(part_coefficients(values) @ values, [0.4, 0, 0, 0, 0.1])
    np.testing.assert_array_equal(part_coefficients(values)[[1, 2]], 0)


def test_standard_errors_tell_the_spread_over_fresh_samples_and_trainings():
    rng = np.random.default_rng(0)
    means, errors = [], []
    for _ in range(2000):
        trained = rng.normal(0, 0.3, size=2)  # what each copy's training does to its part
        samples = rng.normal(0, 1, size=(50, 1, 1))
        pooled = samples + trained.mean()
        means.append(pooled.mean())
        copies = [samples + shift for shift in trained]
        errors.append(standard_errors(pooled, copies)[0, 0] ** 2)
    assert np.mean(errors) == pytest.approx(np.var(means), rel=0.1)


def test_a_copy_is_calibrated_with_the_pooled_models_coefficients():
    task = Classification(2)
    outputs, target = drawn(task, 2)
    prior = prior_of(task, target)
    pooled = calibrate(task, outputs, target, prior)
    turned = outputs[:, [1, 0, 2, 3]]
    copy = calibrate(task, turned, target, prior, like=pooled)
    np.testing.assert_array_equal(copy.coefficients, pooled.coefficients)
    own = calibrate(task, turned, target, prior)
    np.testing.assert_array_equal(copy.weights[0, :3], own.weights[0, :3])


def test_the_prediction_pools_the_joint_and_the_additive_model():
    """Two models of half the truth each: together they say more than either."""
    rng = np.random.default_rng(0)
    target = rng.integers(2, size=3000)
    scores = (2 * target[:, None] - 1) * 0.7 + rng.normal(size=(3000, 2))
    outputs = np.zeros((3000, 4, 2))
    outputs[:, 0, 1] = outputs[:, 2, 1] = scores[:, 0]
    outputs[:, 3, 1] = scores[:, 1]
    calibration = calibrate(Classification(2), outputs, target, np.zeros(2))
    weights = calibration.weights[0, -1]
    oracle = LogisticRegression(C=1e3, fit_intercept=False).fit(scores, target)
    # the additive model of both is no better than the first's alone, which stands for it
    np.testing.assert_allclose(weights[[0, 3]], oracle.coef_[0], atol=0.02)
    np.testing.assert_array_equal(weights[[1, 2]], 0)
    assert calibration.bits[0, 3] > calibration.bits[0, 2] + 0.1
    # where the joint model says nothing new, it is not believed: no synergy
    outputs[:, 3] = rng.normal(size=(3000, 2))
    calibration = calibrate(Classification(2), outputs, target, np.zeros(2))
    parts = calibration.parts(calibration.information(outputs, target)).mean((0, 1))
    assert parts[2] == pytest.approx(0, abs=1e-3)


def test_the_pool_falls_back_with_the_additive_model():
    """All modalities together validate worse than the second alone: the pool takes that one."""
    rng = np.random.default_rng(1)
    target = rng.integers(2, size=500)
    outputs = np.zeros((500, 4, 2))
    outputs[:, 1, 1] = 3.0 * (2 * target - 1)
    outputs[:, 2] = rng.normal(size=(500, 2))
    calibration = calibrate(Classification(2), outputs, target, np.zeros(2))
    assert calibration.weights[0, -1, 1] > 0
    assert calibration.weights[0, -1, 2] == 0
    parts = calibration.parts(calibration.information(outputs, target)).mean((0, 1))
    assert parts.argmax() == 1
    np.testing.assert_allclose(parts[[0, 3]], 0, atol=1e-12)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(("copies", "joint"), [(1, 1), (2, 2), (2, 5)])
@pytest.mark.parametrize("looked_back", [False, True])
def test_what_is_fitted_is_written_and_read(task, copies, joint, looked_back):
    members = Members(3, copies, joint)
    rng = np.random.default_rng(0)
    _, target = drawn(task, 3, samples=60)
    true = np.eye(task.num_outputs)[target] if isinstance(task, Classification) else target
    noise = rng.normal(size=(60, members.count, task.num_outputs))
    outputs = true[:, None] + noise
    totals = target_totals(task, target)
    fitted = Fitted.fit(members, task, outputs, target, totals, len(target))
    assert len(fitted.copies) == (0 if min(copies, joint) == 1 else 2)
    if looked_back:
        fitted = fitted.with_training(outputs - 0.9 * noise, target)  # it knows those better
        assert fitted.margins.max() > 0
    for other in (
        Fitted.read(task, fitted.record()),
        Fitted.of_numbers(members, task, fitted.numbers()),
    ):
        np.testing.assert_array_equal(other.predict(outputs), fitted.predict(outputs))
        np.testing.assert_array_equal(other.parts(outputs, target), fitted.parts(outputs, target))
        np.testing.assert_array_equal(other.errors(outputs, target), fitted.errors(outputs, target))
        np.testing.assert_array_equal(other.margins, fitted.margins)


def test_copies_are_pooled_model_by_model():
    members = Members(2, copies=2, joint=4)
    outputs = np.arange(10.0)[None, :, None].repeat(3, 0)
    np.testing.assert_array_equal(members.pooled(outputs)[0, :, 0], [1.5, 2.5, 3.5, 7.5])
    np.testing.assert_array_equal(members.pooled(outputs, 0)[0, :, 0], [0, 1, 2, 7])
    np.testing.assert_array_equal(members.pooled(outputs, 1)[0, :, 0], [3, 4, 5, 8])


def test_records_and_members_that_are_none_are_refused():
    with pytest.raises(ConfigError, match="not the record"):
        Fitted.read(Classification(2), {"modalities": 2})
    with pytest.raises(ConfigError, match="joint must be at least 1"):
        Members(2, 2, 0)


def test_other_units_change_predictions_and_no_bits():
    task, members = Regression(2), Members(2, 2, 2)
    rng = np.random.default_rng(3)
    outputs, (_, target) = rng.normal(size=(80, 8, 2)), drawn(task, 2, samples=80)
    outputs += target[:, None]
    fitted = Fitted.fit(members, task, outputs, target, target_totals(task, target), 80)
    mean, deviation = np.array([5.0, -2.0]), np.array([3.0, 0.1])
    other = fitted.rescaled(mean, deviation)
    scaled, wanted = outputs * deviation + mean, target * deviation + mean
    np.testing.assert_allclose(other.predict(scaled), fitted.predict(outputs) * deviation + mean)
    np.testing.assert_allclose(other.parts(scaled, wanted), fitted.parts(outputs, target))
    np.testing.assert_allclose(other.errors(scaled, wanted), fitted.errors(outputs, target))


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_margins_by_the_formula(task):
    members = Members(2, copies=1, joint=1)
    outputs, target = drawn(task, 2)
    totals = target_totals(task, target)
    fitted = Fitted.fit(members, task, outputs, target, totals, len(target))
    assert np.isnan(fitted.margins).all()
    seen, truth = drawn(task, 2, seed=1)
    fitted = fitted.with_training(seen, truth)
    calibration = fitted.calibration
    known = calibration.information(seen, truth).mean(0)
    for column, rows in enumerate(calibration.coefficients):
        for part, row in enumerate(rows):
            naive = sum(
                -weight * max(0.0, known[column, model] - calibration.bits[column, model]) / 2
                for model, weight in enumerate(row)
                if weight < 0
            )
            assert fitted.margins[column, part] == pytest.approx(naive, abs=1e-12)
    again = Fitted.read(task, fitted.record())
    np.testing.assert_array_equal(again.margins, fitted.margins)
    former = {key: value for key, value in fitted.record().items() if key != "trained_bits"}
    assert np.isnan(Fitted.read(task, former).margins).all()
    with pytest.raises(ConfigError, match="trained_bits has the shape"):
        Fitted.read(task, {**fitted.record(), "trained_bits": [[0.0]]})


def test_a_margin_is_what_a_model_of_few_samples_lacks():
    """A second modality that copies the first helps it by what it has not learned of few samples.

    Oracle: the information of the distribution itself, against models of maximum likelihood.
    """
    task, features, samples = Classification(2), 12, 400
    truth = np.random.default_rng(0).normal(0, 0.5, features)
    lacking, told = [], []
    for seed in range(20):
        rng = np.random.default_rng((1, seed))

        def split(count, rng=rng):
            x = rng.normal(size=(count, features))
            return x, (rng.random(count) < 1 / (1 + np.exp(-x @ truth))).astype(int)

        train, valid, fresh = split(samples), split(20_000), split(20_000)
        model = LogisticRegression(C=np.inf, max_iter=1000).fit(*train)

        def outputs(x, model=model):
            own = np.stack([np.zeros(len(x)), model.decision_function(x)], 1)
            nothing = np.zeros_like(own)
            return np.stack([own, nothing, own, own], 1)

        totals = target_totals(task, train[1])
        members = Members(2, copies=1, joint=1)
        fitted = Fitted.fit(members, task, outputs(valid[0]), valid[1], totals, samples)
        fitted = fitted.with_training(outputs(train[0]), train[1])
        told.append(fitted.margins[0, 2])  # synergy: against the additive model of both
        learned = fitted.calibration.information(outputs(fresh[0]), fresh[1]).mean(0)[0, 0]
        sign = 2 * fresh[1] - 1
        there = np.log2(2 / (1 + np.exp(-sign * (fresh[0] @ truth)))).mean()
        lacking.append(there - learned)
    assert np.mean(told) == pytest.approx(np.mean(lacking), rel=0.35)


@pytest.mark.parametrize("value", [0.0, 7.1, -1e9])
@pytest.mark.parametrize("modalities", [2, 3])
def test_of_a_value_that_never_varied_nothing_is_known(value, modalities):
    """Though it varies in the test split: a variance of zero would make infinite bits of dust."""
    rng = np.random.default_rng(5)
    task, models = Regression(2), 2**modalities
    target = np.stack([np.full(50, np.float32(value)), rng.normal(size=50)], 1)
    outputs = target[:, None] + rng.normal(size=(50, models, 2))
    prior = np.array([np.float32(value), 0.0]) * (1 + 1e-9)
    calibration = calibrate(task, outputs, target, prior)
    seen = outputs + rng.normal(size=outputs.shape)
    found = calibration.information(seen, seen[:, 0])
    np.testing.assert_array_equal(found[:, 0], 0)
    assert (found[:, 1] != 0).any()
    assert np.isfinite(calibrated_losses(task, outputs, target, prior)).all()


def test_only_real_values_have_an_r_squared():
    outputs = np.zeros((4, 4, 2))
    calibration = calibrate(Classification(2), outputs, np.array([0, 1, 0, 1]), np.log([0.5, 0.5]))
    with pytest.raises(ConfigError, match="only real values have an R"):
        calibration.explained(outputs, np.zeros(4, int))
