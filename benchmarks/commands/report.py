"""``i2moe-bench report``."""

from __future__ import annotations

from pathlib import Path

import click

from i2moe_plugin.benchmarks.commands.base import Command
from i2moe_plugin.benchmarks.commands.options import JSON, PLUGIN, VERBOSITY


@click.command(cls=Command)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUNS...")
@click.option(
    "-o",
    "--output",
    default="report.html",
    show_default=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The page.",
)
@click.option("--data-root", metavar="DIR", help="Where the data set lies, if it was moved.")
@click.option("--no-data", is_flag=True, help="Leave out the samples' pictures, text and features.")
@PLUGIN
@VERBOSITY
@JSON
def report(
    runs: tuple[Path, ...], output: Path, data_root: str | None, no_data: bool, as_json: bool
) -> None:
    """Write one HTML page about finished runs: it needs no network and no other file.

    RUNS are runs' directories, or folders of runs. The page compares methods, shows what experts'
    weights are like and what they are worth, and lets you look through the samples.

    \b
    Examples:
      i2moe-bench report runs
      i2moe-bench report runs/htad-* -o htad.html
      i2moe-bench report runs --no-data
    """
    from i2moe_plugin.benchmarks.report.build import build
    from i2moe_plugin.benchmarks.terminal.output import show_report
    from i2moe_plugin.benchmarks.terminal.verbosity import quiet

    progress = not quiet()
    found = build(runs, output, data_root=data_root, with_data=not no_data, progress=progress)
    show_report(found, as_json)
