"""``i2moe-bench parity``: the paper's figures, and MultiBench's own loop."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from i2moe_plugin.benchmarks.commands.base import TrainingCommand
from i2moe_plugin.benchmarks.commands.options import (
    DATA_ROOT,
    DATASET,
    FUSION,
    JSON,
    MULTIBENCH,
    OUT,
    PLUGIN,
    SEEDS,
    jobs_option,
)


@click.command(cls=TrainingCommand)
@FUSION
@DATASET
@DATA_ROOT
@SEEDS
@click.option(
    "--margin",
    default=0.02,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="What counts as the same, as a share: 0.02 is two points of accuracy.",
)
@jobs_option(1)
@OUT
@MULTIBENCH
@PLUGIN
@JSON
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
      i2moe-bench parity --dataset enrico --fusion transformer --data-root ./enrico
      i2moe-bench parity --dataset htad --fusion concat --multibench ./MultiBench
    """
    from rich.console import Console

    from i2moe_plugin.benchmarks.data.registry import find_dataset
    from i2moe_plugin.benchmarks.run.settings import resolve

    dataset, root = find_dataset(dataset, data_root)
    settings, sources = resolve(dataset, fusion, values)

    from i2moe_plugin.benchmarks.grid.cells import methods_grid
    from i2moe_plugin.benchmarks.grid.runner import open_cell, run_grid
    from i2moe_plugin.benchmarks.grid.spec import NEUTRAL
    from i2moe_plugin.benchmarks.regression.parity import METHODS, parity
    from i2moe_plugin.benchmarks.run.environment import resolve_device
    from i2moe_plugin.benchmarks.run.multibench import SELECTION, loop_results
    from i2moe_plugin.benchmarks.run.store import RunStore
    from i2moe_plugin.benchmarks.terminal.output import print_json
    from i2moe_plugin.benchmarks.terminal.parity import show_parity
    from i2moe_plugin.benchmarks.terminal.run import epoch_progress

    grid = methods_grid(settings, METHODS, seeds or range(5), sources=sources, root=root)
    resolve_device(settings.device)
    data, store = open_cell(grid.cells[0]), RunStore(out)
    with epoch_progress(Console(stderr=True), grid) as on_event:
        table = run_grid(
            grid,
            store,
            open_data=lambda _: data,
            workers=jobs,
            strict=True,
            progress=True,
            on_event=on_event,
        )
    loop, checkout = None, os.environ.get("MULTIBENCH_ROOT")
    if checkout:

        def loop(method: str, seed: int) -> dict[str, Any]:
            click.echo(f"MultiBench's loop: {method} seed {seed}", err=True)
            one = settings.model_copy(update={"method": method, "seed": seed})
            return loop_results(one, data, store, checkout)

    found = parity(table, margin, altered=sorted(set(values) - NEUTRAL), loop=loop)
    ours, theirs = table.cells[0].selection, SELECTION.get(data.task.name)
    if checkout and theirs != ours:
        found.notes.append(f"MultiBench's loop selects the epoch by {theirs}, ours by {ours}.")
    if not checkout:
        found.notes.append("No MultiBench checkout was given: --multibench PATH.")
    if as_json:
        print_json(found.as_dict())
    else:
        show_parity(Console(), found)
