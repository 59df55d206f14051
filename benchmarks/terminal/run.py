"""What `run` shows: the methods of one backbone on one data set compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from i2moe_plugin.benchmarks.experiments.experiment import verdict_sentence
from i2moe_plugin.benchmarks.grid.cautions import cautions
from i2moe_plugin.benchmarks.grid.runs import CellRuns
from i2moe_plugin.benchmarks.grid.table import Entry, Table
from i2moe_plugin.benchmarks.report.text import without_controls
from i2moe_plugin.benchmarks.run.defaults import said_of
from i2moe_plugin.benchmarks.statistics.metrics import (
    format_interval,
    format_mean,
    format_range,
    format_value,
    method_title,
    metric_heading,
)
from i2moe_plugin.benchmarks.statistics.paired import summarise
from i2moe_plugin.benchmarks.terminal.output import plain_console
from i2moe_plugin.benchmarks.terminal.tables import Table as RichTable
from i2moe_plugin.benchmarks.terminal.tables import print_in_parts
from i2moe_plugin.benchmarks.terminal.verbosity import quiet, verbose
from i2moe_plugin.errors import counted
from i2moe_plugin.interpretation.mean_parts import CLAIMED, DEFINITION, in_bits

if TYPE_CHECKING:
    from i2moe_plugin.interpretation import MeanParts

MOST_OUTPUTS = 3  # labels or values whose parts are shown
VERDICT_STYLE = {"better": "bold green", "worse": "bold red"}


def show_methods(table: Table) -> None:
    """Show the table of a backbone's methods, and what came out in sentences."""
    console, metrics = plain_console(), table.cells[0].metrics
    print_in_parts(
        console, len(metrics), lambda part: _metrics_table(table, part, titled=not part.start)
    )
    about = (cell.sampling.about for cell in table.cells if cell.sampling is not None)
    for sentence in dict.fromkeys(about):
        console.print(Text(sentence, style="dim"))
    for cell in table.cells:
        headline = table.of(cell)[0]
        if headline.comparison is not None:
            console.print(_verdict(headline))
    for cell in () if quiet() else table.cells:
        method, weights = cell.settings.method, cell.weights_by_seed()
        if method == "ensemble" or len(weights) < 2:
            continue  # nothing was learned there
        whose = "" if method == "i2moe" else f" of {method_title(method)}"
        console.print(
            f"Mean weight of each expert{whose}{_over(weights, table)}: "
            + ", ".join(f"{name} {_weight(values)}" for name, values in weights.items())
        )
    for cell in table.cells:
        show_evidence(console, cell.evidence())
    for caution in cautions(table):
        console.print(Text(f"Caution: {caution}", style="yellow"))
    if quiet():
        return
    console.print(f"Cost: {'; '.join(map(_cost, table.cells))}")
    noted = (f"{one.name}: {one.note}." for one in table.baselines if one.note)
    by_size = said_of(table.cells[0].settings, table.cells[0].cell.sources)
    said = dict.fromkeys(note for cell in table.cells for note in cell.every_note)
    for note in (*said, *noted, *([f"{by_size}."] if by_size else [])):
        console.print(Text(f"Note: {note}", style="yellow"))
    runs = [run for cell in table.cells for run in cell.runs.values()]
    again = f" ({table.reused} finished before)" if table.reused else ""
    console.print(Text(f"Runs: {len(runs)} in {runs[0].path.parent}{again}"))
    if verbose():
        _show_settings(console, table)


def _show_settings(console: Console, table: Table) -> None:
    """Show every setting that runs share, with where it comes from."""
    cell = table.cells[0]
    shown = RichTable(title="Settings", title_justify="left")
    for name in ("setting", "value", "from"):
        shown.add_column(name, overflow="fold")
    values = cell.settings.model_dump(exclude={"method", "seed"})
    nested = [name for name, value in values.items() if isinstance(value, dict)]
    for part in nested:
        prefix = part.removesuffix("_settings")
        values |= {f"{prefix}.{key}": value for key, value in values.pop(part).items()}
    for name, value in values.items():
        shown.add_row(name, Text(str(value)), Text(cell.cell.sources.get(name, "default")))
    console.print(shown)


def show_evidence(console: Console, found: Sequence[MeanParts]) -> None:
    """Show parts in bits with their errors, and what may be claimed of them."""
    for one in found[:MOST_OUTPUTS]:
        about = f" about {without_controls(one.output)}" if one.output else ""
        runs = counted(one.runs, "run")
        title = (
            f"What carried the prediction{about}: bits, {DEFINITION} definition, mean over "
            f"{one.tested} and {runs}; calibrated on {one.validated}"
        )
        table = RichTable(title=title, title_justify="left")
        table.add_column("part")
        table.add_column("bits ± error", justify="right", no_wrap=True)
        table.add_column("")
        names, values = (*one.parts, "total"), (*one.bits, one.total)
        columns = names, values, (*one.errors, one.total_error), one.states
        for name, bits, error, state in zip(*columns, strict=True):
            bar = "█" * max(0, round(20 * float(bits) / max(one.total, 1e-9)))
            words = bar[:24] if state == CLAIMED else state
            value = f"{in_bits(bits)} ± {error:.3f}"
            style = "" if state == CLAIMED else "dim"
            table.add_row(Text(without_controls(name)), value, words, style=style)
        console.print(table)
        for sentence in one.sentences():
            console.print(Text(f"· {without_controls(sentence)}"))
    if len(found) > MOST_OUTPUTS:
        console.print(f"And {len(found) - MOST_OUTPUTS} more outputs: --json has all of them.")


def _metrics_table(table: Table, columns: slice, titled: bool) -> RichTable:
    """Return every method's values of some metrics, and their differences."""
    title = f"{table.grid.title}: test split, mean ± deviation over {table.grid.repeats}"
    metrics = table.cells[0].metrics[columns]
    shown = RichTable(title=title if titled else None)
    shown.add_column("", min_width=15)
    for metric in metrics:
        shown.add_column(metric_heading(metric), justify="right", no_wrap=True)
    for cell in table.cells:
        values = [list(cell.values(metric).values()) for metric in metrics]
        shown.add_row(_title(cell), *map(format_mean, metrics, values))
        over_samples = [entry.sample_interval for entry in table.of(cell)[columns]]
        if any(over_samples):
            shown.add_row("  95 % over samples", *map(format_range, metrics, over_samples))
    for baseline in table.baselines:
        cells = [format_value(metric, baseline.test[metric]) for metric in metrics]
        shown.add_row(baseline.name, *cells, style="dim")
    for cell in table.cells:
        compared = [entry.comparison for entry in table.of(cell)[columns]]
        if any(compared):
            shown.add_section()
            shown.add_row(
                f"{_title(cell)} − {_reference(table)}",
                *(
                    format_value(item.metric, item.difference, "+") if item else ""
                    for item in compared
                ),
            )
            intervals = [format_interval(item) if item else "" for item in compared]
            if any(intervals):
                shown.add_row("95 % interval", *intervals)
    return shown


def _over(weights: dict[str, list[float]], table: Table) -> str:
    over = "seeds" if len(table.grid.splits) == 1 else table.grid.repeats
    return f" ± deviation over {over}" if len(next(iter(weights.values()))) > 1 else ""


def _weight(values: list[float]) -> str:
    mean, deviation, _ = summarise(values).values()
    return f"{mean:.2f}" if deviation is None else f"{mean:.2f} ± {deviation:.2f}"


def _title(cell: CellRuns) -> str:
    return method_title(cell.settings.method)


def _reference(table: Table) -> str:
    return method_title(str(table.grid.reference))


def _cost(cell: CellRuns) -> str:
    parameters, seconds = (list(cell.values(cost).values()) for cost in ("parameters", "seconds"))
    mean = sum(seconds) / len(seconds)
    cost = format_value("seconds", mean)
    return f"{_title(cell)} {parameters[0]:,.0f} parameters, {cost} s a run"


def _verdict(entry: Entry) -> Text:
    item, reference = entry.comparison, entry.reference
    assert item is not None
    assert reference is not None
    words, rests_on = verdict_sentence(item, entry.cell.settings.method, reference.settings.method)
    text = Text("Verdict: ")
    text.append(words, style=VERDICT_STYLE.get(item.verdict, "bold"))
    text.append(rests_on)
    return text
