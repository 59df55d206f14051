"""How every encoder is built, and encoders of feature vectors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class EncoderSettings:
    """How encoders are built.

    Attributes:
        latents: what the backbone takes.
        dim: D, the latent's width.
        hidden: width of an encoder's hidden layer (0: one linear layer).
        dropout: on the hidden layer.
        input_dropout: on the input features.
        patches: number of tokens a vector is cut into, where tokens are wanted.
    """

    latents: Literal["vector", "tokens"] = "vector"
    dim: int = 64
    hidden: int = 128
    dropout: float = 0.0
    input_dropout: float = 0.0
    patches: int = 4


class MLPEncoder(nn.Sequential):
    """[B, F] -> [B, D]: Dropout-Linear-ReLU-Dropout-Linear; Dropout-Linear where hidden is 0."""

    def __init__(
        self,
        in_features: int,
        dim: int,
        hidden: int,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
    ) -> None:
        first = nn.Dropout(input_dropout)
        if hidden:
            super().__init__(
                first,
                nn.Linear(in_features, hidden),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Linear(hidden, dim),
            )
        else:
            super().__init__(first, nn.Linear(in_features, dim))


class PatchEmbedding(nn.Module):
    """A feature vector cut into tokens: [B, F] -> [B, P, D] (I2MoE ``common/modules/common.py``).

    The vector is padded with zeros to P * ceil(F / P) and cut into P slices; each goes through one
    shared linear layer.
    """

    def __init__(self, in_features: int, patches: int, dim: int) -> None:
        super().__init__()
        self.patches = patches
        self.width = math.ceil(in_features / patches)
        self.projection = nn.Linear(self.width, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, F] -> [B, P, D]."""
        x = F.pad(x, (0, self.patches * self.width - x.shape[1]))
        return self.projection(x.view(x.shape[0], self.patches, self.width))


def feature_encoder(in_features: int, settings: EncoderSettings) -> nn.Module:
    """Encoder of a plain feature vector, for the kind of latent that is asked for."""
    if settings.latents == "tokens":
        return nn.Sequential(
            nn.Dropout(settings.input_dropout),
            PatchEmbedding(in_features, settings.patches, settings.dim),
        )
    return MLPEncoder(
        in_features, settings.dim, settings.hidden, settings.dropout, settings.input_dropout
    )
