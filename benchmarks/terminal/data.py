"""What the ``data`` commands show."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from i2moe_plugin.benchmarks.data.cards import File
from i2moe_plugin.benchmarks.data.open import OpenedDataset, open_dataset
from i2moe_plugin.benchmarks.data.registry import DatasetEntry, datasets, find_dataset
from i2moe_plugin.benchmarks.data.splits import SPLITS
from i2moe_plugin.benchmarks.terminal.output import plain_console, print_json
from i2moe_plugin.benchmarks.terminal.tables import Table
from i2moe_plugin.errors import DatasetError, counted
from i2moe_plugin.tasks import Multilabel, Regression, Task

#: Sets that are drawn when they are named, so no list of what is here holds them.
DRAWN = (
    "Drawn sets whose interactions are known: synthetic:NAME, such as synthetic:hdxor-synergy, "
    "synthetic:pid-mix1, synthetic:ring or synthetic:bool-xor"
)


def show_data(as_json: bool) -> None:
    """Show every data set in one line."""
    rows: list[dict[str, Any]] = [
        {
            "name": entry.name,
            "what": entry.card.title,
            "modalities": list(entry.modalities),
            "metric": entry.metric,
            "access": "in the package" if entry.card.embedded else entry.card.access,
        }
        for entry in datasets
    ]
    if as_json:
        print_json(rows)
        return
    names = [str(row["name"]) for row in rows]
    table = Table(box=None, padding=(0, 2, 0, 0), expand=True)
    table.add_column("name", style="bold", no_wrap=True, min_width=max(len(n) for n in names))
    table.add_column("what", no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column("inputs", justify="right")
    table.add_column("access", no_wrap=True)
    for row in rows:
        inputs = str(len(row["modalities"]) or "any")
        table.add_row(row["name"], Text(row["what"]), inputs, row["access"])
    console = plain_console()
    console.print(table)
    console.print("All about one: i2moe-bench data describe NAME")
    console.print(DRAWN)
    for name, reason in datasets.broken.items():
        console.print(f"{name} is installed but cannot be loaded: {reason}")


def show_status(names: tuple[str, ...], root: Path | None, as_json: bool) -> bool:
    """Show what is here of data sets (all by default); True where the named ones are ready."""
    rows: list[dict[str, Any]] = []
    for given in names or datasets.names():
        name, place = find_dataset(given, root)
        entry = datasets.get(name)
        status = entry.status(None if entry.card.embedded else place)
        rows.append(
            {
                "name": name,
                "ready": status.ready,
                "sample": status.ready and entry.folder(place).is_sample,
                "where": status.where,
                "size": status.size,
                "licence": entry.card.licence,
                "problems": list(status.problems),
                "how_to_get": entry.card.how_to_get,
            }
        )
    if as_json:
        print_json(rows)
        return not names or all(row["ready"] for row in rows)
    table = Table(title="Data")
    for column in ("name", "here", "where", "size", "licence"):
        table.add_column(column)
    for row in rows:
        table.add_row(
            row["name"],
            Text("no", "red")
            if not row["ready"]
            else Text("a drawn sample", "yellow")
            if row["sample"]
            else Text("yes", "green"),
            row["where"],
            f"{row['size'] / 1e6:.1f} MB" if row["size"] else "",
            row["licence"],
        )
    console = plain_console()
    console.print(table)
    for row in rows if names else ():
        for problem in row["problems"]:
            console.print(f"{row['name']}: {problem}")
        if not row["ready"] and row["how_to_get"]:
            console.print(f"{row['name']}: {row['how_to_get']}")
    if not names and not all(row["ready"] for row in rows):
        console.print("How to get one: i2moe-bench data describe NAME")
    return not names or all(row["ready"] for row in rows)


def show_description(given: str, as_json: bool) -> None:
    """Show all facts of one data set."""
    name, root = find_dataset(given, None)
    entry = datasets.get(name)
    # A folder of the user's says these things itself.
    facts: DatasetEntry | OpenedDataset = entry if root is None else open_dataset(name, root)
    card = facts.card
    if as_json:
        record = {"name": name, "modalities": list(facts.modalities), "metric": facts.metric}
        print_json(record | dataclasses.asdict(card) | {"more": dict(entry.more())})
        return
    console = plain_console(highlight=False)
    console.print(Text(f"{name}: {card.title}", style="bold"))
    selection = facts.selection or facts.metric
    lines = {
        "modalities": ", ".join(facts.modalities),
        "task": _task_in_words(facts.task) if isinstance(facts, OpenedDataset) else "",
        "metric": f"{facts.metric}; the epoch is selected by {selection}",
        "splits": card.splits,
        "licence": card.licence,
        "access": "in the package" if card.embedded else card.access,
        "source": card.source,
        "citation": card.citation,
        "how to get it": card.how_to_get,
        "needs": card.extra and f"pip install 'i2moe-plugin[{card.extra}]'",
        "settings": ", ".join(f"data.{n}={p.default}" for n, p in entry.settings.items()),
        "published sizes": ", ".join(f"{word} = {size}" for word, size in card.sizes),
        **entry.more(),
    }
    for key, value in lines.items():
        if value:
            console.print(Padding(Text.assemble((f"{key}: ", "dim"), value), (0, 0, 0, 2)))
    for file in card.files:
        _show_file(console, file)
    if not card.embedded and root is None:
        sample = f"a small drawn data set in this format: i2moe-bench data sample {name} DIR"
        console.print(Padding(sample, (1, 0, 0, 2)))


def _task_in_words(task: Task) -> str:
    count = task.num_outputs
    if isinstance(task, Regression):
        return f"regression of {counted(count, 'value')}"
    if isinstance(task, Multilabel):
        return f"classification by {counted(count, 'label')}, of which a sample may have several"
    return f"classification, {count} classes"


def show_verification(given: str, root: Path | None, as_json: bool) -> bool:
    """Compare a data set's files with the published format; True where nothing differs."""
    name, place = find_dataset(given, root)
    entry = datasets.get(name)
    problems = entry.verify(place)
    where = entry.status(place).where
    there = where if entry.card.embedded and place is None else f"in {where}"
    sizes: dict[str, int] = {}
    notes: tuple[str, ...] = ()
    if not problems:
        data = open_dataset(name, place)
        try:
            notes = (*data.notes, *data.observations())
        except DatasetError as error:
            problems = [str(error)]
        sizes = {split: len(data.sample_ids(split)) for split in SPLITS}
    if as_json:
        record = {"name": name, "where": where, "problems": problems, "samples": sizes}
        record["notes"] = list(notes)
        print_json(record)
    elif problems:
        click.echo(f"{name} {there}: {counted(len(problems), 'difference')}")
        for problem in problems:
            click.echo(f"  - {problem}")
        if entry.card.how_to_get:
            click.echo(entry.card.how_to_get)
    else:
        said = ", ".join(f"{count} {split}" for split, count in sizes.items())
        state = "a drawn sample, in the published format" if data.is_sample else "as published"
        click.echo(f"{name} {there}: {state} ({said})")
        for note in notes:
            click.echo(f"Note: {note}")
    return not problems


def convert_pickles(given: str, root: Path | None, as_json: bool) -> None:
    """Write a data set's pickles as HDF5 beside them."""
    from i2moe_plugin.benchmarks.data.convert import convert

    name, place = find_dataset(given, root)
    card = datasets.get(name).card
    where = place if place is not None else Path("data", name)
    pickles = [file for file in card.files if file.is_pickle]
    if not pickles:
        raise DatasetError(f"{name} is not published as pickles; there is nothing to convert.")
    found = [path for path in (where / file.path for file in pickles) if path.is_file()]
    if not found:
        names = ", ".join(file.path for file in pickles)
        raise DatasetError(f"{where}: no such file: {names}. {card.how_to_get}")
    written = {path: path.with_suffix(".h5") for path in found}
    for path, target in written.items():
        convert(path, target)
        if not as_json:
            click.echo(f"{path} -> {target}")
    if as_json:
        pairs = [{"pickle": str(path), "hdf5": str(target)} for path, target in written.items()]
        print_json({"name": name, "files": pairs})


def _show_file(console: Console, file: File) -> None:
    more = " (optional)" if file.optional else ""
    line = Text.assemble((file.path, "bold"), f"{more}: {file.what}")
    console.print(Padding(line, (1, 0, 0, 2)))
    if not file.keys:
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("key", "shape", "type", "what"):
        table.add_column(
            column, style="dim" if column == "type" else "", overflow="fold", no_wrap=False
        )
    for key in file.keys:
        shape = "" if key.shape is None else "[" + ", ".join(map(str, key.shape)) + "]"
        table.add_row(Text(key.name or "-"), Text(shape), key.dtype, Text(key.what))
    console.print(Padding(table, (0, 0, 0, 4)))
