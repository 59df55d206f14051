"""What the ``runs`` commands show."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from rich.text import Text

from i2moe_plugin.benchmarks.grid.keeping import KeptRun, RunState
from i2moe_plugin.benchmarks.report.text import without_controls
from i2moe_plugin.benchmarks.run.store import Run
from i2moe_plugin.benchmarks.statistics.metrics import format_value
from i2moe_plugin.benchmarks.terminal.estimate import size
from i2moe_plugin.benchmarks.terminal.output import plain_console, print_json
from i2moe_plugin.benchmarks.terminal.tables import Table
from i2moe_plugin.benchmarks.terminal.verbosity import verbose

STYLES: dict[RunState, str] = {"damaged": "red", "failed": "red", "unfinished": "yellow"}


def show_runs(runs: Sequence[KeptRun], as_json: bool) -> None:
    """Show a row for each run, and how many there are."""
    if as_json:
        print_json([run.as_dict() for run in runs])
        return
    console, table = plain_console(), Table()
    table.add_column("run", overflow="fold")
    for name in ("state", "test", "written", "size"):
        table.add_column(name, no_wrap=True, justify="right" if name == "size" else "left")
    for run in runs:
        table.add_row(
            Text(without_controls(run.name)),
            Text(run.state, STYLES.get(run.state, "")),
            "" if run.value is None else format_value(run.metric, run.value),
            f"{datetime.datetime.fromtimestamp(run.changed):%Y-%m-%d}",
            size(run.size),
        )
    if runs:
        console.print(table)
    for run in runs if verbose() else ():
        if run.reason:
            console.print(Text(without_controls(f"{run.name}: {run.reason}"), style="yellow"))
    console.print(summary(runs))


def summary(runs: Sequence[KeptRun]) -> str:
    """Say how many there are of each state, and how large they are."""
    states = dict.fromkeys(run.state for run in runs)
    said = ", ".join(f"{sum(r.state == state for r in runs)} {state}" for state in states)
    return f"{said}: {size(sum(run.size for run in runs))}" if runs else "No runs."


def show_run(run: KeptRun, as_json: bool) -> None:
    """Show what there is to know of one run, its settings with where each comes from."""
    record: dict[str, Any] = run.as_dict()
    if run.state == "finished":
        found = Run.load(run.path)
        record |= {
            "settings": found.settings,
            "result": found.result,
            "environment": found.json("environment.json"),
            "files": {name: facts["size"] for name, facts in found.manifest["files"].items()},
        }
    if as_json:
        print_json(record)
        return
    console = plain_console(highlight=False)
    for key in ("name", "state", "changed", "path", "reason"):
        if record[key]:
            console.print(Text(without_controls(f"{key}: {record[key]}")), soft_wrap=True)
    console.print(f"size: {size(run.size)}")
    if run.state != "finished":
        return
    result, settings = record["result"], dict(record["settings"])
    for metric, value in result["test"].items():
        said = "undefined" if value is None else format_value(metric, value)
        console.print(Text(without_controls(f"test {metric}: {said}")))
    console.print(f"epochs: {result['epochs']}, of which {result['best_epoch']} is kept")
    console.print(f"parameters: {result['parameters']:,}")
    sources = settings.pop("sources", {})
    table = Table(title="Settings", title_justify="left")
    for name in ("setting", "value", "from"):
        table.add_column(name, overflow="fold")
    for name, value in settings.items():
        table.add_row(
            *(Text(without_controls(str(x))) for x in (name, value, sources.get(name, "")))
        )
    console.print(table)
    for note in result["notes"]:
        console.print(Text(without_controls(f"Note: {note}"), style="yellow"))
    if verbose():
        for name, count in record["files"].items():
            console.print(Text(without_controls(f"{name}: {size(count)}")))
