"""What the ``list`` and ``data`` commands show."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

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
            "what": entry.description,
            "settings": _settings(entry.settings),
            "source": "; ".join(filter(None, (entry.paper, entry.upstream))),
        }
        for entry in list_backbones()
    ]
    _show(rows, as_json, backbone_registry.broken)


def show_datasets(as_json: bool) -> None:
    """Every data set with its facts."""
    rows = [
        {
            "name": entry.name,
            "what": entry.build.card.title,
            "modalities": ", ".join(entry.build.modalities),
            "metric": entry.build.metric,
            "data": "in the package" if entry.build.card.embedded else "published files",
            "settings": _settings(entry.settings),
            "source": entry.build.card.source,
        }
        for entry in datasets
    ]
    _show(rows, as_json, datasets.broken)


def show_settings(as_json: bool) -> None:
    """Every plain setting with its default."""
    rows = [
        {"name": name, "default": str(RunSettings.model_fields[name].default), "what": what}
        for name, what in setting_names().items()
    ]
    rows.append({"name": "fusion.NAME", "default": "", "what": "a setting of the backbone"})
    rows.append({"name": "data.NAME", "default": "", "what": "a setting of the data set"})
    _show(rows, as_json, {})


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


def _settings(parameters: Mapping[str, inspect.Parameter]) -> str:
    """``rank=32, width``: each with its default, if it has one."""
    return ", ".join(
        name if p.default is inspect.Parameter.empty else f"{name}={p.default}"
        for name, p in parameters.items()
    )


def _show(rows: list[dict[str, str]], as_json: bool, broken: Mapping[str, str]) -> None:
    """One block a row: its name, then each fact it has."""
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    console = Console(highlight=False)
    for row in rows:
        console.print(Text(row["name"], style="bold"))
        for key, value in row.items():
            if key != "name" and value:
                fact = Text.assemble((f"{key}: ", "dim"), value)
                console.print(Padding(fact, (0, 0, 0, 4)))
    for name, reason in broken.items():
        console.print(f"{name} is installed but cannot be loaded: {reason}", markup=False)
