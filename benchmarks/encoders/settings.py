"""What every data set's encoders are told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


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
