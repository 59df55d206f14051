"""``i2moe-bench parity``: the paper's figures, and MultiBench's own loop."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from i2moe_plugin.benchmarks.commands.base import TrainingCommand
from i2moe_plugin.benchmarks.commands.options import SUBJECT, TABLE_FORMAT, training

if TYPE_CHECKING:
    from i2moe_plugin.benchmarks.run.settings import RunSettings


@click.command(cls=TrainingCommand)
@SUBJECT
@click.option(
    "--margin",
    default=0.02,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="What counts as the same, as a share: 0.02 is two points of accuracy.",
)
@TABLE_FORMAT
@training(jobs=1)
def parity(
    fusion: str,
    dataset: str,
    data_root: Path | None,
    seeds: tuple[int, ...] | None,
    margin: float,
    jobs: int,
    out: str,
    as_json: bool,
    values: dict[str, Any],
) -> None:
    """Are our figures the paper's, and our training MultiBench's?

    Vanilla and I2MoE are trained over seeds and tested for equivalence (TOST) with the figure the
    paper reports, and, with a checkout, with the same models trained by MultiBench's own loop. A
    drawn sample, or settings that are not the recipe's, are not comparable with the paper.

    \b
    Examples:
      i2moe-bench parity --dataset enrico --fusion transformer \\
          --data-root ./enrico
      i2moe-bench parity --dataset htad --fusion concat --multibench ./MultiBench
    """
    from i2moe_plugin.benchmarks.grid.cells import methods_grid

    methods, seeds = ("vanilla", "i2moe"), seeds or tuple(range(5))
    grid = methods_grid(dataset, fusion, methods, seeds, values=values, root=data_root)

    from i2moe_plugin.benchmarks.experiments.progress import epoch_progress
    from i2moe_plugin.benchmarks.grid.runner import GridRunner, open_cell
    from i2moe_plugin.benchmarks.grid.spec import NEUTRAL
    from i2moe_plugin.benchmarks.regression.parity import parity
    from i2moe_plugin.benchmarks.run.multibench import loop_results
    from i2moe_plugin.benchmarks.run.store import RunStore
    from i2moe_plugin.benchmarks.terminal.output import print_json
    from i2moe_plugin.benchmarks.terminal.regression import show_parity
    from i2moe_plugin.benchmarks.terminal.verbosity import note, quiet

    data, store = open_cell(grid.cells[0]), RunStore(out)
    with nullcontext(lambda *_: None) if quiet() else epoch_progress(grid) as on_event:
        options: dict[str, Any] = {"strict": True, "progress": not quiet(), "on_event": on_event}
        table = GridRunner(store, lambda _: data, jobs, **options).run(grid)
    loop, checkout = None, os.environ.get("MULTIBENCH_ROOT")
    if checkout:

        def loop(settings: RunSettings) -> dict[str, Any]:
            note(f"MultiBench's loop: {settings.method} seed {settings.seed}")
            return loop_results(settings, data, store, checkout)

    found = parity(table, margin, altered=sorted(set(values) - NEUTRAL), loop=loop)
    if as_json:
        print_json(found.as_dict())
    else:
        show_parity(found)
