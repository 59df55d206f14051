"""Text files: csv and parquet tables by column, json, lists of lines, YAML.

Every cell of a table is text as it was written. What ids, labels and numbers are made of it is
decided here, in one place: :func:`texts` and :func:`numbers`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.formats.reading import Rows, reading
from i2moe_plugin.errors import DatasetError

MOST_YAML = 1_000_000  # bytes of a YAML file


def read_json(path: Path) -> Any:
    """The content of a UTF-8 json file.

    Raises:
        DatasetError: missing, not UTF-8, not json.
    """
    with reading(path, "json file"):
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    return content


def read_lines(path: Path, what: str) -> list[str]:
    """The lines of a UTF-8 text file that are not empty, without white space around them.

    Args:
        path: the file.
        what: what it is, for messages: "list of scans".

    Raises:
        DatasetError: missing, or not UTF-8.
    """
    with reading(path, what):
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    return [line for line in lines if line]


class _NoAliases(yaml.SafeLoader):
    """YAML without aliases: a few lines of them can stand for gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not read")
        return super().compose_node(parent, index)


def read_yaml(path: Path) -> Any:
    """The content of a YAML file; nothing in it is ever run.

    Raises:
        DatasetError: missing, larger than :data:`MOST_YAML`, or not readable.
    """
    if path.is_file() and path.stat().st_size > MOST_YAML:
        raise DatasetError(f"{path}: larger than {MOST_YAML} bytes.")
    with reading(path, "YAML file"):
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_NoAliases)
    return content


def read_csv(path: Path, columns: Sequence[str] = ()) -> dict[str, list[str]]:
    """A csv file by columns, every cell as text.

    Args:
        path: UTF-8, with a header.
        columns: those it must have.

    Raises:
        DatasetError: missing, not UTF-8, no header, a name twice, rows of another length, or
            columns that are not there.
    """
    with reading(path, "csv file"), path.open(encoding="utf-8-sig", newline="") as file:
        table = csv.reader(file, strict=True)
        header = next(table, [])
        if not header:
            raise DatasetError(f"{path}: is empty; its first line should name the columns.")
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise DatasetError(f"{path}: more than one column is called {', '.join(twice)}.")
        cells: list[list[str]] = [[] for _ in header]
        for row in table:
            if not row:
                continue
            if len(row) != len(header):
                raise DatasetError(
                    f"{path}, line {table.line_num}: {len(row)} cells; the header has "
                    f"{len(header)}."
                )
            for column, cell in zip(cells, row, strict=True):
                column.append(cell)
    missing = [name for name in columns if name not in header]
    if missing:
        raise DatasetError(
            f"{path}: lacks the column {', '.join(missing)}; it has {', '.join(header[:20])}."
        )
    return dict(zip(header, cells, strict=True))


def read_parquet(path: Path) -> dict[str, list[str]]:
    """A parquet file by columns, every cell as text.

    Raises:
        DatasetError: missing, damaged, or pyarrow is not installed.
    """
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise DatasetError(
            f"{path}: parquet files need pyarrow: pip install 'i2moe-plugin[parquet]'"
        ) from error
    with reading(path, "parquet file"):
        table = parquet.read_table(path)
        columns = {
            name: ["" if value is None else str(value) for value in table.column(name).to_pylist()]
            for name in table.column_names
        }
    return columns


def numbers(path: Path, name: str, cells: Sequence[str], missing: float | None = None) -> Any:
    """Cells of a table's column as float64 [N].

    Args:
        path, name: for messages.
        cells: the column.
        missing: what an empty cell is; None: an error.

    Raises:
        DatasetError: a cell is not a number; names the first.
    """
    values = np.empty(len(cells))
    for row, cell in enumerate(cells):
        text = cell.strip()
        if not text and missing is not None:
            values[row] = missing
            continue
        try:
            values[row] = float(text)
        except ValueError:
            raise DatasetError(
                f"{path}: column {name}, row {row + 1}: {cell[:40]!r} is not a number."
            ) from None
    return values


def check_number(where: str, one: Any) -> str:
    """An id that becomes a file's name, and is therefore digits alone.

    Raises:
        DatasetError: it is not.
    """
    if not (isinstance(one, str) and one.isascii() and one.isdigit() and len(one) < 40):
        raise DatasetError(f"{where}: {str(one)[:40]!r} is not a number in digits.")
    return one


def texts(values: Rows | NDArray[Any] | Sequence[Any]) -> list[str]:
    """All rows of an array as text.

    Raises:
        DatasetError: bytes that are not UTF-8.
    """
    cells = np.asarray(values[:], dtype=None).reshape(-1)
    try:
        return [v.decode() if isinstance(v, bytes) else str(v) for v in cells]
    except UnicodeDecodeError as error:
        raise DatasetError(f"a text is not UTF-8 ({error}).") from error


def whole_text(text: str) -> str:
    """A text from a json file with a question mark for what is none: half a surrogate pair."""
    return text.encode("utf-8", "replace").decode()
