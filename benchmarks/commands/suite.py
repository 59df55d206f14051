"""``i2moe-bench suite``: whole tables."""

from __future__ import annotations

import sys
from typing import Any

import click

from i2moe_plugin.benchmarks.commands.options import JSON, MULTIBENCH, PLUGIN, load_plugins


def _roots(_ctx: click.Context, _param: click.Parameter, value: tuple[str, ...]) -> dict[str, str]:
    """``NAME=DIR``, repeated."""
    pairs = [item.partition("=") for item in value]
    if not all(name and sign and folder for name, sign, folder in pairs):
        raise click.BadParameter("give NAME=DIR, such as --data-root enrico=./enrico.")
    return {name: folder for name, _, folder in pairs}


def _seeds(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Any:
    from i2moe_plugin.benchmarks.commands.run import _seeds as parse

    return None if value is None else parse(_ctx, _param, value)


@click.command()
@click.argument("suite", metavar="FILE|NAME")
@click.option("--seeds", callback=_seeds, help="How many, or a list: 0,3,7; over the file's.")
@click.option("--epochs", type=int, help="Epochs of each run, over the file's and the recipes'.")
@click.option("--device", help="auto, cpu, cuda, cuda:1 or mps.  [default: auto]")
@click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any setting; repeatable."
)
@click.option(
    "--only",
    multiple=True,
    metavar="NAME",
    help="This data set, backbone or method alone; repeatable.",
)
@click.option(
    "--data-root",
    "roots",
    multiple=True,
    callback=_roots,
    metavar="NAME=DIR",
    help="Where a data set's published files are; repeatable.",
)
@click.option("--samples", is_flag=True, help="Draw small samples of data sets that are not here.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Runs at a time, in processes of their own.",
)
@click.option("--retry", is_flag=True, help="Try failed runs again.")
@click.option("--out", default="runs", show_default=True, metavar="DIR", help="Where runs go.")
@MULTIBENCH
@PLUGIN
@JSON
def suite(
    suite: str,
    seeds: tuple[int, ...] | None,
    epochs: int | None,
    device: str | None,
    assignments: tuple[str, ...],
    only: tuple[str, ...],
    roots: dict[str, str],
    samples: bool,
    jobs: int,
    retry: bool,
    out: str,
    plugins: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run a table: data sets x backbones x methods x settings x seeds, compared and corrected.

    Finished runs are never repeated, by whatever command they were made. A failed run is kept with
    its reason, shown, never counted, and tried again with --retry. A data set that is not here is
    skipped. Tables are written as Markdown, CSV, LaTeX and JSON into OUT/suites.

    \b
    Suites that ship:
      embedded                 packaged data that needs no extra, all backbones, vanilla and I2MoE
      table1 table2 table4     the paper's tables; their data sets have to be there,
      table5 table6            or --samples draws small ones (figures are then not comparable)

    \b
    Examples:
      i2moe-bench suite embedded --only htad --only lrtf --seeds 3
      i2moe-bench suite table1 --data-root enrico=./enrico --only enrico
      i2moe-bench suite table6 --samples
      i2moe-bench suite my-suite.yaml --retry --json
    """
    from rich.console import Console

    from i2moe_plugin.benchmarks.grid.spec import load_suite
    from i2moe_plugin.benchmarks.run.settings import parse_assignments

    load_plugins(plugins)
    given = {"epochs": epochs, "device": device}
    settings = {key: value for key, value in given.items() if value is not None}
    settings |= parse_assignments(assignments)
    loaded = load_suite(suite, seeds=seeds, settings=settings, roots=roots, only=only)

    from i2moe_plugin.benchmarks.grid.formats import json_text, write_tables
    from i2moe_plugin.benchmarks.grid.runner import run_suite
    from i2moe_plugin.benchmarks.grid.table import make_table
    from i2moe_plugin.benchmarks.run.store import RunStore
    from i2moe_plugin.benchmarks.terminal.suite import show_table, suite_progress

    store = RunStore(out)
    with suite_progress(Console(stderr=True), loaded) as on_event:
        record = run_suite(
            loaded, store, retry=retry, samples=samples, jobs=jobs, on_event=on_event
        )
    table = make_table(record)
    write_tables(table, store.folder)
    if as_json:
        click.echo(json_text(table), nl=False)
    else:
        show_table(Console(), table, store.folder, record.reused)
    if record.states().get("failed"):
        sys.exit(1)
