"""Attention by PyTorch's kernel: what the formula gives, wherever nobody looks at probabilities."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from i2moe_plugin import LatentSpec, create_backbone
from i2moe_plugin.adapters.tokens import Attention
from i2moe_plugin.backbones.attention import fused_attention, seen_attention
from i2moe_plugin.backbones.entry import backbones

LATENTS = [LatentSpec(8, 4, padded=True), LatentSpec(8, 4, padded=True)]
ON_TOKENS = [entry.name for entry in backbones if entry.latents == "tokens"]


@pytest.fixture
def calls(monkeypatch):
    """How often PyTorch's kernel was asked."""
    counted = []
    own = torch.nn.functional.scaled_dot_product_attention

    def count(*arguments):
        counted.append(1)
        return own(*arguments)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", count)
    return counted


@pytest.mark.parametrize("name", ON_TOKENS)
@pytest.mark.parametrize("padded", [False, True])
def test_backbones_say_the_same(name, padded):
    torch.manual_seed(0)
    backbone = create_backbone(name, LATENTS, 3).eval()
    latents = [torch.randn(5, 4, 8) for _ in LATENTS]
    masks = [torch.arange(4) >= torch.tensor([[4], [1], [2], [4], [3]]) for _ in LATENTS]
    given = (latents, masks if padded else None)
    with torch.no_grad():
        expected, _ = backbone(*given)
    with fused_attention():
        found, _ = backbone(*given)
    assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_a_query_that_may_look_at_nothing_gets_zeros(calls):
    attention = Attention(8, 2).eval()
    tokens = torch.randn(3, 4, 8)
    blocked = torch.zeros(3, 1, 4, dtype=torch.bool)
    blocked[1] = True
    with torch.no_grad():
        expected = attention(tokens, tokens, blocked)
    with fused_attention():
        found = attention(tokens, tokens, blocked)
    assert_close(found, expected)
    assert_close(found[1], attention.output.bias.detach().expand(4, -1))
    assert calls


def test_probabilities_are_there_for_whoever_looks(calls):
    attention = Attention(8, 2).eval()
    tokens = torch.randn(3, 4, 8)
    with fused_attention():
        with seen_attention(attention) as seen:
            attention(tokens, tokens)
        assert [list(each.shape) for each in seen] == [[3, 2, 4, 4]]
        with torch.enable_grad():
            assert attention(tokens, tokens).requires_grad
        attention.train()(tokens, tokens)  # with dropout
    attention.eval()(tokens, tokens)  # outside the block
    assert not calls
