"""Ablations and controls against naive restatements of what each changes."""

import copy
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from i2moe_plugin import Classification, ConfigError, I2MoE, LatentSpec, Regression
from i2moe_plugin.backbones.create import create_backbone
from i2moe_plugin.backbones.entry import backbones
from i2moe_plugin.backbones.wrapper import MLPHead
from i2moe_plugin.errors import BackboneError
from i2moe_plugin.execution.bank import ExpertBank
from i2moe_plugin.interactions.losses import interaction_losses
from i2moe_plugin.interactions.regularizers import PENALTIES, rep_barlow, rep_cka, rep_cos
from i2moe_plugin.methods import METHODS, PooledTokens, create_model, find_method
from i2moe_plugin.training import Trainer

B, C = 6, 3
NAMES = [name for name in METHODS if name != "single-expert:NAME"]
NAMES += ["single-expert:uniqueness_2", "single-expert:synergy"]


def built(name: str, modalities: int = 3, *, dropout: float = 0.0, **settings):
    settings = {"reweighting_hidden": 8, "reweighting_dropout": 0.0} | settings
    torch.manual_seed(0)
    if getattr(find_method(name).build, "tokens", False):
        return on_tokens(name, modalities, dropout, settings)
    latents = [LatentSpec(4 + m) for m in range(modalities)]
    encoders = [nn.Linear(5, spec.dim) for spec in latents]

    def factory(num_outputs: int = C) -> nn.Module:
        options = {"head_hidden": 7, "head_dropout": dropout}
        return create_backbone("concat", latents, num_outputs, **options)

    return create_model(name, encoders, latents, factory, Classification(C), **settings)


def on_tokens(name: str, modalities: int, dropout: float, settings, backbone="token-transformer"):
    latents = [LatentSpec(8, 2 + m) for m in range(modalities)]
    encoders = [
        nn.Sequential(nn.Linear(5, 8 * t), nn.Unflatten(1, (t, 8)))
        for t in range(2, 2 + modalities)
    ]

    def factory() -> nn.Module:
        options = {"num_heads": 2, "dropout": dropout} if "transformer" in backbone else {}
        return create_backbone(backbone, latents, C, **options)

    return create_model(name, encoders, latents, factory, Classification(C), **settings)


def batch(modalities: int = 3):
    torch.manual_seed(1)
    return [torch.randn(B, 5) for _ in range(modalities)], torch.arange(B) % C


def step(model, modalities: int = 3):
    """Output and losses of one training step, from the same noise each time."""
    inputs, target = batch(modalities)
    model.train()
    torch.manual_seed(2)
    output = model(inputs)
    return output, model.losses(output, target)


@pytest.mark.parametrize("name", NAMES)
def test_every_method_trains_and_goes_on_from_a_state(name) -> None:
    inputs, target = batch()
    batches = [(*inputs, target)]
    trainer = Trainer(built(name), metric="accuracy", lr=1e-2)
    trainer.fit(batches, batches, 3)
    other = Trainer(built(name), metric="accuracy", lr=1e-2)
    other.fit(batches, batches, 1)
    state = other.state_dict()
    again = Trainer(built(name), metric="accuracy", lr=1e-2)
    again.load_state_dict(state)
    again.fit(batches, batches, 3)
    np.testing.assert_array_equal(
        trainer.predict(batches).prediction, again.predict(batches).prediction
    )
    losses = [record["train"]["loss"] for record in trainer.history]
    assert losses == [record["train"]["loss"] for record in again.history]


@pytest.mark.parametrize("name", NAMES)
def test_predictions_are_weighted_sums_and_deterministic(name) -> None:
    model = built(name, dropout=0.3).eval()
    inputs, _ = batch()
    output = model(inputs)
    torch.testing.assert_close(model(inputs).prediction, output.prediction, rtol=0, atol=0)
    if not isinstance(model, I2MoE):
        return
    torch.testing.assert_close(output.weights.sum(1), torch.ones(B))
    mixture = torch.einsum("ebc,be->bc", output.outputs[:, 0], output.weights)
    torch.testing.assert_close(output.prediction, mixture)
    assert output.outputs.shape == (len(model.expert_names), 1, B, C)


def test_no_interaction_is_the_task_loss_of_one_pass() -> None:
    output, losses = step(built("no-interaction"))
    assert output.outputs.shape == (5, 1, B, C)
    assert losses.interaction is None
    torch.testing.assert_close(losses.total, F.cross_entropy(output.prediction, batch()[1]))


def test_simple_weight_starts_even_and_learns_one_vector() -> None:
    model = built("simple-weight", temperature=7.0)
    output, losses = step(model)
    torch.testing.assert_close(output.weights, torch.full((B, 5), 0.2))
    full, of_full = step(built("i2moe"))
    torch.testing.assert_close(losses.interaction, of_full.interaction)
    losses.total.backward()
    model.reweighting.logits.data += torch.arange(5.0)
    torch.testing.assert_close(step(model)[0].weights[0], torch.arange(5.0).softmax(0))
    assert full.weights.std(0).max() > 0  # where samples differ, the MLP's weights do


def test_less_forward_masks_two_modalities_of_a_step() -> None:
    model = built("less-forward", modalities=4)
    seen = set()
    inputs, target = batch(4)
    for _ in range(80):
        model.train()
        output = model(inputs)
        masked = tuple(view.player.modality for view in output.views[1:])
        assert len(masked) == 2
        assert output.outputs.shape == (6, 3, B, C)
        seen.add(masked)
        losses = model.losses(output, target)
        first, second = masked
        zero = [m for m in range(4) if m not in masked]
        assert (losses.interaction[zero] == 0).all()
        a, one, two = output.outputs[first]
        expected = F.triplet_margin_loss(a, two, one, eps=1e-7)
        torch.testing.assert_close(losses.interaction[first], expected)
        a, one, two = output.outputs[4]
        expected = (F.cosine_similarity(a, one) + F.cosine_similarity(a, two)).mean() / 2
        torch.testing.assert_close(losses.interaction[4], expected)
        assert losses.interaction[second] != 0
        total = losses.task + 0.5 * losses.interaction.sum() / 6
        torch.testing.assert_close(losses.total, total)
    assert seen == set(combinations(range(4), 2))


@pytest.mark.parametrize("plan", ["loop", "batched", "shared", "stacked"])
def test_every_plan_leaves_out_what_is_not_masked(plan) -> None:
    latents = [LatentSpec(4 + m) for m in range(3)]
    bank = ExpertBank(lambda: create_backbone("lrtf", latents, C).double(), 5, plan=plan)
    torch.manual_seed(0)
    inputs = [torch.randn(B, spec.dim, dtype=torch.float64) for spec in latents]
    new = [torch.randn(5, *x.shape, dtype=torch.float64) for x in inputs]
    full, _ = bank(inputs, new)
    part, _ = bank(inputs, [new[0], None, new[2]])
    torch.testing.assert_close(part, full[:, [0, 1, 3]], rtol=0, atol=1e-12)


def test_less_forward_of_two_modalities_is_i2moe() -> None:
    one, other = (step(built(name, 2), 2)[1].total for name in ("less-forward", "i2moe"))
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_synergy_redundancy_keeps_the_weight_of_its_losses() -> None:
    output, losses = step(built("synergy-redundancy"))
    assert output.outputs.shape == (2, 4, B, C)
    a, *others = output.outputs[0]
    synergy = torch.stack([F.cosine_similarity(a, n) for n in others]).mean()
    a, *others = output.outputs[1]
    redundancy = torch.stack([1 - F.cosine_similarity(a, n) for n in others]).mean()
    torch.testing.assert_close(losses.interaction, torch.stack([synergy, redundancy]))
    torch.testing.assert_close(losses.total, losses.task + 0.5 * (synergy + redundancy) / 5)


@pytest.mark.parametrize("name", ["uniqueness_1", "uniqueness_3", "synergy", "redundancy"])
def test_a_single_expert_has_its_own_loss_in_full(name) -> None:
    model = built(f"single-expert:{name}")
    assert model.expert_names == [name]
    output, losses = step(model)
    a, *views = output.outputs[0]
    if name == "synergy":
        expected = torch.stack([F.cosine_similarity(a, n) for n in views]).mean()
    elif name == "redundancy":
        expected = torch.stack([1 - F.cosine_similarity(a, n) for n in views]).mean()
    else:  # a sum over positives
        own = int(name[-1]) - 1
        positives = [view for m, view in enumerate(views) if m != own]
        expected = sum(F.triplet_margin_loss(a, p, views[own], eps=1e-7) for p in positives)
    torch.testing.assert_close(losses.total, losses.task + 0.5 * expected)
    torch.testing.assert_close(output.prediction, output.outputs[0, 0])


def test_single_experts_have_names() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'uniqueness_1'"):
        built("single-expert:uniqeness_1")
    with pytest.raises(ConfigError, match="With 2 modalities there are uniqueness_1, uniqueness_2"):
        built("single-expert:uniqueness_3", 2)


@pytest.mark.parametrize("name", ["latent-contrastive", "latent-contrastive-released"])
def test_latent_contrastive_compares_what_the_heads_read(name) -> None:
    model = built(name)
    output, losses = step(model)
    # The last layer reads the head's hidden layer: [E, V, B, 7].
    assert output.fused.shape == (5, 4, B, 15)
    for expert, module in enumerate(model.bank.experts):
        head = module.backbone.head
        assert isinstance(head, MLPHead)
        torch.testing.assert_close(head(output.fused[expert, 2]), output.outputs[expert, 2])
    expected = interaction_losses(output.fused, "classification")
    torch.testing.assert_close(losses.interaction, expected)
    released = name.endswith("released")
    assert losses.interaction.requires_grad is not released
    plain = built("no-interaction")
    plain.load_state_dict(
        {key.replace("backbone.", "", 1): value for key, value in model.state_dict().items()}
    )
    losses.total.backward()
    step(plain)[1].total.backward()
    gradients = [
        torch.cat([p.grad.flatten() for p in part.parameters()]) for part in (model, plain)
    ]
    if released:  # it trains like ablation 1
        torch.testing.assert_close(*gradients)
    else:
        assert not torch.allclose(*gradients)


def test_fl_i2moe_compares_the_pooled_latents_with_their_gradient() -> None:
    model = built("fl-i2moe")
    output, losses = step(model)
    assert output.fused.shape == (5, 4, B, 3 * 8)  # the means of each modality's tokens
    head = model.bank.experts[1].backbone.fusion.head
    torch.testing.assert_close(head(output.fused[1, 3]), output.outputs[1, 3])
    torch.testing.assert_close(losses.interaction, interaction_losses(output.fused))
    assert losses.interaction.requires_grad


def test_fl_i2moe_weights_by_means_of_length_1() -> None:
    model = built("fl-i2moe").eval()
    inputs, _ = batch()
    means = [encoder(x).mean(1) for encoder, x in zip(model.encoders, inputs, strict=True)]
    unit = [mean / mean.norm(dim=1, keepdim=True) for mean in means]
    expected = model.reweighting.layers(torch.cat(unit, 1)).softmax(1)
    torch.testing.assert_close(model(inputs).weights, expected)


@pytest.mark.parametrize("name", [entry.name for entry in backbones if entry.latents == "tokens"])
def test_fl_i2moe_takes_whatever_takes_tokens(name) -> None:
    settings = {"reweighting_hidden": 8}
    modalities = backbones.get(name).max_modalities or 3
    if name in ("ef", "ef-released"):
        with pytest.raises(BackboneError, match="all modalities need as many"):
            on_tokens("fl-i2moe", modalities, 0.0, settings, name)
        return
    model = on_tokens("fl-i2moe", modalities, 0.0, settings, name)
    output, losses = step(model, modalities)
    assert output.outputs.shape == (modalities + 2, modalities + 1, B, C)
    assert losses.total.isfinite()


def test_fl_i2moe_refuses_vectors() -> None:
    latents = [LatentSpec(4), LatentSpec(4)]
    encoders = [nn.Linear(5, 4), nn.Linear(5, 4)]
    with pytest.raises(ConfigError, match="choose a backbone that takes tokens"):
        create_model("fl-i2moe", encoders, latents, nn.Identity, Classification(C))


def test_pooled_tokens_are_one_token_their_mean() -> None:
    class Padded(nn.Module):
        def forward(self, x, lengths):
            return x, torch.arange(x.shape[1]) >= lengths[:, None]

    x, lengths = torch.randn(3, 4, 5), torch.tensor([4, 1, 2])
    found = PooledTokens(Padded())(x, lengths)
    expected = torch.stack([row[:n].mean(0) for row, n in zip(x, lengths, strict=True)])
    torch.testing.assert_close(found, expected[:, None])
    torch.testing.assert_close(PooledTokens(nn.Identity())(x), x.mean(1, keepdim=True))


def test_the_sparse_gate_has_two_experts_a_sample_and_a_balance() -> None:
    model = built("sparse-gate")
    output, losses = step(model)
    assert ((output.weights > 0).sum(1) == 2).all()
    gates = torch.softmax(model.reweighting.logits(model.encode(batch()[0]).latents, None), 1)
    for row, gate in zip(output.weights, gates, strict=True):
        best = gate.argsort(descending=True)[:2]
        torch.testing.assert_close(row[best], gate[best] / gate[best].sum())
    first = torch.bincount(gates.argmax(1), minlength=5) / B
    balance = 5 * (first * gates.mean(0)).sum()
    torch.testing.assert_close(losses.auxiliary, balance)
    torch.testing.assert_close(losses.total, losses.task + 0.01 * balance)
    model.eval()
    assert model(batch()[0]).auxiliary == 0


def test_a_head_is_found_by_its_name_or_width() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(9, 5)
            self.last = nn.Linear(5, C)

        def forward(self, latents, padding_masks=None):
            hidden = self.first(torch.cat(latents, 1)).relu()
            return self.last(hidden), hidden.new_zeros(())

    latents = [LatentSpec(4), LatentSpec(5)]
    encoders = [nn.Linear(5, 4), nn.Linear(5, 5)]
    model = create_model("latent-contrastive", encoders, latents, Own, Classification(C))
    assert step(model, 2)[0].fused.shape == (4, 3, B, 5)
    with pytest.raises(BackboneError, match=r"no head was found.* Linear with 9 outputs"):
        create_model("rep-cos", encoders, latents, Own, Classification(9))


def test_the_ensemble_is_a_mean_of_independent_backbones() -> None:
    model = built("ensemble")
    output, losses = step(model)
    torch.testing.assert_close(output.prediction, output.outputs[:, 0].mean(0))
    torch.testing.assert_close(losses.total, F.cross_entropy(output.prediction, batch()[1]))
    weights = [expert.head[0].weight for expert in model.bank.experts]
    assert all(not torch.equal(*pair) for pair in combinations(weights, 2))
    trained = copy.deepcopy(model)
    trainer = Trainer(trained, metric="accuracy", lr=1e-2)
    batches = [(*batch()[0], batch()[1])]
    trainer.fit(batches, batches, 2)
    weights = [expert.head[0].weight for expert in trained.bank.experts]
    assert all(not torch.equal(*pair) for pair in combinations(weights, 2))


@pytest.mark.parametrize("name", list(PENALTIES))
def test_penalties_are_added_with_their_weight(name) -> None:
    model = built(f"rep-{name}", regularizer_weight=2.5)
    model.set_epoch(100)
    output, losses = step(model)
    rest = losses.task + 0.5 * losses.interaction.mean()
    penalty = PENALTIES[name].similarity(output.fused[:, 0])
    torch.testing.assert_close(losses.total, rest + 2.5 * penalty)


def test_barlows_weight_grows_over_five_epochs() -> None:
    model = built("rep-barlow")
    totals = []
    for epoch in (1, 3, 5, 9):
        model.set_epoch(epoch)
        output, losses = step(model)
        rest = losses.task + 0.5 * losses.interaction.mean()
        totals.append(((losses.total - rest) / rep_barlow(output.fused[:, 0])).item())
    np.testing.assert_allclose(totals, [0, 5, 10, 10], rtol=1e-4, atol=1e-4)


def test_penalties_against_naive_loops() -> None:
    torch.manual_seed(0)
    latents = torch.randn(3, 8, 4, dtype=torch.float64)
    x = latents.numpy()
    cosines, barlows, ckas = [], [], []
    for i, j in combinations(range(3), 2):
        a, b = x[i], x[j]
        unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (a, b)]
        cosines.append(np.mean([np.dot(p, q) ** 2 for p, q in zip(*unit, strict=True)]))
        scaled = [(v - v.mean(0)) / (v.std(0) + 1e-5) for v in (a, b)]
        cross = scaled[0].T @ scaled[1] / 8
        barlows.append(np.mean([cross[r, c] ** 2 for r in range(4) for c in range(4) if r != c]))
        p, q = a - a.mean(0), b - b.mean(0)
        norm = np.linalg.norm(p.T @ p) * np.linalg.norm(q.T @ q)
        ckas.append(np.linalg.norm(p.T @ q) ** 2 / norm)
    assert rep_cos(latents).item() == pytest.approx(np.mean(cosines))
    assert rep_barlow(latents).item() == pytest.approx(np.mean(barlows))
    assert rep_cka(latents).item() == pytest.approx(np.mean(ckas), rel=1e-6)


def test_unknown_methods_are_named() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'no-interaction'"):
        find_method("no-interactions")
    with pytest.raises(ConfigError, match="unknown method 'single-expert:'"):
        find_method("single-expert:")


def test_regression_has_variants_too() -> None:
    latents = [LatentSpec(4), LatentSpec(5)]
    encoders = [nn.Linear(5, 4), nn.Linear(5, 5)]
    for name in ("synergy-redundancy", "latent-contrastive", "single-expert:synergy"):
        model = create_model(
            name, encoders, latents, lambda: create_backbone("concat", latents, 1), Regression(1)
        )
        output = model(batch(2)[0])
        assert model.losses(output, torch.randn(B)).total.isfinite()
