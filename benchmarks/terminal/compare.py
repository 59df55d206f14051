"""What `compare` shows."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from i2moe_plugin.benchmarks.experiments.across import ComparedAcross
from i2moe_plugin.benchmarks.experiments.comparing import Compared
from i2moe_plugin.benchmarks.report.text import without_controls
from i2moe_plugin.benchmarks.statistics.metrics import (
    format_interval,
    format_mean,
    format_range,
    format_value,
    metric_heading,
)


def show_comparison(found: Compared, title: str = "") -> None:
    """Show a row for each group, and what came out in sentences."""
    console = Console()
    table = Table(title=title or None)
    table.add_column("")
    table.add_column(metric_heading(found.metric), justify="right", no_wrap=True)
    table.add_column("over samples", justify="right", no_wrap=True)
    table.add_column("runs", justify="right")
    table.add_column("diff.", justify="right", no_wrap=True)
    table.add_column("95 % interval", justify="right", no_wrap=True)
    for name, values in found.values.items():
        item = found.comparisons.get(name)
        table.add_row(
            Text(without_controls(name)),
            format_mean(found.metric, list(values.values())),
            format_range(found.metric, found.sample_interval(name)),
            str(len(values)),
            format_value(found.metric, item.difference, "+") if item else "",
            format_interval(item) if item else "",
        )
    console.print(table)
    for sentence in dict.fromkeys(one.about for one in found.sampling.values()):
        console.print(Text(sentence, style="dim"))
    _print_verdict(console, found.verdict)
    for note in found.notes:
        console.print(Text(f"Note: {without_controls(note)}", style="yellow"))


def show_across(found: ComparedAcross) -> None:
    """Show the comparison on each data set, then what came out over them."""
    for dataset, one in found.by_dataset.items():
        show_comparison(one, without_controls(dataset))
    if found.ranking is not None:
        for line in found.ranking.sentences:
            Console().print(Text(without_controls(line)))


def _print_verdict(console: Console, lines: str) -> None:
    for line in lines.splitlines():
        console.print(Text(f"Verdict: {without_controls(line)}"))
