"""``i2moe-bench predict``: what a trained run says of samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from i2moe_plugin.benchmarks.commands.base import Command
from i2moe_plugin.benchmarks.commands.options import (
    JSON,
    MULTIBENCH,
    PLUGIN,
    TABLE_FORMAT,
    VERBOSITY,
)

if TYPE_CHECKING:
    from i2moe_plugin.benchmarks.data.samples import Part


@click.command(cls=Command)
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="FOLDER|FILE",
    help="New samples: a folder with files as in training, or the one file that holds all "
    "modalities.  [default: the data set that the run was trained on]",
)
@click.option(
    "--split",
    "part",
    type=click.Choice(["train", "valid", "test", "all"]),
    default="all",
    show_default=True,
    help="Which samples.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write all of them into FILE: .csv, .parquet or .json.",
)
@click.option("--device", help="Where to compute.  [default: as in training]")
@MULTIBENCH
@PLUGIN
@VERBOSITY
@TABLE_FORMAT
@JSON
def predict(
    run: Path,
    data: Path | None,
    part: Part,
    output: Path | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Predict samples by the trained model of a run.

    RUN is the directory of a finished run, or a folder that 'export' wrote. New samples are read by
    what the run learned from its training data (scales, words, columns, classes), which need not be
    here. Each sample has its prediction, probabilities, and the weight of each expert; and its
    label where it came with one.

    \b
    Examples:
      i2moe-bench predict runs/RUN --data ./march -o march.csv
      i2moe-bench predict runs/RUN --data march.csv --json
      i2moe-bench predict runs/RUN --split valid
    """
    from i2moe_plugin.benchmarks.experiments import predict as predict_samples
    from i2moe_plugin.benchmarks.terminal.verbosity import note

    found = predict_samples(run, data, part, device)
    if output is not None:
        found.write(output)
    for text in found.notes:
        note(f"note: {text}")
    if as_json:
        from i2moe_plugin.benchmarks.terminal.output import print_json

        print_json(found.as_dict())
        return
    from i2moe_plugin.benchmarks.terminal.predict import show_predictions

    show_predictions(found, output)
