"""What the ``list`` and ``data`` commands show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from i2moe_plugin.benchmarks.datasets import datasets
from i2moe_plugin.benchmarks.settings import RunSettings, setting_names
from i2moe_plugin.registry import backbones as backbone_registry
from i2moe_plugin.registry import list_backbones


def show_backbones(as_json: bool) -> None:
    """Every backbone with its facts."""
    rows = [
        {
            "name": entry.name,
            "latents": entry.latents,
            "modalities": f"{entry.min_modalities}+"
            if entry.max_modalities is None
            else f"{entry.min_modalities}-{entry.max_modalities}",
            "settings": ", ".join(str(parameter) for parameter in entry.settings.values()),
            "what": entry.description,
            "source": entry.paper or entry.upstream,
        }
        for entry in list_backbones()
    ]
    _show("Backbones", rows, as_json, backbone_registry.broken)


def show_datasets(as_json: bool) -> None:
    """Every data set with its facts."""
    rows = [
        {
            "name": entry.name,
            "title": entry.build.card.title,
            "modalities": ", ".join(entry.build.modalities),
            "metric": entry.build.metric,
            "data": "in the package" if entry.build.card.embedded else "published files",
            "settings": ", ".join(str(parameter) for parameter in entry.settings.values()),
        }
        for entry in datasets
    ]
    _show("Data sets", rows, as_json, datasets.broken)


def show_settings(as_json: bool) -> None:
    """Every plain setting with its default."""
    rows = [
        {
            "key": name,
            "default": str(RunSettings.model_fields[name].default),
            "what": what,
        }
        for name, what in setting_names().items()
    ]
    rows.append({"key": "fusion.NAME", "default": "", "what": "a setting of the backbone"})
    rows.append({"key": "data.NAME", "default": "", "what": "a setting of the data set"})
    _show("Settings", rows, as_json, {})


def show_status(names: tuple[str, ...], root: Path | None, as_json: bool) -> bool:
    """What is here of the named data sets (all by default); True where all of them are ready."""
    rows: list[dict[str, Any]] = []
    for name in names or datasets.names():
        build = datasets.get(name).build
        status = build.status(root if root is not None and not build.card.embedded else None)
        rows.append(
            {
                "name": name,
                "ready": status.ready,
                "where": status.where,
                "size": status.size,
                "licence": build.card.licence,
                "problems": list(status.problems),
                "how_to_get": build.card.how_to_get,
            }
        )
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return not names or all(row["ready"] for row in rows)
    table = Table(title="Data")
    for column in ("name", "here", "where", "size", "licence"):
        table.add_column(column)
    for row in rows:
        table.add_row(
            row["name"],
            "[green]yes[/]" if row["ready"] else "[red]no[/]",
            row["where"],
            f"{row['size'] / 1e6:.1f} MB" if row["size"] else "",
            row["licence"],
        )
    console = Console()
    console.print(table)
    for row in rows:
        for problem in row["problems"]:
            console.print(f"{row['name']}: {problem}", markup=False)
        if not row["ready"] and row["how_to_get"]:
            console.print(f"{row['name']}: {row['how_to_get']}", markup=False)
    return not names or all(row["ready"] for row in rows)


def _show(title: str, rows: list[dict[str, Any]], as_json: bool, broken: dict[str, str]) -> None:
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    table = Table(title=title)
    for column in rows[0] if rows else ():
        table.add_column(column, overflow="fold", no_wrap=column in ("name", "key"))
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    console = Console()
    console.print(table)
    for name, reason in broken.items():
        console.print(f"{name} is installed but cannot be loaded: {reason}", markup=False)
