import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from i2moe_plugin import (
    BackboneError,
    LatentSpec,
    ShapeError,
    create_backbone,
)
from i2moe_plugin.adapters.tokens import Attention
from i2moe_plugin.adapters.transformer import (
    ReleasedBlock,
    ReleasedTransformer,
    TokenTransformer,
    Transformer,
    TransformerBlock,
    sinusoids,
)
from i2moe_plugin.backbones.attention import seen_attention


@pytest.mark.parametrize("case", ["released_transformer_2", "released_transformer_3"])
def test_recorded_output_and_gradients(recorded, case):
    def build(facts, parameters):
        latents = [LatentSpec(dim, tokens) for tokens, dim in facts["input_shapes"]]
        fusion = ReleasedTransformer(
            latents,
            facts["output_dim"],
            num_layers=facts["layers"],
            num_heads=facts["num_heads"],
        )
        names = {
            "norm1": "norm1",
            "norm2": "norm2",
            "attn.q": "attention.query",
            "attn.kv": "attention.key_value",
            "attn.proj": "attention.output",
            "mlp.network": "feed_forward",
        }
        state = {"positions": parameters.pop("pos_embed")}
        for name, value in parameters.items():
            layer, rest = name.removeprefix("network.").split(".", 1)
            if rest.startswith("fc."):
                state[rest.replace("fc", "head")] = value
                continue
            theirs = next(prefix for prefix in names if rest.startswith(prefix))
            state[f"blocks.{layer}.{rest.replace(theirs, names[theirs])}"] = value
        fusion.load_state_dict(state)
        return fusion

    recorded(case, build)


# Table 6 of the paper: (M, C), vanilla (H, L, P) and count, I2MoE (H, L, P | h, layers) and count.
def test_attention_agrees_with_torch():
    attention = Attention(6, 3, bias=True).double()
    theirs = nn.MultiheadAttention(6, 3, batch_first=True).double()
    theirs.load_state_dict(
        {
            "in_proj_weight": torch.cat([attention.query.weight, attention.key_value.weight]),
            "in_proj_bias": torch.cat([attention.query.bias, attention.key_value.bias]),
            "out_proj.weight": attention.output.weight,
            "out_proj.bias": attention.output.bias,
        }
    )
    x, context = torch.randn(2, 3, 6).double(), torch.randn(2, 4, 6).double()
    blocked = torch.tensor([[False, True, True, False], [False, False, True, False]])
    expected, _ = theirs(x, context, context, key_padding_mask=blocked)
    assert_close(attention(x, context, blocked.unsqueeze(1)), expected)


def test_a_query_that_may_look_at_nothing_gets_zeros_and_finite_gradients():
    attention = Attention(4, 2)
    context = torch.randn(1, 3, 4, requires_grad=True)
    output = attention(torch.randn(1, 2, 4), context, torch.ones(1, 2, 3, dtype=torch.bool))
    assert_close(output, attention.output.bias.expand(1, 2, 4))
    output.sum().backward()
    assert (context.grad == 0).all()


def test_d5_a_block_keeps_its_input():
    """With silent branches ours is the identity; the released one forgets its input."""
    ours, theirs = TransformerBlock(8, 2, 0.0), ReleasedBlock(8, 2, 0.0)
    with torch.no_grad():
        for silent in (ours.attend.attention.output, ours.feed_forward[3]):
            silent.weight.zero_()
            silent.bias.zero_()
        for silent in (theirs.attention.output, theirs.feed_forward[3]):
            silent.weight.zero_()
            silent.bias.zero_()
    x, y = torch.randn(2, 5, 8), torch.randn(2, 5, 8)
    assert torch.equal(ours(x), x)
    assert torch.equal(theirs(x), theirs(y))


def test_a_block_by_its_formula():
    block = TransformerBlock(6, 3, 0.5).double().eval()
    x = torch.randn(2, 4, 6).double()
    normed = block.attend.norm(x)
    y = x + block.attend.attention(normed, normed)
    first, second = block.feed_forward[0], block.feed_forward[3]
    inner = block.norm(y) @ first.weight.T + first.bias
    inner = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
    assert_close(block(x), y + inner @ second.weight.T + second.bias)


def test_unequal_numbers_of_tokens_and_the_head():
    """Released: every modality must have as many tokens (D9)."""
    latents = [LatentSpec(8, 3), LatentSpec(8, 5), LatentSpec(8, 1)]
    fusion = Transformer(latents, 2, num_layers=1).eval()
    with torch.no_grad():
        fusion.positions.normal_()
    values = [torch.randn(4, *spec.shape) for spec in latents]
    tokens = fusion.blocks[0](torch.cat(values, 1) + fusion.positions)
    means = torch.cat([tokens[:, :3].mean(1), tokens[:, 3:8].mean(1), tokens[:, 8]], 1)
    assert_close(fusion(values), fusion.head(means))


def test_positions_start_at_zero_and_count_real_tokens():
    latents = [LatentSpec(8, 4, padded=True), LatentSpec(8, 2)]
    fusion = Transformer(latents, 2)
    assert fusion.positions.shape == (1, 6, 8)
    assert (fusion.positions == 0).all()
    with torch.no_grad():
        fusion.positions.normal_()
    values = [torch.zeros(1, 4, 8), torch.zeros(1, 2, 8)]
    left = torch.tensor([[True, True, False, False]])
    tokens, padding = fusion.join(values, [left, None])
    assert_close(tokens[0, 2:], fusion.positions[0, [0, 1, 4, 5]])
    assert padding.tolist() == [[True, True, False, False, False, False]]


def test_more_tokens_than_positions_are_refused():
    fusion = Transformer([LatentSpec(8, 4, padded=True), LatentSpec(8, 2)], 2)
    with pytest.raises(ShapeError, match="modality 1 came with 5 tokens, but positions were made"):
        fusion([torch.zeros(1, 5, 8), torch.zeros(1, 2, 8)])


@pytest.mark.parametrize("name", ["transformer", "transformer-released", "switchgate", "moepp"])
@pytest.mark.parametrize(
    ("dims", "settings", "words"),
    [
        ((8, 6), {}, r"latents of one width here, not \[6, 8\]"),
        ((6, 6), {}, "num_heads=4 does not divide the width 6"),
        ((8, 8), {"num_layers": 0}, "num_layers must be at least 1"),
    ],
)
def test_settings_that_do_not_fit_are_refused(name, dims, settings, words):
    with pytest.raises(BackboneError, match=words):
        create_backbone(name, [LatentSpec(dim, 3) for dim in dims], num_outputs=2, **settings)


@pytest.mark.parametrize("name", ["transformer", "transformer-released"])
def test_all_views_at_once_are_the_views_one_by_one(name):
    """Also where modalities have as many tokens, where they have not, and with one tensor twice."""
    for tokens in ((3, 3, 3), (2, 5, 1)):
        latents = [LatentSpec(8, count, padded=True) for count in tokens]
        fusion = create_backbone(name, latents, 4, num_heads=2).double().eval()
        nn.init.normal_(fusion.fusion.positions)
        a, b, c, d = (torch.randn(6, count, 8).double() for count in (*tokens, tokens[0]))
        mask = torch.zeros(6, tokens[1], dtype=torch.bool)
        mask[::2, -1] = True
        views = [[a, b, c], [d, b, c], [a, b, c]]
        if len(set(tokens)) == 1:
            views.append([a, a, a])
        together, _ = fusion.forward_views(views, [None, mask, None])
        for ours, view in zip(together, views, strict=True):
            assert_close(ours, fusion(view, [None, mask, None])[0], rtol=1e-12, atol=1e-12)


def test_sinusoids_against_the_papers_formula():
    table = sinusoids(7, 6)
    for place in range(7):
        for i in range(3):
            angle = place / 10000 ** (2 * i / 6)
            assert table[place, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert table[place, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_the_token_transformer_is_the_transformer_at_sinusoidal_positions():
    latents = [LatentSpec(8, 3), LatentSpec(8, 5)]
    torch.manual_seed(0)
    fusion = TokenTransformer(latents, 2, num_heads=2).eval()
    assert "positions" not in fusion.state_dict(), "nothing of it is learned"
    learned = Transformer(latents, 2, num_heads=2).eval()
    learned.load_state_dict({**fusion.state_dict(), "positions": sinusoids(8, 8)[None]})
    inputs = [torch.randn(4, 3, 8), torch.randn(4, 5, 8)]
    mask = torch.arange(3) >= torch.tensor([3, 2, 1, 3])[:, None]
    for masks in (None, [mask, None]):
        assert_close(fusion(inputs, masks), learned(inputs, masks), rtol=0, atol=0)


def test_attention_can_be_seen_in_every_layer():
    latents = [LatentSpec(8, 3), LatentSpec(8, 5)]
    fusion = TokenTransformer(latents, 2, num_heads=2, num_layers=3).eval()
    mask = torch.arange(3) >= torch.tensor([3, 2, 1, 3])[:, None]
    with seen_attention(fusion) as seen:
        fusion([torch.randn(4, 3, 8), torch.randn(4, 5, 8)], [mask, None])
    assert [weights.shape for weights in seen] == [(4, 2, 8, 8)] * 3
    for weights in seen:
        assert_close(weights.sum(-1), torch.ones(4, 2, 8))
        assert (weights[2, :, :, 1:3] == 0).all(), "nobody looks at padding"
    fusion([torch.randn(4, 3, 8), torch.randn(4, 5, 8)])
    assert len(seen) == 3, "hooks are gone"
