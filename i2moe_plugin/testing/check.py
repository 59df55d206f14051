"""What a check of the contract is, and how one is added."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass

from i2moe_plugin.testing.subject import Subject

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
