"""What `compare` shows."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from i2moe_plugin.benchmarks.experiments.across import ComparedAcross
from i2moe_plugin.benchmarks.experiments.comparing import Compared
from i2moe_plugin.benchmarks.grid.formats import latex_table, pipe_table
from i2moe_plugin.benchmarks.report.text import without_controls
from i2moe_plugin.benchmarks.statistics.metrics import (
    format_interval,
    format_mean,
    format_range,
    format_value,
    metric_heading,
)
from i2moe_plugin.benchmarks.terminal.output import plain_console
from i2moe_plugin.benchmarks.terminal.tables import Table
from i2moe_plugin.benchmarks.terminal.verbosity import quiet


def show_comparison(found: Compared, title: str = "") -> None:
    """Show a row for each group, and what came out in sentences."""
    console = plain_console()
    head, rows = _cells(found)
    table = Table(title=title or None)
    for column in head:
        plain = column == ""
        table.add_column(column, justify="left" if plain else "right", no_wrap=not plain)
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)
    for sentence in dict.fromkeys(one.about for one in found.sampling.values()):
        console.print(Text(sentence, style="dim"))
    _print_verdict(console, found.verdict)
    for note in () if quiet() else found.notes:
        console.print(Text(f"Note: {without_controls(note)}", style="yellow"))


def formatted(found: Compared | ComparedAcross, form: str) -> str:
    """Write a comparison as ``markdown``, ``latex`` or ``csv``, with what came out in sentences."""
    if form == "csv":
        return str(found.table.to_csv(index=False, lineterminator="\n"))
    several = {"": found} if isinstance(found, Compared) else found.by_dataset
    lines = []
    for dataset, one in several.items():
        head, rows = _cells(one)
        name = without_controls(dataset)
        if form == "markdown":
            lines += [*([f"## {name}", ""] if name else []), *pipe_table(head, rows), ""]
        else:
            lines += [*([f"% {name}"] if name else []), *latex_table(head, rows)]
    mark = "- " if form == "markdown" else "% "
    notes = [note for one in several.values() for note in one.notes]
    said = [*found.verdict.splitlines(), *dict.fromkeys(notes)]
    return "\n".join([*lines, *(f"{mark}{without_controls(line)}" for line in said)]) + "\n"


def _cells(found: Compared) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of a comparison, as text."""
    head = ["", metric_heading(found.metric), "over samples", "runs", "diff.", "95 % interval"]
    rows = []
    for name, values in found.values.items():
        item = found.comparisons.get(name)
        rows.append(
            [
                without_controls(name),
                format_mean(found.metric, list(values.values())),
                format_range(found.metric, found.sample_interval(name)),
                str(len(values)),
                format_value(found.metric, item.difference, "+") if item else "",
                format_interval(item) if item else "",
            ]
        )
    return head, rows


def show_across(found: ComparedAcross) -> None:
    """Show the comparison on each data set, then what came out over them."""
    for dataset, one in found.by_dataset.items():
        show_comparison(one, without_controls(dataset))
    if found.ranking is not None:
        for line in found.ranking.sentences:
            plain_console().print(Text(without_controls(line)))


def _print_verdict(console: Console, lines: str) -> None:
    for line in lines.splitlines():
        console.print(Text(f"Verdict: {without_controls(line)}"))
