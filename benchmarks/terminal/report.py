"""What `report` shows: what was written, and what is not in it."""

from __future__ import annotations

import click

from i2moe_plugin.benchmarks.report.build import Report


def show_report(report: Report) -> None:
    """Show where the page is; on standard error, what was left out of it."""
    for name, reason in report.problems:
        click.echo(f"not in it: {name}: {reason}", err=True)
    for note in report.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(f"wrote {report.path}: {report.runs} runs, {report.size / 1e6:.1f} MB")
