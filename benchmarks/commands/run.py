"""``i2moe-bench run``: vanilla beside I2MoE."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from i2moe_plugin.benchmarks.commands.base import TrainingCommand
from i2moe_plugin.benchmarks.commands.options import (
    CLUSTER,
    DATA_ROOT,
    DATASET,
    DRY_RUN,
    FORMAT,
    FORMATS,
    LOG,
    MODALITIES,
    OPTIONAL_FUSION,
    SPLITS,
    refuse_jobs_beside,
    training,
    wants_json,
)


@click.command(cls=TrainingCommand)
@OPTIONAL_FUSION
@DATASET
@DATA_ROOT
@click.option(
    "--method",
    "methods",
    multiple=True,
    metavar="NAME",
    default=["i2moe"],
    help="What to compare with vanilla: i2moe (the default), an ablation or a control, see "
    "'list methods'; repeatable.",
)
@click.option("--no-vanilla", is_flag=True, help="Leave vanilla out.")
@click.option(
    "--recipe",
    metavar="FILE|tuned",
    help="A recipe in place of the data set's own, such as tune writes; tuned: the one that ships "
    "for this data set and backbone, where there is one.",
)
@click.option("--fresh", is_flag=True, help="Repeat runs that are finished.")
@click.option("--no-cache", is_flag=True, help="Compute kept features of frozen networks again.")
@click.option("--weights", metavar="FILE|none", help="Pretrained encoder weights, or none.")
@click.option("--seed", type=click.IntRange(min=0), hidden=True)
@MODALITIES
@DRY_RUN
@LOG
@SPLITS
@FORMAT
@CLUSTER
@training(jobs=0)
def run(
    fusion: str | None,
    dataset: str,
    data_root: Path | None,
    seeds: tuple[int, ...] | None,
    seed: int | None,
    methods: tuple[str, ...],
    no_vanilla: bool,
    recipe: str | None,
    fresh: bool,
    no_cache: bool,
    weights: str | None,
    modalities: tuple[str, ...] | None,
    dry_run: bool,
    log: tuple[str, ...],
    splits: str | None,
    form: str | None,
    jobs: int,
    cluster: str | None,
    out: str,
    as_json: bool,
    values: dict[str, Any],
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
      i2moe-bench run --recipe runs/tuning/htad-lrtf.yaml
      i2moe-bench run --splits 10 --seeds 2
      i2moe-bench run --cluster local:4
      i2moe-bench run --method fl-i2moe --dataset icons --seeds 1
      i2moe-bench run --plugin my_fusion.py --fusion mine --json
    """
    refuse_jobs_beside(cluster)
    as_json = wants_json(as_json, form, dry_run)
    if no_vanilla and "vanilla" in methods:
        raise click.UsageError("--no-vanilla leaves out what --method vanilla asks for.")
    seeds = _chosen_seeds(seeds, seed)
    if weights is not None:
        values["data.weights"] = weights
    if modalities is not None:
        values["data.modalities"] = list(modalities)

    from i2moe_plugin.benchmarks.experiments import plan
    from i2moe_plugin.benchmarks.experiments import run as run_experiment
    from i2moe_plugin.benchmarks.terminal.estimate import tell_estimate
    from i2moe_plugin.benchmarks.terminal.output import print_json
    from i2moe_plugin.benchmarks.terminal.run import show_methods
    from i2moe_plugin.benchmarks.terminal.verbosity import quiet, verbose

    methods = methods if no_vanilla else ("vanilla", *methods)
    options: dict[str, Any] = {"settings": values, "recipe": recipe, "root": data_root}
    options |= {"out": out, "splits": splits, "jobs": jobs, "fresh": fresh}
    if dry_run:
        tell_estimate(plan(dataset, fusion, methods, seeds, **options), as_json)
        return
    progress = "epochs" if verbose() else not quiet()
    options |= {"cluster": cluster, "cache": not no_cache, "progress": progress, "log": log}
    experiment = run_experiment(dataset, fusion, methods, seeds, **options)
    if as_json:
        print_json(experiment.as_dict())
    elif form is not None:
        from i2moe_plugin.benchmarks.grid.formats import FORMATS as WRITERS

        click.echo(WRITERS[FORMATS[form]](experiment.results), nl=False)
    else:
        show_methods(experiment.results)


def _chosen_seeds(seeds: tuple[int, ...] | None, seed: int | None) -> tuple[int, ...]:
    """Return the seeds of both options; ``--seed`` is deprecated."""
    if seed is None:
        return seeds or tuple(range(5))
    if seeds is not None:
        raise click.UsageError("--seed and --seeds are the same; give --seeds alone.")
    from i2moe_plugin.deprecation import deprecated

    click.echo(deprecated(f"--seed {seed}", f"--seeds {seed}, (a list of one)"), err=True)
    return (seed,)
