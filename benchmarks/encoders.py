"""Encoders: one modality's input -> a latent, a vector [B, D] or tokens [B, T, D]."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
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


class ImageCNN(nn.Module):
    """A small convolutional encoder for small pictures: [B, 3, H, W] -> [B, D].

    Three stages of convolution 3x3 with stride 2, batch norm and ReLU, then a global mean over
    positions and one linear layer. Pictures come as uint8 or as floats in [0, 1].
    """

    def __init__(self, channels: int, dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        width = 3
        for out in (channels, 2 * channels, 4 * channels):
            stages += [
                nn.Conv2d(width, out, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(out),
                nn.ReLU(),
            ]
            width = out
        self.stages = nn.Sequential(*stages)
        self.features = width
        self.dropout = nn.Dropout(dropout)
        self.projection = nn.Linear(width, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, D]."""
        if not x.is_floating_point():
            x = x.to(self.projection.weight.dtype) / 255
        return self.projection(self.dropout(self.stages(x).mean((2, 3))))


class Frozen(nn.Module):
    """A module that is never trained: evaluation mode whatever is asked, no gradient.

    Its buffers (batch norm's running statistics) therefore stay as they are.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Frozen:
        """Stay in evaluation mode."""
        self.training = mode
        self.module.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """The module's output, without gradient."""
        with torch.no_grad():
            out: Tensor = self.module(x)
            return out
