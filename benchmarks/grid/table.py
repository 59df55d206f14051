"""From a suite's runs to its table: means, comparisons over all of it, the paper's figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from i2moe_plugin.benchmarks.grid.runner import COSTS, CellRecord, SuiteRecord
from i2moe_plugin.benchmarks.statistics.paired import (
    FEWEST_SEEDS,
    Comparison,
    compare,
    correct,
    summarise,
    what_permutation_can,
)
from i2moe_plugin.benchmarks.statistics.paper import Figure, find_figure
from i2moe_plugin.tasks import HIGHER_IS_BETTER

Column = tuple[str, str]


@dataclass(frozen=True)
class Entry:
    """One method's figure on one data set and metric.

    Attributes:
        row: backbone, method, choices of the grid.
        values: by seed, of finished runs alone; NaN where undefined.
        states: how many runs ended how.
        reasons: why some did not finish.
        reference: the row it is compared with.
        comparison: with that row, over the seeds that both finished; corrected over the table.
        paper: the reported figure.
        not_comparable: why ours must not be held against it; empty: nothing is known against it.
    """

    row: tuple[str, ...]
    dataset: str
    metric: str
    values: Mapping[int, float]
    states: Mapping[str, int]
    reasons: tuple[str, ...] = ()
    reference: tuple[str, ...] | None = None
    comparison: Comparison | None = None
    paper: Figure | None = None
    not_comparable: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    runs: tuple[str, ...] = ()

    @property
    def planned(self) -> int:
        """How many seeds there should be."""
        return sum(self.states.values())

    def as_dict(self) -> dict[str, Any]:
        """For JSON and CSV."""
        fusion, method, *variant = self.row
        summary = summarise(list(self.values.values())) if self.values else {"n": 0}
        return {
            "dataset": self.dataset,
            "fusion": fusion,
            "method": method,
            "variant": dict(choice.split("=", 1) for choice in variant),
            "metric": self.metric,
            "mean": summary.get("mean"),
            "deviation": summary.get("deviation"),
            "n": summary["n"],
            "planned": self.planned,
            "states": dict(self.states),
            "reasons": list(self.reasons),
            "values": {str(seed): value for seed, value in self.values.items()},
            "reference": " ".join(self.reference) if self.reference else None,
            "comparison": self.comparison.as_dict() if self.comparison else None,
            "paper": None
            if self.paper is None
            else {
                "value": self.paper.value,
                "deviation": self.paper.deviation,
                "table": self.paper.table,
                "note": self.paper.note,
                "not_comparable": self.not_comparable or None,
            },
            "settings": dict(self.settings),
            "runs": list(self.runs),
        }


@dataclass(frozen=True)
class Table:
    """A suite's figures: rows are methods, columns are data sets' metrics."""

    name: str
    title: str
    about: str
    seeds: tuple[int, ...]
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    entries: Mapping[tuple[tuple[str, ...], Column], Entry]
    notes: tuple[str, ...]
    reasons: Mapping[str, list[str]]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "suite": self.name,
            "title": self.title,
            "seeds": list(self.seeds),
            "notes": list(self.notes),
            "unfinished": {reason: list(where) for reason, where in self.reasons.items()},
            "entries": [entry.as_dict() for entry in self.entries.values()],
        }


def make_table(record: SuiteRecord) -> Table:
    """The table of a suite, whatever of it is finished."""
    suite = record.suite
    by_key = {item.cell.key: item for item in record.cells}
    entries: dict[tuple[tuple[str, ...], Column], Entry] = {}
    for item in record.cells:
        other = by_key.get(item.cell.reference_key(suite.reference) or ())
        for metric in item.metrics:
            place = (item.cell.row, (item.cell.settings.dataset, metric))
            entries[place] = _entry(item, metric, other, suite.paper)
    entries = _corrected(entries)
    columns = dict.fromkeys(column for _, column in entries)
    rows = dict.fromkeys(item.cell.row for item in record.cells)
    return Table(
        name=suite.name,
        title=suite.title,
        about=suite.about,
        seeds=suite.seeds,
        columns=tuple(columns),
        rows=tuple(rows),
        entries=entries,
        notes=tuple(_notes(record, list(entries.values()))),
        reasons=record.reasons(),
    )


def _entry(item: CellRecord, metric: str, other: CellRecord | None, paper: bool) -> Entry:
    settings = item.cell.settings
    values = _values(item, metric)
    states: dict[str, int] = {}
    for attempt in item.attempts:
        states[attempt.state] = states.get(attempt.state, 0) + 1
    comparison = None
    if other is not None and metric in HIGHER_IS_BETTER:
        theirs = _values(other, metric)
        shared = [seed for seed in values if seed in theirs]
        if shared:
            comparison = compare(
                metric, [theirs[seed] for seed in shared], [values[seed] for seed in shared]
            )
    names = (settings.dataset, settings.fusion, settings.method, metric)
    figure = find_figure(*names, item.cell.variant) if paper else None
    return Entry(
        row=item.cell.row,
        dataset=settings.dataset,
        metric=metric,
        values=values,
        states=states,
        reasons=tuple(dict.fromkeys(a.reason for a in item.attempts if a.reason)),
        reference=None if other is None else other.cell.row,
        comparison=comparison,
        paper=figure,
        not_comparable=_against(item, metric) if figure is not None else "",
        settings=settings.model_dump(exclude={"seed"}),
        runs=tuple(a.run for a in item.attempts if a.run and a.state == "finished"),
    )


def _values(item: CellRecord, metric: str) -> dict[int, float]:
    return {seed: _value(result, metric) for seed, result in item.counted().items()}


def _value(result: Mapping[str, Any], metric: str) -> float:
    if metric == "seconds":
        value = result["seconds"]["total"]
    else:
        value = result.get(metric) if metric in COSTS else result["test"].get(metric)
    return math.nan if value is None else float(value)


def _against(item: CellRecord, metric: str) -> str:
    """Why a figure is not to be held against the paper's; empty where nothing is known."""
    reasons = []
    if not item.published and metric not in COSTS:
        reasons.append("drawn sample")
    if item.cell.altered:
        reasons.append(f"other settings: {', '.join(item.cell.altered)}")
    return "; ".join(reasons)


def _corrected(
    entries: dict[tuple[tuple[str, ...], Column], Entry],
) -> dict[tuple[tuple[str, ...], Column], Entry]:
    compared = {place: e.comparison for place, e in entries.items() if e.comparison is not None}
    corrected = dict(zip(compared, correct(list(compared.values())), strict=True))
    return {
        place: replace(entry, comparison=corrected.get(place)) for place, entry in entries.items()
    }


def _notes(record: SuiteRecord, entries: list[Entry]) -> list[str]:
    notes = [
        f"{item.cell.settings.dataset}: {note}" for item in record.cells for note in item.notes
    ]
    tested = [entry.comparison for entry in entries if entry.comparison is not None]
    if tested:
        count = sum(item.p_adjusted is not None for item in tested)
        notes.append(
            f"▲ better, ▼ worse than the reference: paired t test over seeds, p < 0.05 after "
            f"Holm's correction over the {count} comparisons of this table."
        )
        seeds = min(item.seeds for item in tested)
        if seeds < FEWEST_SEEDS:
            notes.append(f"Fewer than {FEWEST_SEEDS} seeds in places: no verdict there.")
        elif seeds < 6:
            notes.append(f"{what_permutation_can(seeds).capitalize()}.")
    figures = [entry for entry in entries if entry.paper is not None]
    if figures:
        notes.append(
            "[ ]: the paper's figure, a mean over 3 seeds; * marks one that ours must not "
            "be held against."
        )
    for entry in figures:
        assert entry.paper is not None
        where = f"{entry.paper.table}, {' '.join(entry.row)} on {entry.dataset}"
        if entry.not_comparable:
            notes.append(f"* {entry.dataset}: {entry.not_comparable}: not comparable.")
        if entry.paper.note:
            notes.append(f"{where}: {entry.paper.note}.")
    return list(dict.fromkeys(notes))
