"""Masking: what an expert sees in place of a masked modality's latent.

A strategy makes, for each modality, one replacement for every expert and sample: ``[E, B, ...]``.
All random draws come from torch's global generator, which a run seeds. Replacements never carry
gradient.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from i2moe_plugin.backbones.latents import LatentSpec
from i2moe_plugin.errors import ConfigError, did_you_mean
from i2moe_plugin.shares import joined_sum


class Masking(nn.Module):
    """The base of the strategies.

    Args:
        latents: the latents' shapes.

    Attributes:
        absence_is_drawn: what stands for an absent modality is noise, drawn anew each time.
    """

    absence_is_drawn = True

    def __init__(self, latents: Sequence[LatentSpec]) -> None:
        super().__init__()
        self.specs = tuple(latents)

    def observe(
        self, latents: Sequence[Tensor], padding_masks: Sequence[Tensor | None] | None = None
    ) -> None:
        """Learn from a training batch's latents, where a strategy keeps statistics."""

    @abstractmethod
    def replacement(self, latent: Tensor, modality: int, copies: int) -> Tensor:
        """Make replacements [copies, B, ...] of one modality's latent [B, ...]."""

    def absent(self, like: Tensor, modality: int) -> Tensor:
        """Make what stands for a modality that is absent altogether: [B, ...], as ``like``."""
        return self.replacement(like, modality, 1)[0]

    def forward(
        self,
        latents: Sequence[Tensor],
        copies: int,
        padding_masks: Sequence[Tensor | None] | None = None,
    ) -> list[Tensor]:
        """Make replacements of all modalities: M tensors [copies, B, ...], without gradient."""
        with torch.no_grad():
            return [
                self.replacement(latent.detach(), modality, copies)
                for modality, latent in enumerate(latents)
            ]


class RandomMasking(Masking):
    """Fresh noise from N(0, 1) for each expert, view, sample and position (the paper)."""

    def replacement(self, latent: Tensor, modality: int, copies: int) -> Tensor:
        return torch.randn((copies, *latent.shape), dtype=latent.dtype, device=latent.device)


class ZeroMasking(Masking):
    """Zeros, for every expert and sample."""

    absence_is_drawn = False

    def replacement(self, latent: Tensor, modality: int, copies: int) -> Tensor:
        return torch.zeros((), dtype=latent.dtype, device=latent.device).expand(
            copies, *latent.shape
        )


class StatisticsMasking(Masking):
    """The base of strategies that follow the latents' mean and deviation over training batches.

    Statistics are kept for each position and dimension (for each dimension where the number of
    tokens varies), by Chan's parallel update in float32, since the first step; they are buffers, so
    checkpoints carry them. Where a batch is shared out, they are those of the joined batch.
    """

    def __init__(self, latents: Sequence[LatentSpec]) -> None:
        super().__init__(latents)
        self.register_buffer("count", torch.zeros(len(self.specs)))
        for modality, spec in enumerate(self.specs):
            shape = (spec.dim,) if spec.padded else spec.shape
            self.register_buffer(f"mean_{modality}", torch.zeros(shape))
            self.register_buffer(f"m2_{modality}", torch.zeros(shape))

    def observe(
        self, latents: Sequence[Tensor], padding_masks: Sequence[Tensor | None] | None = None
    ) -> None:
        with torch.no_grad():
            for modality, latent in enumerate(latents):
                count, mean = self.get_buffer("count"), self.get_buffer(f"mean_{modality}")
                values = latent.detach().to(mean.dtype)
                # Rows that count: all samples, or all tokens that are not padding.
                mask = padding_masks[modality] if padding_masks is not None else None
                if self.specs[modality].padded:
                    values = values.flatten(0, -2)
                skip = torch.zeros_like(values[..., :1], dtype=torch.bool)
                if mask is not None:
                    skip = mask.reshape(-1, 1)
                added = joined_sum((~skip).flatten(1)[:, 0].sum())
                total = (count[modality] + added).clamp_min(1)
                batch_sum = joined_sum(values.masked_fill(skip, 0).sum(0))
                batch_mean = batch_sum / added.clamp_min(1)
                delta = batch_mean - mean
                self.get_buffer(f"m2_{modality}").add_(
                    joined_sum((values - batch_mean).masked_fill(skip, 0).square().sum(0))
                    + delta.square() * (count[modality] * added / total)
                )
                mean.add_(delta * (added / total))
                count[modality] += added

    def statistics(self, like: Tensor, modality: int) -> tuple[Tensor, Tensor]:
        """Return the running mean and population deviation, each broadcastable to [B, ...]."""
        mean = self.get_buffer(f"mean_{modality}")
        count = self.get_buffer("count")[modality].clamp_min(1)
        deviation = (self.get_buffer(f"m2_{modality}") / count).sqrt()
        return mean.to(like.dtype), deviation.to(like.dtype)


class MeanMasking(StatisticsMasking):
    """The latent's running mean over the training batches seen so far."""

    absence_is_drawn = False

    def replacement(self, latent: Tensor, modality: int, copies: int) -> Tensor:
        return self.statistics(latent, modality)[0].expand(copies, *latent.shape)


class MatchedMasking(StatisticsMasking):
    """Normal noise with the latent's running mean and deviation."""

    def replacement(self, latent: Tensor, modality: int, copies: int) -> Tensor:
        mean, deviation = self.statistics(latent, modality)
        noise = torch.randn((copies, *latent.shape), dtype=latent.dtype, device=latent.device)
        return noise * deviation + mean


class MarginalMasking(StatisticsMasking):
    """Another sample's latent of the same modality, drawn within the batch.

    An expert cannot tell it from a real latent. Never the sample's own; where there is no other
    (a batch of one, an absent modality, a token past the end of the other sample's) the running
    mean stands in. Where a batch is shared out, it is another sample of the rank's own share.
    """

    absence_is_drawn = False

    def forward(
        self,
        latents: Sequence[Tensor],
        copies: int,
        padding_masks: Sequence[Tensor | None] | None = None,
    ) -> list[Tensor]:
        masks = padding_masks if padding_masks is not None else [None] * len(latents)
        filled = [
            latent
            if mask is None
            else torch.where(mask.unsqueeze(-1), self.statistics(latent, modality)[0], latent)
            for modality, (latent, mask) in enumerate(zip(latents, masks, strict=True))
        ]
        return super().forward(filled, copies)

    def replacement(self, latent: Tensor, modality: int, copies: int) -> Tensor:
        batch = latent.shape[0]
        if batch < 2:
            return self.statistics(latent, modality)[0].expand(copies, *latent.shape)
        step = torch.randint(1, batch, (copies, batch), device=latent.device)
        own = torch.arange(batch, device=latent.device)
        return latent[(own + step) % batch]

    def absent(self, like: Tensor, modality: int) -> Tensor:
        return self.statistics(like, modality)[0].expand_as(like)


MASKINGS: dict[str, type[Masking]] = {
    "random": RandomMasking,
    "mean": MeanMasking,
    "zero": ZeroMasking,
    "matched": MatchedMasking,
    "marginal": MarginalMasking,
}


def create_masking(name: str, latents: Sequence[LatentSpec]) -> Masking:
    """Make the masking strategy of that name.

    Raises:
        ConfigError: an unknown name.
    """
    if name not in MASKINGS:
        raise ConfigError(
            f"unknown masking {name!r}.{did_you_mean(name, MASKINGS)} Known: {', '.join(MASKINGS)}."
        )
    return MASKINGS[name](latents)
