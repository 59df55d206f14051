"""The table of a grid: cells, their runs, values by seed, and comparisons with the reference.

It is made once, by whatever trains or finds the runs; commands, reports and gates read it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from i2moe_plugin.benchmarks.grid.baselines import KINDS, Baseline
from i2moe_plugin.benchmarks.grid.cells import Cell, Grid
from i2moe_plugin.benchmarks.run.settings import RunSettings
from i2moe_plugin.benchmarks.run.store import EVIDENCE, Run
from i2moe_plugin.benchmarks.statistics.metrics import COSTS
from i2moe_plugin.benchmarks.statistics.paired import (
    FEWEST_SEEDS,
    Comparison,
    compare,
    correct,
    summarise,
    what_permutation_can,
)
from i2moe_plugin.benchmarks.statistics.paper import Figure, find_figure
from i2moe_plugin.errors import counted
from i2moe_plugin.tasks import HIGHER_IS_BETTER

if TYPE_CHECKING:
    from i2moe_plugin.interpretation import MeanParts

State = Literal["waiting", "running", "finished", "failed", "skipped", "stopped"]
#: A data set and a metric.
Column = tuple[str, str]


@dataclass
class Attempt:
    """One seed of a cell: a run that is planned, under way, or over.

    Attributes:
        settings: with the seed.
        state: ``finished``; ``failed``: trained, and it did not work; ``skipped``: it cannot be
            started here; ``stopped``: it could not be written, or another process computes it.
        name: of its directory, as soon as the data is open.
        reason: why it is not finished.
        run: the finished run.
        reused: it was finished before.
    """

    settings: RunSettings
    state: State = "waiting"
    name: str = ""
    reason: str = ""
    run: Run | None = None
    reused: bool = False

    @property
    def seed(self) -> int:
        """What everything random in it derives from."""
        return self.settings.seed


@dataclass
class CellRuns:
    """A cell and what became of its runs.

    Attributes:
        cell: what was planned.
        attempts: one a seed, in order.
        metrics: what the table shows of it.
        notes: the data set's.
        published: it ran on the published data set (or an embedded one), not on a drawn sample.
        selection: the metric that selects the epoch on validation data.
    """

    cell: Cell
    attempts: list[Attempt]
    metrics: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    published: bool = True
    selection: str = ""

    @classmethod
    def planned(cls, cell: Cell, seeds: Sequence[int]) -> CellRuns:
        """Return a cell of which nothing has been run."""
        settings = [cell.settings.model_copy(update={"seed": seed}) for seed in seeds]
        return cls(cell, list(map(Attempt, settings)))

    @property
    def settings(self) -> RunSettings:
        """The settings of its runs, with seed 0."""
        return self.cell.settings

    @property
    def runs(self) -> dict[int, Run]:
        """The finished runs, by seed; nothing else is counted."""
        return {a.seed: a.run for a in self.attempts if a.run is not None}

    @property
    def every_note(self) -> list[str]:
        """The data set's notes, and what its runs say of themselves."""
        of_runs = (note for run in self.runs.values() for note in run.result.get("notes", ()))
        return list(dict.fromkeys([*self.notes, *of_runs]))

    @property
    def states(self) -> Counter[State]:
        """How many attempts are in each state."""
        return Counter(attempt.state for attempt in self.attempts)

    def values(self, metric: str) -> dict[int, float]:
        """Return a metric on test data, or a cost, of each finished run by seed; NaN: undefined."""
        return {seed: _value(run.result, metric) for seed, run in self.runs.items()}

    def expert_weights(self) -> dict[str, float]:
        """Return each expert's weight, the mean over test samples and seeds; none: no experts."""
        return {name: sum(row) / len(row) for name, row in self.weights_by_seed().items()}

    def weights_by_seed(self) -> dict[str, list[float]]:
        """Return each expert's mean weight over test samples in every run; none: no experts."""
        results = [run.result for run in self.runs.values()]
        found = [result["expert_weights"] for result in results if "expert_weights" in result]
        return {name: [row[name] for row in found] for name in (found[0] if found else ())}

    def evidence(self) -> list[MeanParts]:
        """Return mean parts in bits over runs, of each predicted thing; none: no such method."""
        from i2moe_plugin.interpretation import evidence

        outputs = [run.interpretable() for run in self.runs.values() if EVIDENCE in run.files]
        outputs = [one for one in outputs if len(one)]
        return evidence(outputs) if outputs else []


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
    def values(self) -> dict[int, float]:
        """The figure of each finished run, by seed; NaN where it is undefined."""
        return self.cell.values(self.metric)

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
                    where.append(f"{' '.join(cell.cell.key)} seed {attempt.seed}")
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
        shared = [seed for seed in ours if seed in theirs]
        if shared:
            comparison = compare(
                metric, [theirs[seed] for seed in shared], [ours[seed] for seed in shared]
            )
    figure = None
    if paper:
        settings = item.settings
        figure = find_figure(
            settings.dataset, settings.fusion, settings.method, metric, item.cell.variant
        )
    reason = "" if figure is None else _not_comparable(item, metric)
    return Entry(item, metric, reference, comparison, figure, reason)


def _value(result: Mapping[str, Any], metric: str) -> float:
    if metric == "seconds":
        value = result["seconds"]["total"]
    else:
        value = result.get(metric) if metric in COSTS else result["test"].get(metric)
    return math.nan if value is None else float(value)


def _not_comparable(item: CellRuns, metric: str) -> str:
    """Say why a figure is not to be held against the paper's; empty where nothing is known."""
    reasons = []
    if not item.published and metric not in COSTS:
        reasons.append("drawn sample")
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
        yield (
            f"▲ better, ▼ worse than the reference: paired t test over seeds, p < 0.05 after "
            f"Holm's correction over {counted(count, 'comparison')} in this table."
        )
        seeds = min(item.seeds for item in tested)
        if seeds < FEWEST_SEEDS:
            yield f"Fewer than {FEWEST_SEEDS} seeds in places: no verdict there."
        elif seeds < 6:
            yield f"{what_permutation_can(seeds).capitalize()}."
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
