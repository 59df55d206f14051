"""The table of a grid: cells, their runs, values by seed, and comparisons with the reference.

It is made once, by whatever trains or finds the runs; commands, reports and gates read it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from i2moe_plugin.benchmarks.data.splits import OWN_SPLIT
from i2moe_plugin.benchmarks.grid.baselines import KINDS, Baseline
from i2moe_plugin.benchmarks.grid.cells import Grid
from i2moe_plugin.benchmarks.grid.runs import CellRuns, State
from i2moe_plugin.benchmarks.statistics.metrics import COSTS
from i2moe_plugin.benchmarks.statistics.paired import (
    FEWEST_SEEDS,
    Comparison,
    Interval,
    compare,
    correct,
    summarise,
    what_permutation_can,
)
from i2moe_plugin.benchmarks.statistics.paper import Figure, find_figure
from i2moe_plugin.errors import counted
from i2moe_plugin.tasks import HIGHER_IS_BETTER

#: A data set and a metric.
Column = tuple[str, str]


@dataclass(frozen=True)
class Entry:
    """One cell's figure in one metric.

    Attributes:
        cell: the cell with its runs.
        metric: the metric.
        reference: the cell it is compared with.
        comparison: with that cell, over the seeds that both finished.
        paper: the reported figure.
        not_comparable: why ours must not be held against it; empty: nothing is known against it.
    """

    cell: CellRuns
    metric: str
    reference: CellRuns | None = None
    comparison: Comparison | None = None
    paper: Figure | None = None
    not_comparable: str = ""

    @property
    def row(self) -> tuple[str, ...]:
        """Backbone, method, and choices of the grid."""
        return self.cell.cell.row

    @property
    def dataset(self) -> str:
        """The data set's name."""
        return self.cell.settings.dataset

    @cached_property
    def values(self) -> dict[int | str, float]:
        """The figure of each finished run; NaN where it is undefined."""
        return self.cell.values(self.metric)

    @property
    def sample_interval(self) -> Interval | None:
        """The 95 % interval of the mean over test samples; None of costs and undefined figures."""
        sampling = self.cell.sampling
        return None if sampling is None else sampling.intervals.get(self.metric)

    @property
    def planned(self) -> int:
        """How many seeds there should be."""
        return len(self.cell.attempts)

    @property
    def reasons(self) -> list[str]:
        """Why some runs did not finish."""
        return list(dict.fromkeys(a.reason for a in self.cell.attempts if a.reason))

    def as_dict(self) -> dict[str, Any]:
        """Return everything, for JSON and CSV."""
        cell, values = self.cell.cell, list(self.values.values())
        summary = summarise(values) if values else {"mean": None, "deviation": None, "n": 0}
        return {
            "dataset": self.dataset,
            "fusion": cell.settings.fusion,
            "method": cell.settings.method,
            "variant": {name: str(value) for name, value in cell.variant.items()},
            "metric": self.metric,
            **summary,
            "sample_interval": self.sample_interval,
            "planned": self.planned,
            "states": dict(self.cell.states),
            "reasons": self.reasons,
            "values": {str(seed): value for seed, value in self.values.items()},
            "reference": " ".join(self.reference.cell.row) if self.reference else None,
            "comparison": self.comparison.as_dict() if self.comparison else None,
            "paper": self.paper
            and {
                **{
                    key: getattr(self.paper, key) for key in ("value", "deviation", "table", "note")
                },
                "not_comparable": self.not_comparable or None,
            },
            "settings": cell.settings.model_dump(exclude={"seed"}),
            "runs": [run.name for run in self.cell.runs.values()],
        }


@dataclass(frozen=True)
class Table:
    """The results of a grid: rows are methods, columns are data sets' metrics.

    Attributes:
        grid: what was planned.
        cells: what became of it.
        entries: by row and column.
        baselines: simple models beside them.
    """

    grid: Grid
    cells: tuple[CellRuns, ...]
    entries: Mapping[tuple[tuple[str, ...], Column], Entry]
    baselines: tuple[Baseline, ...] = ()

    @property
    def columns(self) -> list[Column]:
        """The data sets' metrics, in order."""
        return list(dict.fromkeys(column for _, column in self.entries))

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """The cells' rows, in order."""
        return list(dict.fromkeys(cell.cell.row for cell in self.cells))

    def of(self, cell: CellRuns) -> list[Entry]:
        """Return a cell's entries, one a metric, in order."""
        row, dataset = cell.cell.row, cell.settings.dataset
        return [self.entries[row, (dataset, metric)] for metric in cell.metrics]

    @cached_property
    def simple_rows(self) -> dict[str, dict[Column, float]]:
        """What simple models reach, by kind of model and column; of modalities alone, the best."""
        found: dict[str, dict[Column, float]] = {}
        for dataset, metric in self.columns:
            better = -1 if HIGHER_IS_BETTER.get(metric) else 1
            known = [one for one in self.baselines if one.dataset == dataset]
            known = [one for one in known if not math.isnan(one.test.get(metric, math.nan))]
            # The best first, which alone is kept of each kind.
            for one in sorted(known, key=lambda one: better * one.test[metric]):
                found.setdefault(one.kind, {}).setdefault((dataset, metric), one.test[metric])
        return {kind: found[kind] for kind in KINDS if kind in found}

    @property
    def states(self) -> Counter[State]:
        """How many runs are in each state."""
        return sum((cell.states for cell in self.cells), Counter())

    @property
    def reused(self) -> int:
        """How many runs were finished before."""
        return sum(attempt.reused for cell in self.cells for attempt in cell.attempts)

    @property
    def reasons(self) -> dict[str, list[str]]:
        """Why runs are not finished: reason -> where."""
        found: dict[str, list[str]] = {}
        for cell in self.cells:
            for attempt in cell.attempts:
                if attempt.reason:
                    where = found.setdefault(f"{attempt.state}: {attempt.reason}", [])
                    where.append(f"{' '.join(cell.cell.key)} {attempt}")
        return found

    @cached_property
    def notes(self) -> list[str]:
        """What to know before reading the table, in sentences."""
        of_simple = (f"{b.dataset}: {b.name}: {b.note}." for b in self.baselines if b.note)
        return list(dict.fromkeys([*_notes(self.cells, [*self.entries.values()]), *of_simple]))

    def as_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        return {
            "suite": self.grid.name,
            "title": self.grid.title,
            "seeds": list(self.grid.seeds),
            "splits": list(self.grid.splits),
            "notes": self.notes,
            "unfinished": self.reasons,
            "entries": [entry.as_dict() for entry in self.entries.values()],
        }


def make_table(grid: Grid, cells: Sequence[CellRuns], baselines: Iterable[Baseline] = ()) -> Table:
    """Return the table of a grid, whatever of it is finished."""
    by_key = {item.cell.key: item for item in cells}
    entries = {
        (item.cell.row, (item.settings.dataset, metric)): _entry(
            item, metric, by_key.get(item.cell.reference_key(grid.reference) or ()), grid.paper
        )
        for item in cells
        for metric in item.metrics
    }
    return Table(
        grid, tuple(cells), _corrected(entries) if grid.corrected else entries, tuple(baselines)
    )


def _entry(item: CellRuns, metric: str, reference: CellRuns | None, paper: bool) -> Entry:
    comparison = None
    if reference is not None and metric in HIGHER_IS_BETTER:
        ours, theirs = item.values(metric), reference.values(metric)
        shared = [place for place in ours if place in theirs]
        split_of = {attempt.place: attempt.settings.split for attempt in item.attempts}
        if shared:
            comparison = compare(
                metric,
                [theirs[place] for place in shared],
                [ours[place] for place in shared],
                [split_of[place] for place in shared],
                item.test_share,
            )
    figure = None
    if paper:
        settings = item.settings
        figure = find_figure(
            settings.dataset, settings.fusion, settings.method, metric, item.cell.variant
        )
    reason = "" if figure is None else _not_comparable(item, metric)
    return Entry(item, metric, reference, comparison, figure, reason)


def _not_comparable(item: CellRuns, metric: str) -> str:
    """Say why a figure is not to be held against the paper's; empty where nothing is known."""
    reasons = []
    if not item.published and metric not in COSTS:
        reasons.append("drawn sample")
    if any(attempt.settings.split != OWN_SPLIT for attempt in item.attempts):
        reasons.append("splits drawn anew")
    if item.cell.altered:
        reasons.append(f"other settings: {', '.join(item.cell.altered)}")
    return "; ".join(reasons)


def _corrected(entries: dict[Any, Entry]) -> dict[Any, Entry]:
    """Return the entries with verdicts that allow for how many comparisons the table has."""
    compared = {place: e.comparison for place, e in entries.items() if e.comparison is not None}
    corrected = dict(zip(compared, correct(list(compared.values())), strict=True))
    return {
        place: replace(entry, comparison=corrected.get(place)) for place, entry in entries.items()
    }


def _notes(cells: Sequence[CellRuns], entries: Sequence[Entry]) -> Iterable[str]:
    for item in cells:
        for note in item.every_note:
            yield f"{item.settings.dataset}: {note}"
    tested = [entry.comparison for entry in entries if entry.comparison is not None]
    if tested:
        count = sum(item.p_adjusted is not None for item in tested)
        over_splits = max(item.splits for item in tested) > 1
        test = "corrected resampled t test over splits" if over_splits else "t test over seeds"
        comparisons = counted(count, "comparison")
        holm = f" after Holm's correction over {comparisons} in this table" if count else ""
        yield f"▲ better, ▼ worse than the reference: paired {test}, p < 0.05{holm}."
        yield (
            f"Comparisons are {tested[0].rests_on}."
            if over_splits
            else (
                "Comparisons cover seeds on one split of each data set alone; --splits covers more."
            )
        )
        fewest = min(item.units for item in tested)
        if fewest < FEWEST_SEEDS:
            units = "splits" if over_splits else "seeds"
            yield f"Fewer than {FEWEST_SEEDS} {units} in places: no verdict there."
        elif fewest < 6 and not over_splits:
            yield f"{what_permutation_can(fewest).capitalize()}."
    figures = [(entry, entry.paper) for entry in entries if entry.paper is not None]
    if figures:
        yield (
            "[ ]: the paper's figure, a mean over 3 seeds; * marks one that ours must not "
            "be held against."
        )
    for entry, paper in figures:
        if entry.not_comparable:
            yield f"* {entry.dataset}: {entry.not_comparable}: not comparable."
        if paper.note:
            yield f"{paper.table}, {' '.join(entry.row)} on {entry.dataset}: {paper.note}."
