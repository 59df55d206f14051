"""``i2moe-bench explain``: one sample of a run."""

from __future__ import annotations

from pathlib import Path

import click

from i2moe_plugin.benchmarks.commands.base import Command
from i2moe_plugin.benchmarks.commands.options import JSON, PLUGIN


@click.command(cls=Command)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--sample", metavar="ID", help="Id of a test sample.")
@click.option(
    "--classes",
    default=5,
    show_default=True,
    type=click.IntRange(min=1),
    help="How many classes to show; predicted and true ones always are.",
)
@click.option("--data-root", metavar="DIR", help="Where the data set lies, if it was moved.")
@click.option("--no-data", is_flag=True, help="Leave out the sample's own modalities.")
@click.option(
    "--png", type=click.Path(path_type=Path), metavar="FILE", help="Also draw it into FILE."
)
@PLUGIN
@JSON
def explain(
    run: Path,
    sample: str | None,
    classes: int,
    data_root: str | None,
    no_data: bool,
    png: Path | None,
    as_json: bool,
) -> None:
    """Show what each expert said of one sample, how much it counted, and what came out.

    RUN is the directory of a finished I2MoE run. Everything comes from its stored outputs; the data
    set is opened only to show the sample itself.

    \b
    Examples:
      i2moe-bench explain runs/htad-lrtf-i2moe-seed0-cdb70ae7 --sample htad-31
      i2moe-bench explain runs/RUN --sample ID --json
      i2moe-bench explain runs/RUN --sample ID --png sample.png
    """
    from rich.console import Console

    from i2moe_plugin.benchmarks.report.explanation import explain_sample

    explained, console = explain_sample(run, sample, classes), Console()
    if not as_json:  # the answer first: opening the data takes longer
        from i2moe_plugin.benchmarks.terminal.explain import show_explanation, show_modalities

        show_explanation(console, explained)
    shown, missing = [], "left out by --no-data"
    if not no_data:
        from i2moe_plugin.benchmarks.run.collect import SampleViewer

        viewer = SampleViewer(explained.run, data_root)
        shown = viewer.show(explained.explanation.sample_id)
        missing = viewer.missing
    if as_json:
        from i2moe_plugin.benchmarks.terminal.output import print_json

        print_json(explained.as_dict(shown, missing))
    elif not no_data:
        show_modalities(console, shown, missing)
    if png is not None:
        from i2moe_plugin.benchmarks.report.picture import draw

        draw(explained, shown, png)
        click.echo(f"wrote {png}", err=True)
