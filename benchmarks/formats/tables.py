"""Text files: csv and parquet tables by column, json, lists of lines, YAML.

A table gives its cells as they are written or stored; :mod:`.cells` says what they mean.
"""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.formats.cells import read_numbers
from i2moe_plugin.benchmarks.formats.mistaken import check_text
from i2moe_plugin.benchmarks.formats.reading import LARGEST_TEXT, reading
from i2moe_plugin.errors import DatasetError

MOST_YAML = 1_000_000  # bytes of a YAML file
MOST_CELLS = 50_000_000  # of a parquet file: a few bytes of one can stand for any number of rows
LONGEST_CELL = 1 << 28  # characters of a cell of a csv file


def read_json(path: Path) -> Any:
    """The content of a UTF-8 json file.

    Raises:
        DatasetError: missing, not UTF-8, not json.
    """
    with reading(path, "json file", LARGEST_TEXT):
        check_text(path, "json file")
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    return content


def read_lines(path: Path, what: str) -> list[str]:
    """Return the lines of a UTF-8 text file that are not empty, without white space around them.

    Args:
        path: the file.
        what: what it is, for messages: "list of scans".

    Raises:
        DatasetError: missing, or not UTF-8.
    """
    with reading(path, what, LARGEST_TEXT):
        check_text(path, what)
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    return [line for line in lines if line]


class _UniqueKeys:
    """YAML in which a key that is written twice is refused: one of the two would be lost."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.YAMLError(f"line {line}: a name is expected before the colon")
            if key.value in lines:
                raise yaml.YAMLError(
                    f"{key.value} is written twice, in lines {lines[key.value]} and {line}: "
                    "one of the two would be lost"
                )
            lines[key.value] = line
        return super().construct_mapping(node, deep)  # type: ignore[misc]


class _Typed(_UniqueKeys, yaml.SafeLoader):
    """YAML with numbers and truths."""


class _AsWritten(_UniqueKeys, yaml.BaseLoader):
    """YAML whose scalars stay text: ``no``, ``010`` and ``2024`` are what is written there.

    Only an empty value, ``~`` and ``null`` are None. Aliases are refused, since a few lines of them
    can stand for gigabytes.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not read")
        return super().compose_node(parent, index)

    def construct_scalar(self, node: Any) -> Any:
        text = super().construct_scalar(node)
        return None if not node.style and text in ("", "~", "null", "Null", "NULL") else text


def load_typed_yaml(text: str) -> Any:
    """Load YAML with numbers and truths; a key that is written twice raises ``yaml.YAMLError``."""
    return yaml.load(text, Loader=_Typed)


def read_yaml(path: Path) -> Any:
    """Read a YAML file; its scalars are text as it is written, and nothing in it is ever run.

    Raises:
        DatasetError: missing, larger than :data:`MOST_YAML`, another kind of file, a key written
            twice, or not readable.
    """
    with reading(path, "YAML file", MOST_YAML):
        check_text(path, "YAML file")
        content = yaml.load(path.read_text(encoding="utf-8-sig"), Loader=_AsWritten)
    return content


def read_csv(path: Path, columns: Sequence[str] = ()) -> dict[str, list[str]]:
    """Read a csv file by columns, every cell as the text that is written there.

    Args:
        path: UTF-8, with a header.
        columns: those it must have.

    Raises:
        DatasetError: missing, another kind of file, not UTF-8, no header, a name twice, rows of
            another length, or columns that are not there.
    """
    with reading(path, "csv file", LARGEST_TEXT), _cells_of_any_length():
        check_text(path, "csv file")
        with path.open(encoding="utf-8-sig", newline="") as file:
            header, cells = _read_cells(path, csv.reader(file, strict=True))
    missing = [name for name in columns if name not in header]
    if missing:
        raise DatasetError(
            f"{path}: lacks the column {', '.join(missing)}; it has {', '.join(header[:20])}."
            f"{separator_hint(header)}"
        )
    return dict(zip(header, cells, strict=True))


def separator_hint(header: Sequence[str]) -> str:
    """Say what separates the cells of a table that was read as one column, if that is plain."""
    for sign, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(header) == 1 and sign in header[0]:
            return f" Its cells seem to be separated by {name}; commas are expected."
    return ""


def _read_cells(path: Path, table: Any) -> tuple[list[str], list[list[str]]]:
    header: list[str] = next(table, [])
    if not header:
        raise DatasetError(f"{path}: is empty; its first line should name the columns.")
    twice = sorted(name for name, count in Counter(header).items() if count > 1)
    if twice:
        raise DatasetError(f"{path}: more than one column is called {', '.join(twice)}.")
    rows: list[list[str]] = []
    blank = 0  # lines so far; in a table of one column they are empty cells, unless they end it
    for row in table:
        if not row:
            blank += len(header) == 1
            continue
        rows += [[""]] * blank
        blank = 0
        if len(row) != len(header):
            raise DatasetError(
                f"{path}, line {table.line_num}: {len(row)} cells; the header has {len(header)}."
            )
        rows.append(row)
    return header, [list(column) for column in zip(*rows, strict=True)] or [[] for _ in header]


@contextmanager
def _cells_of_any_length() -> Iterator[None]:
    """Let the csv module read long texts; its limit of 131,072 characters is the process's."""
    before = csv.field_size_limit(LONGEST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def read_parquet(path: Path) -> dict[str, NDArray[Any]]:
    """Read a parquet file by columns, [N] each: numbers by their types, else Python objects.

    A null is None, or NaN among floats; lists are arrays.

    Raises:
        DatasetError: missing, damaged, two columns of one name, or pyarrow is not installed.
    """
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise DatasetError(
            f"{path}: parquet files need pyarrow: pip install 'i2moe-plugin[parquet]'"
        ) from error
    with reading(path, "parquet file", LARGEST_TEXT):
        facts = parquet.read_metadata(path)
        count = facts.num_rows * facts.num_columns
        size = sum(facts.row_group(i).total_byte_size for i in range(facts.num_row_groups))
        if count > MOST_CELLS or size > LARGEST_TEXT:
            raise DatasetError(
                f"{path}: {count} cells of {size} bytes; at most {MOST_CELLS} cells of "
                f"{LARGEST_TEXT} bytes are read. Keep large arrays as npy or HDF5."
            )
        table = parquet.ParquetFile(path).read()
        twice = sorted(name for name, count in Counter(table.column_names).items() if count > 1)
        if twice:
            raise DatasetError(f"{path}: more than one column is called {', '.join(twice)}.")
        columns = {name: _arrow_column(table.column(name)) for name in table.column_names}
    return columns


def _arrow_column(column: Any) -> NDArray[Any]:
    from pyarrow import types

    kind = column.type
    whole = types.is_integer(kind) or types.is_boolean(kind)
    if types.is_floating(kind) or (whole and not column.null_count):
        return np.asarray(column.to_numpy())
    cells = np.empty(len(column), dtype=object)  # of its own: numpy would make lists dimensions
    nested = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    for row, cell in enumerate(column.to_numpy() if nested else column.to_pylist()):
        cells[row] = cell
    return cells


def numbers(path: Path, name: str, cells: Sequence[str], missing: float | None = None) -> Any:
    """Read cells of a table's column as float64 [N]; :mod:`.cells` has the grammar.

    Args:
        path, name: for messages.
        cells: the column.
        missing: what a missing cell is; None: an error.

    Raises:
        DatasetError: a cell is not a number; names the first.
    """
    where = f"{path}: column {name}"
    values = read_numbers(where, cells)
    absent = np.isnan(values)
    if missing is None and absent.any():
        row = int(absent.argmax())
        raise DatasetError(f"{where}, row {row + 1}: {cells[row]!r} is not a number.")
    return np.where(absent, math.nan if missing is None else missing, values)


def check_number(where: str, one: Any) -> str:
    """An id that becomes a file's name, and is therefore digits alone.

    Raises:
        DatasetError: it is not.
    """
    if not (isinstance(one, str) and one.isascii() and one.isdigit() and len(one) < 40):
        raise DatasetError(f"{where}: {str(one)[:40]!r} is not a number in digits.")
    return one


def whole_text(text: str) -> str:
    """A text from a json file with a question mark for what is none: half a surrogate pair."""
    return text.encode("utf-8", "replace").decode()
