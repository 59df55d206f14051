"""What the terminal shows of a suite: its progress while it runs, its table afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table as Grid
from rich.text import Text

from i2moe_plugin.benchmarks.grid.formats import cell_text, column_name, row_name, shown
from i2moe_plugin.benchmarks.grid.runner import Attempt, CellRecord, OnEvent
from i2moe_plugin.benchmarks.grid.spec import Suite
from i2moe_plugin.benchmarks.grid.table import Table
from i2moe_plugin.benchmarks.terminal.run import COLUMNS

STYLES = {"finished": "green", "failed": "red", "skipped": "yellow", "stopped": "yellow"}


@contextmanager
def suite_progress(console: Console, suite: Suite) -> Iterator[OnEvent]:
    """A live table of all cells on a terminal; elsewhere a line for each run that ended."""
    shown_now = _Progress(suite, console)
    if not console.is_terminal:
        yield shown_now.line
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:

        def update(record: CellRecord, attempt: Attempt, epoch: dict[str, Any] | None) -> None:
            shown_now.take(record, attempt, epoch)
            live.update(shown_now.render())

        yield update


class _Progress:
    def __init__(self, suite: Suite, console: Console) -> None:
        self.suite, self.console = suite, console
        self.total = len(suite.cells) * len(suite.seeds)
        self.cells: dict[tuple[str, ...], CellRecord] = {}
        self.rows = list(dict.fromkeys(cell.row for cell in suite.cells))
        self.datasets = list(dict.fromkeys(cell.settings.dataset for cell in suite.cells))
        self.now, self.epoch = "", ""
        self.current: tuple[str, ...] = self.rows[0] if self.rows else ()

    def take(self, record: CellRecord, attempt: Attempt, epoch: dict[str, Any] | None) -> None:
        self.cells[record.cell.key] = record
        self.current = record.cell.row
        self.now = f"{' '.join(record.cell.key)} seed {attempt.seed}"
        self.epoch = f", epoch {epoch['epoch']} of {record.cell.settings.epochs}" if epoch else ""

    def line(self, record: CellRecord, attempt: Attempt, epoch: dict[str, Any] | None) -> None:
        self.take(record, attempt, epoch)
        if epoch is None and attempt.state not in ("waiting", "running"):
            text = f"[{self._ended()}/{self.total}] {self.now}: {attempt.state}"
            text += f": {attempt.reason}" if attempt.reason else _value(record, attempt)
            self.console.print(Text(text), soft_wrap=True)

    def render(self) -> Group:
        grid = Grid(title=f"{self.suite.title}: {self._ended()} of {self.total} runs")
        grid.add_column("")
        for dataset in self.datasets:
            grid.add_column(dataset, justify="right", no_wrap=True)
        # What fits the screen, around where the work is.
        room = max(self.console.height - 8, 4)
        start = max(0, min(self.rows.index(self.current) - room // 2, len(self.rows) - room))
        for row in self.rows[start : start + room]:
            cells = [self.cells.get((dataset, *row)) for dataset in self.datasets]
            grid.add_row(row_name(row), *map(_progress, cells))
        return Group(grid, Text(f"{self.now}{self.epoch}", style="dim"))

    def _ended(self) -> int:
        states = [a.state for record in self.cells.values() for a in record.attempts]
        return sum(state not in ("waiting", "running") for state in states)


def show_table(console: Console, table: Table, folder: Path, reused: int) -> None:
    """The table, its notes, why what is missing is missing, and where files are."""
    for start in range(0, len(table.columns), COLUMNS):
        columns = table.columns[start : start + COLUMNS]
        seeds = ", ".join(map(str, table.seeds))
        grid = Grid(title=f"{table.title}: mean ± deviation over seeds {seeds}")
        grid.add_column("")
        for column in columns:
            grid.add_column(column_name(table, column), justify="right")
        for row in table.rows:
            cells = [cell_text(table.entries.get((row, column))) for column in columns]
            grid.add_row(row_name(row), *map(Text, cells))
        console.print(grid)
    for note in table.notes:
        console.print(Text(note, style="dim"))
    for reason, where in table.reasons.items():
        console.print(Text(f"{reason} ({len(where)} runs, {where[0]}, ...)", style="yellow"))
    if any(reason.startswith("failed") for reason in table.reasons):
        console.print("Failed runs are not counted; --retry tries them again.")
    again = f"; {reused} runs were finished before" if reused else ""
    name = f"{table.name}.{{md,csv,tex,json}}"
    console.print(Text(f"Tables: {folder / 'suites' / name}{again}"))


def _progress(record: CellRecord | None) -> Text:
    if record is None:
        return Text("")
    states = [attempt.state for attempt in record.attempts]
    done = states.count("finished")
    text = Text(f"{done}/{len(states)}", style="green" if done == len(states) else "")
    for state in ("failed", "skipped", "stopped"):
        if state in states:
            text.append(f" {states.count(state)} {state}", style=STYLES[state])
    values = [_value(record, attempt) for attempt in record.attempts if attempt.result]
    if values:
        text.append(f" {values[-1].removeprefix(': ')}", style="dim")
    return text


def _value(record: CellRecord, attempt: Attempt) -> str:
    if attempt.result is None or not record.metrics:
        return ""
    metric = record.metrics[0]
    value = attempt.result["test"].get(metric)
    return "" if value is None else f": {metric} {shown(metric, value)}"
