"""``i2moe-bench plot``: pictures of finished runs as files."""

from __future__ import annotations

from pathlib import Path

import click

from i2moe_plugin.benchmarks.commands.base import Command
from i2moe_plugin.benchmarks.commands.options import JSON, VERBOSITY

#: As in ``report/pictures.py``, which is not loaded to show help.
WHAT = ("curves", "confusion", "calibration", "roc", "pr", "weights", "parts", "residuals")


@click.command(cls=Command)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--what", type=click.Choice(WHAT), required=True, help="What to draw.")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where to: a file that ends in .svg, .png or .pdf.",
)
@VERBOSITY
@JSON
def plot(runs: tuple[Path, ...], what: str, output: Path, as_json: bool) -> None:
    """Draw one thing of finished runs into a file, a row for each run.

    RUNS are runs' directories, or folders of runs. curves: loss and validation metric by epoch.
    confusion: decided by true class. calibration: predicted probabilities against what came true.
    roc, pr: each class against the rest. weights: of the experts. parts: in bits, of the evidence
    method. residuals: predicted and true values of a regression.

    \b
    Examples:
      i2moe-bench plot runs/RUN --what curves -o curves.svg
      i2moe-bench plot runs/RUN_A runs/RUN_B --what confusion -o confusion.pdf
    """
    from i2moe_plugin.benchmarks.report.pictures import draw_runs
    from i2moe_plugin.benchmarks.run.collect import find_runs
    from i2moe_plugin.benchmarks.terminal.output import print_json

    sentences = list(draw_runs(find_runs(runs).runs, what, output))
    if as_json:
        print_json({"path": str(output), "what": what, "shows": sentences})
        return
    for sentence in sentences:
        click.echo(sentence)
    click.echo(f"wrote {output}")
