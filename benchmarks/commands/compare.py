"""``i2moe-bench compare``: finished runs of any kind."""

from __future__ import annotations

import click

from i2moe_plugin.benchmarks.commands.base import Command
from i2moe_plugin.benchmarks.commands.options import JSON, VERBOSITY


@click.command(cls=Command)
@click.argument("groups", nargs=-1, required=True, metavar="A B [C...]")
@click.option("--metric", metavar="NAME", help="What to compare.  [default: the runs' own]")
@click.option(
    "--equivalent-within",
    type=click.FloatRange(min=0, min_open=True),
    metavar="MARGIN",
    help="Also ask whether they are the same within this margin, in percentage points for shares; "
    "chosen before the figures are seen.",
)
@VERBOSITY
@JSON
def compare(
    groups: tuple[str, ...], metric: str | None, equivalent_within: float | None, as_json: bool
) -> None:
    """Compare finished runs, paired by seed; each with the first.

    A, B, ... are a run's directory each (runs of its other seeds are found beside it), a folder
    with runs of one kind, or a quoted pattern. They may differ in fusion, method or any setting,
    and must have been tested on the same samples.

    \b
    Examples:
      i2moe-bench compare 'runs/htad-lrtf-i2moe-*' 'runs/htad-concat-i2moe-*'
      i2moe-bench compare runs/RUN_A runs/RUN_B --equivalent-within 1
    """
    from i2moe_plugin.benchmarks.experiments import compare as compare_groups

    found = compare_groups(*groups, metric=metric, equivalent_within=equivalent_within)
    if as_json:
        from i2moe_plugin.benchmarks.terminal.output import print_json

        print_json(found.as_dict())
    else:
        from i2moe_plugin.benchmarks.terminal.compare import show_comparison

        show_comparison(found)
