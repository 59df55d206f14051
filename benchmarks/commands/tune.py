"""``i2moe-bench tune``: settings searched on validation data, for every method alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from i2moe_plugin.benchmarks.commands.base import TrainingCommand
from i2moe_plugin.benchmarks.commands.options import (
    CLUSTER,
    DATA_ROOT,
    DATASET,
    OPTIONAL_FUSION,
    TABLE_FORMAT,
    refuse_jobs_beside,
    training,
)

#: None of those that ``run`` takes by default.
SEEDS = (100, 101, 102)


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
    help="What to tune beside vanilla: i2moe (the default), an ablation or a control; repeatable.",
)
@click.option("--no-vanilla", is_flag=True, help="Leave vanilla out.")
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    default=30,
    show_default=True,
    help="Trials of each method.",
)
@click.option(
    "--space",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What to search, in YAML.  [default: learning rate, weight decay, dropout, width; "
    "interaction weight and temperature]",
)
@click.option(
    "--search-seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="What the choice of trials derives from.",
)
@CLUSTER
@TABLE_FORMAT
@training(jobs=0, seeds="100,101,102: none that run takes by default")
def tune(
    fusion: str | None,
    dataset: str,
    data_root: Path | None,
    seeds: tuple[int, ...] | None,
    methods: tuple[str, ...],
    no_vanilla: bool,
    trials: int,
    space: Path | None,
    search_seed: int,
    jobs: int,
    cluster: str | None,
    out: str,
    as_json: bool,
    values: dict[str, Any],
) -> None:
    """Search settings on validation data, and write the recipe that run --recipe takes.

    Every method has the same number of trials and the same seeds, and is judged by the same metric
    of the validation split; the test split is not opened. Settings that are given stay as they are.
    The same command again goes on where it was stopped; more --trials go on from those before.

    \b
    Examples:
      i2moe-bench tune
      i2moe-bench run --recipe runs/tuning/htad-lrtf.yaml
      i2moe-bench tune --dataset brca --trials 50 --method i2moe --method ensemble
      i2moe-bench tune --space space.yaml --epochs 30 --jobs 4
      i2moe-bench tune --dataset ./mine --fusion concat --json
    """
    refuse_jobs_beside(cluster)
    if no_vanilla and "vanilla" in methods:
        raise click.UsageError("--no-vanilla leaves out what --method vanilla asks for.")

    from i2moe_plugin.benchmarks.grid.cells import methods_grid, usual_fusion
    from i2moe_plugin.benchmarks.grid.executors.dask import open_cluster
    from i2moe_plugin.benchmarks.terminal.output import print_json
    from i2moe_plugin.benchmarks.terminal.tune import show_tuned, tune_progress
    from i2moe_plugin.benchmarks.tuning.space import load_space
    from i2moe_plugin.benchmarks.tuning.tuner import Tuner

    grid = methods_grid(
        dataset,
        usual_fusion(methods) if fusion is None else fusion,
        methods if no_vanilla else ("vanilla", *methods),
        seeds or SEEDS,
        values=values,
        root=data_root,
    )
    searched = load_space(space)
    with open_cluster(cluster) as workers, tune_progress(grid, trials) as on_trial:
        tuner = Tuner(Path(out), searched, trials, search_seed, jobs, workers, on_trial)
        tuned = tuner.run(grid)
    if as_json:
        print_json(tuned.as_dict())
    else:
        show_tuned(tuned)
