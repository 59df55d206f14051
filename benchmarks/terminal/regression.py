"""What `parity` and `regress` show."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from i2moe_plugin.benchmarks.regression.checks import Check
from i2moe_plugin.benchmarks.regression.parity import Claim, Parity
from i2moe_plugin.benchmarks.regression.reports import moved_checks, verdict
from i2moe_plugin.benchmarks.statistics.metrics import (
    format_mean,
    format_value,
    metric_heading,
)
from i2moe_plugin.benchmarks.terminal.output import plain_console
from i2moe_plugin.benchmarks.terminal.tables import Table
from i2moe_plugin.errors import counted

STYLES = {"equivalent": "bold green", "different": "bold red"}


def show_parity(parity: Parity) -> None:
    """Show a table of claims, and what to know about each."""
    console = plain_console()
    seeds = counted(len(parity.seeds), "seed")
    table = Table(title=f"{parity.fusion} on {parity.dataset}: parity over {seeds}")
    for name in ("", "ours", "theirs", "answer"):
        table.add_column(name)
    for claim in parity.claims:
        table.add_row(
            f"{_name(claim)}, against {claim.against}",
            format_mean(claim.metric, claim.ours),
            format_mean(claim.metric, claim.theirs) if claim.theirs else "",
            Text(claim.answer, style=STYLES.get(claim.answer, "bold")),
        )
    if parity.claims:
        console.print(table)
    for claim in parity.claims:
        style = "yellow" if claim.found is None else "dim"
        console.print(Text(f"{_name(claim)}: {_sentence(claim)}", style=style))
    for note in parity.notes:
        console.print(Text(f"Note: {note}", style="yellow"))


def _name(claim: Claim) -> str:
    return f"{claim.method}, {metric_heading(claim.metric)}"


def _sentence(claim: Claim) -> str:
    """Say the test in a sentence, and what to know about it."""
    reason = f"{claim.reason.rstrip('.')}." if claim.reason else ""
    found = claim.found
    if found is None or found.low is None or found.p is None:
        return reason
    low, high = (format_value(claim.metric, end, "+") for end in (found.low, found.high))
    within = "within" if found.outcome == "equivalent" else "not within"
    margin = format_value(claim.metric, found.margin)
    return f"90 % interval {low} to {high}, {within} ± {margin} (TOST p = {found.p:.3f}); {reason}"


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
