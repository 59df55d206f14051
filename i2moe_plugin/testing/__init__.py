"""The contract that every backbone meets, for anybody's backbone: neither data nor pytest needed.

``check_backbone`` returns what it found; ``assert_backbone`` raises, so a test of your own is one
line. The checks themselves are in :mod:`i2moe_plugin.testing.contract`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from i2moe_plugin.backbones.entry import BackboneEntry, backbones
from i2moe_plugin.errors import ChangesLatentsError, I2MoEError
from i2moe_plugin.seeding import seeded
from i2moe_plugin.testing.contract import CHECKS
from i2moe_plugin.testing.subject import Check, Failed, Skipped, Subject

__all__ = ["CheckResult", "Subject", "assert_backbone", "check_backbone"]


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
    """Fail a test unless a registered backbone meets the contract.

    Args:
        backbone, unused, settings: see :func:`check_backbone`.

    Raises:
        UnknownNameError: no such backbone.
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
        return CheckResult(check.name, "skipped", f"not run: {', '.join(map(repr, roots))} failed")
    try:
        return CheckResult(check.name, "passed", check.run(subject) or "")
    except Skipped as reason:
        return CheckResult(check.name, "skipped", str(reason))
    except ChangesLatentsError as error:  # which says what to do itself
        return CheckResult(check.name, "failed", str(error))
    except (Failed, I2MoEError) as error:
        detail = str(error)
    except Exception as error:  # whatever a user's module raises is a finding
        detail = f"{type(error).__name__}: {error}"
    return CheckResult(check.name, "failed", detail, check.advice)
