"""What cells of tables and of arrays mean: numbers by one grammar, text as it is written.

A number is written in decimal digits, with a sign, a point and an exponent where it needs them
(``-12.5e3``); ``true`` and ``false`` are 1 and 0; an empty cell, ``nan`` and null are missing.
Nothing else is a number: no ``1_0``, ``0,5``, ``inf``, and none beyond single precision.
Whatever is read as text never becomes a number on the way: ``00012`` and ``1E1`` stay so.
"""

from __future__ import annotations

import datetime
import decimal
import math
import re
from collections.abc import Container, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.formats.reading import Rows
from i2moe_plugin.errors import DatasetError

#: What models compute with; larger numbers are refused.
LARGEST = float(np.finfo(np.float32).max)
EXACT = 2**53  # from here on neighbouring whole numbers are one float
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
OTHER_SIGNS = re.compile(r"[^0-9eE.+\n-]")
WORDS = {"true": 1.0, "false": 0.0, "nan": math.nan, "": math.nan}
ABSENT = frozenset({"", "nan", "null", "n/a", "#n/a", "<na>", "nat"})  # in any case
ABSENT_AS_WRITTEN = frozenset({"NA", "None"})


def read_number(cell: Any) -> float:
    """Read the number in one cell; NaN where it is missing.

    Raises:
        ValueError: it holds none; the message says what it is instead.
    """
    if cell is None:
        return math.nan
    if isinstance(cell, bytes):
        cell = cell.decode("utf-8", "replace")
    if isinstance(cell, str):
        text = cell.strip()
        if NUMBER.fullmatch(text):
            value = float(text)
        elif text.lower() in WORDS:
            return WORDS[text.lower()]
        else:
            raise ValueError(f"{_short(cell)} is not a number{_hint(text)}")
    elif isinstance(cell, (bool, int, float, np.bool_, np.number, decimal.Decimal)):
        value = _as_float(cell)
    else:
        raise ValueError(f"expected a number; {_short(cell)} is {_called(cell)}")
    if abs(value) > LARGEST:
        raise ValueError(f"{_short(cell)} is beyond single precision (3.4e38)")
    return value


def read_numbers(where: str, cells: Sequence[Any] | NDArray[Any]) -> NDArray[np.float64]:
    """Read cells as numbers [N], NaN where one is missing; see the module.

    Args:
        where: the file and the column, for messages.
        cells: the column.

    Raises:
        DatasetError: a cell holds no number; names the first.
    """
    plain = _plain_numbers(cells)
    if plain is not None:
        return plain
    values = np.empty(len(cells))
    for row, cell in enumerate(cells):
        try:
            values[row] = read_number(cell)
        except ValueError as error:
            raise DatasetError(f"{where}, row {row + 1}: {error}.") from None
    return values


def as_numbers(where: str, array: Rows) -> Rows:
    """Give an array's values as numbers, NaN where they are missing.

    Arrays of numbers stay as they are, on disk or in memory; text and Python objects are read cell
    by cell; lists of equal length become further dimensions.

    Args:
        where: the file and the array, for messages.
        array: [N, ...].

    Raises:
        DatasetError: a cell holds no number, or lists differ in length; names the first.
    """
    kind = np.dtype(array.dtype).kind
    if kind in "fiub":
        return array
    if kind not in "OSU":
        raise DatasetError(f"{where}: holds {_kind(array.dtype)}; expected numbers.")
    values = np.asarray(array[:])
    if kind == "O" and values.ndim == 1 and any(isinstance(v, _LISTS) for v in values):
        return _stacked(where, values)
    flat = values.reshape(len(values), math.prod(values.shape[1:]))
    columns = [
        read_numbers(where if values.ndim == 1 else f"{where}, column {place + 1}", column)
        for place, column in enumerate(flat.T)
    ]
    return np.stack(columns, 1).reshape(values.shape) if columns else np.zeros(values.shape)


def as_texts(where: str, array: Rows | Sequence[Any]) -> list[str | None]:
    """Give one text a row, as it is written; None where it is missing.

    Whole numbers keep their digits; floats that are whole numbers are written as those.

    Args:
        where: the file and the array, for messages.
        array: [N] or [N, 1].

    Raises:
        DatasetError: more than one cell a row, bytes that are not UTF-8, floats that no longer tell
            whole numbers apart, or what is no text, number, truth or time.
    """
    values = np.asarray(array[:])
    if values.ndim != 1 and not (values.ndim == 2 and values.shape[1] == 1):
        raise DatasetError(f"{where} is {list(values.shape)}; expected one cell a row, [N].")
    if values.dtype.kind == "V":
        raise DatasetError(f"{where}: holds {_kind(values.dtype)}; expected texts.")
    metadata: Any = getattr(array, "dtype", values.dtype).metadata or {}
    named = {number: name for name, number in metadata.get("enum", {}).items()}  # HDF5's
    values = values.reshape(len(values))
    cells = values if values.dtype.kind == "M" else values.tolist()
    found: list[str | None] = []
    for row, cell in enumerate(cells):
        try:
            found.append(named[cell] if named else _text(cell, values.dtype))
        except (ValueError, KeyError) as error:
            reason = f"{cell} has no name" if isinstance(error, KeyError) else error
            raise DatasetError(f"{where}, row {row + 1}: {reason}.") from None
    return found


def is_missing(text: str | None, names: Container[str | None] = ()) -> bool:
    """Tell whether a label is none: null, empty, or a word for that which is no known name.

    >>> [is_missing(word) for word in (None, " ", "NaN", "NA", "none", "na", "0")]
    [True, True, True, True, False, False, False]
    >>> is_missing("NA", names=["NA", "DE"])
    False
    """
    word = (text or "").strip()
    if not word:
        return True
    return text not in names and (word.lower() in ABSENT or word in ABSENT_AS_WRITTEN)


def listed_rows(rows: Sequence[int] | NDArray[np.int64], most: int = 5) -> str:
    """Say row numbers, counted from 1 as in messages: ``rows 1, 4, 7 and 12 more``."""
    said = ", ".join(str(int(row) + 1) for row in rows[:most])
    more = f" and {len(rows) - most} more" if len(rows) > most else ""
    return f"row{'s' * (len(rows) != 1)} {said}{more}"


def _plain_numbers(cells: Sequence[Any] | NDArray[Any]) -> NDArray[np.float64] | None:
    """Cells without anything else than plain numbers, several times faster; else None."""
    try:
        if OTHER_SIGNS.search("\n".join(cells)):  # of these signs float() takes numbers alone
            return None
        values = np.array([float(cell) for cell in cells], dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return None if (np.abs(values) > LARGEST).any() else values


_LISTS = (list, tuple, np.ndarray)


def _stacked(where: str, rows: NDArray[Any]) -> NDArray[np.float64]:
    """Lists as dimensions; a missing list is a row of missing values."""
    shape: tuple[int, ...] | None = None
    made: list[NDArray[np.float64] | None] = []
    for number, row in enumerate(rows):
        if row is None:
            made.append(None)
            continue
        try:
            made.append(_nested(row))
        except ValueError as error:
            raise DatasetError(f"{where}, row {number + 1}: {error}.") from None
        if shape is not None and made[-1].shape != shape:  # type: ignore[union-attr]
            got = " x ".join(map(str, made[-1].shape))  # type: ignore[union-attr]
            raise DatasetError(
                f"{where}, row {number + 1}: a list of {got} numbers; rows before it have "
                f"{' x '.join(map(str, shape))}. Lists of one length are expected."
            )
        shape = made[-1].shape  # type: ignore[union-attr]
    return np.stack([np.full(shape or (), math.nan) if row is None else row for row in made])


def _nested(row: Any) -> NDArray[np.float64]:
    array = row if isinstance(row, np.ndarray) else None
    if array is not None and array.dtype.kind in "fiub":
        if (np.abs(array.astype(np.float64)) > LARGEST).any():
            raise ValueError("a number is infinite or beyond single precision (3.4e38)")
        return array.astype(np.float64)
    if not isinstance(row, _LISTS):
        raise ValueError(f"{_short(row)} stands among lists")
    if any(isinstance(item, _LISTS) for item in row):
        parts = [_nested(item) for item in row]
        if len({part.shape for part in parts}) > 1:
            raise ValueError("its lists differ in length")
        return np.stack(parts)
    return np.array([read_number(item) for item in row], dtype=np.float64)


def _as_float(cell: Any) -> float:
    try:
        return float(cell)
    except OverflowError:
        return math.inf


def _text(cell: Any, dtype: Any) -> str | None:
    """One cell as it is written."""
    if cell is None or (isinstance(cell, np.datetime64) and np.isnat(cell)):
        return None
    if isinstance(cell, bytes):
        try:
            return cell.decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{_short(cell)} is not UTF-8") from None
    if isinstance(cell, float):
        if math.isnan(cell):
            return None
        if not cell.is_integer():
            return repr(cell) if dtype.kind == "O" else str(dtype.type(cell))
        if abs(cell) >= EXACT:
            raise ValueError(
                f"{cell:g} is a float, which does not hold every whole number of that size; "
                "store it as an integer or as text"
            )
        return str(int(cell))
    if isinstance(cell, (str, bool, int, np.datetime64)):
        return str(cell)
    if isinstance(cell, decimal.Decimal):
        return f"{cell:f}" if cell.is_finite() else None
    if isinstance(cell, (datetime.date, datetime.time)):
        return cell.isoformat()
    if isinstance(cell, (np.bool_, np.number)):
        return _text(cell.item(), cell.dtype)
    raise ValueError(f"expected a text; {_short(cell)} is {_called(cell)}")


def _hint(text: str) -> str:
    if re.fullmatch(r"[+-]?[0-9.]*,[0-9,.]*", text):
        return "; decimals follow a point, and thousands are not separated"
    if is_missing(text) or text in ("?", "-"):
        return "; a missing value is an empty cell or nan"
    if text.lower().lstrip("+-") in ("inf", "infinity"):
        return " that a model can read"
    return ""


def _short(cell: Any) -> str:
    cell = cell.decode("utf-8", "replace") if isinstance(cell, bytes) else cell
    said = repr(str(cell) if isinstance(cell, (str, np.number)) else cell)
    return said if len(said) <= 44 else f"{said[:40]}...{said[:1]}"


def _called(cell: Any) -> str:
    if isinstance(cell, (datetime.date, datetime.time, datetime.timedelta, np.datetime64)):
        return "a time"
    if type(cell).__name__ in ("Reference", "RegionReference"):  # h5py's, which is not imported
        return "a reference to another place in the file; store what stands there itself"
    if isinstance(cell, _LISTS):
        return "a record or a list"
    return f"of type {type(cell).__name__}"


def _kind(dtype: Any) -> str:
    names = {"M": "times", "m": "spans of time", "c": "complex numbers", "V": "records"}
    return f"{names.get(np.dtype(dtype).kind, 'values')} ({dtype})"
