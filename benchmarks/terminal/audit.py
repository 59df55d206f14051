"""What `audit` shows."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from i2moe_plugin.benchmarks.run.files import write_text
from i2moe_plugin.benchmarks.terminal.output import plain_console
from i2moe_plugin.benchmarks.terminal.tables import Table
from i2moe_plugin.benchmarks.truth.audit import Audit
from i2moe_plugin.errors import counted

COLUMNS = ("", "score %", "first", "invented", "rank", "shares", "bits", "SHAP %")
WIDTHS = (10, 5, 8, 5, 6, 5, 11)


def show_audit(found: Audit) -> None:
    """Show the table, what is wrong by it, and how it is read."""
    console = plain_console()
    seeds = counted(len(found.seeds), "seed")
    console.print(Text(f"{found.title}: {seeds}", style="bold"))
    rows = table_rows(found)
    for number, group in enumerate(dict.fromkeys(row[0] for row in rows)):
        table = Table(
            title=group,
            title_justify="left",
            box=None,
            padding=(0, 1, 0, 0),
            show_header=number == 0,
        )
        table.add_column("", width=18, overflow="fold")
        for name, width in zip(COLUMNS[1:], WIDTHS, strict=True):
            table.add_column(name, justify="right", width=width, no_wrap=True)
        for name, *cells in rows:
            if name == group:
                table.add_row(*map(Text, cells))
        console.print(table)
    for sentence in verdicts(found):
        console.print(Text(f"· {sentence}"))
    for note in found.notes:
        console.print(Text(note, style="dim"))
    for row in found.rows:
        for reason in row.reasons:
            console.print(Text(f"{row.dataset}, {row.method}: {reason}", style="yellow"))


def table_rows(found: Audit) -> list[tuple[str, ...]]:
    """Return the table's rows as text: data and backbone, method, and a cell for each column."""
    return [_cells(row.as_dict()) for row in found.rows]


def markdown(found: Audit) -> str:
    """Write the table as Markdown, for documents."""
    head = ("data and backbone", "method", *COLUMNS[1:])
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(cells)} |" for cells in table_rows(found)]
    return (
        "\n".join([*lines, "", *(f"- {word}" for word in [*verdicts(found), *found.notes])]) + "\n"
    )


def write_markdown(found: Audit, path: Any) -> None:
    """Write :func:`markdown` into a file.

    Raises:
        RunError: it cannot be written.
    """
    write_text(path, markdown(found))


def verdicts(found: Audit) -> list[str]:
    """Say in sentences where a method names the wrong expert, or invents one."""
    said = []
    methods = dict.fromkeys((row.method, row.fusion) for row in found.rows)
    for method, fusion in methods:
        rows = [row.as_dict() for row in found.rows if (row.method, row.fusion) == (method, fusion)]
        told = [row for row in rows if row["target_first"]]
        if not told:
            continue
        right = sum(row["target_first"]["runs"] for row in told)
        count = sum(row["target_first"]["of"] for row in told)
        invented = [row["invented"] for row in rows if row["invented"]]
        wrong = [
            f"{_name(row)} ({', '.join(_kind(row))})"
            for row in told
            if 2 * row["target_first"]["runs"] < row["target_first"]["of"]
        ]
        sentence = (
            f"{method} over {fusion} ranks the expert that carries the data first in {right} of "
            f"{count} runs, and finds what is not there in {sum(i['runs'] for i in invented)} of "
            f"{sum(i['of'] for i in invented)}"
        )
        more = f"; it is mostly wrong on {', '.join(wrong)}" if wrong else ""
        said.append(f"{sentence}{more}.")
    return said


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    score = _per_cent(row["score"])
    if row["score"] is not None and row["score_deviation"] is not None:
        score += f" ± {100 * row['score_deviation']:.1f}"
    published = row["intershap_published"]
    shap = _per_cent(row["intershap"]) + (f" [{_per_cent(published)}]" if published else "")
    return (
        ", ".join([_name(row), *_kind(row), row["fusion"]]),
        row["method"],
        score,
        _counted(row["target_first"]),
        _counted(row["invented"]),
        _number(row["rank_correlation"], 2),
        _number(row["share_error"], 3),
        _number(row["bits_error"], 3),
        shap,
    )


def _name(row: dict[str, Any]) -> str:
    return str(row["dataset"].partition(":")[2])


def _kind(row: dict[str, Any]) -> list[str]:
    return [f"M = {row['modalities']}", *row["data"]]


def _counted(value: dict[str, int] | None) -> str:
    return "" if value is None else f"{value['runs']}/{value['of']}"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _per_cent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"
