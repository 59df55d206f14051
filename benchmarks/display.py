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

from i2moe_plugin.benchmarks.comparison import Comparison, summarise
from i2moe_plugin.benchmarks.job import JobResult
from i2moe_plugin.benchmarks.job import Progress as JobProgress
from i2moe_plugin.benchmarks.settings import Method, RunSettings

METRIC_NAMES = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "auroc": "AUROC",
    "mae": "MAE",
    "mse": "MSE",
    "correlation": "correlation",
}
METHOD_NAMES: dict[Method, str] = {"vanilla": "vanilla", "i2moe": "I2MoE"}
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
            label = f"{METHOD_NAMES[settings.method]} seed {settings.seed}"
            if record is None:
                bar.update(task, advance=settings.epochs, description=f"{label}: finished before")
                return
            value = record["valid"].get(metric, float("nan"))
            name = METRIC_NAMES.get(metric, metric)
            bar.update(task, advance=1, description=f"{label}: validation {name} {value:.3f}")

        yield update


def show_job(console: Console, job: JobResult) -> None:
    """The tables and sentences of a finished job."""
    seeds = f"{len(job.seeds)} seed{'s' * (len(job.seeds) != 1)}"
    table = Table(title=f"{job.fusion} on {job.dataset}: test split, mean ± deviation over {seeds}")
    table.add_column("")
    for name in job.metrics():
        table.add_column(METRIC_NAMES.get(name, name), justify="right")
    table.add_column("parameters", justify="right")
    table.add_column("s / run", justify="right")
    for method, results in job.results.items():
        table.add_row(
            METHOD_NAMES[method],
            *(_mean(job.values(method, name)) for name in job.metrics()),
            f"{results[0]['parameters']:,}",
            f"{summarise([r['seconds']['total'] for r in results])['mean']:.1f}",
        )
    if job.linear is not None:
        table.add_row(
            "logistic regression",
            *(_number(job.linear["test"][name]) for name in job.metrics()),
            "",
            "",
            style="dim",
        )
    if job.comparisons:
        table.add_section()
        table.add_row(
            "I2MoE − vanilla",
            *(_interval(job.comparisons[name]) for name in job.metrics()),
            "",
            "",
        )
    console.print(table)
    if job.comparisons:
        console.print(_verdict(job))
    weights = job.expert_weights()
    if weights:
        console.print(
            "Mean weight of each expert: "
            + ", ".join(f"{name} {value:.2f}" for name, value in weights.items())
        )
    for note in job.notes:
        console.print(Text(f"Note: {note}", style="yellow"))
    folder = next(iter(job.runs.values()))[0].path.parent
    again = f" ({job.reused} finished before)" if job.reused else ""
    console.print(Text(f"Runs: {sum(map(len, job.runs.values()))} in {folder}{again}"))


def _verdict(job: JobResult) -> Text:
    item = job.comparisons[job.metric]
    name = METRIC_NAMES.get(job.metric, job.metric)
    sentences = {
        "better": f"I2MoE is better than vanilla on {name}",
        "worse": f"I2MoE is worse than vanilla on {name}",
        "no difference shown": f"No difference shown between I2MoE and vanilla on {name}",
        "too few seeds to tell": "Too few seeds to tell: at least 3 are needed",
    }
    text = Text("Verdict: ")
    text.append(sentences[item.verdict], style=VERDICT_STYLE.get(item.verdict, "bold"))
    if item.low is not None and item.high is not None:
        text.append(
            f" ({item.difference:+.4f}, 95 % interval {item.low:+.4f} to {item.high:+.4f}, "
            f"paired over {item.seeds} seeds)."
        )
    return text


def _mean(values: list[float]) -> str:
    summary = summarise(values)
    if summary["mean"] is None or summary["mean"] != summary["mean"]:
        return "undefined"
    spread = "" if summary["deviation"] is None else f" ± {summary['deviation']:.4f}"
    return f"{summary['mean']:.4f}{spread}"


def _number(value: float) -> str:
    return "undefined" if value != value else f"{value:.4f}"


def _interval(item: Comparison) -> str:
    if item.difference != item.difference:
        return "undefined"
    if item.low is None or item.high is None:
        return f"{item.difference:+.4f}"
    return f"{item.difference:+.4f}\n[{item.low:+.4f}, {item.high:+.4f}]"
