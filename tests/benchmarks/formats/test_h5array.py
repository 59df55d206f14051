"""Rows of HDF5 arrays, whatever their layout: numpy's indexing is the oracle."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2moe_plugin.benchmarks.formats.arrays import Section
from i2moe_plugin.benchmarks.formats.hdf5 import H5Array
from i2moe_plugin.errors import DatasetError

ROWS = 23
LAYOUTS = {
    "contiguous": {},
    "chunked": {"chunks": (5, 2, 3)},
    "compressed": {"chunks": (4, 2, 3), "compression": "gzip", "shuffle": True},
}


@pytest.fixture(scope="module")
def arrays(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("h5") / "arrays.h5"
    generator = np.random.default_rng(0)
    with h5py.File(path, "w", userblock_size=512) as file:
        values = generator.normal(size=(ROWS, 2, 3))
        for name, layout in LAYOUTS.items():
            file.create_dataset(name, data=values, **layout)
        for kind in ("<f2", ">f4", "<i4", ">i8", "u1", "?", "S7"):
            file[f"kinds/{kind}"] = generator.integers(0, 2, (ROWS, 2)).astype(kind)
        file.create_dataset("words", data=["a", "bc"] * 5, dtype=h5py.string_dtype())
        file["none"] = np.zeros((0, 4))
        file["narrow"] = np.zeros((5, 0))
    return path


@pytest.mark.parametrize("layout", LAYOUTS)
@given(rows=st.lists(st.integers(-ROWS, ROWS - 1), max_size=40))
def test_rows_in_any_order_are_numpys(arrays, layout, rows):
    with h5py.File(arrays) as file:
        expected = file[layout][()]
    array = H5Array(arrays, layout)
    np.testing.assert_array_equal(array[np.array(rows, dtype=int)], expected[rows])
    for row in rows[:2]:
        np.testing.assert_array_equal(array[row], expected[row])


@pytest.mark.parametrize("layout", LAYOUTS)
@given(rows=st.slices(ROWS))
def test_slices_are_numpys(arrays, layout, rows):
    with h5py.File(arrays) as file:
        expected = file[layout][()][rows]
    if (rows.step or 1) > 0:  # HDF5 itself knows no others
        np.testing.assert_array_equal(H5Array(arrays, layout)[rows], expected)


@pytest.mark.parametrize("kind", ["<f2", ">f4", "<i4", ">i8", "u1", "?", "S7"])
def test_every_kind_of_number_is_read(arrays, kind):
    with h5py.File(arrays) as file:
        expected = file[f"kinds/{kind}"][()]
    array = H5Array(arrays, f"kinds/{kind}")
    assert array[:].dtype == expected.dtype
    np.testing.assert_array_equal(array[[3, 3, 0]], expected[[3, 3, 0]])


def test_text_and_arrays_without_numbers(arrays):
    assert H5Array(arrays, "words")[[1, 0]].tolist() == [b"bc", b"a"]
    assert len(H5Array(arrays, "none")[:]) == 0
    assert H5Array(arrays, "narrow")[[1, 0]].shape == (2, 0)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("row", [ROWS, -ROWS - 1])
def test_rows_that_are_not_there(arrays, layout, row):
    with pytest.raises(DatasetError, match=f"arrays.h5.*of {ROWS}"):
        H5Array(arrays, layout)[np.array([0, row])]


@pytest.mark.posix
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_other_processes_read_too(arrays, layout):
    array = H5Array(arrays, layout)
    expected = array[[7, 2]]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(array))[[7, 2]], expected)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:  # the same object, its file open
        os.write(writer, array[[7, 2]].tobytes())
        os._exit(0)
    os.waitpid(child, 0)
    got = np.frombuffer(os.read(reader, expected.nbytes), expected.dtype)
    np.testing.assert_array_equal(got, expected.ravel())
    os.close(reader)
    os.close(writer)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="lists them as Linux does")
def test_open_files_are_closed(arrays):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        array = H5Array(arrays, "contiguous")
        array[[0]]
        del array
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_that_is_cut_short_under_a_reader(tmp_path):
    path = tmp_path / "short.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.ones((1000, 100))
    array = H5Array(path, "x")
    array[[999]]
    os.truncate(path, 5000)
    with pytest.raises(DatasetError, match=r"short\.h5.*cut short"):
        array[[999]]


def test_a_section_is_a_part(arrays):
    whole = H5Array(arrays, "contiguous")
    part = Section(whole, 4, 10)
    expected = whole[:][4:10]
    assert part.shape == expected.shape
    assert len(part) == 6
    np.testing.assert_array_equal(part[np.array([5, 0, 5])], expected[[5, 0, 5]])
    np.testing.assert_array_equal(part[1:3], expected[1:3])
    np.testing.assert_array_equal(part[2], expected[2])
    with pytest.raises(IndexError):
        part[np.array([6])]
