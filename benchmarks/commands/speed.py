"""``i2moe-bench speed``: how fast the ensemble runs here."""

from __future__ import annotations

from pathlib import Path

import click

from i2moe_plugin.benchmarks.commands.base import Command
from i2moe_plugin.benchmarks.commands.options import JSON, VERBOSITY


@click.command(cls=Command)
@click.option("--quick", is_flag=True, help="Fewer shapes and rounds: three minutes, not ten.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="Write JSON, tables and plot."
)
@VERBOSITY
@JSON
def speed(quick: bool, threads: int | None, out: Path | None, as_json: bool) -> None:
    """Measure training steps and inference at the paper's shapes, side by side with naive ones.

    \b
    Examples:
      i2moe-bench speed --quick
      i2moe-bench speed --out speed --threads 2
    """
    import torch

    from i2moe_plugin.benchmarks.speed.table import markdown, run, write
    from i2moe_plugin.benchmarks.terminal.output import print_json
    from i2moe_plugin.benchmarks.terminal.verbosity import note

    if threads:
        torch.set_num_threads(threads)
    result = run(quick=quick, say=note)
    if out is not None:
        for path in write(result, out):
            note(f"wrote {path}")
    if as_json:
        print_json(result)
    else:
        click.echo(markdown(result))
