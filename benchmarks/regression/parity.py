"""Parity: are our vanilla and I2MoE those of the paper, and those of MultiBench's own loop?

Asked as equivalence within a margin: a difference that is not shown is no answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from i2moe_plugin.benchmarks.grid.runs import CellRuns
from i2moe_plugin.benchmarks.grid.table import Table
from i2moe_plugin.benchmarks.run.multibench import SELECTION
from i2moe_plugin.benchmarks.run.settings import RunSettings
from i2moe_plugin.benchmarks.statistics.equivalence import (
    Equivalence,
    equivalent_pairs,
    equivalent_to,
    equivalent_to_mean,
)
from i2moe_plugin.benchmarks.statistics.paired import FEWEST_SEEDS, summarise
from i2moe_plugin.benchmarks.statistics.paper import find_figure
from i2moe_plugin.errors import I2MoEError


@dataclass(frozen=True)
class Claim:
    """One question and its answer.

    Attributes:
        method, metric: what is asked about.
        against: the paper's table, or MultiBench's loop.
        ours, theirs: test values; ``theirs`` is one number for the paper.
        found: the equivalence test; None where it would mean nothing.
        reason: why it would mean nothing, or what to know.
    """

    method: str
    metric: str
    against: str
    ours: tuple[float, ...]
    theirs: tuple[float, ...] = ()
    found: Equivalence | None = None
    reason: str = ""

    @property
    def answer(self) -> str:
        """What the test says, in words."""
        if self.found is None:
            return "not comparable" if self.ours else "not there"
        if self.found.seeds < FEWEST_SEEDS:
            return "too few seeds to tell"
        return {
            "equivalent": "equivalent",
            "different": "different",
            "not shown": "equivalence not shown",
        }[self.found.outcome]

    def as_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        return {
            "method": self.method,
            "metric": self.metric,
            "against": self.against,
            "ours": {**summarise(self.ours), "values": list(self.ours)} if self.ours else None,
            "theirs": list(self.theirs),
            "answer": self.answer,
            "equivalence": self.found.as_dict() if self.found else None,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class Parity:
    """All claims about one data set and backbone."""

    dataset: str
    fusion: str
    seeds: tuple[int, ...]
    margin: float
    claims: list[Claim]
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        return {
            "dataset": self.dataset,
            "fusion": self.fusion,
            "seeds": list(self.seeds),
            "margin": self.margin,
            "claims": [claim.as_dict() for claim in self.claims],
            "notes": self.notes,
        }


def parity(
    table: Table,
    margin: float,
    *,
    altered: Sequence[str] = (),
    loop: Callable[[RunSettings], dict[str, Any]] | None = None,
) -> Parity:
    """Hold finished runs against the paper and against MultiBench's loop.

    ``margin`` is what counts as the same, as our metrics are (0.02: two points of accuracy);
    ``altered`` are settings that are not the paper's; ``loop`` gives ``{"test": metrics}``.
    """
    first = table.cells[0]
    settings, notes, reasons = first.settings, list(first.notes), []
    if not first.published:
        reasons.append(f"this is a drawn sample, not {settings.dataset}")
    if altered:
        reasons.append(f"settings that are not the paper's: {', '.join(altered)}")
    claims = [
        claim for cell in table.cells for claim in _paper_claims(cell, margin, "; ".join(reasons))
    ]
    if not claims:
        notes.append(f"The paper reports no figure of {settings.fusion} on {settings.dataset}.")
    if loop is None:
        notes.append("No MultiBench checkout was given: --multibench PATH.")
    else:
        claims += [_loop_claim(cell, margin, loop) for cell in table.cells]
        run = next(iter(first.runs.values()))
        ours, theirs = first.selection, SELECTION.get(run.result["task"]["name"])
        if theirs != ours:
            notes.append(f"MultiBench's loop selects the epoch by {theirs}, ours by {ours}.")
    return Parity(settings.dataset, settings.fusion, table.grid.seeds, margin, claims, notes)


def _paper_claims(cell: CellRuns, margin: float, reason: str) -> Iterator[Claim]:
    settings = cell.settings
    for metric in cell.metrics:
        figure = find_figure(settings.dataset, settings.fusion, settings.method, metric)
        if figure is None:
            continue
        ours = list(cell.values(metric).values())
        found = None
        if not reason:
            if figure.deviation is None or len(ours) < 2:
                found = equivalent_to(ours, figure.value, margin)
            else:
                found = equivalent_to_mean(
                    ours, figure.value, figure.deviation, figure.seeds, margin
                )
        known = "" if figure.deviation is not None else "the paper's mean is taken as exact"
        said = [part for part in (reason, "" if reason else known, figure.note) if part]
        yield Claim(
            method=settings.method,
            metric=metric,
            against=f"the paper, {figure.table}",
            ours=tuple(ours),
            theirs=(figure.value,),
            found=found,
            reason="; ".join(said),
        )


def _loop_claim(
    cell: CellRuns, margin: float, loop: Callable[[RunSettings], dict[str, Any]]
) -> Claim:
    metric = cell.metrics[0]
    ours = tuple(cell.values(metric).values())
    claim = Claim(cell.settings.method, metric, "MultiBench's loop", ours)
    try:
        theirs = tuple(float(loop(one.settings)["test"][metric]) for one in cell.attempts)
    except (I2MoEError, TypeError) as error:
        return replace(claim, reason=str(error))
    found = equivalent_pairs(theirs, ours, margin)
    return replace(claim, theirs=theirs, found=found, reason="paired over seeds")
