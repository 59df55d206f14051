"""``i2moe-bench export``: a trained model as a folder to hand on."""

from __future__ import annotations

from pathlib import Path

import click

from i2moe_plugin.benchmarks.commands.base import Command
from i2moe_plugin.benchmarks.commands.options import JSON, MULTIBENCH, PLUGIN


@click.command(cls=Command)
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    required=True,
    help="The folder to write; it must be new.",
)
@click.option("--method", metavar="NAME", help="Which of several runs: the method.")
@click.option("--seed", type=click.IntRange(min=0), help="Which of several runs: the seed.")
@MULTIBENCH
@PLUGIN
@JSON
def export(run: Path, output: Path, method: str | None, seed: int | None, as_json: bool) -> None:
    """Write the trained model of a run as a folder to hand on.

    RUN is the directory of a finished run, or a folder of runs of which --method and --seed leave
    one. The folder holds a model card, weights (safetensors), settings, and what was fitted in
    training; 'predict' reads it, PretrainedModel.from_pretrained too, and push_to_hub sends it to
    the Hugging Face hub.

    \b
    Examples:
      i2moe-bench export runs/RUN -o model
      i2moe-bench export runs --method i2moe --seed 0 -o model
      i2moe-bench predict model --data ./march -o march.csv
    """
    from i2moe_plugin.benchmarks.experiments import export_run

    folder = export_run(run, output, method=method, seed=seed)
    if as_json:
        from i2moe_plugin.benchmarks.terminal.output import print_json

        files = sorted(path.name for path in folder.iterdir())
        print_json({"folder": str(folder), "files": files})
        return
    click.echo(f"wrote {folder}: see its README.md")
