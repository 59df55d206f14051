"""What a check of the contract is, and the backbone and latents that it is given."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from i2moe_plugin.backbones.create import create_backbone
from i2moe_plugin.backbones.entry import BackboneEntry
from i2moe_plugin.backbones.latents import LatentSpec
from i2moe_plugin.backbones.wrapper import Backbone
from i2moe_plugin.errors import I2MoEError


@dataclass(frozen=True)
class Subject:
    """A backbone under test: builds it, and draws latents that its facts say it takes.

    Attributes:
        entry: the backbone.
        settings: of the backbone.
        unused: patterns of the names of parameters that are meant to receive no gradient.
        outputs, batch, tokens, widths: C, B, T and the D_m of what is built and drawn.
    """

    entry: BackboneEntry
    settings: dict[str, Any] = field(default_factory=dict)
    unused: tuple[str, ...] = ()

    outputs = 3
    batch = 6
    tokens = 5
    widths = (8, 6, 5, 4)  # different, so that a mix-up of modalities shows

    @property
    def kinds(self) -> list[str]:
        """The kinds of latents that it takes, without padding."""
        return ["vector", "tokens"] if self.entry.latents == "any" else [self.entry.latents]

    @property
    def takes_padding(self) -> bool:
        """Whether it takes tokens with padding masks."""
        return self.entry.padding and "tokens" in self.kinds

    @cached_property
    def one_width(self) -> bool:
        """Whether it takes vectors of one width, but not of different ones."""
        if "vector" not in self.kinds:
            return False
        count = self.entry.min_modalities
        return not self._builds(_vectors(self.widths, count)) and self._builds(_vectors([8], count))

    def latents(self, kind: str = "", modalities: int = 0) -> list[LatentSpec]:
        """Make specs of one kind for so many modalities; by default its first kind, and the fewest.

        Vectors have different widths, if it takes them.
        """
        kind, count = kind or self.kinds[0], modalities or self.entry.min_modalities
        if kind == "vector":
            return _vectors([8] if self.one_width else self.widths, count)
        return [LatentSpec(8, self.tokens, padded=kind == "padded")] * count

    def cases(self) -> Iterator[list[LatentSpec]]:
        """Go over latents of every kind, for every number of modalities up to four."""
        fewest, most = self.entry.min_modalities, self.entry.max_modalities or 4
        kinds = [*self.kinds, *(["padded"] if self.takes_padding else [])]
        for kind, count in itertools.product(kinds, range(fewest, max(fewest, min(most, 4)) + 1)):
            yield self.latents(kind, count)

    def build(self, latents: Sequence[LatentSpec], *, training: bool = False) -> Backbone:
        """Build a new backbone."""
        backbone = create_backbone(self.entry.name, latents, self.outputs, **self.settings)
        return backbone.train(training)

    def draw(self, latents: Sequence[LatentSpec], batch: int = 0) -> list[Tensor]:
        """Draw standard normal latents."""
        return [torch.randn(batch or self.batch, *spec.shape) for spec in latents]

    def built(self, modes: Sequence[bool] = (False,)) -> Iterator[tuple[Backbone, list[Tensor]]]:
        """Build and draw a batch for every kind of latents and every mode (True: training)."""
        for kind, training in itertools.product(self.kinds, modes):
            latents = self.latents(kind)
            yield self.build(latents, training=training), self.draw(latents)

    def _builds(self, latents: Sequence[LatentSpec]) -> bool:
        try:
            self.build(latents)
        except I2MoEError:
            return False
        return True


def _vectors(widths: Sequence[int], count: int) -> list[LatentSpec]:
    return [LatentSpec(widths[m % len(widths)]) for m in range(count)]


Run = Callable[[Subject], str | None]


class Failed(Exception):
    """A finding: what does not hold."""


class Skipped(Exception):
    """The reason why a check says nothing here."""


@dataclass(frozen=True)
class Check:
    """One property that every backbone has.

    Attributes:
        name: of the check.
        run: looks for it; gives a remark or None, and raises :class:`Failed` or :class:`Skipped`.
        advice: what to do where it fails.
        needs: the checks without which this one says nothing.
    """

    name: str
    run: Run
    advice: str
    needs: tuple[str, ...]


#: Every check, in the order in which they run.
CHECKS: list[Check] = []


def check(*needs: str) -> Callable[[Run], Run]:
    """Add a function to the checks, under its own name."""

    def decorate(run: Run) -> Run:
        name = run.__name__.removeprefix("_").replace("_", " ")
        advice = (inspect.getdoc(run) or "").partition("\n\n")[2].replace("\n", " ")
        CHECKS.append(Check(name, run, advice, needs))
        return run

    return decorate
