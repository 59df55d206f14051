"""The command line ``i2moe-bench``. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from i2moe_plugin import __version__
from i2moe_plugin.errors import I2MoEError

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

PLUGIN = click.option(
    "--plugin",
    "plugins",
    multiple=True,
    metavar="FILE|MODULE",
    help="A Python file or dotted module that registers backbones or data sets; repeatable.",
)


def _checkout(_ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    """The environment is where worker processes find it too."""
    if value is not None:
        os.environ["MULTIBENCH_ROOT"] = str(Path(value).expanduser().absolute())


MULTIBENCH = click.option(
    "--multibench",
    metavar="PATH",
    callback=_checkout,
    expose_value=False,
    help="A MultiBench checkout, for --fusion multibench:MODULE.CLASS.  [env: MULTIBENCH_ROOT]",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object, and no table.")


class Group(click.Group):
    """Shows this package's errors as messages, not as tracebacks."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; 1 for our errors, 130 for Ctrl-C."""
        try:
            return super().invoke(ctx)
        except I2MoEError as error:
            click.secho("error: ", fg="red", bold=True, nl=False, err=True)
            click.echo(str(error), err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            click.echo(
                "\ninterrupted: finished runs are kept; the same command goes on from there.",
                err=True,
            )
            ctx.exit(130)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="i2moe-bench")
def main() -> None:
    """Does a mixture of interaction experts (I2MoE) help your fusion?

    \b
    Examples:
      i2moe-bench run                                  lrtf on htad, 5 seeds, both methods
      i2moe-bench run --fusion lrtf --dataset emoji
      i2moe-bench run --plugin my_fusion.py --fusion mine
      i2moe-bench check my_fusion.py
      i2moe-bench list backbones
      i2moe-bench data sample enrico ./enrico-sample
    """
    # Before torch is imported: the setting CUDA's matrix products need to repeat exactly.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


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


@main.command()
@click.option("--fusion", default="lrtf", show_default=True, help="Name of a backbone.")
@click.option("--dataset", default="htad", show_default=True, help="Name of a data set.")
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
@click.option("--device", help="auto, cpu, cuda, cuda:1 or mps.  [default: auto]")
@click.option("--workers", type=int, help="Processes that load data.")
@click.option("--weights", metavar="FILE|none", help="Pretrained encoder weights, or none.")
@click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any setting; repeatable."
)
@click.option("--no-vanilla", is_flag=True, help="Train I2MoE alone.")
@click.option("--fresh", is_flag=True, help="Repeat runs that are finished.")
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
    no_vanilla: bool,
    fresh: bool,
    out: str,
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
      i2moe-bench run --plugin my_fusion.py --fusion mine --json
    """
    from rich.console import Console

    from i2moe_plugin.benchmarks.settings import parse_assignments, resolve
    from i2moe_plugin.registry import load_plugin

    for plugin in plugins:
        load_plugin(plugin)
    values = {key: value for key, value in given.items() if value is not None}
    if weights is not None:
        values["data.weights"] = weights
    values |= parse_assignments(assignments)
    settings, sources = resolve(dataset, fusion, values)
    seeds = (seed,) if seed is not None else seeds

    from i2moe_plugin.benchmarks.datasets import open_dataset
    from i2moe_plugin.benchmarks.display import job_progress, show_job
    from i2moe_plugin.benchmarks.experiment import resolve_device
    from i2moe_plugin.benchmarks.job import run_job
    from i2moe_plugin.benchmarks.runs import RunStore, plain

    resolve_device(settings.device)
    methods: tuple[Any, ...] = ("i2moe",) if no_vanilla else ("vanilla", "i2moe")
    data = open_dataset(dataset, data_root, **settings.data_settings)
    console = Console(stderr=True)
    total = settings.epochs * len(seeds) * len(methods)
    with job_progress(console, total, settings.metric or data.metric) as progress:
        job = run_job(
            settings,
            data,
            RunStore(out),
            seeds=seeds,
            methods=methods,
            fresh=fresh,
            sources=sources,
            progress=progress,
        )
    if as_json:
        click.echo(json.dumps(plain(job.as_dict()), indent=1))
    else:
        show_job(Console(), job)


@main.command()
@click.argument("targets", nargs=-1, required=True, metavar="FILE|MODULE|NAME...")
@click.option(
    "--set", "assignments", multiple=True, metavar="fusion.KEY=VALUE", help="A setting; repeatable."
)
@click.option(
    "--unused",
    multiple=True,
    metavar="PATTERN",
    help="Parameters that are meant to receive no gradient, such as 'fusion.old.*'; repeatable.",
)
@PLUGIN
@MULTIBENCH
@JSON
def check(
    targets: tuple[str, ...],
    assignments: tuple[str, ...],
    unused: tuple[str, ...],
    plugins: tuple[str, ...],
    as_json: bool,
) -> None:
    """Check backbones against the contract: what passed, what failed, and what to do.

    Give a file or dotted module, and all that it registers is checked, or a registered name. Takes
    seconds and no data; 1 is returned where a check failed.

    \b
    Examples:
      i2moe-bench check my_fusion.py
      i2moe-bench check my_fusion.py --set fusion.width=16
      i2moe-bench check my_package.fusions --json
      i2moe-bench check --plugin my_fusion.py mine
      i2moe-bench check lrtf tensor
      i2moe-bench check --multibench ./MultiBench multibench:fusions.common_fusions.Concat
    """
    from i2moe_plugin.benchmarks.check import check as check_targets
    from i2moe_plugin.benchmarks.settings import parse_assignments
    from i2moe_plugin.errors import ConfigError
    from i2moe_plugin.registry import load_plugin

    values = parse_assignments(assignments)
    wrong = [key for key in values if not key.startswith("fusion.")]
    if wrong:
        raise ConfigError([f"{key}: check takes settings of the fusion only." for key in wrong])
    settings = {key.removeprefix("fusion."): value for key, value in values.items()}
    for plugin in plugins:
        load_plugin(plugin)
    if not check_targets(targets, unused, settings, as_json):
        sys.exit(1)


@main.group(name="list")
def list_() -> None:
    """List what is registered, with its facts.

    \b
    Examples:
      i2moe-bench list backbones
      i2moe-bench list datasets --json
      i2moe-bench list settings
    """


@list_.command()
@PLUGIN
@JSON
def backbones(plugins: tuple[str, ...], as_json: bool) -> None:
    """The backbones: what they take, and where they come from.

    \b
    Examples:
      i2moe-bench list backbones
      i2moe-bench list backbones --plugin my_fusion.py --json
    """
    from i2moe_plugin.benchmarks.listing import show_backbones
    from i2moe_plugin.registry import load_plugin

    for plugin in plugins:
        load_plugin(plugin)
    show_backbones(as_json)


@list_.command()
@PLUGIN
@JSON
def datasets(plugins: tuple[str, ...], as_json: bool) -> None:
    """The data sets: modalities, task, metric, source.

    \b
    Example:
      i2moe-bench list datasets
    """
    from i2moe_plugin.benchmarks.listing import show_datasets
    from i2moe_plugin.registry import load_plugin

    for plugin in plugins:
        load_plugin(plugin)
    show_datasets(as_json)


@list_.command()
@JSON
def settings(as_json: bool) -> None:
    """Every setting that --set takes, with its default.

    \b
    Example:
      i2moe-bench list settings
    """
    from i2moe_plugin.benchmarks.listing import show_settings

    show_settings(as_json)


@main.group()
def data() -> None:
    """Data sets on disk: what is here, and small samples.

    \b
    Examples:
      i2moe-bench data status
      i2moe-bench data sample enrico ./enrico-sample
    """


@data.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--data-root", metavar="DIR", help="Folder to look in.")
@JSON
def status(names: tuple[str, ...], data_root: str | None, as_json: bool) -> None:
    """What is here, what is missing, size and licence.

    \b
    Examples:
      i2moe-bench data status
      i2moe-bench data status enrico --data-root ./enrico
    """
    from i2moe_plugin.benchmarks.listing import show_status

    if not show_status(names, Path(data_root) if data_root else None, as_json):
        sys.exit(1)


@data.command()
@click.argument("name")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
def sample(name: str, folder: Path, seed: int) -> None:
    """Write a small drawn data set in the published format of NAME into FOLDER.

    \b
    Example:
      i2moe-bench data sample enrico ./enrico-sample
      i2moe-bench run --dataset enrico --data-root ./enrico-sample
    """
    from i2moe_plugin.benchmarks.datasets import datasets as registered

    entry = registered.get(name)
    entry.build.write_sample(folder, seed)
    click.echo(f"wrote a sample of {name} into {folder}; use it with:")
    click.echo(f"  i2moe-bench run --dataset {name} --data-root {folder}")


if __name__ == "__main__":
    main()
