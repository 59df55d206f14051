"""What `regress` shows: what moved since the baseline, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from i2moe_plugin.benchmarks.regression.checks import Check
from i2moe_plugin.benchmarks.regression.reports import moved_checks, verdict


def show_gate(console: Console, checks: Sequence[Check], notes: Sequence[str]) -> None:
    """Show what moved, failures first, and the verdict."""
    show_moved(console, checks)
    for note in notes:
        console.print(Text(f"Note: {note}", style="yellow"))
    console.print(Text(verdict(checks), style="bold"))


def show_moved(console: Console, checks: Sequence[Check]) -> None:
    """Show a line for each check that is not as it was."""
    for check in moved_checks(checks):
        bad = check.outcome == "regression"
        text = f"{'FAILED' if bad else 'moved'} {check.cell}: {check.name}: {check.text}"
        console.print(Text(text, style="bold red" if bad else "dim"), soft_wrap=True)
