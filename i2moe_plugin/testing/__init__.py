"""The contract that every backbone meets, for anybody's backbone: neither data nor pytest needed.

``check_backbone`` returns what it found; ``assert_backbone`` raises, so a test of your own is one
line. The checks themselves are in :mod:`i2moe_plugin.testing.contract`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from i2moe_plugin.backbones.wrapper import Backbone, LatentSpec
from i2moe_plugin.errors import I2MoEError
from i2moe_plugin.registry import BackboneEntry, backbones, create_backbone
from i2moe_plugin.seeding import seeded
from i2moe_plugin.testing.contract import CHECKS, Check, Failed, Skipped


@dataclass(frozen=True)
class CheckResult:
    """What one check found.

    Attributes:
        name: of the check.
        outcome: ``passed``, ``failed`` or ``skipped``.
        detail: what was found, or why it was skipped.
        advice: what to do about a failure.
    """

    name: str
    outcome: Literal["passed", "failed", "skipped"]
    detail: str = ""
    advice: str = ""


def check_backbone(
    backbone: BackboneEntry | str, *, unused: Sequence[str] = (), **settings: Any
) -> list[CheckResult]:
    """Check a registered backbone against the contract.

    A check that rests on one that did not pass is skipped, so that one mistake shows once.

    Args:
        backbone: its name or its entry.
        unused: names (patterns like ``fusion.old.*``) of parameters that are meant to receive no
            gradient; ``latent_2`` stands for the latent of modality 2.
        **settings: of the backbone.

    Returns:
        One result for each check, in order.

    Raises:
        UnknownNameError: no such backbone.

    Example:
        >>> [result.name for result in check_backbone("tensor") if result.outcome == "failed"]
        []
    """
    entry = backbones.get(backbone) if isinstance(backbone, str) else backbone
    subject = Subject(entry, settings, tuple(unused))
    results: dict[str, CheckResult] = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # tensors this small are only slower on more
    try:
        for check in CHECKS:
            with seeded(0, "check", check.name):
                results[check.name] = _run(check, subject, results)
    finally:
        torch.set_num_threads(threads)
    return list(results.values())


def assert_backbone(
    backbone: BackboneEntry | str, *, unused: Sequence[str] = (), **settings: Any
) -> None:
    """The same, for tests.

    Raises:
        AssertionError: lists every failed check, with what to do.
    """
    results = check_backbone(backbone, unused=unused, **settings)
    failed = [result for result in results if result.outcome == "failed"]
    if failed:
        name = backbone if isinstance(backbone, str) else backbone.name
        lines = "".join(f"\n  {r.name}: {r.detail}\n    {r.advice}" for r in failed)
        raise AssertionError(f"backbone {name!r} does not meet the contract:{lines}")


def _run(check: Check, subject: Subject, results: dict[str, CheckResult]) -> CheckResult:
    if any(results[need].outcome != "passed" for need in check.needs):
        roots = [need for need in check.needs if results[need].outcome == "failed"]
        return CheckResult(check.name, "skipped", f"rests on: {', '.join(roots)}")
    try:
        return CheckResult(check.name, "passed", check.run(subject) or "")
    except Skipped as reason:
        return CheckResult(check.name, "skipped", str(reason))
    except (Failed, I2MoEError) as error:
        detail = str(error)
    except Exception as error:  # whatever a user's module raises is a finding
        detail = f"{type(error).__name__}: {error}"
    return CheckResult(check.name, "failed", detail, check.advice)


@dataclass(frozen=True)
class Subject:
    """A backbone under test: builds it, and draws latents that its facts say it takes."""

    entry: BackboneEntry
    settings: dict[str, Any] = field(default_factory=dict)
    unused: tuple[str, ...] = ()

    outputs = 3
    batch = 6
    tokens = 5
    widths = (8, 6, 5, 4)  # different, so that a mix-up of modalities shows

    @property
    def kinds(self) -> list[str]:
        """The kinds of latents it takes, without padding."""
        return ["vector", "tokens"] if self.entry.latents == "any" else [self.entry.latents]

    @property
    def takes_padding(self) -> bool:
        """It takes tokens with padding masks."""
        return self.entry.padding and "tokens" in self.kinds

    @cached_property
    def one_width(self) -> bool:
        """It takes vectors of one width, but not of different ones."""
        if "vector" not in self.kinds:
            return False
        count = self.entry.min_modalities
        return not self._builds(_vectors(self.widths, count)) and self._builds(_vectors([8], count))

    def latents(self, kind: str = "", modalities: int = 0) -> list[LatentSpec]:
        """Vectors of different widths, or tokens; by default its first kind, fewest modalities."""
        kind, count = kind or self.kinds[0], modalities or self.entry.min_modalities
        if kind == "vector":
            return _vectors([8] if self.one_width else self.widths, count)
        return [LatentSpec(8, self.tokens, padded=kind == "padded")] * count

    def cases(self) -> Iterator[list[LatentSpec]]:
        """Latents of every kind, for every number of modalities up to four."""
        fewest, most = self.entry.min_modalities, self.entry.max_modalities or 4
        kinds = [*self.kinds, *(["padded"] if self.takes_padding else [])]
        for kind, count in itertools.product(kinds, range(fewest, max(fewest, min(most, 4)) + 1)):
            yield self.latents(kind, count)

    def build(self, latents: Sequence[LatentSpec], *, training: bool = False) -> Backbone:
        """A new backbone."""
        backbone = create_backbone(self.entry.name, latents, self.outputs, **self.settings)
        return backbone.train(training)

    def draw(self, latents: Sequence[LatentSpec], batch: int = 0) -> list[Tensor]:
        """Standard normal latents."""
        return [torch.randn(batch or self.batch, *spec.shape) for spec in latents]

    def built(self, modes: Sequence[bool] = (False,)) -> Iterator[tuple[Backbone, list[Tensor]]]:
        """A backbone and a batch for every kind of latents and mode (True: training)."""
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
