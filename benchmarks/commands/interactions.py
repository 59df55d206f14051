"""``i2moe-bench interactions``: estimators of interactions side by side."""

from __future__ import annotations

from pathlib import Path

import click

from i2moe_plugin.benchmarks.commands.base import Command
from i2moe_plugin.benchmarks.commands.options import (
    DATA_ROOT,
    JSON,
    PLUGIN,
    TABLE_FORMAT,
    VERBOSITY,
)


@click.command(cls=Command)
@click.argument("subject", metavar="RUN|DATASET")
@DATA_ROOT
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(min=0),
    help="Of clusters, networks and draws.",
)
@PLUGIN
@VERBOSITY
@TABLE_FORMAT
@JSON
def interactions(subject: str, data_root: Path | None, seed: int, as_json: bool) -> None:
    """Compare estimators of interactions on a run or a data set.

    Of a data set of two modalities of features: BROJA's parts by clusters of features (CVX) and by
    networks (BATCH), as PID's authors estimate them. Of a run also the parts of the evidence
    method, how well the model does without interactions (EMAP), and InterSHAP.

    \b
    Examples:
      i2moe-bench interactions htad
      i2moe-bench interactions synthetic:hdxor-synergy
      i2moe-bench interactions runs/htad-lrtf-evidence-seed0-1a2b3c4d --json
    """
    from i2moe_plugin.benchmarks.run.store import MANIFEST, Run
    from i2moe_plugin.benchmarks.terminal.interactions import show_estimates
    from i2moe_plugin.benchmarks.terminal.output import print_json
    from i2moe_plugin.benchmarks.truth.interactions import of_dataset, of_run

    path = Path(subject).expanduser()
    if (path / MANIFEST).is_file():
        place = None if data_root is None else str(data_root)
        found = of_run(Run.load(path), place, seed=seed)
    else:
        from i2moe_plugin.benchmarks.data.open import open_dataset

        found = of_dataset(open_dataset(subject, data_root, loader="own"), seed=seed)
    if as_json:
        print_json(found.as_dict())
    else:
        show_estimates(found)
