"""Runs on disk as a table: those that belong together are grouped, and their methods compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from i2moe_plugin.benchmarks.grid.cells import Cell, Grid
from i2moe_plugin.benchmarks.grid.runs import Attempt, CellRuns, test_share
from i2moe_plugin.benchmarks.grid.table import Entry, Table, make_table
from i2moe_plugin.benchmarks.run.settings import RunSettings
from i2moe_plugin.benchmarks.run.store import Run
from i2moe_plugin.benchmarks.statistics.metrics import (
    format_interval,
    format_mean,
    format_range,
    format_value,
    method_title,
    metric_heading,
    verdict_words,
)
from i2moe_plugin.benchmarks.statistics.paired import summarise


@dataclass(frozen=True)
class Group:
    """The cells of one data set, backbone and setting: they differ in the method alone.

    Attributes:
        name: in words; tells groups apart that differ in a setting alone.
        cells: one a method.
        table: the table of all groups.
    """

    name: str
    cells: list[CellRuns]
    table: Table

    def runs(self) -> Iterator[Run]:
        """Give its runs by method and seed: what has experts first, since there is more to see."""
        for cell in sorted(self.cells, key=_is_vanilla):
            yield from cell.runs.values()


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Return the groups of runs, in the order of their first; a run met twice counts once."""
    # configuration -> method -> split and seed
    alike: dict[str, dict[str, dict[int | str, Run]]] = {}
    for run in runs:
        methods = alike.setdefault(run.configuration, {})
        methods.setdefault(run.method, {}).setdefault(run.place, run)
    firsts = [next(iter(next(iter(methods.values())).values())) for methods in alike.values()]
    names = [f"{run.settings['fusion']} on {run.settings['dataset']}" for run in firsts]
    groups: dict[str, list[CellRuns]] = {}
    for place, methods in enumerate(alike.values()):
        name, variant = names[place], {}
        if names.count(name) > 1:
            variant = {"settings": names[: place + 1].count(name)}
            name += f", settings {variant['settings']}"
        metrics = run_metrics(firsts[place])
        groups[name] = [_cell(by_place, variant, metrics) for by_place in methods.values()]
    cells = [cell for group in groups.values() for cell in group]
    table = make_table(Grid("report", "", (), tuple(cell.cell for cell in cells)), cells)
    return [Group(name, own, table) for name, own in groups.items()]


def run_metrics(run: Run) -> tuple[str, ...]:
    """Return the metrics of a run, the one that methods are compared by first."""
    test = [name for name in run.result["test"] if name != "loss"]
    first = run.result.get("headline", run.result["metric"])  # older runs: what chose the epoch
    return tuple(dict.fromkeys([first, *test] if first in test else test))


def comparison_rows(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Return the comparison table: a row for each group, method and metric.

    A cell is text, or ``(text, what it is sorted by)``.
    """
    return [
        _row(group, entry)
        for group in groups
        for cell in sorted(group.cells, key=_is_vanilla, reverse=True)
        for entry in group.table.of(cell)
    ]


def verdict_sentence(group: Group) -> str:
    """Say what came out on the headline metric."""
    parts = []
    for cell in group.cells:
        item = group.table.of(cell)[0].comparison
        if item is not None:
            words = verdict_words(item, cell.settings.method, "vanilla")
            parts.append(f"{words} ({item.rests_on})")
    if not parts:
        return f"{group.name}: nothing to compare; vanilla and another method are needed."
    return f"{group.name}: {'; '.join(parts)}."


def _cell(
    by_place: dict[int | str, Run], variant: dict[str, Any], metrics: tuple[str, ...]
) -> CellRuns:
    """Return the cell of a configuration's method. Settings of older versions are not checked."""
    runs = sorted(by_place.values(), key=lambda run: (run.split, run.seed))
    settings = [RunSettings.model_construct(**run.settings) for run in runs]
    attempts = [
        Attempt(one, "finished", run.name, run=run) for one, run in zip(settings, runs, strict=True)
    ]
    cell = CellRuns(Cell(settings[0], variant=variant), attempts, metrics)
    cell.test_share = test_share(runs[0])
    return cell


def _is_vanilla(cell: CellRuns) -> bool:
    return cell.settings.method == "vanilla"


def _row(group: Group, entry: Entry) -> dict[str, Any]:
    values, item, metric = list(entry.values.values()), entry.comparison, entry.metric
    difference: tuple[str, float | None] = ("", None)
    if item is not None:
        difference = (format_value(metric, item.difference, "+"), item.difference)
    return {
        "runs": group.name,
        "method": method_title(entry.cell.settings.method),
        "metric": metric_heading(metric),
        "headline": metric == entry.cell.metrics[0],
        "seeds": len(values),
        "value": (format_mean(metric, values), summarise(values)["mean"]),
        "over_samples": format_range(metric, entry.sample_interval),
        "difference": difference,
        "interval": format_interval(item) if item else "",
        "verdict": item.verdict if item else "",
    }
