"""Importance of tokens for a scope, against naive restatements on one sample at a time."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from i2moe_plugin import ConfigError
from i2moe_plugin.attribution.maps import explain_tokens, explainers_of
from i2moe_plugin.attribution.names import EXPLAINERS, MIXTURE
from i2moe_plugin.attribution.study import masked_by_importance, score_pairs
from i2moe_plugin.attribution.targets import choose_targets
from i2moe_plugin.attribution.tokens import TokenModel
from i2moe_plugin.backbones.entry import backbones
from i2moe_plugin.errors import I2MoEError

SCOPES = [MIXTURE, "uniqueness_1", "synergy"]


def targets_of(model, tokens):
    return choose_targets(model.task, model.outputs(MIXTURE, tokens.latents, tokens.padding))


def rolled(layers):
    """Rollout of one sample's layers [N, N], by the definition."""
    flow = torch.eye(len(layers[0]))
    for layer in layers:
        mixed = layer + torch.eye(len(layer))
        flow = mixed / mixed.sum(1, keepdim=True) @ flow
    return flow.mean(0)


def naive(explainer, model, one, chosen, scope):
    """The map of one sample without padding."""
    experts = range(model.experts) if scope == MIXTURE else [model.place(scope)]
    latents = [x.clone().requires_grad_() for x in one.latents]
    said = [model.expert_with_attention(e, latents, one.padding) for e in experts]
    weights = model.weights(latents, one.padding)[0]
    if explainer == "rollout":
        parts = [rolled([layer[0].mean(0) for layer in layers]).detach() for _, layers in said]
        return weights.detach() @ torch.stack(parts) if scope == MIXTURE else parts[0]
    outputs = torch.stack([output[0, chosen] for output, _ in said])
    score = weights @ outputs if scope == MIXTURE else outputs[0]
    maps = []
    for _, layers in said:
        gradients = torch.autograd.grad(score, layers, retain_graph=True)
        pairs = zip(layers, gradients, strict=True)
        maps.append(rolled([(a[0].relu() * g[0].relu()).mean(0).detach() for a, g in pairs]))
    return sum(maps)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("explainer", ["rollout", "gradient-rollout"])
def test_rollouts(explainer, scope, model, inputs, special):
    tokens = model.encode(inputs, special)
    targets = targets_of(model, tokens)
    maps = explain_tokens(explainer, model, tokens, targets, scope, memory_budget=1)
    for row in range(5):
        one = tokens.rows(slice(row, row + 1))
        expected = naive(explainer, model, one, targets.chosen[row].nonzero().item(), scope)
        own = expected.split(one.sizes)
        for m, size in enumerate(one.sizes):
            assert_close(maps.raw[m][row, :size], own[m], atol=1e-5, rtol=1e-4)
            assert (maps.raw[m][row, size:] == 0).all()


@pytest.mark.parametrize("scope", SCOPES)
def test_integrated_gradients_add_up(scope, model, inputs, special):
    tokens = model.encode(inputs, special)
    targets = targets_of(model, tokens)
    maps = explain_tokens("integrated-gradients", model, tokens, targets, scope, steps=200)
    zero = [torch.zeros_like(x) for x in tokens.latents]
    change = targets.score(model.outputs(scope, tokens.latents, tokens.padding)) - targets.score(
        model.outputs(scope, zero, tokens.padding)
    )
    assert (maps.completeness.abs() < 0.05 * change.abs().clamp_min(0.1)).all()


@pytest.mark.parametrize("explainer", EXPLAINERS)
def test_maps_are_scaled_among_candidates(explainer, model, inputs, special):
    tokens = model.encode(inputs, special)
    maps = explain_tokens(explainer, model, tokens, targets_of(model, tokens), "redundancy")
    for values, there in zip(maps.importance, tokens.candidates, strict=True):
        assert ((values >= 0) & (values <= 1)).all()
        assert (values[~there] == 0).all()
        several = there.sum(1) > 1
        assert_close(values.amax(1)[several], torch.ones(int(several.sum())))


def test_groups_of_samples_change_nothing(model, inputs):
    tokens = model.encode(inputs)
    targets = targets_of(model, tokens)
    for explainer in EXPLAINERS:
        small, large = (
            explain_tokens(explainer, model, tokens, targets, memory_budget=budget)
            for budget in (1, 1 << 30)
        )
        for one, two in zip(small.raw, large.raw, strict=True):
            assert_close(one, two, atol=1e-5, rtol=1e-4)


def test_the_control_is_drawn_by_its_seed(model, inputs):
    tokens = model.encode(inputs)
    targets = targets_of(model, tokens)
    one, two, other = (
        explain_tokens("random", model, tokens, targets, seed=seed).raw[1] for seed in (3, 3, 4)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_vanilla_is_explained_too(dense, inputs):
    tokens = dense.encode(inputs)
    for explainer in EXPLAINERS:
        maps = explain_tokens(explainer, dense, tokens, targets_of(dense, tokens))
        assert maps.importance[1].shape == (5, 6)


def test_unknown_explainers_are_named(model, inputs):
    tokens = model.encode(inputs)
    with pytest.raises(ConfigError, match="Did you mean 'rollout'"):
        explain_tokens("rolout", model, tokens, targets_of(model, tokens))


@pytest.mark.parametrize("lengths", [[0, 2, 3, 1, 4], [0] * 5])
@pytest.mark.parametrize(
    "backbone", [e.name for e in backbones if e.latents == "tokens" and e.padding]
)
def test_padding_alone_is_no_error(backbone, lengths, make, inputs):
    """A sample, or all, without any token of a modality: as it is alone, and finite."""
    try:
        model = TokenModel(make(backbone=backbone))
    except I2MoEError:
        pytest.skip("needs as many tokens of each modality, or one width")
    tokens = model.encode([(inputs[0][0], torch.tensor(lengths)), inputs[1]])
    targets = targets_of(model, tokens)
    fill = [torch.zeros(8), torch.zeros(8)]
    first = tokens.rows(slice(0, 1))
    for explainer in explainers_of(model, tokens):
        for scope in (MIXTURE, "synergy"):
            maps = explain_tokens(explainer, model, tokens, targets, scope)
            assert (maps.importance[0][0] == 0).all()
            assert maps.importance[1].isfinite().all()
            for outputs in masked_by_importance(model, tokens, maps.importance, fill, scope):
                assert outputs.isfinite().all()
            if explainer != "random":
                alone = explain_tokens(explainer, model, first, targets.of(0), scope)
                assert_close(alone.importance[1][0], maps.importance[1][0], atol=1e-3, rtol=1e-3)
    with pytest.raises(ConfigError, match="no token that could be in a pair"):
        single = [x[:1, :size] for x, size in zip(maps.importance, first.sizes, strict=True)]
        score_pairs(model, first, targets.of(0), single, fill, MIXTURE)


@pytest.mark.parametrize("explainer", EXPLAINERS)
def test_a_text_of_special_tokens_alone_is_no_error(explainer, model, inputs):
    special = torch.zeros(5, 4, dtype=torch.bool)
    special[3] = True  # its one token
    tokens = model.encode(inputs, [special, None])
    maps = explain_tokens(explainer, model, tokens, targets_of(model, tokens))
    assert (maps.importance[0][3] == 0).all()
    fill = [torch.zeros(8), torch.zeros(8)]
    without, alone = masked_by_importance(model, tokens, maps.importance, fill, MIXTURE)
    assert without.isfinite().all()
    assert alone.isfinite().all()
