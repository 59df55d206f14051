"""Reweighting: latents -> the experts' weights [B, E]."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2moe_plugin.backbones.latents import pool_tokens
from i2moe_plugin.errors import ConfigError
from i2moe_plugin.shares import joined_mean


def _check_temperature(temperature: float) -> None:
    if not temperature > 0:
        raise ConfigError(f"the reweighting temperature must be above 0, not {temperature}.")


class MLPReweighting(nn.Module):
    """An MLP on a sample's pooled latents gives its weights (I2MoE section 3).

    softmax(MLP(concat_m pool(latent_m)) / temperature). One layer is a single Linear; each further
    one puts Linear-ReLU-Dropout in front. Latents may differ in width. Tokens are pooled to their
    mean, padding left out.

    Args:
        input_dims: the latents' widths D_m.
        num_experts: E.
        hidden_dim: width of the hidden layers.
        num_layers: number of Linear layers, at least 1.
        temperature: above 1 evens the weights, below 1 sharpens them.
        dropout: after each hidden layer.
        unit: scale each pooled latent to length 1 first (FL-I2MoE).

    Raises:
        ConfigError: a temperature that is not positive, or another setting out of range.
    """

    def __init__(
        self,
        input_dims: Sequence[int],
        num_experts: int,
        *,
        hidden_dim: int = 128,
        num_layers: int = 2,
        temperature: float = 1.0,
        dropout: float = 0.5,
        unit: bool = False,
    ) -> None:
        super().__init__()
        _check_temperature(temperature)
        if num_layers < 1 or hidden_dim < 1 or not 0 <= dropout <= 1:
            raise ConfigError(
                "the reweighting needs at least 1 layer, a hidden width from 1 on and a dropout "
                f"from 0 to 1, not {num_layers}, {hidden_dim} and {dropout}."
            )
        self.temperature, self.unit = temperature, unit
        layers: list[nn.Module] = []
        width = sum(input_dims)
        for _ in range(num_layers - 1):
            layers += [nn.Linear(width, hidden_dim), nn.ReLU(), nn.Dropout(dropout)]
            width = hidden_dim
        self.layers = nn.Sequential(*layers, nn.Linear(width, num_experts))

    def forward(
        self, latents: Sequence[Tensor], padding_masks: Sequence[Tensor | None] | None = None
    ) -> Tensor:
        """Compute the weights [B, E] of M latents [B, ...]; each row is positive and sums to 1."""
        return torch.softmax(self.logits(latents, padding_masks) / self.temperature, 1)

    def logits(
        self, latents: Sequence[Tensor], padding_masks: Sequence[Tensor | None] | None
    ) -> Tensor:
        """Compute what the softmax is taken of, [B, E]."""
        masks = padding_masks if padding_masks is not None else [None] * len(latents)
        pooled = [pool_tokens(*pair) for pair in zip(latents, masks, strict=True)]
        if self.unit:
            pooled = [F.normalize(each, dim=1) for each in pooled]
        logits: Tensor = self.layers(torch.cat(pooled, 1))
        # At least float32, also under autocast: rounded weights would not sum to 1.
        return logits.to(torch.promote_types(logits.dtype, torch.float32))


class TopTwoReweighting(MLPReweighting):
    """As :class:`MLPReweighting`, but each sample has two experts: a sparse gate (GShard).

    The two largest weights are scaled to sum to 1, the others are 0 (Lepikhin et al., ICLR 2021,
    without capacities and without drawing the second). All experts are computed all the same, so
    that masking can be compared. In training :attr:`balance` is GShard's load-balancing loss of the
    last batch.

    Attributes:
        balance: E times the sum over experts of the share of samples whose largest weight it has
            and its mean weight before the choice: 1 where both are even; None outside training.
    """

    balance: Tensor | None = None

    def forward(
        self, latents: Sequence[Tensor], padding_masks: Sequence[Tensor | None] | None = None
    ) -> Tensor:
        """Compute the weights [B, E] of M latents [B, ...]: two are above 0, and sum to 1."""
        gates = super().forward(latents, padding_masks)
        kept, places = gates.topk(2, 1)
        self.balance = None
        if self.training:
            # Linear in the mean weights: the mean over shares is that of the joined batch.
            first = joined_mean(F.one_hot(places[:, 0], gates.shape[1]).to(gates.dtype).mean(0))
            self.balance = gates.shape[1] * (first * gates.mean(0)).sum()
        return torch.zeros_like(gates).scatter(1, places, kept / kept.sum(1, keepdim=True))


class GlobalReweighting(nn.Module):
    """One learned weight an expert, the same for every sample (the simple-weight ablation)."""

    def __init__(self, num_experts: int, *, temperature: float = 1.0) -> None:
        super().__init__()
        _check_temperature(temperature)
        self.temperature = temperature
        self.logits = nn.Parameter(torch.zeros(num_experts))

    def forward(
        self, latents: Sequence[Tensor], padding_masks: Sequence[Tensor | None] | None = None
    ) -> Tensor:
        """Compute the weights [B, E] of M latents [B, ...]; all rows are equal."""
        weights = torch.softmax(self.logits / self.temperature, 0)
        return weights.expand(latents[0].shape[0], -1)


class UniformReweighting(nn.Module):
    """Every expert counts the same, and nothing is learned (the dense control)."""

    def __init__(self, num_experts: int) -> None:
        super().__init__()
        self.num_experts = num_experts

    def forward(
        self, latents: Sequence[Tensor], padding_masks: Sequence[Tensor | None] | None = None
    ) -> Tensor:
        """Return the weights [B, E] of M latents [B, ...]; all are 1/E."""
        dtype = torch.promote_types(latents[0].dtype, torch.float32)
        shape = (latents[0].shape[0], self.num_experts)
        return latents[0].new_full(shape, 1 / self.num_experts, dtype=dtype)
