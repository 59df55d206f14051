"""``i2moe-bench robustness``: corrupted inputs, absent modalities."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from i2moe_plugin.benchmarks.commands.base import Command
from i2moe_plugin.benchmarks.commands.options import JSON, MULTIBENCH, PLUGIN, TABLE_FORMAT

if TYPE_CHECKING:
    from i2moe_plugin.benchmarks.robustness.absence import Fill


@click.command(cls=Command)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUNS...")
@click.option(
    "--absent",
    is_flag=True,
    help="Test with each subset of the modalities in place of corrupting them.",
)
@click.option(
    "--fill",
    type=click.Choice(["own", "mean", "zero"]),
    default="own",
    show_default=True,
    help="With --absent: what stands for an absent modality's latent. own: as the method does by "
    "itself; mean: the mean over training samples; zero.",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also draw the curves into FILE, .svg or .png.",
)
@click.option("--data-root", metavar="DIR", help="Where the data set lies, if it was moved.")
@MULTIBENCH
@PLUGIN
@TABLE_FORMAT
@JSON
def robustness(
    runs: tuple[Path, ...],
    absent: bool,
    fill: Fill,
    plot: Path | None,
    data_root: str | None,
    as_json: bool,
) -> None:
    """Test finished runs on corrupted samples, or without some of their modalities.

    RUNS are runs' directories, or folders of runs; their data sets have to be here. Nothing is
    trained: the models are tested again on their test split, each modality corrupted at levels
    from 0 to 1 as in MultiBench (level 0 is the run's own result), and the area under the curve
    (relative robustness) and the fall against late fusion (effective robustness) are told, over
    seeds. With --absent, methods stand side by side for each subset of modalities. What is computed
    is kept beside each run, so a stopped command goes on where it was, and report shows it.

    \b
    Examples:
      i2moe-bench robustness runs --plot robustness.svg
      i2moe-bench robustness runs --absent
      i2moe-bench robustness runs --absent --fill mean --json
    """
    if plot is not None and absent:
        raise click.UsageError("--plot draws curves of corruption; leave --absent out.")
    from i2moe_plugin.benchmarks.robustness.measure import measure_runs
    from i2moe_plugin.benchmarks.robustness.plot import check_ending, draw_robustness

    if plot is not None:
        check_ending(plot)
    record, problems = measure_runs(runs, absent=absent, fill=fill, root=data_root, progress=True)
    for name, reason in problems:
        click.echo(f"left out: {name}: {reason}", err=True)
    if as_json:
        from i2moe_plugin.benchmarks.terminal.output import print_json

        print_json(record)
    else:
        from i2moe_plugin.benchmarks.terminal.robustness import show_absence, show_curves

        (show_absence if absent else show_curves)(record)
    if plot is not None:
        draw_robustness(record, plot)
        click.echo(f"wrote {plot}", err=True)
