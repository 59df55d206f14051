"""Options that several commands take, alone or together."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from i2moe_plugin.benchmarks.grid import USUAL_FUSION
from i2moe_plugin.benchmarks.terminal.verbosity import FORM, KEY


def _parse_seeds(
    _ctx: click.Context, _param: click.Parameter, value: str | None
) -> tuple[int, ...] | None:
    """Read ``5`` as seeds 0 to 4, ``0,3,7`` as just those, and ``7,`` as that one alone."""
    if value is None:
        return None
    try:
        seeds = [int(part) for part in value.removesuffix(",").split(",")]
    except ValueError as error:
        raise click.BadParameter(
            "give a number of seeds (5) or a list (0,3,7; of one: 7,)."
        ) from error
    if "," not in value:
        seeds = list(range(seeds[0]))
    if not seeds or min(seeds) < 0 or len(set(seeds)) != len(seeds):
        raise click.BadParameter("seeds must be distinct, not negative, and at least one.")
    return tuple(seeds)


def _load(ctx: click.Context, _param: click.Parameter, plugins: tuple[str, ...]) -> None:
    """Import what the user named; nothing heavy is imported where there is none."""
    if plugins and not ctx.resilient_parsing:
        from i2moe_plugin.registry import load_plugin

        for plugin in plugins:
            load_plugin(plugin)


def _remember_checkout(_ctx: click.Context, _param: click.Parameter, path: str | None) -> None:
    """Put the checkout into the environment, where worker processes find it too."""
    if path is not None:
        os.environ["MULTIBENCH_ROOT"] = str(Path(path).expanduser().absolute())


PLUGIN = click.option(
    "--plugin",
    multiple=True,
    metavar="FILE|MODULE",
    callback=_load,
    expose_value=False,
    help="A Python file or dotted module that registers backbones or data sets; repeatable.",
)
MULTIBENCH = click.option(
    "--multibench",
    metavar="PATH",
    callback=_remember_checkout,
    expose_value=False,
    is_eager=True,  # a plugin may look for the checkout
    help="A MultiBench checkout, for --fusion multibench:MODULE.CLASS.  [env: MULTIBENCH_ROOT]",
)


def _json_or_its_form(ctx: click.Context, param: click.Parameter, given: bool) -> bool:
    """Take ``--format json`` for ``--json``, and refuse the latter beside another form."""
    form = ctx.meta.get(FORM, "json")
    if given and form != "json":
        raise click.UsageError(f"--json and --format {form} cannot be given together.", ctx)
    return given or (FORM in ctx.meta and form == "json")


JSON = click.option(
    "--json",
    "as_json",
    is_flag=True,
    callback=_json_or_its_form,
    help="Print one JSON object, and no table.",
)


def _say(ctx: click.Context, param: click.Parameter, given: bool) -> None:
    """Remember how much the command is to say."""
    if not given:
        return
    if KEY in ctx.meta:
        raise click.UsageError("-q and -v cannot be given together.", ctx)
    ctx.meta[KEY] = -1 if param.name == "quiet" else 1


#: What `--format` takes -> the ending of the file that a suite writes so.
FORMATS = {"markdown": "md", "latex": "tex", "csv": "csv", "json": "json"}
FORMAT = click.option(
    "--format",
    "form",
    type=click.Choice([*FORMATS]),
    help="Print the table so, and nothing else; json is --json.",
)


def _remember_form(ctx: click.Context, param: click.Parameter, given: str | None) -> None:
    """Remember what the tables of a command are to be written as."""
    if given is not None:
        ctx.meta[FORM] = given


#: `--format` of commands whose tables hold no more than what they show; :data:`FORMAT` of others.
TABLE_FORMAT = click.option(
    "--format",
    type=click.Choice([*FORMATS]),
    callback=_remember_form,
    expose_value=False,
    is_eager=True,  # --json looks at it
    help="Print tables so, and nothing else; json is --json.",
)
DATA_ROOT = click.option(
    "--data-root",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder of the data set's files.  [default: data/NAME]",
)


def _roots(_ctx: click.Context, _param: click.Parameter, value: tuple[str, ...]) -> dict[str, str]:
    """Read ``NAME=DIR``, repeated."""
    pairs = [item.partition("=") for item in value]
    if not all(name and sign and folder for name, sign, folder in pairs):
        raise click.BadParameter("give NAME=DIR, such as --data-root enrico=./enrico.")
    roots = {name: folder for name, _, folder in pairs}
    if len(roots) < len(pairs):
        raise click.BadParameter("a data set has one folder; each NAME=DIR is given once.")
    return roots


DATA_ROOTS = click.option(
    "--data-root",
    "roots",
    multiple=True,
    callback=_roots,
    metavar="NAME=DIR",
    help="Where a data set's published files are; repeatable.",
)
DATASET = click.option(
    "--dataset",
    default="htad",
    show_default=True,
    help="Name of a data set, or a folder with dataset.yaml.",
)
_FUSION = click.option(
    "--fusion", default=USUAL_FUSION, show_default=True, help="Name of a backbone."
)
USUAL_FUSIONS = f"{USUAL_FUSION}; of methods on tokens: token-transformer"
OPTIONAL_FUSION = click.option(
    "--fusion",
    help=f"Name of a backbone.  [default: {USUAL_FUSIONS}]",
)


def _seeds(default: str) -> Callable[[Any], Any]:
    return click.option(
        "--seeds",
        callback=_parse_seeds,
        help=f"How many, or a list: 0,3,7; of one: 7,  [default: {default}]",
    )


def _known_splits(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """Check it before anything is opened."""
    if value is not None:
        from i2moe_plugin.benchmarks.data.redraw import split_names
        from i2moe_plugin.errors import ConfigError

        try:
            split_names(value)
        except ConfigError as error:
            raise click.BadParameter(str(error)) from error
    return value


SPLITS = click.option(
    "--splits",
    metavar="N|kfold:K",
    callback=_known_splits,
    help="Draw so many splits anew from all samples, or folds, and run each with every seed.  "
    "[default: the data set's own split alone]",
)
_OUT = click.option(
    "--out", default="runs", show_default=True, metavar="DIR", help="Where runs go."
)


def _together(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return one decorator for several options, in this order."""
    return lambda command: functools.reduce(lambda made, add: add(made), options[::-1], command)


VERBOSITY = _together(
    click.option(
        "-q",
        "--quiet",
        is_flag=True,
        expose_value=False,
        callback=_say,
        help="Show the result and errors alone.",
    ),
    click.option(
        "-v", "--verbose", is_flag=True, expose_value=False, callback=_say, help="Show more lines."
    ),
)
#: What one backbone is trained on: ``fusion``, ``dataset``, ``data_root``.
SUBJECT = _together(_FUSION, DATASET, DATA_ROOT)


CLUSTER = click.option(
    "--cluster",
    metavar="PLACE",
    help="Train on dask's workers: local:N (processes here), tcp://HOST:PORT (a running scheduler) "
    "or slurm[:N] (jobs).",
)


def _split_names(
    _ctx: click.Context, _param: click.Parameter, value: str | None
) -> tuple[str, ...] | None:
    """Read ``b,a`` as the sorted names: the data set, and not the user, orders its modalities."""
    if value is None:
        return None
    names = [name.strip() for name in value.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise click.BadParameter("give distinct names with commas between: image,text.")
    return tuple(sorted(names))


MODALITIES = click.option(
    "--modalities",
    metavar="A,B",
    callback=_split_names,
    help="Train on these modalities alone, at least two.  [default: all]",
)
LOG = click.option(
    "--log",
    multiple=True,
    type=click.Choice(["tensorboard", "mlflow", "wandb"]),
    help="Log epochs and results there too, into OUT/logs; repeatable.",
)
DRY_RUN = click.option(
    "--dry-run",
    is_flag=True,
    help="Show what would run and what is finished, with time, memory and disk; run and write "
    "nothing.",
)


def wants_json(as_json: bool, form: str | None, dry_run: bool = False) -> bool:
    """Return whether JSON is asked for, by ``--json`` or ``--format json``.

    Raises:
        click.UsageError: both ask for different things, or there is no table to print.
    """
    if form not in (None, "json"):
        if as_json:
            raise click.UsageError(f"--json and --format {form} cannot be given together.")
        if dry_run:
            raise click.UsageError(
                f"--dry-run has no results for --format {form}; leave it out, or give --json."
            )
    return as_json or form == "json"


def refuse_jobs_beside(cluster: str | None) -> None:
    """Refuse ``--jobs`` beside ``--cluster``, which says how many runs there are at a time."""
    given = click.get_current_context().get_parameter_source("jobs")
    if cluster is not None and given is not ParameterSource.DEFAULT:
        raise click.UsageError(
            "--cluster says how many runs there are at a time; leave --jobs out."
        )


def training(jobs: int, seeds: str = "5, or the suite's") -> Callable[[Any], Any]:
    """Return the options of commands that train.

    Args:
        jobs: how many runs at a time by default.
        seeds: which seeds by default, in words.
    """
    workers = click.option(
        "--jobs",
        type=click.IntRange(min=0),
        default=jobs,
        show_default=True,
        help="Runs at a time, in processes of their own; 0: one a core for small models on a CPU, "
        "otherwise 1.",
    )
    return _together(_seeds(seeds), workers, _OUT, MULTIBENCH, PLUGIN, VERBOSITY, JSON)
