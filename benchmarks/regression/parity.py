"""Parity: are our vanilla and I2MoE those of the paper, and those of MultiBench's own loop?

Asked as equivalence within a margin: a difference that is not shown is no answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from i2moe_plugin.benchmarks.data.open import OpenedDataset
from i2moe_plugin.benchmarks.grid.job import JobResult
from i2moe_plugin.benchmarks.statistics.equivalence import (
    Equivalence,
    equivalent_pairs,
    equivalent_to,
    equivalent_to_mean,
)
from i2moe_plugin.benchmarks.statistics.paired import FEWEST_SEEDS, summarise
from i2moe_plugin.benchmarks.statistics.paper import Figure, find_figure
from i2moe_plugin.errors import I2MoEError

METHODS = ("vanilla", "i2moe")


@dataclass(frozen=True)
class Claim:
    """One question and its answer.

    Attributes:
        method, metric: what is asked about.
        against: the paper's table, or MultiBench's loop.
        ours, theirs: test values; ``theirs`` is one number for the paper.
        figure: the paper's.
        found: the equivalence test; None where it would mean nothing.
        reason: why it would mean nothing, or what to know.
    """

    method: str
    metric: str
    against: str
    ours: tuple[float, ...]
    theirs: tuple[float, ...] = ()
    figure: Figure | None = None
    found: Equivalence | None = None
    reason: str = ""

    @property
    def answer(self) -> str:
        """In words."""
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
        """For JSON."""
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
        """For JSON."""
        return {
            "dataset": self.dataset,
            "fusion": self.fusion,
            "seeds": list(self.seeds),
            "margin": self.margin,
            "claims": [claim.as_dict() for claim in self.claims],
            "notes": self.notes,
        }


def parity(
    job: JobResult,
    data: OpenedDataset,
    margin: float,
    *,
    altered: Sequence[str] = (),
    loop: Callable[[str, int], dict[str, Any]] | None = None,
) -> Parity:
    """Hold a finished job against the paper and against MultiBench's loop.

    Args:
        job: vanilla and I2MoE over seeds.
        data: what it ran on.
        margin: what counts as the same, as our metrics are (0.02: two points of accuracy).
        altered: settings that are not the recipe's, so not the paper's.
        loop: (method, seed) -> ``{"test": metrics}`` of the same run in their loop.

    Raises:
        ConfigError: a margin that is not positive.
    """
    reasons = []
    if data.is_sample:
        reasons.append(f"this is a drawn sample, not {job.dataset}")
    if altered:
        reasons.append(f"settings that are not the paper's: {', '.join(altered)}")
    claims = _paper_claims(job, margin, "; ".join(reasons))
    notes = list(data.notes)
    if not claims:
        notes.append(f"The paper reports no figure of {job.fusion} on {job.dataset}.")
    if loop is not None:
        claims += [_loop_claim(job, method, margin, loop) for method in METHODS]
    return Parity(job.dataset, job.fusion, job.seeds, margin, claims, notes)


def _paper_claims(job: JobResult, margin: float, reason: str) -> list[Claim]:
    claims = []
    for method in METHODS:
        for metric in job.metrics():
            figure = find_figure(job.dataset, job.fusion, method, metric)
            if figure is None:
                continue
            ours = job.values(method, metric)
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
            claims.append(
                Claim(
                    method,
                    metric,
                    f"the paper, {figure.table}",
                    tuple(ours),
                    (figure.value,),
                    figure,
                    found,
                    "; ".join(said),
                )
            )
    return claims


def _loop_claim(
    job: JobResult, method: str, margin: float, loop: Callable[[str, int], dict[str, Any]]
) -> Claim:
    against, ours = "MultiBench's loop", tuple(job.values(method, job.metric))
    try:
        theirs = tuple(float(loop(method, seed)["test"][job.metric]) for seed in job.seeds)
    except (I2MoEError, TypeError) as error:
        return Claim(method, job.metric, against, ours, reason=str(error))
    found = equivalent_pairs(theirs, ours, margin)
    return Claim(method, job.metric, against, ours, theirs, None, found, "paired over seeds")
