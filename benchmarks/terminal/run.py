"""What the terminal shows: progress while a job runs, its tables afterwards."""

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
from rich.table import Table
from rich.text import Text

from i2moe_plugin.benchmarks.grid.job import JobResult
from i2moe_plugin.benchmarks.grid.job import Progress as JobProgress
from i2moe_plugin.benchmarks.run.settings import Method, RunSettings
from i2moe_plugin.benchmarks.statistics.paired import Comparison, summarise

METRIC_NAMES = {
    "accuracy": "accuracy %",
    "accuracy_nonzero": "without zeros %",
    "macro_f1": "macro F1 %",
    "micro_f1": "micro F1 %",
    "auroc": "AUROC %",
    "auprc": "AUPRC %",
    "mae": "MAE",
    "mse": "MSE",
    "correlation": "correlation",
}
COLUMNS = 3  # metrics side by side: what 80 characters hold
VERDICT_STYLE = {"better": "bold green", "worse": "bold red"}


@contextmanager
def job_progress(console: Console, total_epochs: int, metric: str) -> Iterator[JobProgress]:
    """A progress bar over all epochs of a job; yields what the job calls."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    with bar:
        task = bar.add_task("starting", total=total_epochs)

        def update(settings: RunSettings, record: dict[str, Any] | None) -> None:
            label = f"{method_name(settings.method)} seed {settings.seed}"
            if record is None:
                bar.update(task, advance=settings.epochs, description=f"{label}: finished before")
                return
            value = record["valid"].get(metric, float("nan"))
            name = METRIC_NAMES.get(metric, metric)
            bar.update(task, advance=1, description=f"{label}: validation {name} {value:.3f}")

        yield update


def show_job(console: Console, job: JobResult) -> None:
    """The tables and sentences of a finished job."""
    names = job.metrics()
    for start in range(0, len(names), COLUMNS):
        console.print(_table(job, names[start : start + COLUMNS], titled=not start))
    for method, items in job.comparisons.items():
        console.print(_verdict(items[job.metric], method, job.reference))
    for method, weights in job.expert_weights().items():
        if method == "ensemble" or len(weights) == 1:
            continue  # nothing was learned there
        whose = "" if method == "i2moe" else f" of {method_name(method)}"
        console.print(
            f"Mean weight of each expert{whose}: "
            + ", ".join(f"{name} {value:.2f}" for name, value in weights.items())
        )
    costs = []
    for method, results in job.results.items():
        seconds = sum(result["seconds"]["total"] for result in results) / len(results)
        costs.append(
            f"{method_name(method)} {results[0]['parameters']:,} parameters, {seconds:.1f} s a run"
        )
    console.print(f"Cost: {'; '.join(costs)}")
    for note in job.notes:
        console.print(Text(f"Note: {note}", style="yellow"))
    folder = next(iter(job.runs.values()))[0].path.parent
    again = f" ({job.reused} finished before)" if job.reused else ""
    console.print(Text(f"Runs: {sum(map(len, job.runs.values()))} in {folder}{again}"))


def _table(job: JobResult, names: list[str], titled: bool) -> Table:
    """Every method's values of these metrics, and their differences."""
    seeds = f"{len(job.seeds)} seed{'s' * (len(job.seeds) != 1)}"
    title = f"{job.fusion} on {job.dataset}: test split, mean ± deviation over {seeds}"
    table = Table(title=title if titled else None)
    table.add_column("", min_width=15)
    for name in names:
        table.add_column(METRIC_NAMES.get(name, name), justify="right", no_wrap=True)
    for method in job.results:
        table.add_row(
            method_name(method),
            *(mean_and_deviation(name, job.values(method, name)) for name in names),
        )
    if job.linear is not None:
        cells = [number(name, job.linear["test"][name]) for name in names]
        table.add_row("logistic regression", *cells, style="dim")
    for method, found in job.comparisons.items():
        items = [found[name] for name in names]
        table.add_section()
        table.add_row(
            f"{method_name(method)} − {method_name(job.reference)}",
            *(number(item.metric, item.difference, "+") for item in items),
        )
        table.add_row("95 % interval", *map(interval, items))
    return table


def method_name(method: Method) -> str:
    """As people write it."""
    return "I2MoE" if method == "i2moe" else method


def _verdict(item: Comparison, method: Method, reference: Method) -> Text:
    name = METRIC_NAMES.get(item.metric, item.metric).removesuffix(" %")
    one, other = method_name(method), method_name(reference)
    sentences = {
        "better": f"{one} is better than {other} on {name}",
        "worse": f"{one} is worse than {other} on {name}",
        "no difference shown": f"no difference shown between {one} and {other} on {name}",
        "too few seeds to tell": "too few seeds to tell: at least 3 are needed",
    }
    text = Text("Verdict: ")
    text.append(sentences[item.verdict], style=VERDICT_STYLE.get(item.verdict, "bold"))
    text.append(
        f" (paired over {item.seeds} seeds, on this one split)." if item.low is not None else "."
    )
    return text


def mean_and_deviation(name: str, values: list[float]) -> str:
    """Over seeds."""
    mean, deviation, _ = summarise(values).values()
    if deviation is None or mean != mean:
        return number(name, mean)
    return f"{number(name, mean)} ± {number(name, deviation)}"


def number(name: str, value: float | None, sign: str = "") -> str:
    """In per cent, where that is how the field reports the metric."""
    if value is None or value != value:
        return "undefined"
    percent = METRIC_NAMES.get(name, name).endswith("%")
    return f"{100 * value:{sign}.2f}" if percent else f"{value:{sign}.4f}"


def interval(item: Comparison) -> str:
    """The 95 % interval of a difference; nothing where there is none."""
    if item.low is None or item.low != item.low:
        return ""
    return f"{number(item.metric, item.low, '+')} to {number(item.metric, item.high, '+')}"
