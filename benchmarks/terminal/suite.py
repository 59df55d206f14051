"""What the terminal shows of a suite: its progress while it runs, its table afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from i2moe_plugin.benchmarks.experiments.progress import epoch_lines
from i2moe_plugin.benchmarks.grid.cautions import cautions
from i2moe_plugin.benchmarks.grid.cells import Grid
from i2moe_plugin.benchmarks.grid.formats import (
    averaged_over,
    cell_text,
    column_name,
    row_name,
    simple_cells,
)
from i2moe_plugin.benchmarks.grid.runner import OnEvent
from i2moe_plugin.benchmarks.grid.runs import Attempt, CellRuns, State
from i2moe_plugin.benchmarks.grid.table import Table
from i2moe_plugin.benchmarks.statistics.metrics import format_value
from i2moe_plugin.benchmarks.terminal.output import plain_console
from i2moe_plugin.benchmarks.terminal.tables import Table as RichTable
from i2moe_plugin.benchmarks.terminal.tables import print_in_parts
from i2moe_plugin.benchmarks.terminal.verbosity import quiet, verbose
from i2moe_plugin.errors import counted

STYLES: dict[State, str] = {"failed": "red", "skipped": "yellow", "stopped": "yellow"}


@contextmanager
def suite_progress(grid: Grid) -> Iterator[OnEvent]:
    """Show a live table of all cells on a terminal; elsewhere a line for each run that ended."""
    if quiet():
        yield lambda *_: None
        return
    if verbose():
        with epoch_lines(grid) as on_event:
            yield on_event
        return
    console = plain_console(stderr=True)
    progress = _SuiteProgress(grid, console)
    if not console.is_terminal:
        yield progress.line
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:

        def update(cell: CellRuns, attempt: Attempt, epoch: dict[str, Any] | None) -> None:
            progress.note(cell, attempt, epoch)
            live.update(progress.render())

        yield update


class _SuiteProgress:
    """The cells as far as they have been heard of, and the run under way."""

    def __init__(self, grid: Grid, console: Console) -> None:
        self.grid, self.console = grid, console
        self.total = grid.runs
        self.cells: dict[tuple[str, ...], CellRuns] = {}
        self.rows = list(dict.fromkeys(cell.row for cell in grid.cells))
        self.datasets = list(dict.fromkeys(cell.settings.dataset for cell in grid.cells))
        self.now, self.epoch = "", ""
        self.current: tuple[str, ...] = self.rows[0] if self.rows else ()

    def note(self, cell: CellRuns, attempt: Attempt, epoch: dict[str, Any] | None) -> None:
        """Take in what :func:`GridRunner` tells."""
        self.cells[cell.cell.key] = cell
        self.current = cell.cell.row
        self.now = f"{' '.join(cell.cell.key)} {attempt}"
        self.epoch = f", epoch {epoch['epoch']} of {cell.settings.epochs}" if epoch else ""

    def line(self, cell: CellRuns, attempt: Attempt, epoch: dict[str, Any] | None) -> None:
        """Take it in, and print a line for a run that ended."""
        self.note(cell, attempt, epoch)
        if attempt.state not in ("waiting", "running"):
            text = f"[{self._ended()}/{self.total}] {self.now}: {attempt.state}"
            if attempt.reason:
                text += f": {attempt.reason}"
            elif value := _newest_value(cell, attempt):
                text += f": {value}"
            self.console.print(Text(text), soft_wrap=True)

    def render(self) -> Group:
        """Return what fits the screen of the table of cells, around where the work is."""
        shown = RichTable(title=f"{self.grid.title}: {self._ended()} of {self.total} runs")
        shown.add_column("")
        for dataset in self.datasets:
            shown.add_column(dataset, justify="right", no_wrap=True)
        room = max(self.console.height - 8, 4)
        start = max(0, min(self.rows.index(self.current) - room // 2, len(self.rows) - room))
        for row in self.rows[start : start + room]:
            cells = [self.cells.get((dataset, *row)) for dataset in self.datasets]
            shown.add_row(row_name(row), *map(_cell_progress, cells))
        return Group(shown, Text(f"{self.now}{self.epoch}", style="dim"))

    def _ended(self) -> int:
        states = [attempt.state for cell in self.cells.values() for attempt in cell.attempts]
        return sum(state not in ("waiting", "running") for state in states)


def show_suite(table: Table, folder: Path) -> None:
    """Show the table, its notes, why what is missing is missing, and where files are."""
    console = plain_console()
    over = averaged_over(table.grid)

    def part(columns: slice) -> RichTable:
        shown = RichTable(title=f"{table.grid.title}: mean ± deviation over {over}")
        shown.add_column("")
        for column in table.columns[columns]:
            shown.add_column(column_name(column), justify="right")
        for row in table.rows:
            cells = [table.entries.get((row, column)) for column in table.columns[columns]]
            shown.add_row(row_name(row), *map(Text, map(cell_text, cells)))
        for simple in simple_cells(table, table.columns[columns]):
            shown.add_row(*map(Text, simple), style="dim")
        return shown

    print_in_parts(console, len(table.columns), part)
    for note in () if quiet() else table.notes:
        console.print(Text(note, style="dim"))
    for caution in cautions(table):
        console.print(Text(f"Caution: {caution}", style="yellow"))
    for reason, where in table.reasons.items():
        console.print(
            Text(f"{reason} ({counted(len(where), 'run')}, {where[0]}, ...)", style="yellow")
        )
    if any(reason.startswith("failed") for reason in table.reasons):
        console.print("Failed runs are not counted; --retry tries them again.")
    if quiet():
        return
    again = f"; {table.reused} runs were finished before" if table.reused else ""
    name = f"{table.grid.name}.{{md,csv,tex,json}}"
    console.print(Text(f"Tables: {folder / 'suites' / name}{again}"))


def _cell_progress(cell: CellRuns | None) -> Text:
    if cell is None:
        return Text("")
    states, planned = cell.states, len(cell.attempts)
    done = states["finished"]
    text = Text(f"{done}/{planned}", style="green" if done == planned else "")
    for state, style in STYLES.items():
        if states[state]:
            text.append(f" {states[state]} {state}", style=style)
    values = [value for attempt in cell.attempts if (value := _newest_value(cell, attempt))]
    if values:
        text.append(f" {values[-1]}", style="dim")
    return text


def _newest_value(cell: CellRuns, attempt: Attempt) -> str:
    """Return the first metric of a finished run; nothing of another, or where it is undefined."""
    if attempt.run is None:
        return ""
    metric = cell.metrics[0]
    value = attempt.run.result["test"].get(metric)
    return "" if value is None else f"{metric} {format_value(metric, value)}"
