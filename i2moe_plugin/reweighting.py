"""Reweighting: latents -> the experts' weights [B, E]."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from i2moe_plugin.backbones.latents import pool_tokens
from i2moe_plugin.errors import ConfigError


def _check_temperature(temperature: float) -> None:
    if not temperature > 0:
        raise ConfigError(f"the reweighting temperature must be above 0, not {temperature}.")


class MLPReweighting(nn.Module):
    """An MLP on a sample's pooled latents gives its weights (I2MoE section 3).

    softmax(MLP(concat_m pool(latent_m)) / temperature). One layer is a single Linear; each further
    one puts Linear-ReLU-Dropout in front. Latents may differ in width.

    Args:
        input_dims: the latents' widths D_m.
        num_experts: E.
        hidden_dim: width of the hidden layers.
        num_layers: number of Linear layers, at least 1.
        temperature: above 1 evens the weights, below 1 sharpens them.
        dropout: after each hidden layer.

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
    ) -> None:
        super().__init__()
        _check_temperature(temperature)
        if num_layers < 1 or hidden_dim < 1 or not 0 <= dropout <= 1:
            raise ConfigError(
                "the reweighting needs at least 1 layer, a hidden width from 1 on and a dropout "
                f"from 0 to 1, not {num_layers}, {hidden_dim} and {dropout}."
            )
        self.temperature = temperature
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
        masks = padding_masks if padding_masks is not None else [None] * len(latents)
        pooled = [pool_tokens(*pair) for pair in zip(latents, masks, strict=True)]
        logits = self.layers(torch.cat(pooled, 1))
        # At least float32, also under autocast: rounded weights would not sum to 1.
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return torch.softmax(logits / self.temperature, 1)


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
