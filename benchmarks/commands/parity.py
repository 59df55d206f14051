"""``i2moe-bench parity``: the paper's figures, and MultiBench's own loop."""

from __future__ import annotations

import json
import os
from typing import Any

import click

from i2moe_plugin.benchmarks.commands.options import JSON, MULTIBENCH, PLUGIN, load_plugins
from i2moe_plugin.benchmarks.commands.run import _seeds


@click.command()
@click.option("--dataset", default="htad", show_default=True, help="Name of a data set.")
@click.option("--fusion", default="lrtf", show_default=True, help="Name of a backbone.")
@click.option("--data-root", metavar="DIR", help="Folder of the data set's published files.")
@click.option(
    "--seeds", default="5", show_default=True, callback=_seeds, help="How many, or a list: 0,3,7."
)
@click.option(
    "--margin",
    default=0.02,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="What counts as the same, as a share: 0.02 is two points of accuracy.",
)
@click.option("--epochs", type=int, help="Epochs of each run; then it is not the paper's recipe.")
@click.option("--device", help="auto, cpu, cuda, cuda:1 or mps.  [default: auto]")
@click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any setting; repeatable."
)
@click.option("--jobs", type=click.IntRange(min=0), default=1, help="Runs at a time.")
@click.option("--out", default="runs", show_default=True, metavar="DIR", help="Where runs go.")
@MULTIBENCH
@PLUGIN
@JSON
def parity(
    dataset: str,
    fusion: str,
    data_root: str | None,
    seeds: tuple[int, ...],
    margin: float,
    epochs: int | None,
    device: str | None,
    assignments: tuple[str, ...],
    jobs: int,
    out: str,
    plugins: tuple[str, ...],
    as_json: bool,
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

    from i2moe_plugin.benchmarks.data.open import open_dataset
    from i2moe_plugin.benchmarks.data.registry import find_dataset
    from i2moe_plugin.benchmarks.grid.spec import NEUTRAL
    from i2moe_plugin.benchmarks.run.settings import parse_assignments, resolve

    load_plugins(plugins)
    dataset, root = find_dataset(dataset, data_root)
    given: dict[str, Any] = {"epochs": epochs, "device": device}
    given = {key: value for key, value in given.items() if value is not None}
    given |= parse_assignments(assignments)
    settings, sources = resolve(dataset, fusion, given)

    from i2moe_plugin.benchmarks.grid.job import run_job
    from i2moe_plugin.benchmarks.regression.parity import METHODS, parity
    from i2moe_plugin.benchmarks.run.environment import resolve_device
    from i2moe_plugin.benchmarks.run.multibench import SELECTION, loop_results
    from i2moe_plugin.benchmarks.run.store import RunStore, plain
    from i2moe_plugin.benchmarks.terminal.parity import show_parity
    from i2moe_plugin.benchmarks.terminal.run import job_progress

    resolve_device(settings.device)
    data = open_dataset(dataset, root, loader=settings.loader, **settings.data_settings)
    store, checkout = RunStore(out), os.environ.get("MULTIBENCH_ROOT")
    console = Console(stderr=True)
    metric = settings.metric or data.selection or data.metric
    with job_progress(console, settings.epochs * len(seeds) * len(METHODS), metric) as progress:
        job = run_job(
            settings,
            data,
            store,
            seeds=seeds,
            methods=METHODS,
            sources=sources,
            progress=progress,
            jobs=jobs,
        )
    loop = None
    if checkout:

        def loop(method: str, seed: int) -> dict[str, Any]:
            click.echo(f"MultiBench's loop: {method} seed {seed}", err=True)
            one = settings.model_copy(update={"method": method, "seed": seed})
            return loop_results(one, data, store, checkout)

    altered = sorted(set(given) - NEUTRAL)
    found = parity(job, data, margin, altered=altered, loop=loop)
    theirs = SELECTION.get(data.task.name)
    if checkout and theirs != metric:
        found.notes.append(f"MultiBench's loop selects the epoch by {theirs}, ours by {metric}.")
    if not checkout:
        found.notes.append("No MultiBench checkout was given: --multibench PATH.")
    if as_json:
        click.echo(json.dumps(plain(found.as_dict()), indent=1))
    else:
        show_parity(Console(), found)
