"""What `check` shows: each backbone's checks."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from i2moe_plugin.benchmarks.terminal.output import print_json
from i2moe_plugin.testing import CheckResult

STYLE = {"passed": "green", "failed": "bold red", "skipped": "dim"}


def show_checks(found: Mapping[str, Sequence[CheckResult]], as_json: bool) -> None:
    """Show a table of checks for each backbone.

    Args:
        found: the results by the backbone's name.
        as_json: print them as JSON in its place.
    """
    if as_json:
        print_json(
            [
                {"backbone": name, "checks": [dataclasses.asdict(result) for result in results]}
                for name, results in found.items()
            ]
        )
        return
    for name, results in found.items():
        _show(Console(), name, results)


def _show(console: Console, name: str, results: Sequence[CheckResult]) -> None:
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
