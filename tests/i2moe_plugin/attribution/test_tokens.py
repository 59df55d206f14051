"""A model as functions of its tokens: what it says must be what the model says."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from i2moe_plugin import (
    Classification,
    ConfigError,
    LatentSpec,
    ShapeError,
    create_backbone,
    create_model,
)
from i2moe_plugin.attribution.names import MIXTURE
from i2moe_plugin.attribution.tokens import TokenModel, mean_tokens
from i2moe_plugin.errors import BackboneError
from i2moe_plugin.incomplete import Incomplete


def test_scopes_say_what_the_model_says(model, inputs):
    tokens = model.encode(inputs)
    expected = model.model(inputs)
    found = model.outputs(MIXTURE, tokens.latents, tokens.padding)
    assert_close(found, expected.prediction)
    assert model.scopes == (MIXTURE, *model.model.expert_names)
    for number, name in enumerate(model.model.expert_names):
        found = model.outputs(name, tokens.latents, tokens.padding)
        assert_close(found, expected.outputs[number, 0])
    assert_close(model.weights(tokens.latents, tokens.padding), expected.weights)


def test_vanilla_has_one_scope(dense, inputs):
    tokens = dense.encode(inputs)
    assert dense.scopes == (MIXTURE,)
    found = dense.outputs(MIXTURE, tokens.latents, tokens.padding)
    assert_close(found, dense.model(inputs).prediction)
    assert (dense.weights(tokens.latents, tokens.padding) == 1).all()


def test_candidates_are_neither_padding_nor_special(model, inputs, special):
    tokens = model.encode(inputs, special)
    assert tokens.candidates[0].sum(1).tolist() == [3, 1, 2, 1, 3]
    assert tokens.candidates[1].all()
    assert (tokens.latents[0][tokens.padding[0]] == 0).all()


def test_rows_leave_out_padding_and_change_nothing(model, inputs):
    tokens = model.encode(inputs)
    whole = model.outputs(MIXTURE, tokens.latents, tokens.padding)
    for row, length in enumerate([4, 2, 3, 1, 4]):
        one = tokens.rows(slice(row, row + 1))
        assert one.sizes == (length, 6)
        found = model.outputs(MIXTURE, one.latents, one.padding)
        assert_close(found, whole[row : row + 1], atol=1e-5, rtol=1e-5)
    parts = [part.latents[1] for _, part in tokens.chunks(2)]
    assert [len(part) for part in parts] == [2, 2, 1]
    assert_close(torch.cat(parts), tokens.latents[1])


def test_mean_tokens_leave_out_padding(model, inputs):
    one, two = (
        [(x[0][at], x[1][at]), y[at]] for at in (slice(3), slice(3, 5)) for x, y in [inputs]
    )
    found = mean_tokens(model, [(*one, None), (*two, None)])
    tokens = model.encode(inputs)
    for mean, latent, padding in zip(found, tokens.latents, tokens.padding, strict=True):
        assert_close(mean, latent[~padding].mean(0))
    with pytest.raises(ShapeError, match="no batch"):
        mean_tokens(model, [])


@pytest.mark.parametrize("method", ["fl-i2moe", "dense", "vanilla"])
def test_what_stands_for_a_lacking_modality_is_no_token(method, make, inputs):
    """It is no candidate, and no part of the mean token."""
    model = TokenModel(make(method))
    (x, lengths), y = inputs
    rows, others = torch.tensor([0, 2, 4]), torch.tensor([1, 3])
    first = Incomplete((x[rows], lengths[rows]), rows, 5)
    tokens = model.encode([first, Incomplete(y[1:], torch.arange(1, 5), 5)])
    whole = model.encode([(x, lengths), y])
    for m, gone in enumerate((others, torch.tensor([0]))):
        assert not tokens.candidates[m][gone].any()
        there = [row for row in range(5) if row not in gone]
        assert torch.equal(tokens.candidates[m][there], whole.candidates[m][there])
        assert_close(tokens.latents[m][there], whole.latents[m][there])
    found = mean_tokens(model, [(first, y, None)])
    expected = mean_tokens(model, [((x[rows], lengths[rows]), y[rows], None)])
    assert_close(found[0], expected[0])
    assert_close(found[1], mean_tokens(model, [((x, lengths), y, None)])[1])
    nobody = Incomplete(None, torch.zeros(0, dtype=torch.long), 5)
    assert not model.encode([nobody, y]).candidates[0].any()


def test_models_of_another_kind():
    model = create_model(
        "evidence",
        [torch.nn.Identity(), torch.nn.Identity()],
        [LatentSpec(8, 4), LatentSpec(8, 6)],
        lambda num_outputs: create_backbone(
            "token-transformer", [LatentSpec(8, 4), LatentSpec(8, 6)], num_outputs, num_heads=2
        ),
        Classification(3),
    )
    with pytest.raises(ConfigError, match=r"kind Evidence is not explained(.|\n)*fl-i2moe"):
        TokenModel(model)


def test_attention_is_over_all_tokens(model, make, inputs):
    tokens = model.encode(inputs)
    output, layers = model.expert_with_attention(2, tokens.latents, tokens.padding)
    assert_close(output, model.expert(2, tokens.latents, tokens.padding))
    assert [layer.shape for layer in layers] == [(5, 2, 10, 10)] * 2
    for backbone in ("mult", "lf"):
        other = TokenModel(make(backbone=backbone))
        with pytest.raises(BackboneError, match="integrated-gradients"):
            other.expert_with_attention(0, tokens.latents, tokens.padding)


def test_vectors_have_no_tokens():
    latents = [LatentSpec(4), LatentSpec(4)]
    from torch import nn

    from i2moe_plugin import create_backbone

    model = create_model(
        "i2moe",
        [nn.Linear(3, 4), nn.Linear(3, 4)],
        latents,
        lambda: create_backbone("concat", latents, 2),
        Classification(2),
    )
    with pytest.raises(ConfigError, match="modality 1, 2 comes to the experts as one vector"):
        TokenModel(model)


def test_unknown_scopes_and_special_tokens_of_another_shape(model, inputs):
    with pytest.raises(ConfigError, match="Did you mean 'synergy'"):
        model.place("synrgy")
    with pytest.raises(ShapeError, match="special tokens"):
        model.encode(inputs, [torch.zeros(5, 3, dtype=torch.bool), None])
