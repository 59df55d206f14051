"""Rows of HDF5 arrays, whatever their layout: numpy's indexing is the oracle."""

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
    part = Section(whole, np.arange(4, 10))
    expected = whole[:][4:10]
    assert part.shape == expected.shape
    assert len(part) == 6
    np.testing.assert_array_equal(part[np.array([5, 0, 5])], expected[[5, 0, 5]])
    np.testing.assert_array_equal(part[1:3], expected[1:3])
    np.testing.assert_array_equal(part[2], expected[2])
    with pytest.raises(IndexError):
        part[np.array([6])]


@pytest.mark.parametrize(("bits", "offset"), [(12, 4), (12, 0), (10, 3), (16, 0), (1, 15)])
@pytest.mark.parametrize("chunks", [None, (4, 4)])
def test_integers_of_fewer_bits_than_their_bytes_hold(tmp_path, bits, offset, chunks):
    values = np.arange(80, dtype="u2").reshape(20, 4) & (2**bits - 1)
    with h5py.File(tmp_path / "bits.h5", "w") as file:
        kind = h5py.h5t.STD_U16LE.copy()
        kind.set_precision(bits)
        kind.set_offset(offset)
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        if chunks is not None:
            layout.set_chunk(chunks)
        space = h5py.h5s.create_simple(values.shape)
        made = h5py.h5d.create(file.id, b"x", kind, space, layout)
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, values)
    array = H5Array(tmp_path / "bits.h5", "x")
    np.testing.assert_array_equal(array[[3, 1, 1, 19]], values[[3, 1, 1, 19]])
    np.testing.assert_array_equal(array[2:5], values[2:5])


def test_text_that_is_padded_with_spaces(tmp_path):
    with h5py.File(tmp_path / "text.h5", "w") as file:
        kind = h5py.h5t.C_S1.copy()
        kind.set_size(5)
        kind.set_strpad(h5py.h5t.STR_SPACEPAD)
        made = h5py.h5d.create(file.id, b"x", kind, h5py.h5s.create_simple((2,)))
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array([b"ab   ", b"c    "]))
        expected = file["x"][()].tolist()
    assert H5Array(tmp_path / "text.h5", "x")[[1, 0]].tolist() == expected[::-1]


@pytest.mark.parametrize("stored", ["i2", "u1", "f4"])
def test_packed_numbers_are_unpacked(tmp_path, stored):
    values = np.array([[1, 2], [3, 99], [0, 5]], stored)
    with h5py.File(tmp_path / "packed.h5", "w") as file:
        for name, chunks in (("whole", None), ("pieces", (1, 2))):
            array = file.create_dataset(name, data=values, chunks=chunks)
            array.attrs["scale_factor"] = 0.5
            array.attrs["add_offset"] = np.float32(10)
            array.attrs["_FillValue"] = np.array([99], stored)
        file["plain"] = values
        file["plain"].attrs["_FillValue"] = np.nan  # as xarray writes it
        file["wrong"] = values
        file["wrong"].attrs["scale_factor"] = "half"
    expected = np.where(values == 99, np.nan, values * 0.5 + 10)
    for name in ("whole", "pieces"):
        array = H5Array(tmp_path / "packed.h5", name)
        assert array.dtype == np.float64
        np.testing.assert_array_equal(array[:], expected)
        np.testing.assert_array_equal(array[[2, 0, 2]], expected[[2, 0, 2]])
        np.testing.assert_array_equal(array[1], expected[1])
    assert H5Array(tmp_path / "packed.h5", "plain").dtype == stored
    with pytest.raises(DatasetError, match="scale_factor is no number"):
        H5Array(tmp_path / "packed.h5", "wrong")


@pytest.mark.parametrize("chunks", [None, (1, 4), (7, 2)])
@pytest.mark.parametrize("fill", [0, 7.5])
def test_what_was_never_written_is_the_fill_value(tmp_path, chunks, fill):
    with h5py.File(tmp_path / "fill.h5", "w") as file:
        file.create_dataset("x", shape=(20, 4), dtype="f8", chunks=chunks, fillvalue=fill)
        sparse = file.create_dataset("sparse", shape=(20000, 40), dtype="f4", chunks=(1, 40))
        sparse[7] = 3
    array = H5Array(tmp_path / "fill.h5", "x")
    np.testing.assert_array_equal(array[[3, 1, 19]], np.full((3, 4), fill))
    np.testing.assert_array_equal(array[:], np.full((20, 4), fill))
    rows = H5Array(tmp_path / "fill.h5", "sparse")[[7, 19999]]
    np.testing.assert_array_equal(rows[:, 0], [3, 0])


@pytest.mark.parametrize("chunks", [None, (1, 1 << 12), (1 << 20, 1 << 8)])
def test_headers_that_claim_more_memory_than_is_sensible(tmp_path, chunks):
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        file.create_dataset("x", shape=(1 << 30, 1 << 12), dtype="f8", chunks=chunks)
    with pytest.raises(DatasetError, match=r"x claims \d+ bytes.*MB at most"):
        H5Array(tmp_path / "huge.h5", "x")
