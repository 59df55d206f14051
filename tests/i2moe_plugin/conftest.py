"""Models over small latents of any kind, for M = 2..8."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from i2moe_plugin import Classification, I2MoE, LatentSpec, Vanilla, create_backbone, create_model
from i2moe_plugin.backbones.entry import register_backbone
from i2moe_plugin.backbones.latents import pool_tokens

FEATURES = 3


class PaddedEncoder(nn.Module):
    """[B, T, F] and its padding mask [B, T] -> latent [B, T, D] and the mask."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(FEATURES, dim)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        return self.linear(x), mask


class PooledConcat(nn.Module):
    """Mean over real tokens, then concatenation; any number of tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, latents, padding_masks):
        self.calls += 1
        return torch.cat([pool_tokens(*pair) for pair in zip(latents, padding_masks)], 1)  # noqa: B905


@dataclass(frozen=True)
class Small:
    """A drawn problem: encoders, latents, backbone and batches for M modalities."""

    modalities: int
    kind: str = "vector"  # or tokens, padded, mixed
    task: Any = None

    @property
    def kinds(self) -> list[str]:
        mixed = ["vector", "tokens", "padded"]
        return [mixed[m % 3] if self.kind == "mixed" else self.kind for m in range(self.modalities)]

    @property
    def latents(self) -> list[LatentSpec]:
        """Unequal widths and numbers of tokens."""
        return [
            LatentSpec(3 + m, None if kind == "vector" else 2 + m % 3, padded=kind == "padded")
            for m, kind in enumerate(self.kinds)
        ]

    def encoders(self) -> list[nn.Module]:
        return [
            PaddedEncoder(spec.dim) if spec.padded else nn.Linear(FEATURES, spec.dim)
            for spec in self.latents
        ]

    def backbone(self, **settings: Any) -> nn.Module:
        outputs = self.judged.num_outputs
        padded = any(spec.padded for spec in self.latents)
        settings = {"head_hidden": 7, **settings}
        if not padded:
            return create_backbone("concat", self.latents, outputs, **settings)
        from i2moe_plugin.backbones.entry import backbones

        if "pooled" not in backbones:
            register_backbone("pooled", padding=True)(PooledConcat)
        return create_backbone("pooled", self.latents, outputs, **settings)

    @property
    def judged(self) -> Any:
        return self.task if self.task is not None else Classification(4)

    def model(self, encoders: Any = None, factory: Any = None, **options: Any) -> I2MoE:
        options = {"reweighting_hidden": 6, "reweighting_dropout": 0.0, **options}
        parts = (encoders or self.encoders(), self.latents, factory or self.backbone)
        return create_model("i2moe", *parts, self.judged, **options)

    def vanilla(self, **options: Any) -> Vanilla:
        return Vanilla(self.encoders(), self.latents, self.backbone(), self.judged, **options)

    def inputs(self, batch: int = 5, extra: int = 0) -> list[Any]:
        """A batch; ``extra`` tokens more than the specs say, where the number may vary."""
        made: list[Any] = []
        for spec in self.latents:
            if spec.tokens is None:
                made.append(torch.randn(batch, FEATURES))
            elif spec.padded:
                tokens = spec.tokens + extra
                mask = torch.rand(batch, tokens) < 0.3
                mask[:, 0] = False
                made.append((torch.randn(batch, tokens, FEATURES), mask))
            else:
                made.append(torch.randn(batch, spec.tokens, FEATURES))
        return made

    def target(self, batch: int = 5) -> Tensor:
        name, width = self.judged.name, self.judged.num_outputs
        if name == "classification":
            return torch.randint(width, (batch,))
        if name == "multilabel":
            return torch.randint(2, (batch, width)).float()
        return torch.randn(batch, width)


@pytest.fixture(scope="session")
def small() -> Callable[..., Small]:
    return Small
