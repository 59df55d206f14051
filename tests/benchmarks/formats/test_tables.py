"""Tables and text files as they are written, and what is said where they are something else."""

from __future__ import annotations

import csv
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

from i2moe_plugin.benchmarks.formats.arrays import read_npy, read_npz, read_tensor
from i2moe_plugin.benchmarks.formats.hdf5 import H5Array
from i2moe_plugin.benchmarks.formats.pickles import read_arrays
from i2moe_plugin.benchmarks.formats.tables import (
    load_typed_yaml,
    read_csv,
    read_json,
    read_parquet,
    read_yaml,
)
from i2moe_plugin.errors import DatasetError


def made(folder: Path, content: bytes | str, name: str = "t.csv") -> Path:
    content = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(content)
    return folder / name


def test_long_cells_are_read_and_the_modules_limit_stays(tmp_path):
    before = csv.field_size_limit()
    path = made(tmp_path, f"a,b\n{'x' * 300_000},1\n")
    assert read_csv(path) == {"a": ["x" * 300_000], "b": ["1"]}
    assert csv.field_size_limit() == before


def test_a_blank_line_in_a_table_of_one_column_is_an_empty_cell(tmp_path):
    assert read_csv(made(tmp_path, "label\na\n\nb\n\n\n")) == {"label": ["a", "", "b"]}
    assert read_csv(made(tmp_path, "label,x\na,1\n\nb,2\n")) == {
        "label": ["a", "b"],
        "x": ["1", "2"],
    }


def test_many_columns_are_read_in_time(tmp_path):
    names = [f"g{i}" for i in range(40_000)]
    found = read_csv(made(tmp_path, ",".join(names) + "\n" + ",".join(["1"] * 40_000)))
    assert list(found) == names


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("id;label\n1;a\n", r"lacks the column label.*separated by semicolons"),
        ("id\tlabel\n1\ta\n", r"lacks the column label.*separated by tabs"),
        ("label,label\n1,2\n", "more than one column is called label"),
        ("label\ncaf\xe9\n".encode("latin-1"), "save it as UTF-8"),
        ("label\na\n".encode("utf-16"), "UTF-16; save it as UTF-8"),
        ("", "empty"),
    ],
)
def test_tables_of_another_form(tmp_path, content, reason):
    with pytest.raises(DatasetError, match=rf"t\.csv.*{reason}"):
        read_csv(made(tmp_path, content), ["label"])


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    assert read_csv(made(tmp_path, "\ufefflabel\na\n")) == {"label": ["a"]}
    assert read_yaml(made(tmp_path, "\ufeffname: a\n", "d.yaml")) == {"name": "a"}


READERS = {
    "t.csv": read_csv,
    "t.json": read_json,
    "t.yaml": read_yaml,
    "t.parquet": read_parquet,
    "t.npy": read_npy,
    "t.npz": read_npz,
    "t.pt": read_tensor,
    "t.pkl": read_arrays,
    "t.h5": lambda path: H5Array(path, "x"),
}
OTHERS = {
    "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n",
    "saved web page": b"\n<!DOCTYPE html><html><head><title>Google Drive</title>",
    "saved web page, not": b"<?xml version='1.0'?><html xmlns='http://www.w3.org/1999/xhtml'>",
    "server's error message": b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
    "gzip file": b"\x1f\x8b\x08" + bytes(600),
    "PDF file": b"%PDF-1.7 ...",
    "git-annex pointer": b"/annex/objects/SHA256E-s1--ab.csv\n",
    "tar archive": b"a" * 257 + b"ustar" + bytes(300),
    "interrupted download": bytes(600),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("other", OTHERS)
def test_files_that_are_something_else_are_named(tmp_path, name, other):
    if name == "t.parquet":
        pytest.importorskip("pyarrow")
    if name == "t.h5" and other == "interrupted download":
        return  # room for another file's header
    path = made(tmp_path, OTHERS[other], name)
    with pytest.raises(DatasetError, match=rf"{name}: expected .*{other}"):
        READERS[name](path)


def test_formats_in_each_others_place_are_named(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.zeros(3)
    zipped, hdf5 = (tmp_path / "a.npz").read_bytes(), (tmp_path / "a.h5").read_bytes()
    for name, content, said in (
        ("t.csv", zipped, "zip archive"),
        ("t.csv", hdf5, "HDF5 file"),
        ("t.h5", zipped, "zip archive"),
        ("t.npz", hdf5, "HDF5 file"),
        ("t.pkl", hdf5, "HDF5 file"),
    ):
        with pytest.raises(DatasetError, match=f"{name}: expected .*{said}"):
            READERS[name](made(tmp_path, content, name))
    with pytest.raises(DatasetError, match=r"t\.npz: not a readable npz file"):
        read_npz(made(tmp_path, zipped[:-40], "t.npz"))


def test_arrays_of_python_objects_say_what_to_do(tmp_path):
    np.savez(tmp_path / "o.npz", y=np.array(["a", None], dtype=object))
    with pytest.raises(DatasetError, match=r"o\.npz: y holds Python objects.*astype\(str\)"):
        read_npz(tmp_path / "o.npz")
    np.save(tmp_path / "o.npy", np.array(["a", None], dtype=object))
    with pytest.raises(DatasetError, match="Python objects"):
        read_npy(tmp_path / "o.npy")


def test_yaml_is_read_as_it_is_written(tmp_path):
    text = "no: yes\n010: 1e3\nn: ~\ne:\nq: 'null'\nlist: [0, 1.0, on, 2020-01-01, 1_0]\n"
    assert read_yaml(made(tmp_path, text, "d.yaml")) == {
        "no": "yes",
        "010": "1e3",
        "n": None,
        "e": None,
        "q": "null",
        "list": ["0", "1.0", "on", "2020-01-01", "1_0"],
    }


@pytest.mark.parametrize(
    "text", ["a: 1\nb: 2\na: 3\n", "m: {a: 1, 'a': 2}\n", "m:\n  no: 1\n  no: 2\n", "1: a\n1: b\n"]
)
def test_a_key_written_twice_is_refused(tmp_path, text):
    with pytest.raises(DatasetError, match=r"d\.yaml.*is written twice"):
        read_yaml(made(tmp_path, text, "d.yaml"))
    with pytest.raises(yaml.YAMLError, match="is written twice"):
        load_typed_yaml(text)


def test_suites_keep_numbers_and_truths():
    assert load_typed_yaml("a: {b: 1, c: 0.5, d: true}") == {"a": {"b": 1, "c": 0.5, "d": True}}
