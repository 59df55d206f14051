"""Cells: numbers by the documented grammar, text as it is written, in every format alike."""

from __future__ import annotations

import csv
import datetime
import decimal
import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2moe_plugin.benchmarks.formats.arrays import read_npz
from i2moe_plugin.benchmarks.formats.cells import (
    as_numbers,
    as_texts,
    is_missing,
    listed_rows,
    read_number,
    read_numbers,
)
from i2moe_plugin.benchmarks.formats.hdf5 import H5Array
from i2moe_plugin.benchmarks.formats.tables import numbers, read_csv, read_parquet
from i2moe_plugin.errors import DatasetError

NUMBERS = {
    "0": 0, "-0": -0.0, "007": 7, "1e5": 1e5, "1E+5": 1e5, "-2.5e-3": -0.0025, ".5": 0.5, "5.": 5,
    "+.5": 0.5, " 1 ": 1, "True": 1, "false": 0, "TRUE": 1, "3.4e38": 3.4e38,
}  # fmt: skip
MISSING = ["", "  ", "nan", "NaN", "NAN"]
NO_NUMBERS = [
    "1_0", "0,5", "1,000", "1.000,5", "inf", "-Infinity", "infinity", "NA", "N/A", "null", "None",
    "?", "-", ".", "e5", "1e", "1e5.0", "0x10", "0b1", "1 0", "--1", "5%", "$5", "\u0663",
    "\uff11", "\u22125", "\u00b2", "1e300", "-1e39", "1e400", "9" * 400, "a", "1j", "1d5", "1f",
    "1\x00", "-nan", "yes",
]  # fmt: skip


@pytest.mark.parametrize("text", NUMBERS)
def test_what_is_a_number(text):
    found = read_number(text)
    assert found == NUMBERS[text]
    assert math.copysign(1, found) == math.copysign(1, NUMBERS[text])
    assert read_number(text.encode()) == found
    np.testing.assert_array_equal(read_numbers("f", [text, "1"]), [found, 1])


@pytest.mark.parametrize("text", MISSING)
def test_what_is_missing(text):
    assert math.isnan(read_number(text))
    np.testing.assert_array_equal(read_numbers("f", ["2", text]), [2, math.nan])


@pytest.mark.parametrize("text", NO_NUMBERS)
@pytest.mark.parametrize("others", [["1"], ["nan"]])
def test_what_is_no_number_is_named(text, others):
    with pytest.raises(DatasetError, match=r"^t\.csv: column x, row 2: "):
        read_numbers("t.csv: column x", [*others, text])


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_numbers_are_those_that_were_written(value):
    assert read_number(repr(value)) == value
    assert read_numbers("f", [repr(value)])[0] == value


@given(st.text(max_size=8))
def test_no_more_is_a_number_than_float_reads(text):
    try:
        found = read_number(text)
    except ValueError:
        return
    if text.strip() and text.strip().lower() not in ("true", "false"):
        np.testing.assert_equal(found, float(text))


def test_a_missing_cell_where_a_number_must_be():
    with pytest.raises(DatasetError, match="column x, row 2: 'nan' is not a number"):
        numbers(Path("t.csv"), "x", ["1", "nan"])
    np.testing.assert_array_equal(numbers(Path("t.csv"), "x", ["1", ""], missing=7), [1, 7])


def written(folder: Path, ending: str, cells: list[Any]) -> Any:
    """The column as a file of each kind gives it."""
    path = folder / f"t.{ending}"
    if ending == "csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["x", "more"], *([cell, "1"] for cell in cells)])
        return np.array(read_csv(path)["x"], dtype=object)
    if ending == "parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        import pyarrow

        parquet.write_table(pyarrow.table({"x": cells}), path)
        return read_parquet(path)["x"]
    if ending == "npz":
        np.savez(path, x=np.array(cells))
        return read_npz(path)["x"]
    with h5py.File(path, "w") as file:
        kind = h5py.string_dtype() if isinstance(cells[0], str) else None
        file.create_dataset("x", data=np.array(cells, dtype=object if kind else None), dtype=kind)
    return H5Array(path, "x")


ENDINGS = ("csv", "parquet", "npz", "h5")
NAMES = ["1E1", "1E2", "10", "01", "1", "1_1", "11", "00012", "1.0", " a", "nan", "true", "\u0663"]
BIG = [13, 1114679353714016256, 1114679353714016257, 2**63 - 1, -1]


@pytest.mark.parametrize("ending", ENDINGS)
def test_text_stays_what_it_is(tmp_path, ending):
    assert as_texts("x", written(tmp_path, ending, NAMES)) == NAMES


@pytest.mark.parametrize("ending", ENDINGS)
def test_whole_numbers_keep_their_digits(tmp_path, ending):
    assert as_texts("x", written(tmp_path, ending, BIG)) == list(map(str, BIG))


@pytest.mark.parametrize("ending", ENDINGS)
def test_numbers_written_as_text_are_numbers_where_numbers_are_asked_for(tmp_path, ending):
    found = as_numbers("x", written(tmp_path, ending, ["1", "2.5", "", "nan", "true"]))
    np.testing.assert_array_equal(found[:], [1, 2.5, math.nan, math.nan, 1])


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_cell_that_is_no_number_is_named_in_every_format(tmp_path, ending):
    with pytest.raises(DatasetError, match=r"^x, row 3: '1_0' is not a number"):
        as_numbers("x", written(tmp_path, ending, ["1", "2", "1_0", "b"]))


@pytest.mark.parametrize("ending", ENDINGS[1:])
def test_floats_that_are_whole_numbers_are_written_as_those(tmp_path, ending):
    found = as_texts("x", written(tmp_path, ending, [0.0, 2.0, -1.0, 1.5, math.nan, 2.0**53 - 1]))
    assert found == ["0", "2", "-1", "1.5", None, "9007199254740991"]
    with pytest.raises(DatasetError, match=r"^x, row 2: .* does not hold every whole number"):
        as_texts("x", written(tmp_path, ending, [1.0, 2.0**60]))


def test_python_objects_are_written_as_they_are():
    cells: list[Any] = [
        None, "a", b"b", True, 2**70, 1.5, math.nan, decimal.Decimal("1.50"),
        datetime.date(2020, 2, 3), np.int8(3), np.float32(0.1), np.bool_(False),
    ]  # fmt: skip
    array = np.empty(len(cells), dtype=object)
    array[:] = cells
    assert as_texts("x", array) == [
        None, "a", "b", "True", str(2**70), "1.5", None, "1.50", "2020-02-03", "3", "0.1", "False",
    ]  # fmt: skip


@pytest.mark.parametrize("shape", [(6, 2), (3, 1, 4), (2, 2)])
def test_more_than_one_cell_a_row_is_no_text(shape):
    with pytest.raises(DatasetError, match="expected one cell a row"):
        as_texts("ids", np.zeros(shape, dtype=int))
    assert as_texts("ids", np.arange(3).reshape(3, 1)) == ["0", "1", "2"]


def test_names_of_an_enumeration(tmp_path):
    with h5py.File(tmp_path / "e.h5", "w") as file:
        kind = h5py.enum_dtype({"no": 0, "yes": 5}, basetype="i1")
        file.create_dataset("x", data=[5, 0, 5], dtype=kind)
    assert as_texts("x", H5Array(tmp_path / "e.h5", "x")) == ["yes", "no", "yes"]


def test_lists_become_dimensions(tmp_path):
    lists = written(tmp_path, "parquet", [[1.0, 2.0], None, [3.0, None]])
    nan = math.nan
    np.testing.assert_array_equal(as_numbers("x", lists), [[1, 2], [nan, nan], [3, nan]])
    deep = written(tmp_path, "parquet", [[[1, 2], [3, 4]], [[5, 6], [7, 8]]])
    np.testing.assert_array_equal(as_numbers("x", deep), [[[1, 2], [3, 4]], [[5, 6], [7, 8]]])
    for uneven in ([[1], [1, 2]], [[[1], [1, 2]]], [[1.0], [1e300]], [["a"], ["b"]]):
        with pytest.raises(DatasetError, match=r"^x, row \d: "):
            as_numbers("x", written(tmp_path, "parquet", uneven))


@pytest.mark.parametrize(
    "array",
    [np.zeros(3, "M8[s]"), np.zeros(3, complex), np.zeros(3, "i4,f4"), np.zeros(3, "m8[s]")],
)
def test_what_numbers_are_not_made_of_is_said(array):
    with pytest.raises(DatasetError, match=r"^x: holds .*expected numbers"):
        as_numbers("x", array)


def test_times_are_named(tmp_path):
    times = written(tmp_path, "parquet", [datetime.datetime(2020, 1, 2), None])
    with pytest.raises(DatasetError, match=r"^x, row 1: expected a number; .* is a time"):
        as_numbers("x", times)
    assert as_texts("x", times) == ["2020-01-02T00:00:00", None]


@given(st.text(min_size=1).filter(lambda t: t.strip() and t.strip().lower() not in ("nan", "null")))
def test_what_is_no_label(text):
    assert is_missing(text, names=[text]) is False


@pytest.mark.parametrize("word", [None, "", " ", "nan", "NaN", "NULL", "NA", "None", "<NA>", "NaT"])
def test_words_for_a_missing_label(word):
    assert is_missing(word)
    if word and word.strip():
        assert not is_missing(word, names=[word])


def test_rows_count_from_1():
    assert listed_rows([0]) == "row 1"
    assert listed_rows(np.arange(7)) == "rows 1, 2, 3, 4, 5 and 2 more"


@pytest.mark.parametrize("reader", [as_texts, as_numbers])
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("object", "row 1: .* a reference to another place in the file"),
        ("region", "row 1: .* a reference to another place in the file"),
        ("record", "holds records"),
        ("opaque", "holds records"),
        ("lists", "row [12]: .* list"),
    ],
)
def test_what_hdf5_holds_beside_numbers_and_text_is_named(tmp_path, reader, kind, said):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        first = file.create_dataset("first", data=np.arange(3))
        types = {
            "object": (h5py.ref_dtype, [first.ref] * 3),
            "region": (h5py.regionref_dtype, [first.regionref[:2]] * 3),
            "record": (np.dtype([("x", "f4"), ("y", "i4")]), [(1, 2)] * 3),
            "opaque": (np.dtype("V4"), [b"abcd"] * 3),
            "lists": (h5py.vlen_dtype("i4"), [[1], [1, 2], []]),
        }
        dtype, values = types[kind]
        array = file.create_dataset("found", (3,), dtype=dtype)
        for row, value in enumerate(values):
            array[row] = np.void(value) if kind == "opaque" else value
    with pytest.raises(DatasetError, match=said):
        reader("x", H5Array(tmp_path / "a.h5", "found"))
