"""``i2moe-bench suite``: whole tables."""

from __future__ import annotations

import functools
import sys
from dataclasses import replace
from typing import Any

import click

from i2moe_plugin.benchmarks.commands.base import TrainingCommand
from i2moe_plugin.benchmarks.commands.options import (
    CLUSTER,
    DATA_ROOTS,
    DRY_RUN,
    FORMAT,
    FORMATS,
    LOG,
    MODALITIES,
    SPLITS,
    refuse_jobs_beside,
    training,
    wants_json,
)


@click.command(cls=TrainingCommand)
@click.argument("suite", metavar="FILE|NAME")
@click.option(
    "--only",
    multiple=True,
    metavar="NAME",
    help="This data set, backbone or method alone; repeatable.",
)
@DATA_ROOTS
@click.option("--samples", is_flag=True, help="Draw small samples of data sets that are not here.")
@click.option("--retry", is_flag=True, help="Try failed runs again.")
@MODALITIES
@DRY_RUN
@LOG
@SPLITS
@FORMAT
@CLUSTER
@training(jobs=1)
def suite(
    suite: str,
    seeds: tuple[int, ...] | None,
    only: tuple[str, ...],
    roots: dict[str, str],
    samples: bool,
    retry: bool,
    modalities: tuple[str, ...] | None,
    dry_run: bool,
    log: tuple[str, ...],
    splits: str | None,
    form: str | None,
    jobs: int,
    cluster: str | None,
    out: str,
    as_json: bool,
    values: dict[str, Any],
) -> None:
    """Run a table: data sets x backbones x methods x settings x seeds, compared and corrected.

    Finished runs are never repeated, by whatever command they were made. A failed run is kept with
    its reason, shown, never counted, and tried again with --retry. A data set that is not here is
    skipped. Settings given here stand over the file's and the recipes'. Tables are written as
    Markdown, CSV, LaTeX and JSON into OUT/suites. 1 is returned where a run failed.

    \b
    Suites that ship:
      embedded                 packaged data that needs no extra, all backbones
      table1 table2 table4     the paper's tables; they need their data sets, or
      table5 table6            --samples, whose figures do not compare

    \b
    Examples:
      i2moe-bench suite embedded --only htad --only lrtf --seeds 3
      i2moe-bench suite table1 --data-root enrico=./enrico --only enrico
      i2moe-bench suite table6 --samples
      i2moe-bench suite my-suite.yaml --retry --json
    """
    from i2moe_plugin.benchmarks.grid.cells import SIMPLE

    refuse_jobs_beside(cluster)
    if modalities is not None:
        values["data.modalities"] = list(modalities)
    as_json = wants_json(as_json, form, dry_run)
    from i2moe_plugin.benchmarks.data.redraw import split_names
    from i2moe_plugin.benchmarks.grid.spec import load_suite

    grid = load_suite(suite, seeds=seeds, settings=values, roots=roots, only=only)
    grid = replace(grid, baselines=SIMPLE)
    if splits is not None:
        # Its files lie beside those of the own splits.
        name = f"{grid.name}-splits-{splits.replace(':', '')}"
        grid = replace(grid, name=name, splits=split_names(splits))

    from i2moe_plugin.benchmarks.grid.estimate import estimate
    from i2moe_plugin.benchmarks.grid.executors.dask import open_cluster
    from i2moe_plugin.benchmarks.grid.formats import FORMATS as WRITERS
    from i2moe_plugin.benchmarks.grid.formats import write_tables
    from i2moe_plugin.benchmarks.grid.runner import GridRunner, open_cell
    from i2moe_plugin.benchmarks.run.store import RunStore
    from i2moe_plugin.benchmarks.terminal.estimate import summary, tell_estimate
    from i2moe_plugin.benchmarks.terminal.suite import show_suite, suite_progress
    from i2moe_plugin.benchmarks.terminal.verbosity import note, quiet

    open_data, store = functools.partial(open_cell, sample=samples), RunStore(out)
    if (cluster is None and not quiet()) or dry_run:
        runner = GridRunner(store, open_data, jobs, retry=retry, progress=not quiet())
        found = estimate(runner, grid)
        if dry_run:
            tell_estimate(found, as_json)
            return
        note(summary(found))
    with open_cluster(cluster) as workers, suite_progress(grid) as on_event:
        options: dict[str, Any] = {"retry": retry, "on_event": on_event, "log": log}
        runner = GridRunner(store, open_data, jobs, cluster=workers, **options)
        table = runner.run(grid)
    write_tables(table, store.folder)
    if as_json or form is not None:
        click.echo(WRITERS[FORMATS[form or "json"]](table), nl=False)
    else:
        show_suite(table, store.folder)
    if table.states["failed"]:
        sys.exit(1)
