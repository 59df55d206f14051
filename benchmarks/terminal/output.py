"""JSON on standard output, for all commands alike; and the lines that `report` prints."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import click

from i2moe_plugin.benchmarks.run.files import json_ready
from i2moe_plugin.benchmarks.terminal.verbosity import form, note
from i2moe_plugin.errors import counted

if TYPE_CHECKING:
    from rich.console import Console

    from i2moe_plugin.benchmarks.report.build import Report


def plain_console(**options: Any) -> Console:
    """Return a console that shows names and text as they are: no markup, no codes of emoji.

    Where ``--format`` asks for tables in another form, it writes those and nothing else.

    Args:
        **options: rich's.
    """
    from rich.console import Console

    if (wanted := form()) and not options.get("stderr"):
        from i2moe_plugin.benchmarks.terminal.written import TablesAlone

        return TablesAlone(wanted, **options)
    return Console(markup=False, emoji=False, **options)


def print_json(value: Any) -> None:
    """Print a value as JSON; what JSON has no words for is made into what it has."""
    click.echo(json.dumps(json_ready(value), indent=1))


def show_report(report: Report, as_json: bool) -> None:
    """Show where the page is; on standard error, what was left out of it."""
    for name, reason in report.problems:
        click.echo(f"not in it: {name}: {reason}", err=True)
    for text in report.notes:
        note(f"note: {text}")
    if as_json:
        print_json({**dataclasses.asdict(report), "path": str(report.path)})
        return
    click.echo(f"wrote {report.path}: {counted(report.runs, 'run')}, {report.size / 1e6:.1f} MB")
