"""What the ``check`` command does: find backbones, check them, and show what was found."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from i2moe_plugin.backbones.entry import BackboneEntry, backbones
from i2moe_plugin.errors import PluginError, UnknownNameError
from i2moe_plugin.registry import load_plugin
from i2moe_plugin.testing import CheckResult, check_backbone

STYLE = {"passed": "green", "failed": "bold red", "skipped": "dim"}


def check(
    targets: Sequence[str], unused: Sequence[str], settings: dict[str, Any], as_json: bool
) -> bool:
    """Check all that the targets name; True where nothing failed."""
    entries = {entry.name: entry for target in targets for entry in _find(target)}
    reports = {
        name: check_backbone(entry, unused=unused, **settings) for name, entry in entries.items()
    }
    if as_json:
        rows = [
            {"backbone": name, "checks": [dataclasses.asdict(result) for result in results]}
            for name, results in reports.items()
        ]
        click.echo(json.dumps(rows, indent=1))
    else:
        console = Console()
        for name, results in reports.items():
            _show(console, name, results)
    return not any(result.outcome == "failed" for report in reports.values() for result in report)


def _find(target: str) -> list[BackboneEntry]:
    """The backbone of that name, or those that a file or dotted module registers.

    Raises:
        PluginError: a file or module that cannot be imported, or registers no backbone.
        UnknownNameError: neither.
    """
    if not target.endswith(".py") and not Path(target).is_file():
        try:
            return [backbones.get(target)]
        except UnknownNameError:
            words = target.split(".")
            if not all(map(str.isidentifier, words)):
                raise
            if len(words) == 1 and importlib.util.find_spec(target) is None:
                raise
    before = set(backbones.names())
    load_plugin(target)
    found = [entry for entry in backbones if entry.name not in before or _is_from(target, entry)]
    if not found:
        raise PluginError(
            f"{target} registers no backbone. Put @register_backbone(NAME) above the module's "
            "class: from i2moe_plugin import register_backbone."
        )
    return found


def _is_from(target: str, entry: BackboneEntry) -> bool:
    """Whether it was registered by that file or module before, by a package's __init__, say."""
    module = entry.build.__module__
    if f"{module}.".startswith(f"{target}."):
        return True
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is not None and Path(file).resolve() == Path(target).resolve()


def _show(console: Console, name: str, results: list[CheckResult]) -> None:
    table = Table(title=f"Backbone {name}", show_lines=False)
    table.add_column("check", no_wrap=True)
    table.add_column("result", no_wrap=True)
    table.add_column("what was found, and what to do", overflow="fold")
    for result in results:
        found = Text(result.detail)
        if result.advice:
            found.append(f"\n{result.advice}", style="yellow")
        table.add_row(result.name, Text(result.outcome, STYLE[result.outcome]), found)
    console.print(table)
    counts = Counter[str](result.outcome for result in results)
    console.print(
        Text(f"{name}: " + ", ".join(f"{counts[outcome]} {outcome}" for outcome in STYLE))
    )
