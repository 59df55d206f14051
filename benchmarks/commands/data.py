"""``i2moe-bench data``: data sets on disk."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from i2moe_plugin.benchmarks.commands.options import JSON


@click.group()
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
