"""Latents: what encoders give, its shape, and what is done with padded tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2moe_plugin.errors import ConfigError, ShapeError

LatentKind = Literal["vector", "tokens"]


@dataclass(frozen=True)
class LatentSpec:
    """The shape of one modality's latent, without the batch.

    Attributes:
        dim: D, the width.
        tokens: T, the number of tokens; None for a vector.
        padded: the latent comes with a padding mask [B, T] (True where a token is padding), and T
            may differ between batches.

    >>> LatentSpec(16).shape, LatentSpec(16, tokens=4).shape
    ((16,), (4, 16))
    """

    dim: int
    tokens: int | None = None
    padded: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape without the batch: (D,) or (T, D)."""
        return (self.dim,) if self.tokens is None else (self.tokens, self.dim)

    @property
    def kind(self) -> LatentKind:
        """Whether it is one vector or a sequence of tokens."""
        return "vector" if self.tokens is None else "tokens"


def zero_padding(latents: Sequence[Tensor], padding_masks: Sequence[Tensor | None]) -> list[Tensor]:
    """Set every padded token to zero; latents without a mask stay as they are.

    Args:
        latents: M tensors [B, D] or [B, T, D].
        padding_masks: for each modality None or [B, T], True where a token is padding.
    """
    return [
        latent if mask is None else latent.masked_fill(mask.unsqueeze(-1), 0)
        for latent, mask in zip(latents, padding_masks, strict=True)
    ]


def lengthen(latent: Tensor, padding_mask: Tensor, tokens: int) -> tuple[Tensor, Tensor]:
    """Pad a latent with zeros to at least so many tokens.

    Args:
        latent: [B, T, D].
        padding_mask: [B, T], True where a token is padding.
        tokens: how many there are to be at least.

    Returns:
        the latent [B, max(T, tokens), D] and its padding mask.
    """
    more = max(tokens - latent.shape[1], 0)
    return F.pad(latent, (0, 0, 0, more)), F.pad(padding_mask, (0, more), value=True)


def pool_tokens(latent: Tensor, padding_mask: Tensor | None = None) -> Tensor:
    """Make one vector of each sample: the mean over its tokens that are not padding.

    Args:
        latent: [B, D] (returned as it is) or [B, T, D].
        padding_mask: [B, T], True where a token is padding; a sample of padding alone gives 0.

    Raises:
        ShapeError: the latent is neither a vector nor tokens.
    """
    if latent.dim() == 2:
        return latent
    if latent.dim() != 3:
        raise ShapeError(f"a latent is [B, D] or [B, T, D]; this one is {list(latent.shape)}.")
    if padding_mask is None:
        return latent.mean(1)
    tokens = (~padding_mask).sum(1, keepdim=True).clamp_min(1)
    return latent.masked_fill(padding_mask.unsqueeze(-1), 0).sum(1) / tokens


def check_modalities(encoders: Sequence[nn.Module], latents: Sequence[LatentSpec]) -> None:
    """Refuse a single modality, and encoders that are not as many as latents.

    Raises:
        ConfigError: fewer than 2 modalities.
        ShapeError: not as many encoders as latents.
    """
    if len(encoders) < 2:
        raise ConfigError(
            f"a fusion needs at least 2 modalities; {len(encoders)} given. With one modality there "
            "is no interaction to find."
        )
    if len(encoders) != len(latents):
        raise ShapeError(f"{len(encoders)} encoders but {len(latents)} latent shapes.")


def encode_one(encoder: nn.Module, x: Any) -> tuple[Tensor, Tensor | None]:
    """Encode one modality: its latent, and its padding mask (None where there is none)."""
    result = encoder(*x) if isinstance(x, (tuple, list)) else encoder(x)
    return result if isinstance(result, tuple) else (result, None)


def check_latent(index: int, spec: LatentSpec, latent: Tensor, mask: Tensor | None) -> None:
    """Refuse a latent that differs from its spec.

    Args:
        index: of its modality, from 0.
        spec: what was promised.
        latent, mask: what the encoder returned.

    Raises:
        ShapeError: its shape, or that of its padding mask, is another one; or the mask is not
            boolean, or missing.
    """
    if spec.padded:
        same = latent.dim() == 3 and latent.shape[2] == spec.dim
    else:
        same = latent.shape[1:] == spec.shape
    if not same:
        tokens = ["T"] if spec.padded else list(spec.shape[:-1])
        raise ShapeError(
            f"encoder {index + 1} returned {list(latent.shape)}; expected "
            f"{['B', *tokens, spec.dim]}."
        )
    check_mask(index, mask)
    if spec.padded and mask is None:
        raise ShapeError(
            f"encoder {index + 1} returned no padding mask, and its spec is padded: return "
            "(latent, mask [B, T]), True where a token is padding."
        )
    if mask is not None and (not spec.padded or mask.shape != latent.shape[:2]):
        expected = list(latent.shape[:2]) if spec.padded else "none, as its spec is not padded"
        raise ShapeError(
            f"encoder {index + 1} returned a padding mask {list(mask.shape)}; expected {expected}."
        )


def check_mask(index: int, mask: Tensor | None) -> None:
    """Refuse a padding mask that is no mask of padding, such as Hugging Face's attention masks.

    Args:
        index: of its modality, from 0.
        mask: what the encoder returned.

    Raises:
        ShapeError: it is not boolean.
    """
    if mask is not None and mask.dtype != torch.bool:
        raise ShapeError(
            f"encoder {index + 1} returned a padding mask of {mask.dtype}; expected torch.bool, "
            "True where a token is padding. Of an attention mask, which is 1 where a token is "
            "real, give mask == 0."
        )


def latent_specs(encoders: Sequence[nn.Module], inputs: Sequence[Any]) -> list[LatentSpec]:
    """Measure the shapes of the latents on one batch of inputs.

    Raises:
        ShapeError: an encoder's latent is neither [B, D] nor [B, T, D].
    """
    specs = []
    for index, (encoder, x) in enumerate(zip(encoders, inputs, strict=True)):
        training = encoder.training
        encoder.eval()
        with torch.no_grad():
            latent, mask = encode_one(encoder, x)
        encoder.train(training)
        check_mask(index, mask)
        if latent.dim() not in (2, 3):
            raise ShapeError(
                f"encoder {index + 1} returned {list(latent.shape)}; a latent is [B, D] or "
                "[B, T, D]."
            )
        tokens = latent.shape[1] if latent.dim() == 3 else None
        specs.append(LatentSpec(latent.shape[-1], tokens, padded=mask is not None))
    return specs
