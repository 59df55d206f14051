"""The progress of an experiment's runs: a bar in a terminal, a line in a notebook, or a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from i2moe_plugin.benchmarks.grid.cells import Grid
from i2moe_plugin.benchmarks.grid.runner import OnEvent
from i2moe_plugin.benchmarks.grid.runs import Attempt, CellRuns
from i2moe_plugin.benchmarks.statistics.metrics import format_value, method_title, metric_heading
from i2moe_plugin.errors import counted

#: What shows where a grid is: runs that are done, how many of how many and in words; and whether
#: one has just ended.
Show = Callable[[float, str, bool], None]
#: Seconds between two changes of a notebook's line.
OFTEN = 0.3


def shown_progress(
    kind: bool | Literal["epochs"],
) -> Callable[[Grid], AbstractContextManager[OnEvent]]:
    """Return what shows a grid's runs: a bar, a line for each epoch (``epochs``), or nothing."""
    if kind == "epochs":
        return epoch_lines
    return epoch_progress if kind else lambda _: nullcontext(lambda *_: None)


@contextmanager
def epoch_lines(_grid: Grid) -> Iterator[OnEvent]:
    """Write a line for each epoch and each run that ended; gives what :func:`GridRunner` calls."""
    console = Console(stderr=True, highlight=False)

    def update(cell: CellRuns, attempt: Attempt, epoch: dict[str, Any] | None) -> None:
        if text := event_line(cell, attempt, epoch):
            console.print(text, soft_wrap=True, markup=False)

    yield update


def event_line(cell: CellRuns, attempt: Attempt, epoch: dict[str, Any] | None) -> str:
    """Say what a runner tells, in a line: losses of an epoch, or how a run ended."""
    name = f"{' '.join(cell.cell.key)} seed {attempt.seed}"
    if epoch is not None:
        train = {key: value for key, value in epoch["train"].items() if key != "weights"}
        parts = {"train": train, "valid": epoch["valid"]}
        said = (
            f"{part} " + ", ".join(f"{key} {_number(value)}" for key, value in values.items())
            for part, values in parts.items()
        )
        return f"{name} epoch {epoch['epoch']}: {'; '.join(said)} ({epoch['seconds']:.2f} s)"
    if attempt.state in ("waiting", "running"):
        return ""
    again = " before" if attempt.reused else ""
    where = f": {attempt.run.path}" if attempt.run is not None else ""
    reason = f": {attempt.reason}" if attempt.reason else ""
    return f"{name} {attempt.state}{again}{where}{reason}"


def _number(value: Any) -> str:
    """Write a number, or those of several experts."""
    return "/".join(map(_number, value)) if isinstance(value, list) else f"{value:.4g}"


@contextmanager
def epoch_progress(grid: Grid) -> Iterator[OnEvent]:
    """Show how far the runs of a grid are; gives what :class:`GridRunner` calls."""
    total = grid.runs
    console = Console(stderr=True)
    shown = _bar if console.is_terminal else _notebook if console.is_jupyter else _lines
    shares: dict[tuple[tuple[str, ...], int | str], float] = {}
    several = {(cell.settings.dataset, cell.settings.fusion) for cell in grid.cells}
    with shown(console, total) as show:

        def update(cell: CellRuns, attempt: Attempt, epoch: dict[str, Any] | None) -> None:
            place = (cell.cell.key, attempt.place)
            if epoch is not None:
                shares[place] = epoch["epoch"] / cell.settings.epochs
            ended = epoch is None and attempt.state not in ("waiting", "running")
            if ended:
                shares[place] = 1.0
            subject = f"{' '.join(cell.cell.key[:2])} " if len(several) > 1 else ""
            show(sum(shares.values()), subject + _where(cell, attempt, epoch), ended)

        yield update


def _where(cell: CellRuns, attempt: Attempt, epoch: dict[str, Any] | None) -> str:
    """Say where a run is: short enough that a bar fits beside it into 80 columns."""
    text = f"{method_title(cell.settings.method)} {attempt}"
    metric = cell.selection
    if epoch is not None:
        value = epoch["valid"].get(metric)
        heading = metric_heading(metric)
        said = format_value(metric, value)
        return f"{text}, epoch {epoch['epoch']}: valid. {heading} {said}"
    if attempt.state in ("waiting", "running"):
        return text
    if attempt.run is None:
        return f"{text}: {attempt.state}"
    metric = cell.metrics[0]
    value = attempt.run.result["test"].get(metric)
    done = "finished before" if attempt.reused else "finished"
    return f"{text}: {done}, test {metric_heading(metric)} {format_value(metric, value)}"


@contextmanager
def _bar(console: Console, total: int) -> Iterator[Show]:
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None if console.width > 100 else 8),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        *([TextColumn("left"), TimeRemainingColumn()] if console.width > 100 else []),
        console=console,
        transient=True,
        expand=console.width > 100,
    )
    with bar:
        task = bar.add_task("starting", total=total)
        yield lambda done, text, _: bar.update(task, completed=done, description=text)


@contextmanager
def _notebook(_: Console, total: int) -> Iterator[Show]:
    """Change one line of the cell's output, which needs no widgets."""
    from IPython.display import Markdown, display

    line = display(Markdown("starting"), display_id=True)
    last = 0.0

    def show(done: float, text: str, ended: bool) -> None:
        nonlocal last
        if ended or time.monotonic() - last > OFTEN:
            last = time.monotonic()
            line.update(Markdown(f"{done:.1f} of {total} runs. {text}"))

    yield show
    line.update(Markdown(counted(total, "run")))


@contextmanager
def _lines(console: Console, total: int) -> Iterator[Show]:
    """Print a line for each run that has ended: for files and pipes."""
    count = 0

    def show(_: float, text: str, ended: bool) -> None:
        nonlocal count
        if ended:
            count += 1
            console.print(f"{count}/{total} {text}", highlight=False, markup=False, soft_wrap=True)

    yield show
