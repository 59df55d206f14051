"""A suite's table as text: Markdown, CSV, LaTeX, JSON; written beside the runs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

from i2moe_plugin.benchmarks.grid.runner import COSTS
from i2moe_plugin.benchmarks.grid.table import Entry, Table
from i2moe_plugin.benchmarks.run.store import explained, plain
from i2moe_plugin.benchmarks.terminal.run import METRIC_NAMES, mean_and_deviation, number

MARKS = {"better": "▲", "worse": "▼"}
COST_NAMES = {
    "parameters": "parameters",
    "parameters_without_encoders": "parameters without encoders",
    "seconds": "seconds a run",
}
CSV_COLUMNS = (
    *("dataset", "fusion", "method", "variant", "metric", "mean", "deviation", "n", "planned"),
    *("reference", "difference", "low", "high", "p", "p_adjusted", "p_permutation", "bootstrap"),
    *("effect", "cliffs_delta", "verdict", "verdict_adjusted"),
    *("paper", "paper_deviation", "paper_table", "not_comparable", "reasons", "values"),
)


def shown(metric: str, value: float) -> str:
    """A figure or cost as people read it.

    >>> shown("accuracy", 0.5), shown("parameters", 12345.0), shown("seconds", 1.234)
    ('50.00', '12,345', '1.2')
    """
    if metric in COSTS and value == value:
        return f"{value:,.1f}" if metric == "seconds" else f"{value:,.0f}"
    return number(metric, value)


def cell_text(entry: Entry | None) -> str:
    """What stands in a table's cell: figure, verdict, how many seeds if not all, paper's figure."""
    if entry is None:
        return ""
    values = list(entry.values.values())
    if not values:
        states = [name for name, count in entry.states.items() if count and name != "finished"]
        text = states[0] if states else ""
    elif entry.metric in COSTS:
        text = shown(entry.metric, sum(values) / len(values))
    else:
        text = mean_and_deviation(entry.metric, values)
    if entry.comparison is not None:
        text += f" {MARKS.get(entry.comparison.verdict_adjusted or '', '')}".rstrip()
    if 0 < len(values) < entry.planned:
        text += f" ({len(values)} of {entry.planned} seeds)"
    if entry.paper is not None:
        text += f" [{shown(entry.metric, entry.paper.value)}{'*' if entry.not_comparable else ''}]"
    return text


def row_name(row: tuple[str, ...]) -> str:
    """A row as its first column says it.

    >>> row_name(("lrtf", "i2moe", "masking=zero"))
    'lrtf, i2moe, masking=zero'
    """
    return ", ".join(row)


def column_name(table: Table, column: tuple[str, str]) -> str:
    """The data set and the metric; the metric with its unit."""
    dataset, metric = column
    return f"{dataset}: {COST_NAMES.get(metric) or METRIC_NAMES.get(metric, metric)}"


def markdown(table: Table) -> str:
    """A pipe table, notes, and the reasons of what is not finished."""
    head = ["", *(column_name(table, column) for column in table.columns)]
    lines = [f"## {table.title}", "", f"Mean ± sample deviation over seeds {_seeds(table)}.", ""]
    lines += [_pipes(head), _pipes(["---", *["---:"] * len(table.columns)])]
    for row in table.rows:
        cells = [cell_text(table.entries.get((row, column))) for column in table.columns]
        lines.append(_pipes([row_name(row), *cells]))
    lines += ["", *(f"- {note}" for note in table.notes)]
    if table.reasons:
        lines += ["", "Not finished, and not counted:", ""]
        for reason, where in table.reasons.items():
            lines.append(f"- {reason} ({len(where)}: {_some(where)})")
    return "\n".join(lines) + "\n"


def csv_text(table: Table) -> str:
    """One line for each figure, with all that is known of it; shares are not in per cent."""
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for entry in table.entries.values():
        facts = plain(entry.as_dict())
        comparison, paper = facts["comparison"] or {}, facts["paper"] or {}
        line = {name: facts.get(name) for name in CSV_COLUMNS}
        line |= {name: comparison[name] for name in CSV_COLUMNS if name in comparison} | {
            "metric": entry.metric,
            "variant": " ".join(entry.row[2:]),
            "bootstrap": " ".join(map(str, comparison.get("bootstrap") or ())),
            "paper": paper.get("value"),
            "paper_deviation": paper.get("deviation"),
            "paper_table": paper.get("table"),
            "not_comparable": paper.get("not_comparable"),
            "reasons": "; ".join(entry.reasons),
            "values": " ".join(f"{seed}:{value}" for seed, value in facts["values"].items()),
        }
        writer.writerow(line)
    return out.getvalue()


def latex(table: Table) -> str:
    """A booktabs table; notes as comments."""
    head = ["", *(column_name(table, column) for column in table.columns)]
    lines = [f"% {note}" for note in table.notes]
    lines += [r"\begin{tabular}{l" + "r" * len(table.columns) + "}", r"\toprule"]
    lines += [_ampersands(head), r"\midrule"]
    for row in table.rows:
        cells = [cell_text(table.entries.get((row, column))) for column in table.columns]
        lines.append(_ampersands([row_name(row), *cells]))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def json_text(table: Table) -> str:
    """Everything; undefined figures are null."""
    return json.dumps(plain(table.as_dict()), indent=1, allow_nan=False) + "\n"


FORMATS: dict[str, Callable[[Table], str]] = {
    "md": markdown,
    "csv": csv_text,
    "tex": latex,
    "json": json_text,
}


def write_tables(table: Table, folder: Path) -> list[Path]:
    """Write every format as ``<folder>/suites/<name>.<ending>``.

    Raises:
        RunError: they cannot be written.
    """
    place = folder / "suites"
    with explained(place):
        place.mkdir(parents=True, exist_ok=True)
        paths = []
        for ending, make in FORMATS.items():
            path = place / f"{table.name}.{ending}"
            aside = path.with_name(f".{path.name}.tmp")
            aside.write_text(make(table), encoding="utf-8")
            paths.append(aside.replace(path))
    return paths


def _seeds(table: Table) -> str:
    return ", ".join(map(str, table.seeds))


def _some(where: list[str], most: int = 3) -> str:
    more = f" and {len(where) - most} more" if len(where) > most else ""
    return ", ".join(where[:most]) + more


def _pipes(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _ampersands(cells: list[str]) -> str:
    return f"{' & '.join(map(_tex, cells))} \\\\"


def _tex(text: str) -> str:
    for sign in "\\&%$#_{}":
        if sign in text:
            text = text.replace(sign, r"\textbackslash{}" if sign == "\\" else f"\\{sign}")
    for sign, tex in (("±", r"$\pm$"), ("▲", r"$\uparrow$"), ("▼", r"$\downarrow$")):
        text = text.replace(sign, tex)
    return text
