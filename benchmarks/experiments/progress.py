"""The progress of an experiment's runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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
from i2moe_plugin.benchmarks.grid.table import Attempt, CellRuns
from i2moe_plugin.benchmarks.statistics.metrics import method_title, metric_heading


@contextmanager
def epoch_progress(grid: Grid) -> Iterator[OnEvent]:
    """Show a bar over all runs of a grid; gives what :func:`GridRunner` calls."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("runs"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    total = len(grid.seeds) * len(grid.cells)
    shares: dict[tuple[tuple[str, ...], int], float] = {}
    with bar:
        task = bar.add_task("starting", total=total)

        def update(cell: CellRuns, attempt: Attempt, epoch: dict[str, Any] | None) -> None:
            settings = cell.settings
            text = f"{method_title(settings.method)} seed {attempt.seed}: "
            share = shares.get(place := (cell.cell.key, attempt.seed), 0.0)
            if epoch is not None:
                share = epoch["epoch"] / settings.epochs
                value = epoch["valid"].get(cell.selection, float("nan"))
                text += f"epoch {epoch['epoch']}, validation {metric_heading(cell.selection)} "
                text += f"{value:.3f}"
            elif attempt.state not in ("waiting", "running"):
                share = 1.0
                text += "finished before" if attempt.reused else attempt.state
            shares[place] = share
            bar.update(task, completed=sum(shares.values()), description=text)

        yield update
