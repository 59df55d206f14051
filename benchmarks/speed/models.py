"""The models that are measured, at the paper's shapes, from their latents on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from i2moe_plugin.backbones.create import create_backbone
from i2moe_plugin.backbones.latents import LatentSpec
from i2moe_plugin.execution.layers import Dropout, quicken
from i2moe_plugin.methods import create_model
from i2moe_plugin.model import Vanilla
from i2moe_plugin.multimodal import MultimodalModel
from i2moe_plugin.tasks import Classification

Variant = Literal[
    "vanilla", "naive", "loop", "batched", "shared", "stacked", "auto", "torch-dropout", "unkept"
]


@dataclass(frozen=True)
class Shape:
    """What a backbone is built for.

    Attributes:
        name: of the data set whose shape it is.
        backbone: its registered name.
        modalities, tokens, width, outputs: M, T (None: vectors), D and C.
        settings: of the backbone.
    """

    name: str
    backbone: str
    modalities: int
    tokens: int | None
    width: int
    outputs: int
    settings: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def latents(self) -> list[LatentSpec]:
        """The latents' shapes."""
        return [LatentSpec(self.width, self.tokens)] * self.modalities


def _transformer(name: str, *sizes: int, layers: int) -> Shape:
    settings = {"num_layers": layers, "num_heads": 4, "dropout": 0.5}
    modalities, tokens, width, outputs = sizes
    return Shape(name, "transformer", modalities, tokens, width, outputs, settings)


#: The shapes of the paper's experiments: M, patches, width, classes (appendix G and its scripts).
TRANSFORMERS = [
    _transformer("ENRICO", 2, 8, 256, 20, layers=2),
    _transformer("MOSI", 3, 4, 256, 2, layers=1),
    _transformer("ADNI", 4, 16, 256, 3, layers=2),
    _transformer("MIMIC", 3, 4, 128, 2, layers=2),
    _transformer("IMDB", 2, 16, 256, 23, layers=2),
]
LOW_RANK = [
    Shape(shape.name, "lrtf", shape.modalities, None, 64, shape.outputs) for shape in TRANSFORMERS
]


@dataclass
class Subject:
    """A model with a batch of latents, ready to make steps."""

    model: MultimodalModel
    latents: list[Tensor]
    target: Tensor
    optimizer: torch.optim.Optimizer
    autocast: torch.dtype | None = None

    def step(self) -> None:
        """One training step: forward, losses, backward, AdamW."""
        self.model.train()
        with self._precision():
            output = self.model(self.latents)
        losses = self.model.losses(output, self.target)
        self.optimizer.zero_grad()
        for latent in self.latents:
            latent.grad = None
        losses.total.backward()
        self.optimizer.step()

    @torch.no_grad()
    def infer(self) -> Tensor:
        """The prediction of the batch."""
        self.model.eval()
        with self._precision():
            return self.model(self.latents).prediction

    def _precision(self) -> torch.autocast:
        on = self.autocast is not None
        return torch.autocast(self.target.device.type, self.autocast or torch.bfloat16, enabled=on)


def build(
    shape: Shape,
    variant: Variant,
    *,
    batch: int = 32,
    autocast: torch.dtype | None = None,
    device: str = "cpu",
) -> Subject:
    """A model of a shape.

    Variants: ``vanilla``; the name of a plan of I2MoE; ``naive``: one pass at a time with torch's
    own dropout, as the released code does it; ``torch-dropout``: ``auto`` with that;
    ``unkept``: ``auto``, for a process that hands freed memory back.
    """
    latents = shape.latents

    def backbone() -> nn.Module:
        return create_backbone(shape.backbone, latents, shape.outputs, **shape.settings)

    torch.manual_seed(0)
    encoders = [nn.Identity() for _ in latents]
    task = Classification(shape.outputs)
    model: MultimodalModel
    if variant == "vanilla":
        model = Vanilla(encoders, latents, backbone(), task)
        quicken(model)
    else:
        plans: dict[Variant, Any] = {"naive": "loop", "torch-dropout": "auto", "unkept": "auto"}
        plan = plans.get(variant, variant)
        model = create_model("i2moe", encoders, latents, backbone, task, plan=plan)
        if variant in ("naive", "torch-dropout"):
            _torchs_own(model)
        else:
            quicken(model)
    model.to(device)
    values = [torch.randn(batch, *spec.shape, device=device).requires_grad_() for spec in latents]
    target = torch.randint(shape.outputs, (batch,), device=device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    subject = Subject(model, values, target, optimizer, autocast)
    subject.step()  # settles the plan
    return subject


def _torchs_own(module: nn.Module) -> None:
    for layer in module.modules():
        if type(layer) is Dropout:
            layer.__class__ = nn.Dropout  # type: ignore[assignment]
