"""``i2moe-bench runs``: what is in a folder of runs, and what of it may go."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from i2moe_plugin.benchmarks.commands.base import Group
from i2moe_plugin.benchmarks.commands.options import JSON, TABLE_FORMAT, VERBOSITY

if TYPE_CHECKING:
    from i2moe_plugin.benchmarks.grid.keeping import KeptRun

FOLDER = click.argument("folder", type=click.Path(path_type=Path), default="runs")
YES = click.option("--yes", is_flag=True, help="Do not ask.")
LOOK = click.option("--dry-run", is_flag=True, help="Show what would be removed; remove nothing.")
FILTERS = (
    click.option("--dataset", "datasets", multiple=True, metavar="NAME", help="Repeatable."),
    click.option("--fusion", "fusions", multiple=True, metavar="NAME", help="Repeatable."),
    click.option("--method", "methods", multiple=True, metavar="NAME", help="Repeatable."),
    click.option("--older-than", metavar="AGE", help="Written longer ago, such as 12h, 30d, 8w."),
    click.option(
        "--unfinished", is_flag=True, help="Those that were stopped, and records of failures."
    ),
)


def _filters(command: Callable[..., Any]) -> Callable[..., Any]:
    return functools.reduce(lambda made, add: add(made), FILTERS[::-1], command)


@click.group(cls=Group)
def runs() -> None:
    """Runs on disk: what there is, and what may go.

    \b
    Examples:
      i2moe-bench runs list
      i2moe-bench runs show runs/htad-lrtf-i2moe-seed0-cdb70ae7
      i2moe-bench runs rm runs/htad-lrtf-i2moe-seed0-cdb70ae7
      i2moe-bench runs prune --unfinished --older-than 7d
    """


@runs.command(name="list")
@FOLDER
@_filters
@VERBOSITY
@TABLE_FORMAT
@JSON
def list_(folder: Path, as_json: bool, **filters: Any) -> None:
    """Every run of FOLDER: finished, unfinished, under way, damaged, or a record of a failure.

    \b
    Examples:
      i2moe-bench runs list
      i2moe-bench runs list ./other --dataset htad --method i2moe
      i2moe-bench runs list --older-than 30d --json
    """
    from i2moe_plugin.benchmarks.terminal.runs import show_runs

    show_runs(_chosen(folder, **filters), as_json)


@runs.command()
@click.argument("run", type=click.Path(path_type=Path))
@VERBOSITY
@TABLE_FORMAT
@JSON
def show(run: Path, as_json: bool) -> None:
    """Settings of one run with where each comes from, its result, size and notes.

    \b
    Example:
      i2moe-bench runs show runs/htad-lrtf-i2moe-seed0-cdb70ae7
    """
    from i2moe_plugin.benchmarks.grid.keeping import as_run
    from i2moe_plugin.benchmarks.terminal.runs import show_run

    show_run(as_run(run), as_json)


@runs.command()
@click.argument("names", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@YES
@LOOK
@VERBOSITY
@JSON
def rm(names: tuple[Path, ...], yes: bool, dry_run: bool, as_json: bool) -> None:
    """Remove runs by their directories; anything that is no run is refused, and a link.

    \b
    Examples:
      i2moe-bench runs rm runs/htad-lrtf-i2moe-seed0-cdb70ae7
      i2moe-bench runs rm runs/.unfinished/htad-lrtf-i2moe-seed0-cdb70ae7 --yes
    """
    from i2moe_plugin.benchmarks.grid.keeping import as_run

    found = {run.path: run for run in map(as_run, names)}
    _remove(list(found.values()), yes, dry_run, as_json)


@runs.command()
@FOLDER
@_filters
@YES
@LOOK
@VERBOSITY
@JSON
def prune(folder: Path, yes: bool, dry_run: bool, as_json: bool, **filters: Any) -> None:
    """Remove the runs of FOLDER that 'runs list' shows with the same options.

    At least one is needed. Runs under way stay, and all that is no run.

    \b
    Examples:
      i2moe-bench runs prune --unfinished
      i2moe-bench runs prune --dataset htad --older-than 30d --dry-run
    """
    if not any(filters.values()):
        raise click.UsageError(
            "say which runs are to go: --unfinished, --older-than, --dataset, --fusion, --method."
        )
    found = [run for run in _chosen(folder, **filters) if run.state != "under way"]
    _remove(found, yes, dry_run, as_json)


def _chosen(
    folder: Path,
    datasets: Sequence[str],
    fusions: Sequence[str],
    methods: Sequence[str],
    older_than: str | None,
    unfinished: bool,
) -> list[KeptRun]:
    from i2moe_plugin.benchmarks.grid.keeping import choose, kept_runs, read_age

    return choose(
        kept_runs(folder),
        datasets=datasets,
        fusions=fusions,
        methods=methods,
        older_than=None if older_than is None else read_age(older_than),
        left_over=unfinished,
    )


def _remove(found: list[KeptRun], yes: bool, dry_run: bool, as_json: bool) -> None:
    """Remove runs, after a question on standard error."""
    from i2moe_plugin.benchmarks.grid.keeping import remove
    from i2moe_plugin.benchmarks.terminal.output import print_json
    from i2moe_plugin.benchmarks.terminal.runs import show_runs, summary
    from i2moe_plugin.benchmarks.terminal.verbosity import quiet

    if as_json and not (yes or dry_run):
        raise click.UsageError("--json asks nothing: give --yes, or --dry-run to look.")
    if not as_json and not quiet():
        show_runs(found, as_json=False)
    if found and not (yes or dry_run):
        click.confirm("Remove them?", abort=True, err=True)
    if not dry_run:
        for run in found:
            remove(run)
    if as_json:
        print_json({"removed": not dry_run, "runs": [run.as_dict() for run in found]})
    elif found:
        click.echo(f"{'would remove' if dry_run else 'removed'} {summary(found)}")
