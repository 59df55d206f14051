"""What the terminal shows of a parity check."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from i2moe_plugin.benchmarks.display import METRIC_NAMES, mean_and_deviation, number
from i2moe_plugin.benchmarks.parity import Claim, Parity

STYLES = {"equivalent": "bold green", "different": "bold red"}


def show_parity(console: Console, parity: Parity) -> None:
    """A table of claims, and what to know about each."""
    seeds = f"{len(parity.seeds)} seed{'s' * (len(parity.seeds) != 1)}"
    table = Table(title=f"{parity.fusion} on {parity.dataset}: parity over {seeds}")
    for name in ("", "against", "metric", "ours", "theirs", "90 % interval", "answer"):
        table.add_column(name)
    for claim in parity.claims:
        table.add_row(
            claim.method,
            claim.against,
            METRIC_NAMES.get(claim.metric, claim.metric),
            mean_and_deviation(claim.metric, list(claim.ours)),
            mean_and_deviation(claim.metric, list(claim.theirs)) if claim.theirs else "",
            _interval(claim),
            Text(claim.answer, style=STYLES.get(claim.answer, "bold")),
        )
    if parity.claims:
        console.print(table)
        metric = parity.claims[0].metric
        console.print(
            f"Equivalent: the 90 % interval of the difference lies within ± "
            f"{number(metric, parity.margin)} (two one-sided tests at 5 %)."
        )
    for claim in parity.claims:
        if claim.reason:
            text = f"{claim.method}, {claim.against}, {claim.metric}: {claim.reason}."
            console.print(Text(text, style="yellow" if claim.found is None else "dim"))
    for note in parity.notes:
        console.print(Text(f"Note: {note}", style="yellow"))


def _interval(claim: Claim) -> str:
    if claim.found is None or claim.found.low is None:
        return ""
    ends = (number(claim.metric, end, "+") for end in (claim.found.low, claim.found.high))
    return " to ".join(ends)
