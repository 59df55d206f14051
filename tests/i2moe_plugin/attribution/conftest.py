"""Small models on tokens, trained by nobody, with padding."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from i2moe_plugin import Classification, LatentSpec, create_backbone, create_model
from i2moe_plugin.attribution.tokens import TokenModel

LATENTS = [LatentSpec(8, 4, padded=True), LatentSpec(8, 6)]


class Padded(nn.Module):
    """Tokens [B, T, F] and lengths [B] -> a latent with its padding mask."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 8)

    def forward(self, x, lengths):
        return self.linear(x), torch.arange(x.shape[1]) >= lengths[:, None]


def build(method="fl-i2moe", backbone="token-transformer", classes=3, **options):
    torch.manual_seed(0)
    options = {"num_heads": 2, "dropout": 0.3} | options if "transformer" in backbone else options
    return create_model(
        method,
        [Padded(5), nn.Linear(7, 8)],
        LATENTS,
        lambda: create_backbone(backbone, LATENTS, classes, **options),
        Classification(classes),
        expert_init="independent",
        reweighting_hidden=8,
    )


@pytest.fixture
def model():
    """FL-I2MoE."""
    return TokenModel(build())


@pytest.fixture
def dense():
    """The same backbone alone."""
    return TokenModel(build("vanilla"))


@pytest.fixture(scope="session")
def make():
    """Builds a model by method, backbone and number of classes."""
    return build


@pytest.fixture
def inputs():
    """Five samples; the first modality's lengths differ."""
    torch.manual_seed(1)
    return [(torch.randn(5, 4, 5), torch.tensor([4, 2, 3, 1, 4])), torch.randn(5, 6, 7)]


@pytest.fixture
def special():
    """The first token of the first modality stands for nothing, but where it is alone."""
    mask = torch.zeros(5, 4, dtype=torch.bool)
    mask[[0, 1, 2, 4], 0] = True
    return [mask, None]
