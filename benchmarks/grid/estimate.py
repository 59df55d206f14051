"""What a grid will take before it is run: the runs left, time, memory and disk."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from i2moe_plugin.benchmarks.data.cache import nothing_computed
from i2moe_plugin.benchmarks.data.frozen import progress_bar
from i2moe_plugin.benchmarks.data.open import OpenedDataset
from i2moe_plugin.benchmarks.grid.cells import Grid
from i2moe_plugin.benchmarks.grid.failures import in_one_line
from i2moe_plugin.benchmarks.grid.runner import GridRunner
from i2moe_plugin.benchmarks.grid.runs import Attempt, CellRuns
from i2moe_plugin.benchmarks.run.cost import RunCost, measure_cost
from i2moe_plugin.benchmarks.run.memory import free_memory
from i2moe_plugin.errors import I2MoEError, counted


@dataclass(frozen=True)
class CellEstimate:
    """One cell: what is left of it, and what each of its runs takes.

    Attributes:
        cell: with the states of its runs; those that wait would be trained.
        cost: of one run; None where nothing is left, or nothing can be told.
        reason: why nothing can be told.
    """

    cell: CellRuns
    cost: RunCost | None = None
    reason: str = ""

    @property
    def left(self) -> int:
        """How many runs would be trained."""
        return self.cell.states["waiting"]

    def as_dict(self) -> dict[str, Any]:
        """Return it for ``--json``."""
        dataset, fusion, method, *variant = self.cell.cell.key
        reasons = dict.fromkeys(a.reason for a in self.cell.attempts if a.reason)
        return {
            "dataset": dataset,
            "fusion": fusion,
            "method": method,
            "variant": variant,
            "runs": {state: count for state, count in self.cell.states.items() if count},
            "reasons": [*reasons, *([self.reason] if self.reason else [])],
            "run": None
            if self.cost is None
            else {**asdict(self.cost), "seconds": self.cost.seconds},
        }


@dataclass(frozen=True)
class Estimate:
    """What is left of a grid, and what it takes on this machine as it is now.

    Attributes:
        grid: what was asked for.
        cells: all of them.
        workers: runs at a time.
        seconds: until the last run is finished.
        memory: bytes of all processes at their peak.
        disk: bytes of the new runs.
    """

    grid: Grid
    cells: tuple[CellEstimate, ...]
    workers: int
    seconds: float
    memory: int
    disk: int
    notes: tuple[str, ...] = ()

    @property
    def left(self) -> int:
        """How many runs would be trained."""
        return sum(cell.left for cell in self.cells)

    def as_dict(self) -> dict[str, Any]:
        """Return it for ``--json``."""
        totals = ("workers", "left", "seconds", "memory", "disk", "notes")
        return {
            "title": self.grid.title,
            "seeds": list(self.grid.seeds),
            **{name: getattr(self, name) for name in totals},
            "cells": [cell.as_dict() for cell in self.cells],
        }


def estimate(runner: GridRunner, grid: Grid) -> Estimate:
    """Say what a runner would train of a grid, and what that takes; nothing is run or written.

    Each data set is opened, and a few steps of each cell that has something left are timed: on
    this machine, as busy as it is now.

    Args:
        runner: with its store, workers and data; with ``progress``, a bar shows the cells.
        grid: what is to be run.

    Raises:
        I2MoEError: what the runner would raise before it trains.
    """
    found: list[CellEstimate] = []
    seconds, memory, most_workers = 0.0, 0, 1
    with (
        nothing_computed(),
        progress_bar("a few steps of each cell", len(grid.cells), runner.progress) as advance,
    ):
        for group, data in runner.survey(grid):
            told = _estimated(runner, group, data, advance)
            found += told.cells
            seconds += told.seconds
            memory, most_workers = max(memory, told.memory), max(most_workers, told.workers)
    untold = sum(one.left for one in found if one.cost is None)
    notes = []
    if untold:
        notes.append(
            f"{counted(untold, 'run')} not in time, memory and disk: nothing can be told of them."
        )
    if any(one.cost and one.cell.settings.patience for one in found):
        notes.append("with patience runs may stop earlier: time is at most this.")
    if any(one.cost and one.cell.settings.devices > 1 for one in found):
        notes.append("time is that of one device: several were not timed.")
    free = free_memory()
    if runner.cluster is None and free is not None and memory > free:
        notes.append(f"that is more memory than the {free / 1e9:.1f} GB that are free here.")
    if runner.cluster is not None:
        notes.append("time is this machine's, and not that of the cluster's workers.")
    return Estimate(
        grid=grid,
        cells=tuple(found),
        workers=most_workers,
        seconds=seconds,
        memory=memory,
        disk=sum(one.left * one.cost.disk for one in found if one.cost),
        notes=tuple(notes),
    )


@dataclass(frozen=True)
class _Group:
    """The cells of one data set; data sets are gone through one after the other."""

    cells: list[CellEstimate]
    seconds: float
    memory: int
    workers: int


def _estimated(
    runner: GridRunner,
    group: list[CellRuns],
    data: OpenedDataset | None,
    advance: Callable[[int], None],
) -> _Group:
    waiting = [attempt.settings for cell in group for attempt in _left(cell)]
    workers, reason = 1, ""
    if data is not None and waiting:
        try:
            workers = runner.workers_for(waiting, data)
        except I2MoEError as error:
            reason = in_one_line(error)
    cells, costs = [], []
    for cell in group:
        one = CellEstimate(cell, reason=reason if _left(cell) else "")
        if _left(cell) and data is not None and not reason:
            settings = _left(cell)[0].settings
            try:
                one = CellEstimate(cell, measure_cost(settings, data, 1 if workers > 1 else None))
            except I2MoEError as error:
                one = CellEstimate(cell, reason=in_one_line(error))
        cells.append(one)
        costs += [one.cost] * one.left if one.cost else []
        advance(1)
    workers = max(1, min(workers, len(costs)))
    needs = sorted((cost.memory for cost in costs), reverse=True)
    seconds = makespan([cost.seconds for cost in costs], workers)
    return _Group(cells, seconds, sum(needs[:workers]), workers)


def makespan(seconds: Sequence[float], workers: int) -> float:
    """Return how long tasks take where each of several workers takes the next one.

    >>> makespan([3, 1, 1, 1], 2)
    3
    """
    busy: list[float] = [0] * workers
    for one in seconds:
        heapq.heapreplace(busy, busy[0] + one)
    return max(busy)


def _left(cell: CellRuns) -> list[Attempt]:
    return [attempt for attempt in cell.attempts if attempt.state == "waiting"]
