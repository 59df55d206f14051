"""``i2moe-bench regress``: a gate for CI."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import click

from i2moe_plugin.benchmarks.commands.options import JSON, MULTIBENCH, PLUGIN, load_plugins
from i2moe_plugin.errors import I2MoEError

BROKEN_SETUP = 2


@click.command()
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
@MULTIBENCH
@PLUGIN
@JSON
def regress(
    baseline: Path,
    update: bool,
    reason: str,
    suite: str | None,
    no_time: bool,
    junit: Path | None,
    summary: Path | None,
    plugins: tuple[str, ...],
    as_json: bool,
) -> None:
    """Measure a small fixed suite again, and fail where it moved from the stored baseline.

    Test scores may move by a margin; losses by rounding alone; operators and FLOPs by little; time,
    in units of a reference computation, by half. 1 is returned on a regression, 2 where nothing
    could be compared. A change that is meant is taken over with --update and a reason.

    \b
    Examples:
      i2moe-bench regress --baseline baselines/ci.json
      i2moe-bench regress --baseline baselines/ci.json --junit gate.xml --summary gate.md
      i2moe-bench regress --baseline mine.json --plugin my_fusion.py --update \\
          --suite my-gate.yaml --reason "first baseline"
    """
    if suite and not update:
        raise click.UsageError("--suite belongs to --update: a baseline brings its own suite.")
    try:
        passed = _gate(
            baseline, update, reason, suite, not no_time, junit, summary, plugins, as_json
        )
    except I2MoEError as error:
        click.secho("broken setup: ", fg="red", bold=True, nl=False, err=True)
        click.echo(str(error), err=True)
        sys.exit(BROKEN_SETUP)
    sys.exit(0 if passed else 1)


def _gate(
    path: Path,
    update: bool,
    reason: str,
    suite: str | None,
    timed: bool,
    junit: Path | None,
    summary: Path | None,
    plugins: tuple[str, ...],
    as_json: bool,
) -> bool:
    """Whether it passed.

    Raises:
        I2MoEError: nothing could be compared.
    """
    from rich.console import Console

    load_plugins(plugins)
    from i2moe_plugin.benchmarks.regression import baseline as stored
    from i2moe_plugin.benchmarks.regression import reports
    from i2moe_plugin.benchmarks.regression.checks import compare_cells
    from i2moe_plugin.benchmarks.regression.measuring import measure_suite
    from i2moe_plugin.errors import ConfigError

    def told(name: str) -> None:
        click.echo(f"measuring {name}", err=True)

    if update and not reason.strip():
        raise ConfigError("a baseline is rewritten with a reason: --update --reason TEXT.")
    before = stored.read_baseline(path) if path.exists() or not update else None
    start = time.perf_counter()
    if update:
        if suite is None and before is not None:
            raw, expanded = before.suite, before.expanded(path)
        else:
            raw, expanded = stored.suite_for(suite, path)
        cells = measure_suite(expanded, timed=timed, told=told)
        written = stored.write_baseline(path, raw, cells, reason, before)
        click.echo(f"wrote {path}: {len(written.cells)} cells ({reason.strip()})")
        if before is not None:
            checks = compare_cells(before.cells, cells, before.tolerances)
            reports.show_moved(Console(), checks)
        return True
    assert before is not None
    cells = measure_suite(before.expanded(path), timed=timed, told=told)
    checks = compare_cells(before.cells, cells, before.tolerances)
    notes = reports.differences(before, stored.machine())
    seconds = time.perf_counter() - start
    if junit is not None:
        reports.write(junit, reports.junit(checks, seconds))
    if summary is not None:
        reports.write(summary, reports.markdown(checks, before, notes), append=True)
    found = reports.as_json(checks, notes, seconds)
    if as_json:
        click.echo(json.dumps(found, indent=1))
    else:
        reports.show(Console(), checks, notes)
        click.echo(f"Took {seconds:.0f} s. Baseline: {before.history[-1].reason}")
        if not found["passed"]:
            click.echo(
                "If this is meant: i2moe-bench regress --baseline "
                f"{os.fspath(path)} --update --reason TEXT"
            )
    return bool(found["passed"])
