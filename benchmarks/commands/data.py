"""``i2moe-bench data``: data sets on disk."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from i2moe_plugin.benchmarks.commands.base import Group
from i2moe_plugin.benchmarks.commands.options import DATA_ROOT, JSON, PLUGIN, TABLE_FORMAT


@click.group(cls=Group)
def data() -> None:
    """Data sets: what there is, in which format, what is here, and how to get it.

    \b
    Examples:
      i2moe-bench data list
      i2moe-bench data describe mosi
      i2moe-bench data sample enrico ./enrico-sample
      i2moe-bench data fetch enrico
      i2moe-bench data verify enrico --data-root ./enrico
    """


@data.command(name="list")
@PLUGIN
@TABLE_FORMAT
@JSON
def list_(as_json: bool) -> None:
    """Every data set in one line.

    \b
    Example:
      i2moe-bench data list
    """
    from i2moe_plugin.benchmarks.terminal.data import show_data

    show_data(as_json)


@data.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@DATA_ROOT
@TABLE_FORMAT
@JSON
@PLUGIN
def status(names: tuple[str, ...], data_root: Path | None, as_json: bool) -> None:
    """What is here, what is missing, size and licence.

    \b
    Examples:
      i2moe-bench data status
      i2moe-bench data status enrico --data-root ./enrico
    """
    from i2moe_plugin.benchmarks.terminal.data import show_status

    if not show_status(names, data_root, as_json):
        sys.exit(1)


@data.command()
@click.argument("name")
@JSON
@PLUGIN
def describe(name: str, as_json: bool) -> None:
    """Files, keys, shapes, units, splits, licence, how to get access, citation.

    \b
    Examples:
      i2moe-bench data describe mimic
      i2moe-bench data describe ./my-data
    """
    from i2moe_plugin.benchmarks.terminal.data import show_description

    show_description(name, as_json)


@data.command()
@click.argument("name")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
@PLUGIN
@JSON
def sample(name: str, folder: Path, seed: int, as_json: bool) -> None:
    """Write a small drawn data set in the published format of NAME into FOLDER.

    \b
    Example:
      i2moe-bench data sample enrico ./enrico-sample
      i2moe-bench run --dataset enrico --data-root ./enrico-sample
    """
    from i2moe_plugin.benchmarks.data.registry import datasets
    from i2moe_plugin.benchmarks.terminal.output import print_json

    datasets.get(name).write_sample(folder, seed)
    if as_json:
        files = [str(path) for path in sorted(folder.rglob("*")) if path.is_file()]
        print_json({"name": name, "folder": str(folder), "files": files})
        return
    click.echo(f"wrote a sample of {name} into {folder}; use it with:")
    click.echo(f"  i2moe-bench run --dataset {name} --data-root {folder}")


@data.command()
@click.argument("name")
@DATA_ROOT
@PLUGIN
@JSON
def fetch(name: str, data_root: Path | None, as_json: bool) -> None:
    """Download the public files of NAME; where access must be asked for, print the steps.

    An interrupted download goes on where it stopped; checksums are compared where they are known.

    \b
    Examples:
      i2moe-bench data fetch enrico
      i2moe-bench data fetch enrico --data-root ./enrico
    """
    from i2moe_plugin.benchmarks.data.fetch import fetch as fetch_files
    from i2moe_plugin.benchmarks.data.registry import datasets
    from i2moe_plugin.benchmarks.terminal.output import print_json
    from i2moe_plugin.errors import DatasetError

    card = datasets.get(name).card
    if card.embedded and not card.downloads:
        raise DatasetError(f"{name} ships in the package; there is nothing to fetch.")
    folder = data_root if data_root is not None else Path("data", name)
    found = fetch_files(name, card, folder)
    if as_json:
        print_json({"name": name, "folder": str(folder), "files": list(map(str, found))})
        return
    for path in found:
        click.echo(f"{path}")
    click.echo(f"check it with: i2moe-bench data verify {name} --data-root {folder}")


@data.command()
@click.argument("name")
@DATA_ROOT
@TABLE_FORMAT
@JSON
@PLUGIN
def verify(name: str, data_root: Path | None, as_json: bool) -> None:
    """Compare the files of NAME with the published format; all differences at once.

    Names, keys, shapes, types, counts and, where published, checksums are compared, and the data
    set is opened. 1 is returned where something differs.

    \b
    Examples:
      i2moe-bench data verify mosi --data-root ./mosi
      i2moe-bench data verify ./my-data
    """
    from i2moe_plugin.benchmarks.terminal.data import show_verification

    if not show_verification(name, data_root, as_json):
        sys.exit(1)


@data.command()
@click.argument("name")
@DATA_ROOT
@PLUGIN
@JSON
def convert(name: str, data_root: Path | None, as_json: bool) -> None:
    """Write the published pickles of NAME as HDF5, beside them; they are not needed afterwards.

    A run does this by itself, into the cache folder. Pickles are read without running what is in
    them; anything but data is refused.

    \b
    Example:
      i2moe-bench data convert mosi --data-root ./mosi
    """
    from i2moe_plugin.benchmarks.terminal.data import convert_pickles

    convert_pickles(name, data_root, as_json)
