"""A grid's table as text: Markdown, CSV, LaTeX and JSON, written beside the runs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from i2moe_plugin.benchmarks.data.splits import OWN_SPLIT
from i2moe_plugin.benchmarks.grid.cautions import cautions
from i2moe_plugin.benchmarks.grid.cells import Grid
from i2moe_plugin.benchmarks.grid.table import Entry, Table
from i2moe_plugin.benchmarks.run.files import disk_errors_explained, json_ready, write_text
from i2moe_plugin.benchmarks.statistics.metrics import (
    COSTS,
    format_mean,
    format_value,
    metric_heading,
)
from i2moe_plugin.benchmarks.statistics.paired import summarise
from i2moe_plugin.errors import enumerated

MARKS = {"better": "▲", "worse": "▼"}
CSV_COLUMNS = (
    *("dataset", "fusion", "method", "variant", "metric", "mean", "deviation", "n", "planned"),
    "sample_interval",
    *("reference", "difference", "low", "high", "p", "p_adjusted", "p_permutation", "bootstrap"),
    *("effect", "cliffs_delta", "verdict", "verdict_adjusted", "splits"),
    *("paper", "paper_deviation", "paper_table", "not_comparable", "reasons", "values"),
)


def cell_text(entry: Entry | None) -> str:
    """Write a table's cell: figure, verdict, how many seeds if not all, and the paper's figure."""
    if entry is None:
        return ""
    values = list(entry.values.values())
    if not values:
        text = next((name for name in entry.cell.states if name != "finished"), "")
    elif entry.metric in COSTS:
        text = format_value(entry.metric, sum(values) / len(values))
    else:
        text = format_mean(entry.metric, values)
    if entry.comparison is not None:
        text += f" {MARKS.get(entry.comparison.shown_verdict, '')}".rstrip()
    if 0 < len(values) < entry.planned:
        text += f" ({len(values)} of {entry.planned} seeds)"
    if entry.paper is not None:
        star = "*" if entry.not_comparable else ""
        text += f" [{format_value(entry.metric, entry.paper.value)}{star}]"
    return text


def averaged_over(grid: Grid) -> str:
    """Say what a table's figures are means over.

    >>> averaged_over(Grid("", "", (0, 1), ()))
    'seeds 0, 1'
    """
    seeds = f"seeds {', '.join(map(str, grid.seeds))}"
    return seeds if grid.splits == (OWN_SPLIT,) else f"{len(grid.splits)} splits and {seeds}"


def row_name(row: tuple[str, ...]) -> str:
    """Write a row as its first column says it.

    >>> row_name(("lrtf", "i2moe", "masking=zero"))
    'lrtf, i2moe, masking=zero'
    """
    return ", ".join(row)


def column_name(column: tuple[str, str]) -> str:
    """Write a column's head: the data set, and the metric with its unit.

    >>> column_name(("htad", "accuracy"))
    'htad: accuracy %'
    """
    dataset, metric = column
    return f"{dataset}: {metric_heading(metric)}"


def simple_cells(table: Table, columns: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Write the rows of simple models: the kind of model, then a cell for each of these columns."""
    return [
        [kind, *(format_value(c[1], values[c]) if c in values else "" for c in columns)]
        for kind, values in table.simple_rows.items()
    ]


def markdown(table: Table) -> str:
    """Write a pipe table, notes, and why what is not finished is not."""
    head = ["", *map(column_name, table.columns)]
    over = averaged_over(table.grid)
    lines = [f"## {table.grid.title}", "", f"Mean ± sample deviation over {over}.", ""]
    lines += pipe_table(head, [*_rows(table), *simple_cells(table, table.columns)])
    notes = [*table.notes, *(f"Caution: {caution}" for caution in cautions(table))]
    lines += ["", *(f"- {note}" for note in notes)]
    if table.reasons:
        lines += ["", "Not finished, and not counted:", ""]
        for reason, where in table.reasons.items():
            lines.append(f"- {reason} ({len(where)}: {enumerated(where, 3)})")
    return "\n".join(lines) + "\n"


def csv_text(table: Table) -> str:
    """Write a line for each figure, with all that is known of it; shares are not in per cent."""
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for entry in table.entries.values():
        facts = json_ready(entry.as_dict())
        comparison, paper = facts["comparison"] or {}, facts["paper"] or {}
        line = {name: facts.get(name) for name in CSV_COLUMNS}
        line |= {name: comparison[name] for name in CSV_COLUMNS if name in comparison} | {
            "metric": entry.metric,
            "variant": " ".join(entry.row[2:]),
            "bootstrap": " ".join(map(str, comparison.get("bootstrap") or ())),
            "sample_interval": " ".join(map(str, facts["sample_interval"] or ())),
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
    """Write a booktabs table, with notes as comments."""
    head = ["", *map(column_name, table.columns)]
    lines = [f"% {note}" for note in table.notes]
    lines += latex_table(head, _rows(table), simple_cells(table, table.columns))
    return "\n".join(lines) + "\n"


def json_text(table: Table) -> str:
    """Write everything; undefined figures are null."""
    simple = [asdict(one) for one in table.baselines]
    record = {**table.as_dict(), "simple_models": simple, "cautions": cautions(table)}
    return json.dumps(json_ready(record), indent=1, allow_nan=False) + "\n"


FORMATS: dict[str, Callable[[Table], str]] = {
    "md": markdown,
    "csv": csv_text,
    "tex": latex,
    "json": json_text,
}


def write_tables(table: Table, folder: Path) -> list[Path]:
    """Write every format as ``<folder>/suites/<name>.<ending>``."""
    place = folder / "suites"
    with disk_errors_explained(place):
        place.mkdir(parents=True, exist_ok=True)
    return [
        write_text(place / f"{table.grid.name}.{ending}", make(table))
        for ending, make in FORMATS.items()
    ]


def methods_record(table: Table) -> dict[str, Any]:
    """Return the finished table of a :func:`methods_grid` for JSON, method by method."""
    first, *_ = table.cells
    entries = {cell.settings.method: table.of(cell) for cell in table.cells}
    linear = next((one for one in table.baselines if one.chosen.get("C") and not one.alone), None)
    return {
        "dataset": first.settings.dataset,
        "fusion": first.settings.fusion,
        "metric": first.metrics[0],
        "seeds": list(table.grid.seeds),
        "splits": list(table.grid.splits),
        "methods": {
            cell.settings.method: {
                "metrics": {
                    entry.metric: {
                        **summarise(list(entry.values.values())),
                        "values": list(entry.values.values()),
                        "sample_interval": entry.sample_interval,
                    }
                    for entry in entries[cell.settings.method]
                },
                "parameters": next(iter(cell.runs.values())).result["parameters"],
                "seconds": summarise(list(cell.values("seconds").values())),
                "runs": [str(run.path) for run in cell.runs.values()],
            }
            for cell in table.cells
        },
        "linear_baseline": {"test": linear.test, **linear.chosen} if linear else None,
        "simple_models": [asdict(one) for one in table.baselines],
        "reference": table.grid.reference,
        "comparison": {
            method: {item.metric: item.comparison.as_dict() for item in items if item.comparison}
            for method, items in entries.items()
            if method != table.grid.reference
        },
        "expert_weights": {
            cell.settings.method: weights
            for cell in table.cells
            if (weights := cell.expert_weights())
        },
        "evidence": {
            cell.settings.method: [one.as_dict() for one in found]
            for cell in table.cells
            if (found := cell.evidence())
        },
        "sample_intervals": first.sampling and first.sampling.about,
        "notes": list(first.notes),
        "cautions": cautions(table),
    }


def _rows(table: Table) -> list[list[str]]:
    """Return the text of each row of methods."""
    return [
        [row_name(row), *(cell_text(table.entries.get((row, column))) for column in table.columns)]
        for row in table.rows
    ]


def pipe_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool] | None = None
) -> list[str]:
    """Write the lines of a Markdown table.

    Args:
        head: the columns' names.
        rows: the cells.
        right: which columns stand at the right; by default all but the first.

    >>> pipe_table(["", "x"], [["a|b", "1"]])
    ['|  | x |', '| --- | ---: |', '| a\\\\|b | 1 |']
    """
    rule = ["---:" if one else "---" for one in _at_the_right(head, right)]
    return [_pipes([*cells]) for cells in (head, rule, *rows)]


def latex_table(
    head: Sequence[str], *parts: Sequence[Sequence[str]], right: Sequence[bool] | None = None
) -> list[str]:
    """Write the lines of a booktabs table, with a rule between its parts.

    Args:
        head: the columns' names.
        *parts: each some rows of cells.
        right: which columns stand at the right; by default all but the first.
    """
    sides = "".join("r" if one else "l" for one in _at_the_right(head, right))
    lines = [rf"\begin{{tabular}}{{{sides}}}", r"\toprule", _ampersands([*head])]
    for part in parts:
        if part:
            lines += [r"\midrule", *(_ampersands([*cells]) for cells in part)]
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _at_the_right(head: Sequence[str], right: Sequence[bool] | None) -> Sequence[bool]:
    return [place > 0 for place in range(len(head))] if right is None else right


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
