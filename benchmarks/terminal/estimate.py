"""What `--dry-run` shows, and the line before a suite starts."""

from __future__ import annotations

from rich.text import Text

from i2moe_plugin.benchmarks.data.splits import OWN_SPLIT
from i2moe_plugin.benchmarks.grid.estimate import CellEstimate, Estimate
from i2moe_plugin.benchmarks.grid.runs import State
from i2moe_plugin.benchmarks.terminal.output import plain_console, print_json
from i2moe_plugin.benchmarks.terminal.tables import Table
from i2moe_plugin.errors import counted

OTHERS: tuple[State, ...] = ("failed", "skipped")


def tell_estimate(found: Estimate, as_json: bool) -> None:
    """Show it, or print it as JSON."""
    if as_json:
        print_json(found.as_dict())
    else:
        show_estimate(found)


def show_estimate(found: Estimate) -> None:
    """Show a row for each cell, and what all that is left takes."""
    console = plain_console()
    seeds = ", ".join(map(str, found.grid.seeds))
    splits = "" if found.grid.splits == (OWN_SPLIT,) else f" on {len(found.grid.splits)} splits"
    table = Table(title=f"{found.grid.title}: what would run, of seeds {seeds}{splits}")
    table.add_column("cell")
    for name in ("finished", "to run", "s a run", "steps", "parameters"):
        table.add_column(name, justify="right")
    for cell in found.cells:
        table.add_row(*_row(cell))
    console.print(table)
    reasons: dict[str, list[str]] = {}
    for cell in found.cells:
        for reason in cell.as_dict()["reasons"]:
            reasons.setdefault(reason, []).append(" ".join(cell.cell.cell.key))
    for reason, where in reasons.items():
        more = f" and {len(where) - 1} more" if len(where) > 1 else ""
        console.print(Text(f"{where[0]}{more}: {reason}", style="yellow"))
    console.print(Text(summary(found)))
    for note in found.notes:
        console.print(Text(f"Note: {note}", style="yellow"))


def summary(found: Estimate) -> str:
    """Say in one line what is left and what it takes."""
    if not found.left:
        return "Nothing is left to run."
    runs = f"{counted(found.left, 'run')} to train"
    if not any(cell.cost for cell in found.cells):
        return f"{runs}."
    return (
        f"{runs}, {found.workers} at a time: about {duration(found.seconds)}, "
        f"{size(found.memory)} of memory, {size(found.disk)} of disk."
    )


def duration(seconds: float) -> str:
    """Write seconds as people say them.

    >>> duration(0.4), duration(90), duration(7300), duration(200_000)
    ('0.4 s', '1.5 min', '2.0 h', '2.3 days')
    """
    for most, unit, length in ((60, "s", 1), (3600, "min", 60), (86400, "h", 3600)):
        if seconds < most:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds / 86400:.1f} days"


def size(count: float) -> str:
    """Write bytes as people say them.

    >>> size(12_300), size(4_560_000_000)
    ('12.3 kB', '4.6 GB')
    """
    for most, unit, one in ((1e6, "kB", 1e3), (1e9, "MB", 1e6), (1e12, "GB", 1e9)):
        if count < most:
            return f"{count / one:.1f} {unit}"
    return f"{count / 1e12:.1f} TB"


def _row(cell: CellEstimate) -> tuple[str, ...]:
    states = cell.cell.states
    cost = cell.cost
    name = " ".join(cell.cell.cell.key)
    others = "".join(f", {states[s]} {s}" for s in OTHERS if states[s])
    told = ("", "", "")
    if cost is not None:
        steps = cost.epochs * cost.batches[0]
        told = (f"{cost.seconds:.1f}", f"{steps:,}", f"{cost.parameters:,}")
    return (name, f"{states['finished']}{others}", str(cell.left), *told)
