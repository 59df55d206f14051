"""The evidence network against what it promises: no leak, exact sums, parts kept apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from i2moe_plugin import (
    Classification,
    ConfigError,
    LatentSpec,
    Multilabel,
    Regression,
    ShapeError,
    SignClassification,
    Trainer,
    create_backbone,
    create_model,
    list_backbones,
)
from i2moe_plugin.backbones.create import misfit
from i2moe_plugin.interactions.evidence import prior_outputs, target_totals
from i2moe_plugin.interactions.sets import modality_sets
from i2moe_plugin.target_scale import TargetScale

B, C = 6, 3
FIXED = {"concat": {"head_hidden": 7}}


def built(modalities=3, task=None, fusion="concat", tokens=None, **settings):
    task = Classification(C) if task is None else task
    latents = [LatentSpec(8, tokens) for _ in range(modalities)]
    torch.manual_seed(0)

    def encoders():
        width = 8 * (tokens or 1)
        shaped = [nn.Unflatten(1, (tokens, 8))] if tokens else []
        return [nn.Sequential(nn.Linear(5 + m, width), *shaped) for m in range(modalities)]

    def factory(num_outputs=task.num_outputs):
        return create_backbone(fusion, latents, num_outputs, **FIXED.get(fusion, {}))

    return create_model(
        "evidence", encoders(), latents, factory, task, new_encoders=encoders, **settings
    )


def batch(modalities=3, samples=B, seed=1):
    generator = torch.Generator().manual_seed(seed)
    x = [torch.randn(samples, 5 + m, generator=generator) for m in range(modalities)]
    return x, torch.arange(samples) % C


def trained(model, modalities=3, target=None, epochs=3, seed=0):
    x, y = batch(modalities, samples=24)
    batches = [(*x, y if target is None else target)]
    metric = model.task.metric_names[0]
    trainer = Trainer(model, metric=metric, lr=1e-2, seed=seed)
    trainer.fit(batches, batches, epochs)
    return trainer, batches


@pytest.mark.parametrize("modalities", [2, 3, 4])
def test_a_unimodal_expert_sees_its_modality_and_nothing_else(modalities):
    model = built(modalities)
    x, _ = batch(modalities)
    sets = modality_sets(modalities)
    before = model.eval()(x).outputs[:, 0]
    for shuffled in range(modalities):
        other = [part[torch.randperm(B)] if m == shuffled else part for m, part in enumerate(x)]
        after = model(other).outputs[:, 0]
        for place in range(2 * len(sets)):
            same = torch.equal(before[place], after[place])
            assert same is (shuffled not in sets[place % len(sets)])
        assert not torch.equal(before[-1], after[-1])


@pytest.mark.parametrize("modalities", [2, 3, 4])
def test_an_additive_model_is_a_sum_of_functions_of_single_modalities(modalities):
    model = built(modalities).eval()
    x, other = batch(modalities)[0], batch(modalities, seed=2)[0]
    sets = modality_sets(modalities)

    def outputs(chosen):
        mixed = [other[m] if m in chosen else x[m] for m in range(modalities)]
        return model(mixed).outputs[: len(sets), 0]

    # What changing two modalities does is what changing each of them does, summed.
    both = outputs({0, 1}) - outputs(set())
    each = outputs({0}) + outputs({1}) - 2 * outputs(set())
    torch.testing.assert_close(both, each, atol=1e-5, rtol=1e-4)
    joint = [
        model([other[m] if m in c else x[m] for m in range(modalities)]).outputs[-1, 0]
        for c in (set(), {0}, {1}, {0, 1})
    ]
    assert not torch.allclose(joint[3] - joint[0], joint[1] + joint[2] - 2 * joint[0], atol=1e-3)


@pytest.mark.parametrize(
    ("task", "target"),
    [
        (Classification(C), None),
        (Classification(C, class_weights=(1.0, 5.0, 0.5)), None),
        (SignClassification(), torch.linspace(-1, 1, 24)),
        (Multilabel(4), (torch.arange(96).reshape(24, 4) % 3 == 0).float()),
        (Regression(2), torch.linspace(-2, 3, 48).reshape(24, 2)),
    ],
)
@pytest.mark.parametrize("modalities", [2, 3])
def test_the_loss_is_every_models_and_parts_sum_to_the_prediction(task, target, modalities):
    model = built(modalities, task)
    x, y = batch(modalities, samples=24)
    y = y if target is None else target
    output = model.train()(x)
    losses = model.losses(output, y)
    each = [task.loss(one[0], task.prepare(y)) for one in output.outputs]
    torch.testing.assert_close(losses.total, torch.stack(each).sum())
    torch.testing.assert_close(output.prediction, output.outputs[-2:, 0].mean(0))

    model = built(modalities, task)
    trainer, batches = trained(model, modalities, target)
    found = trainer.predict(batches)
    truth = task.truth(found.target)
    fitted = model.fitted
    prior = prior_outputs(task, target_totals(task, truth), 24)
    np.testing.assert_allclose(fitted.calibration.prior, prior, atol=1e-6)
    np.testing.assert_allclose(found.prediction, fitted.predict(found.outputs), atol=1e-6)
    parts = fitted.parts(found.outputs, truth)
    pooled = fitted.members.pooled(found.outputs)
    total = fitted.calibration.information(pooled, truth)[..., -1]
    np.testing.assert_allclose(parts.sum(-1), total, atol=1e-9)


SERVED = [
    (entry.name, modalities, tokens)
    for entry in list_backbones()
    for modalities in (2, 3)
    for tokens in (None, 4)
    if not misfit(entry, modalities, ["tokens" if tokens else "vector"] * modalities)
]


def test_every_backbone_is_among_those_served():
    assert {name for name, _, _ in SERVED} == {entry.name for entry in list_backbones()}


@pytest.mark.parametrize(("name", "modalities", "tokens"), SERVED)
def test_every_backbone_serves_and_its_unimodal_experts_learn(name, modalities, tokens):
    model = built(modalities, fusion=name, tokens=tokens)
    x, y = batch(modalities)
    model.train()
    output = model(x)
    model.losses(output, y).total.backward()
    for encoders in model.unimodal_encoders:
        for encoder in encoders:
            assert encoder[0].weight.grad.abs().max() > 1e-7


@pytest.mark.parametrize(
    ("fusion", "plan"), [("concat", "loop"), ("concat", "stacked"), ("lrtf", "shared")]
)
def test_plans_give_the_same_numbers(fusion, plan):
    reference, model = built(fusion=fusion, plan="loop"), built(fusion=fusion, plan=plan)
    x, y = batch()
    found = []
    for one in (reference, model):
        one.train()
        output = one(x)
        one.losses(output, y).total.backward()
        found.append([output.outputs, *(p.grad for p in one.parameters())])
    for ours, loop in zip(*found, strict=True):
        torch.testing.assert_close(ours, loop, atol=1e-5, rtol=1e-4)
    assert model.plan["unimodal"]["plan"] == plan
    model.plan = reference.plan
    assert model.unimodal.report.plan == "loop"


def test_what_stands_for_other_modalities_is_encoded_once():
    model = built(fusion="lrtf", plan="shared").train()
    x, _ = batch()
    model(x)  # settles the plan
    seen = []
    for expert in model.unimodal.experts:
        inner = expert.encode_modality

        def noted(modality, latent, mask=None, inner=inner):
            seen.append(len(latent))
            return inner(modality, latent, mask)

        expert.encode_modality = noted
    model(x)
    assert sorted(seen) == [1] * 12 + [B] * 6  # 2 copies of 3 experts, of 3 modalities each


@pytest.mark.parametrize(("fusion", "tokens"), [("transformer", 1), ("ef", 4)])
def test_one_token_stands_for_a_modality_where_a_backbone_takes_any_number(fusion, tokens):
    model = built(2, fusion=fusion, tokens=4)
    assert model._constant(1, 0).shape == (1, tokens, 8)


def test_recomputing_what_exceeds_the_memory_budget_gives_the_same_gradients():
    found = []
    for budget in (None, 1):
        model = built(plan="loop", memory_budget=budget).train()
        x, y = batch()
        model.losses(model(x), y).total.backward()
        found.append([p.grad for p in model.parameters()])
    for ours, loop in zip(*found, strict=True):
        torch.testing.assert_close(ours, loop)


def test_banks_are_kept_at_epochs_of_their_own():
    model = built()
    states = []
    x, y = batch(samples=24)
    batches = [(*x, y)]
    trainer = Trainer(model, metric="accuracy", lr=0.05)

    def keep(record):
        states.append({key: value.clone() for key, value in model.state_dict().items()})

    trainer.fit(batches, [(*batch(samples=24, seed=5)[0], y)], 12, keep)
    history = trainer.history
    for part in ("unimodal", "joint"):
        losses = [record["valid"][part] for record in history]
        assert trainer.best_epochs[part] == 1 + int(np.argmin(losses))
    assert len(set(trainer.best_epochs.values())) == 2, "the test wants different epochs"
    now = model.state_dict()
    for key, value in now.items():
        if key.startswith("_"):
            continue
        unimodal = key.startswith(("unimodal", "constants"))
        epoch = trainer.best_epochs["unimodal" if unimodal else "joint"]
        torch.testing.assert_close(value, states[epoch - 1][key], rtol=0, atol=0)
    assert trainer.best_epoch == trainer.best_epochs["joint"]


def test_a_state_carries_the_calibration_and_more_training_drops_it():
    model = built()
    trainer, batches = trained(model)
    expected = trainer.predict(batches).prediction
    other = built()
    other.load_state_dict(model.state_dict())
    x, _ = batch(samples=24)
    found = other.eval()(x).prediction
    np.testing.assert_allclose(found.detach(), expected, atol=1e-6)
    np.testing.assert_array_equal(other.fitted.margins, model.fitted.margins)
    assert not np.isnan(other.fitted.margins).any()
    trainer.fit(batches, batches, 5)
    assert not np.allclose(trainer.predict(batches).prediction, expected)


def test_what_is_known_of_training_data_is_kept_beside_validation():
    model = built(2)
    x, target = batch(2, samples=24)
    other = target.clone()
    other[::4] = (other[::4] + 1) % C  # so validation knows a little less
    trainer = Trainer(model, metric="loss", lr=1e-2)
    trainer.fit([(*x, target)], [(*x, other)], 40)
    fitted = model.fitted
    outputs = fitted.members.pooled(trainer.predict([(*x, target)]).outputs)
    known = fitted.calibration.information(outputs, target.numpy()).mean(0)
    np.testing.assert_allclose(fitted.trained_bits, known, atol=1e-6)
    assert (fitted.trained_bits > fitted.calibration.bits + 0.1).any()


def test_absent_modalities_are_done_without():
    model = built()
    trained(model)
    x, _ = batch(samples=24)
    model.eval()
    whole = model(x)
    for absent in ([0], [1, 2]):
        present = tuple(m for m in range(3) if m not in absent)
        told = model([None if m in absent else part for m, part in enumerate(x)], absent)
        outputs = whole.outputs[:, 0].transpose(0, 1).detach().numpy()
        readings = model.fitted.calibration.readings(model.fitted.members.pooled(outputs))
        subsets = [i for i, one in enumerate(modality_sets(3)) if set(one) <= set(present)]
        assert any(
            np.allclose(told.prediction.detach(), readings[:, i], atol=1e-5) for i in subsets
        )
    with pytest.raises(ShapeError, match="some but not all"):
        model(x, [0, 1, 2])


def test_what_cannot_be_built_is_said():
    latents = [LatentSpec(4), LatentSpec(4)]
    encoders = [nn.Linear(3, 4), nn.Linear(3, 4)]
    task = Classification(2)
    with pytest.raises(ConfigError, match="takes num_outputs"):
        create_model(
            "evidence", encoders, latents, lambda: create_backbone("concat", latents, 2), task
        )
    with pytest.raises(ConfigError, match="2 to 8 modalities"):
        built(9)
    with pytest.raises(ConfigError, match="joint must be at least 1"):
        built(evidence_joint=0)
    with pytest.raises(ConfigError, match="has not been trained"):
        built().fit_evidence(np.zeros((3, 16, C)), np.zeros(3))


def test_a_padded_modality_tells_an_expert_of_another_nothing_by_its_length():
    latents = [LatentSpec(8, 6, padded=True), LatentSpec(8, 4)]

    class Padded(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(5, 8)

        def forward(self, x, lengths):
            return self.linear(x), torch.arange(x.shape[1])[None] >= lengths[:, None]

    def encoders():
        return [Padded(), nn.Sequential(nn.Linear(5, 32), nn.Unflatten(1, (4, 8)))]

    torch.manual_seed(0)
    model = create_model(
        "evidence",
        encoders(),
        latents,
        lambda num_outputs=2: create_backbone("transformer", latents, num_outputs),
        Classification(2),
        new_encoders=encoders,
    ).eval()
    x = torch.randn(3, 5)
    short = model([(torch.randn(3, 2, 5), torch.tensor([2, 1, 2])), x]).outputs[:, 0]
    long = model([(torch.randn(3, 6, 5), torch.tensor([5, 1, 6])), x]).outputs[:, 0]
    for place, one in enumerate(modality_sets(2) * 2):
        assert torch.equal(short[place], long[place]) is (one == (1,))


def test_standardised_targets_give_the_same_bits_in_the_targets_own_units():
    task = Regression(1)
    target = torch.linspace(-2, 3, 24)[:, None] * 1000 + 7
    x, _ = batch(2, samples=24)
    batches = [(*x, target)]
    scale = TargetScale.fit(target.numpy(), 1)
    model = built(2, task)
    trainer = Trainer(model, metric="mae", lr=0.02, target_scale=scale)
    trainer.fit(batches, batches, 8)
    found = trainer.predict(batches)
    own = model.fitted.rescaled(np.array(scale.mean), np.array(scale.deviation))
    np.testing.assert_allclose(found.prediction, own.predict(found.outputs), rtol=1e-5)
    bits = own.parts(found.outputs, found.target).sum(-1)
    residual = ((target.numpy() - own.predict(found.outputs)) ** 2).mean()
    explained = 0.5 * np.log2(target.numpy().var() / residual)
    assert bits.mean() == pytest.approx(explained, abs=0.02)
