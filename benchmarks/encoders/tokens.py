"""Encoders of token sequences that come as features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from i2moe_plugin.backbones.latents import pool_tokens
from i2moe_plugin.benchmarks.encoders.features import MLPEncoder
from i2moe_plugin.benchmarks.encoders.settings import EncoderSettings


class TokenEncoder(nn.Module):
    """Tokens [B, T, F] -> tokens [B, T, D], each by the same MLP; or their mean, [B, D].

    Args:
        in_features: F.
        settings: ``latents`` says whether tokens or a vector are given.
    """

    def __init__(self, in_features: int, settings: EncoderSettings) -> None:
        super().__init__()
        self.pooled = settings.latents == "vector"
        self.mlp = MLPEncoder(
            in_features, settings.dim, settings.hidden, settings.dropout, settings.input_dropout
        )

    def forward(
        self, tokens: Tensor, lengths: Tensor | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        """[B, T, F] and, where they vary, lengths [B] -> a latent, with its padding mask if any."""
        mask = None if lengths is None else padding_mask(lengths, tokens.shape[1])
        latent: Tensor = self.mlp(tokens)
        if self.pooled:
            return pool_tokens(latent, mask)
        return latent if mask is None else (latent, mask)


def padding_mask(lengths: Tensor, steps: int) -> Tensor:
    """Lengths [B] -> [B, T], True where a token is padding."""
    return torch.arange(steps, device=lengths.device) >= lengths.unsqueeze(1)
