"""``i2moe-bench audit``: do experts mean what they are called?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from i2moe_plugin.benchmarks.commands.base import TrainingCommand
from i2moe_plugin.benchmarks.commands.options import TABLE_FORMAT, training
from i2moe_plugin.errors import counted


@click.command(cls=TrainingCommand)
@click.argument("suite", metavar="[FILE|NAME]", default="truth")
@click.option(
    "--only",
    multiple=True,
    metavar="NAME",
    help="This data set, backbone or method alone; repeatable.",
)
@click.option(
    "--no-intershap", is_flag=True, help="Leave out InterSHAP, which runs each model many times."
)
@click.option("--retry", is_flag=True, help="Try failed runs again.")
@click.option(
    "--markdown",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also write the table into FILE.",
)
@TABLE_FORMAT
@training(jobs=0)
def audit(
    suite: str,
    seeds: tuple[int, ...] | None,
    only: tuple[str, ...],
    no_intershap: bool,
    retry: bool,
    markdown: Path | None,
    jobs: int,
    out: str,
    as_json: bool,
    values: dict[str, Any],
) -> None:
    """Train methods on data whose interactions are known, and say whether they find them.

    A suite of drawn data sets (synthetic:NAME) is run, every seed on a data set that it draws
    itself. The table shows how often the expert that carries the data is ranked first, how often
    one is found that is not there, and how far importance is from the truth. 'truth' is the whole,
    'truth-short' takes minutes. 1 is returned where a run failed.

    \b
    Examples:
      i2moe-bench audit truth-short
      i2moe-bench audit --only synthetic:hdxor-synergy --only evidence \\
          --only i2moe --only concat
      i2moe-bench audit --seeds 10 --json
    """
    from i2moe_plugin.benchmarks.grid.spec import load_suite

    grid = load_suite(suite, seeds=seeds, settings=values, only=only)

    from i2moe_plugin.benchmarks.grid.runner import GridRunner
    from i2moe_plugin.benchmarks.run.store import RunStore
    from i2moe_plugin.benchmarks.terminal.audit import show_audit, write_markdown
    from i2moe_plugin.benchmarks.terminal.output import print_json
    from i2moe_plugin.benchmarks.terminal.verbosity import note
    from i2moe_plugin.benchmarks.truth.audit import audit as run_audit

    runner = GridRunner(RunStore(out), workers=jobs, retry=retry)

    def told(seed: int) -> None:
        note(f"seed {seed}: {counted(len(grid.cells), 'run')}")

    found = run_audit(grid, runner, shapley=not no_intershap, on_seed=told)
    if as_json:
        print_json(found.as_dict())
    else:
        show_audit(found)
    if markdown is not None:
        write_markdown(found, markdown)
    if any(row.reasons for row in found.rows):
        sys.exit(1)
