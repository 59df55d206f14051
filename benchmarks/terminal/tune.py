"""What `tune` shows: its progress while it searches, each method's best settings afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from i2moe_plugin.benchmarks.grid.cells import Grid
from i2moe_plugin.benchmarks.statistics.metrics import format_value, method_title, metric_heading
from i2moe_plugin.benchmarks.terminal.output import plain_console
from i2moe_plugin.benchmarks.terminal.tables import Table as RichTable
from i2moe_plugin.benchmarks.terminal.verbosity import quiet
from i2moe_plugin.benchmarks.tuning.trials import Outcome
from i2moe_plugin.benchmarks.tuning.tuner import OnTrial, Tuned


@contextmanager
def tune_progress(grid: Grid, trials: int) -> Iterator[OnTrial]:
    """Show a bar over the trials of all methods; gives what :class:`Tuner` calls."""
    if quiet():
        yield lambda *_: None
        return
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("trials"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=plain_console(stderr=True),
        transient=True,
    )
    epochs = {cell.settings.method: cell.settings.epochs for cell in grid.cells}
    shares: dict[tuple[str, int], float] = {}
    with bar:
        task = bar.add_task("starting", total=trials * len(grid.cells))

        def update(method: str, number: int, message: int | Outcome) -> None:
            text = f"{method_title(method)} trial {number}"
            if isinstance(message, Outcome):
                shares[method, number] = 1.0
                text += f": {message.state}"
            else:
                steps = len(grid.seeds) * epochs[method]
                shares[method, number] = min(message / steps, 1.0)
            bar.update(task, completed=sum(shares.values()), description=text)

        yield update


def show_tuned(tuned: Tuned) -> None:
    """Show each method's best settings, what became of its trials, and how to use the recipe."""
    console, facts = plain_console(), tuned.facts
    seeds = ", ".join(map(str, facts["seeds"]))
    metric = facts["metric"]
    shown = RichTable(
        title=f"{facts['fusion']} on {facts['dataset']}: validation split, seeds {seeds}"
    )
    shown.add_column("")
    shown.add_column("loss" if metric == "loss" else metric_heading(metric), justify="right")
    shown.add_column("best settings")
    shown.add_column("trials: finished, pruned, failed", justify="right")
    for search in tuned.searches:
        found = facts["methods"][search.method]
        value = found["value"]
        shown.add_row(
            method_title(search.method),
            f"{value:.4f}" if metric == "loss" else format_value(metric, value),
            Text("\n".join(f"{key} {_short(one)}" for key, one in search.best.params.items())),
            ", ".join(str(found[state]) for state in ("finished", "pruned", "failed")),
        )
    console.print(shown)
    for search in tuned.searches:
        for reason, count in search.reasons.items():
            text = f"{method_title(search.method)}: {count} failed: {reason}"
            console.print(Text(text, style="yellow"))
    console.print("These figures chose the settings; they are no estimate of how well they do.")
    console.print(Text(f"Trials: {tuned.storage}"))
    options = f"--fusion {facts['fusion']} --dataset {facts['dataset']}"
    console.print(
        Text(f"Recipe: i2moe-bench run {options} --recipe {tuned.recipe}"), soft_wrap=True
    )


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
