"""Encoders of sequences: a GRU or an LSTM over steps, an MLP on each token."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from i2moe_plugin.backbones.latents import pool_tokens
from i2moe_plugin.benchmarks.encoders.features import EncoderSettings, MLPEncoder, PatchEmbedding

NETWORKS: dict[str, type[nn.GRU] | type[nn.LSTM]] = {"gru": nn.GRU, "lstm": nn.LSTM}


class RecurrentEncoder(nn.Module):
    """One recurrent layer over [B, T, F]; padded steps are packed away and never read.

    It gives what ``head`` makes of the last state [B, H], or with ``steps`` every state.
    """

    def __init__(
        self,
        in_features: int,
        width: int,
        *,
        kind: Literal["gru", "lstm"] = "gru",
        steps: bool = False,
        head: nn.Module | None = None,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.steps = steps
        self.input_dropout, self.dropout = nn.Dropout(input_dropout), nn.Dropout(dropout)
        self.network = NETWORKS[kind](in_features, width, batch_first=True)
        self.head = nn.Identity() if head is None else head

    def forward(
        self, values: Tensor, lengths: Tensor | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Values [B, T, F], and how many steps [B] of each are no padding (all, if not told).

        Returns:
            The head's output for the last state [B, H]; or states [B, T, H], and if lengths were
            told the padding mask [B, T], true where a step is padding.
        """
        values, time = self.input_dropout(values), values.shape[1]
        if lengths is None:
            states, last = self.network(values)
        else:  # packing wants lengths on the CPU
            packed = pack_padded_sequence(values, lengths.cpu(), True, enforce_sorted=False)
            packed_states, last = self.network(packed)
            if self.steps:
                states, _ = pad_packed_sequence(packed_states, True, total_length=time)
        if self.steps:
            states = self.dropout(states)
            if lengths is None:
                return states
            return states, padding_mask(lengths, time)
        hidden = last[0] if isinstance(last, tuple) else last  # an LSTM gives its cell too
        return self.head(self.dropout(hidden[-1]))


def recurrent_encoder(
    in_features: int,
    settings: EncoderSettings,
    *,
    kind: Literal["gru", "lstm"] = "gru",
    steps: bool = False,
) -> RecurrentEncoder:
    """Encoder of a sequence [B, T, F], for the kind of latent that is asked for.

    A vector is the last state, ``settings.dim`` wide. Tokens are the last state of a layer
    ``settings.hidden`` wide (256 in I2MoE's code; ``dim``, where it is 0), cut into patches, as in
    I2MoE's code; or, with ``steps``, the state of each step.
    """
    if settings.latents == "vector" or steps:
        width, head = settings.dim, None
    else:
        width = settings.hidden or settings.dim
        head = PatchEmbedding(width, settings.patches, settings.dim)
    return RecurrentEncoder(
        in_features,
        width,
        kind=kind,
        steps=steps and settings.latents == "tokens",
        head=head,
        dropout=settings.dropout,
        input_dropout=settings.input_dropout,
    )


class TokenEncoder(nn.Module):
    """Tokens [B, T, F] -> tokens [B, T, D], each by the same MLP; or their mean, [B, D]."""

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
