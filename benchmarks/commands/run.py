"""``i2moe-bench run``: vanilla beside I2MoE."""

from __future__ import annotations

import json
from typing import Any

import click

from i2moe_plugin.benchmarks.commands.options import JSON, MULTIBENCH, PLUGIN, load_plugins


def _seeds(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[int, ...]:
    """``5`` is seeds 0 to 4; ``0,3,7`` are just those."""
    try:
        seeds = [int(part) for part in value.split(",")]
    except ValueError as error:
        raise click.BadParameter("give a number of seeds (5) or a list (0,3,7).") from error
    if "," not in value:
        seeds = list(range(seeds[0]))
    if not seeds or min(seeds) < 0 or len(set(seeds)) != len(seeds):
        raise click.BadParameter("seeds must be distinct, not negative, and at least one.")
    return tuple(seeds)


@click.command()
@click.option("--fusion", default="lrtf", show_default=True, help="Name of a backbone.")
@click.option(
    "--dataset",
    default="htad",
    show_default=True,
    help="Name of a data set, or a folder with dataset.yaml.",
)
@click.option("--data-root", metavar="DIR", help="Folder of the data set's published files.")
@click.option(
    "--seeds", default="5", show_default=True, callback=_seeds, help="How many, or a list: 0,3,7."
)
@click.option("--seed", type=click.IntRange(min=0), help="This one seed alone.")
@click.option("--epochs", type=int, help="Epochs of each run.")
@click.option("--batch-size", type=int, help="Samples a step.")
@click.option("--lr", type=float, help="Learning rate.")
@click.option("--interaction-weight", type=float, help="Lambda of the interaction losses.")
@click.option("--masking", help="random, mean, zero, matched or marginal.")
@click.option("--temperature", type=float, help="Of the reweighting softmax.")
@click.option("--precision", type=click.Choice(["32", "bf16-mixed", "16-mixed"]))
@click.option(
    "--plan",
    type=click.Choice(["auto", "fastest", "loop", "batched", "shared", "stacked"]),
    help="How experts and views are run; the numbers are the same.  [default: auto]",
)
@click.option("--compile", is_flag=True, default=None, help="Deprecated, without effect.")
@click.option("--memory-budget", type=int, metavar="MB", help="For a step's activations.")
@click.option("--device", help="auto, cpu, cuda, cuda:1 or mps.  [default: auto]")
@click.option("--workers", type=int, help="Processes that load data.")
@click.option(
    "--jobs",
    type=click.IntRange(min=0),
    default=0,
    help="Runs at a time.  [default: one a core for small models on a CPU, otherwise 1]",
)
@click.option(
    "--loader",
    type=click.Choice(["own", "multibench"]),
    help="Who reads the data; multibench: the loader of the checkout in --multibench.",
)
@click.option("--weights", metavar="FILE|none", help="Pretrained encoder weights, or none.")
@click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any setting; repeatable."
)
@click.option(
    "--method",
    "methods",
    multiple=True,
    metavar="NAME",
    help="What to compare with vanilla: i2moe (the default), an ablation or a control, see "
    "'list methods'; repeatable.",
)
@click.option("--no-vanilla", is_flag=True, help="Leave vanilla out.")
@click.option("--fresh", is_flag=True, help="Repeat runs that are finished.")
@click.option("--no-cache", is_flag=True, help="Compute kept features of frozen networks again.")
@click.option("--out", default="runs", show_default=True, metavar="DIR", help="Where runs go.")
@MULTIBENCH
@PLUGIN
@JSON
def run(
    fusion: str,
    dataset: str,
    data_root: str | None,
    seeds: tuple[int, ...],
    seed: int | None,
    weights: str | None,
    assignments: tuple[str, ...],
    methods: tuple[str, ...],
    no_vanilla: bool,
    fresh: bool,
    no_cache: bool,
    out: str,
    jobs: int,
    plugins: tuple[str, ...],
    as_json: bool,
    **given: Any,
) -> None:
    """Train the vanilla fusion and its I2MoE ensemble, and say whether I2MoE helped.

    Both use the same encoders, splits and seeds. Settings come from the data set's recipe unless
    given; the epoch is selected on validation data, and test data is touched once, at the end. The
    same command again finds its finished runs and only shows them.

    \b
    Examples:
      i2moe-bench run
      i2moe-bench run --fusion concat --dataset brca --seeds 3
      i2moe-bench run --set fusion.rank=8 --set weight_decay=1e-3
      i2moe-bench run --dataset enrico --data-root ./enrico
      i2moe-bench run --method i2moe --method no-interaction --method ensemble
      i2moe-bench run --plugin my_fusion.py --fusion mine --json
    """
    from rich.console import Console

    from i2moe_plugin.benchmarks.datasets import find_dataset, open_dataset
    from i2moe_plugin.benchmarks.run.settings import parse_assignments, resolve

    load_plugins(plugins)
    dataset, root = find_dataset(dataset, data_root)
    values = {key: value for key, value in given.items() if value is not None}
    if weights is not None:
        values["data.weights"] = weights
    values |= parse_assignments(assignments)
    settings, sources = resolve(dataset, fusion, values)
    seeds = (seed,) if seed is not None else seeds

    from i2moe_plugin.benchmarks.grid.job import run_job
    from i2moe_plugin.benchmarks.run.execute import resolve_device
    from i2moe_plugin.benchmarks.run.store import RunStore, plain
    from i2moe_plugin.benchmarks.terminal.run import job_progress, show_job
    from i2moe_plugin.methods import find_method

    resolve_device(settings.device)
    compared = list(dict.fromkeys([*([] if no_vanilla else ["vanilla"]), *(methods or ["i2moe"])]))
    for name in compared:
        find_method(name)
    data = open_dataset(dataset, root, **settings.data_settings)
    data.cache = not no_cache
    if settings.loader == "multibench":
        from i2moe_plugin.benchmarks.data.multibench import load_from_multibench

        load_from_multibench(data)
    console = Console(stderr=True)
    total = settings.epochs * len(seeds) * len(compared)
    with job_progress(console, total, settings.metric or data.selection or data.metric) as progress:
        job = run_job(
            settings,
            data,
            RunStore(out),
            seeds=seeds,
            methods=compared,
            fresh=fresh,
            sources=sources,
            progress=progress,
            jobs=jobs,
        )
    if as_json:
        click.echo(json.dumps(plain(job.as_dict()), indent=1))
    else:
        show_job(Console(), job)
