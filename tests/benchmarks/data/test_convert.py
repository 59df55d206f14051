"""Pickles as HDF5: the same arrays, made once, and never half."""

import os
import pickle
import stat
from pathlib import Path

import h5py
import numpy as np
import pytest

from i2moe_plugin.benchmarks.data import convert as module
from i2moe_plugin.benchmarks.data.cache import digest
from i2moe_plugin.benchmarks.data.convert import convert, converted, source_digest
from i2moe_plugin.benchmarks.formats.hdf5 import H5Array
from i2moe_plugin.benchmarks.formats.inspection import inspect_file
from i2moe_plugin.errors import DatasetError

CONTENT = {
    "train": {
        "vision": np.random.default_rng(0).normal(size=(40, 5, 7)).astype("f4"),
        "columns": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        "big": np.arange(3, dtype=">i4"),
        "zeros": np.zeros((3000, 50)),
        "none": np.zeros((0, 3)),
        "one": np.float64(2.5),
        "flags": np.array([True, False]),
        "id": np.array([["é", "b"], ["c", ""]]),
        "bytes": np.array([b"x", "é".encode(), 3], dtype=object),
        "numbers": np.array([1, 2.5], dtype=object),
    },
    "names": ["a", "bcd"],
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("I2MOE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def source(tmp_path) -> Path:
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "things.pkl"
    path.write_bytes(pickle.dumps(CONTENT))
    return path


def test_every_array_comes_back(source, tmp_path):
    target = tmp_path / "new" / "things.h5"
    convert(source, target)
    for name in ("vision", "columns", "big", "zeros", "none", "one", "flags"):
        expected = np.asarray(CONTENT["train"][name])
        found = H5Array(target, f"train/{name}")
        assert found.shape == expected.shape
        assert found.dtype == expected.dtype
        with h5py.File(target) as file:
            np.testing.assert_array_equal(file[f"train/{name}"][()], expected)
    with h5py.File(target) as file:
        assert file["train/id"].asstr()[()].tolist() == [["é", "b"], ["c", ""]]
        assert file["train/bytes"].asstr()[()].tolist() == ["x", "é", "3"]
        assert file["names"].asstr()[()].tolist() == ["a", "bcd"]
        np.testing.assert_array_equal(file["train/numbers"][()], [1.0, 2.5])
        assert dict(file.attrs) == {"source_sha256": digest(source), "format": module.FORMAT}
    assert {p.name for p in target.parent.iterdir()} == {"things.h5"}
    assert target.stat().st_size < source.stat().st_size / 10  # zeros are packed
    umask = os.umask(0)
    os.umask(umask)
    if os.name == "posix":
        assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~umask, "others may read it, as usual"


def test_rows_are_read_one_by_one(source, tmp_path):
    convert(source, tmp_path / "x.h5")
    rows = H5Array(tmp_path / "x.h5", "train/vision")
    np.testing.assert_array_equal(rows[[7, 3, 7]], CONTENT["train"]["vision"][[7, 3, 7]])


def test_it_is_converted_once_into_the_cache(source, cache, monkeypatch):
    first = converted(source)
    assert first.parent == cache / "converted"
    monkeypatch.setattr(module, "convert", None)
    assert converted(source) == first


def test_the_one_beside_is_taken_while_it_is_of_this_pickle(source):
    beside = source.with_suffix(".h5")
    convert(source, beside)
    assert converted(source) == beside
    source.write_bytes(pickle.dumps({"x": np.zeros(3)}))
    assert converted(source) != beside
    assert list(inspect_file(converted(source))) == ["x"]


def test_the_pickle_is_not_needed_afterwards(source):
    convert(source, source.with_suffix(".h5"))
    before = source_digest(source)
    source.unlink()
    assert converted(source) == source.with_suffix(".h5")
    assert source_digest(source) == before


def test_neither_is_there(tmp_path):
    with pytest.raises(DatasetError, match=r"things\.pkl: no such file"):
        converted(tmp_path / "things.pkl")


@pytest.mark.parametrize(("way", "where"), [("truncate", ()), ("empty", ()), ("flip", (0,))])
def test_a_damaged_one_is_made_anew(source, way, where, damage):
    kept = converted(source)
    getattr(damage, way)(kept, *where)
    assert converted(source) == kept
    assert "names" in inspect_file(kept)


def test_one_of_another_format_is_made_anew(source, monkeypatch):
    kept = converted(source)
    monkeypatch.setattr(module, "FORMAT", 99)
    assert converted(source) == kept
    with h5py.File(kept) as file:
        assert file.attrs["format"] == 99


def test_flipped_values_do_not_pass(source, tmp_path, damage):
    """Each part of an array carries a checksum."""
    convert(source, tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5") as file:
        place = file["train/vision"].id.get_chunk_info(0).byte_offset
    damage.flip(tmp_path / "x.h5", place + 20, place + 21)
    with pytest.raises(DatasetError, match=r"x\.h5"):
        H5Array(tmp_path / "x.h5", "train/vision")[:]


def test_a_folder_that_cannot_be_written_is_said(source, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match="I2MOE_CACHE"):
        convert(source, tmp_path / "file" / "x.h5")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (np.zeros(3), "no named arrays"),
        ({"x": [[1, 2], [3]]}, "unequal length"),
        ({"x": None}, "holds NoneType"),
        ({"x": np.array([np.zeros(2), np.zeros(3)], dtype=object)}, "holds ndarray"),
        ({"x": "nul \0 in text"}, "cannot be kept as HDF5"),
        ({"x/y": 1}, "cannot be the name"),
    ],
)
def test_what_cannot_be_kept_is_said_and_leaves_nothing(tmp_path, content, reason):
    path = tmp_path / "things.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(DatasetError, match=reason) as error:
        convert(path, tmp_path / "out" / "x.h5")
    assert "things.pkl" in str(error.value)
    assert not list(tmp_path.glob("out/*"))
