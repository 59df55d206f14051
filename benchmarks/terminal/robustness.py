"""What `robustness` shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from i2moe_plugin.benchmarks.report.text import without_controls
from i2moe_plugin.benchmarks.robustness.summary import bare_notes, notes_of
from i2moe_plugin.benchmarks.statistics.metrics import (
    format_value,
    method_title,
    metric_heading,
)
from i2moe_plugin.benchmarks.terminal.output import plain_console
from i2moe_plugin.benchmarks.terminal.tables import Table, print_in_parts

SHOWN = (0.0, 0.2, 0.5, 1.0)  # levels
MARKED = "▲ better, ▼ worse than vanilla"
REST = (
    ": paired by seed and split, the 95 % interval of the difference excludes 0; not corrected "
    "for how many comparisons there are."
)


def show_curves(record: Mapping[str, Any]) -> None:
    """Show some levels of each curve, and both measures."""
    console, marked = plain_console(), False
    for group in record["groups"]:
        for name in dict.fromkeys(curve["modality"] for curve in group["curves"]):
            curves = [curve for curve in group["curves"] if curve["modality"] == name]
            marked |= any(map(_mark, curves))
            console.print(_curves(group, curves, record["levels"]))
        if group["reference"]:
            console.print(f"Effective robustness is against {group['reference']}.")
    console.print(
        "Relative: the area under the curve over levels 0 to 1. Effective: how much less the "
        "metric falls than the reference's, summed over the 11 levels; positive is more robust. "
        "Mean ± deviation over seeds and splits; docs/robustness.md."
    )
    if marked:
        console.print(f"{MARKED} of the relative robustness{REST}")
    for note in dict.fromkeys(notes_of(record)):
        console.print(Text(f"Note: {without_controls(note)}", style="yellow"))


def _curves(
    group: Mapping[str, Any], curves: Sequence[Mapping[str, Any]], levels: Sequence[float]
) -> Table:
    """Return the table of one modality, a row for each method."""
    metric, first = group["metric"], curves[0]
    kind = f", as {first['kind']}" if first["kind"] else ""
    title = f"{group['name']}: {first['modality']} corrupted{kind}; test {metric_heading(metric)}"
    table = Table(title=without_controls(title), title_justify="left")
    table.add_column("level")
    for heading in (*(f"{level:g}" for level in SHOWN), "relative", "effective"):
        table.add_column(heading, justify="right", no_wrap=True)
    for curve in curves:
        table.add_row(
            method_title(curve["method"]),
            *(format_value(metric, curve["mean"][levels.index(level)]) for level in SHOWN),
            f"{_mean(metric, curve['relative'])}{_mark(curve)}",
            _mean(metric, curve["effective"], "+"),
        )
    return table


def show_absence(record: Mapping[str, Any]) -> None:
    """Show a row for each subset of modalities, and a column for each method."""
    console = plain_console()
    for group in record["groups"]:
        methods = group["methods"]

        def part(chosen: slice, *, group: Any = group, methods: Any = methods) -> Table:
            title = f"{group['name']}: test {metric_heading(group['metric'])} by what is present"
            table = Table(title=without_controls(title), title_justify="left")
            table.add_column("present")
            for one in methods[chosen]:
                table.add_column(method_title(one["method"]), justify="right", no_wrap=True)
            for number, row in enumerate(methods[0]["subsets"]):
                cells = [one["subsets"][number] for one in methods[chosen]]
                shown = [f"{_mean(group['metric'], one)}{_mark(one)}" for one in cells]
                table.add_row(Text(without_controls(row["present"])), *shown)
            return table

        print_in_parts(console, len(methods), part)
        for one in methods:
            console.print(f"Absent, for {method_title(one['method'])}: {one['fill']}.")
        for note in bare_notes(group):
            console.print(Text(without_controls(f"Note: {note}"), style="yellow"))
        if any(_mark(row) for one in methods for row in one["subsets"]):
            console.print(f"{MARKED} with the same modalities{REST}")


def _mark(row: Mapping[str, Any]) -> str:
    verdict = (row["comparison"] or {}).get("verdict")
    return {"better": " ▲", "worse": " ▼"}.get(str(verdict), "")


def _mean(metric: str, found: Mapping[str, Any] | None, sign: str = "") -> str:
    if found is None:
        return ""
    mean = format_value(metric, found["mean"], sign)
    if found["deviation"] is None:
        return mean
    return f"{mean} ± {format_value(metric, found['deviation'])}"
