"""``i2moe-bench regress``: a gate for CI."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import click

from i2moe_plugin.benchmarks.commands.base import Command
from i2moe_plugin.benchmarks.commands.options import CLUSTER, JSON, MULTIBENCH, PLUGIN, VERBOSITY
from i2moe_plugin.errors import counted


@click.command(cls=Command, failure=("broken setup", 2))
@click.option(
    "--baseline",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="What to hold this code against.",
)
@click.option("--update", is_flag=True, help="Measure, and write the baseline anew.")
@click.option("--reason", default="", metavar="TEXT", help="Why; kept in the baseline.")
@click.option(
    "--suite",
    metavar="FILE|NAME",
    help="With --update: what to measure.  [default: as before, or the suite 'regression']",
)
@click.option("--no-time", is_flag=True, help="Leave relative time out, on a noisy machine.")
@click.option(
    "--junit", type=click.Path(path_type=Path), metavar="FILE", help="Write JUnit XML here."
)
@click.option(
    "--summary",
    type=click.Path(path_type=Path),
    metavar="FILE",
    envvar="GITHUB_STEP_SUMMARY",
    help="Append a Markdown summary here.  [env: GITHUB_STEP_SUMMARY]",
)
@CLUSTER
@MULTIBENCH
@PLUGIN
@VERBOSITY
@JSON
def regress(
    baseline: Path,
    update: bool,
    reason: str,
    suite: str | None,
    no_time: bool,
    junit: Path | None,
    summary: Path | None,
    cluster: str | None,
    as_json: bool,
) -> None:
    """Measure a small fixed suite again, and fail where it moved from the stored baseline.

    Test scores may move by a margin; losses, and what single parts give on drawn data (each task
    with its metrics, masking, backbone, method, kind of option), by rounding alone; operators and
    FLOPs by little; time, in units of a reference computation, by half. 1 is returned on a
    regression, 2 where nothing could be compared. A change that is meant is taken over with
    --update and a reason.

    \b
    Examples:
      i2moe-bench regress --baseline baselines/ci.json
      i2moe-bench regress --baseline baselines/ci.json --junit gate.xml \\
          --summary gate.md
      i2moe-bench regress --baseline mine.json --plugin my_fusion.py --update \\
          --suite my-gate.yaml --reason "first baseline"
    """
    if suite and not update:
        raise click.UsageError("--suite belongs to --update: a baseline brings its own suite.")
    if update and not reason.strip():
        raise click.UsageError("a baseline is rewritten with a reason: --update --reason TEXT.")
    from i2moe_plugin.benchmarks.grid.executors.dask import open_cluster
    from i2moe_plugin.benchmarks.regression import baseline as baselines
    from i2moe_plugin.benchmarks.regression import reports
    from i2moe_plugin.benchmarks.regression.checks import compare_cells, compare_probes
    from i2moe_plugin.benchmarks.regression.measuring import measure_grid
    from i2moe_plugin.benchmarks.regression.probes import measure_probes
    from i2moe_plugin.benchmarks.terminal.output import plain_console, print_json
    from i2moe_plugin.benchmarks.terminal.regression import show_gate, show_moved
    from i2moe_plugin.benchmarks.terminal.verbosity import note

    def announce(name: str) -> None:
        note(f"measuring {name}")

    before = None
    if baseline.exists() or not update:
        before = baselines.read_baseline(baseline)
    start = time.perf_counter()
    if before is None or (update and suite is not None):
        raw, grid = baselines.suite_for(suite, baseline)
    else:
        raw, grid = before.suite, before.grid(baseline)
    with open_cluster(cluster) as workers:
        cells = measure_grid(grid, timed=not no_time, on_cell=announce, cluster=workers)
    checks = compare_cells(before.cells, cells, before.tolerances) if before else []
    probes = []
    if update or before is None or before.probes:
        announce("single parts")
        probes = measure_probes()
    if before is not None and before.probes:
        checks += compare_probes(before.probes, probes, before.tolerances)
    if update or before is None:
        written = baselines.write_baseline(baseline, raw, cells, probes, reason, before)
        measured = (
            f"{counted(len(written.cells), 'cell')}, {counted(len(written.probes), 'single part')}"
        )
        note(f"wrote {baseline}: {measured} ({reason.strip()})")
        if as_json:
            print_json(reports.as_json(checks, [], time.perf_counter() - start))
        else:
            show_moved(plain_console(), checks)
        return
    notes = reports.differences(before, baselines.measured_on())
    seconds = time.perf_counter() - start
    if junit is not None:
        reports.write(junit, reports.junit(checks, seconds))
    if summary is not None:
        reports.write(summary, reports.markdown(checks, before, notes), append=True)
    found = reports.as_json(checks, notes, seconds)
    if as_json:
        print_json(found)
    else:
        show_gate(plain_console(), checks, notes)
        click.echo(f"Took {seconds:.0f} s. Baseline: {before.history[-1].reason}")
        if not found["passed"]:
            click.echo(
                "If this is meant: i2moe-bench regress --baseline "
                f"{os.fspath(baseline)} --update --reason TEXT"
            )
    if not found["passed"]:
        sys.exit(1)
