"""Tables as Markdown, LaTeX or csv, for ``--format``."""

from __future__ import annotations

import csv
import io
from typing import Any

import click
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from i2moe_plugin.benchmarks.grid.formats import latex_table, pipe_table


class TablesAlone(Console):
    """A console that writes tables in another form, one after another, and nothing else.

    Args:
        form: ``markdown``, ``latex`` or ``csv``.
        **options: rich's.
    """

    def __init__(self, form: str, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **{**options, "width": 10_000})
        self._form, self._first = form, True

    def print(self, *objects: Any, **_: Any) -> None:
        """Write those objects that are tables."""
        for item in objects:
            if isinstance(item, Group):
                self.print(*item.renderables)
            elif isinstance(item, Table):
                if not self._first:
                    click.echo()
                self._first = False
                click.echo(written(item, self._form), nl=False)


def written(table: Table, form: str) -> str:
    """Write a table's title, where it has one, and its cells.

    Of csv the title is a line that begins with ``#``, which readers can be told to pass over.

    Args:
        table: of text.
        form: ``markdown``, ``latex`` or ``csv``.
    """
    head = [_plain(column.header) for column in table.columns]
    columns = [[_plain(cell) for cell in column.cells] for column in table.columns]
    rows = [list(row) for row in zip(*columns, strict=True)]
    title = _plain(table.title or "")
    if form == "csv":
        out = io.StringIO(f"# {title}\n" if title else "")
        out.seek(0, io.SEEK_END)
        csv.writer(out, lineterminator="\n").writerows([head, *rows])
        return out.getvalue()
    right = [column.justify == "right" for column in table.columns]
    if form == "markdown":
        lines = [*([f"**{title}**", ""] if title else []), *pipe_table(head, rows, right)]
    else:
        lines = [*([f"% {title}"] if title else []), *latex_table(head, rows, right=right)]
    return "".join(f"{line}\n" for line in lines)


def _plain(cell: Any) -> str:
    """Return a cell's text in one line."""
    text = cell.plain if isinstance(cell, Text) else str(cell)
    return " ".join(text.split())
