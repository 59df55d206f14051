"""``i2moe-bench data``: what it says, and what it returns."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.data.cards import Card, File, Key
from i2moe_plugin.benchmarks.data.differences import differences, matches
from i2moe_plugin.benchmarks.datasets import datasets


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(main, ["data", *map(str, arguments)])


@pytest.fixture
def mosi(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("I2MOE_CACHE", str(tmp_path / "cache"))
    assert invoke("sample", "mosi", tmp_path / "mosi").exit_code == 0
    return tmp_path / "mosi"


def test_list_has_a_line_for_each() -> None:
    shown = invoke("list").stdout
    assert all(name in shown for name in datasets.names())
    rows = json.loads(invoke("list", "--json").stdout)
    assert [row["name"] for row in rows] == datasets.names()


@pytest.mark.parametrize("name", datasets.names())
def test_describe_says_all(name) -> None:
    result = invoke("describe", name)
    assert result.exit_code == 0, result.output
    record = json.loads(invoke("describe", name, "--json").stdout)
    card = datasets.get(name).card
    assert record["licence"] == card.licence
    assert [file["path"] for file in record["files"]] == [file.path for file in card.files]
    for file in card.files:
        assert file.path.split("/")[0] in result.stdout


def test_verify_of_a_sample_and_of_what_is_not_there(mosi, tmp_path) -> None:
    result = invoke("verify", "mosi", "--data-root", mosi)
    assert result.exit_code == 0, result.output
    assert "a drawn sample, in the published format" in result.stdout
    assert "as published" not in result.stdout
    assert "drawn sample" in result.stdout
    missing = invoke("verify", "mosi", "--data-root", tmp_path / "nowhere", "--json")
    assert missing.exit_code == 1
    assert "mosi_data.pkl" in json.loads(missing.stdout)["problems"][0]


def test_convert_writes_hdf5_that_does_for_the_pickle(mosi) -> None:
    result = invoke("convert", "mosi", "--data-root", mosi)
    assert result.exit_code == 0, result.output
    (mosi / "mosi_data.pkl").unlink()
    assert invoke("verify", "mosi", "--data-root", mosi).exit_code == 0
    wrong = invoke("convert", "htad")
    assert wrong.exit_code == 1
    assert "nothing to convert" in wrong.stderr


def test_status_tells_what_is_here(mosi) -> None:
    rows = json.loads(invoke("status", "mosi", "--data-root", mosi, "--json").stdout)
    assert rows[0]["ready"]
    every = invoke("status")
    assert every.exit_code == 0
    assert "data describe NAME" in every.stdout
    assert invoke("status", "adni", "--data-root", mosi).exit_code == 1


CARD = Card(
    "A set",
    "here",
    "MIT",
    files=(
        File("a.h5", "arrays", (Key("x", ("N", 3), "f"), Key("more/y", ("N",), "i8"))),
        File("table.csv", "rows", (Key("id", ("N",), "text"), Key("gone", optional=True))),
        File("pictures/{id}.png", "pictures"),
        File("extra.npy", "more", (Key("", ("N", "T"), "number"),), optional=True),
    ),
    sizes=(("N", 4),),
)


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "1.png").write_bytes(b"x")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.zeros((4, 3), np.float32)
        file["more/y"] = np.arange(4)
    (tmp_path / "table.csv").write_text("id\n1\n2\n3\n4\n")
    return tmp_path


def test_files_as_published_have_no_differences(folder) -> None:
    assert differences(CARD, folder) == []
    np.save(folder / "extra.npy", np.zeros((4, 9), bool))
    assert differences(CARD, folder) == []


def test_all_differences_are_said_at_once(folder) -> None:
    with h5py.File(folder / "a.h5", "w") as file:
        file["x"] = np.zeros((5, 2), np.int32)
    (folder / "table.csv").write_text("name\n1\n")
    (folder / "pictures" / "1.png").unlink()
    np.save(folder / "extra.npy", np.zeros((4,)))
    said = "\n".join(differences(CARD, folder))
    for part in (
        "pictures/{id}.png is missing",
        "a.h5: x has type int32; expected f",
        "a.h5: x has shape [5, 2]; expected [N, 3]",
        "a.h5: more/y is missing; the file has x",
        "table.csv: id is missing; the file has name",
        "extra.npy has shape [4]; expected [N, T]",
    ):
        assert part in said
    (folder / "a.h5").write_bytes(b"damaged")
    assert "not a readable HDF5 file" in "\n".join(differences(CARD, folder))
    assert "no such folder; it should hold a.h5" in differences(CARD, folder / "gone")[0]


def test_published_sizes_are_not_asked_of_a_sample(folder) -> None:
    with h5py.File(folder / "a.h5", "w") as file:
        file["x"] = np.zeros((2, 3), np.float32)
        file["more/y"] = np.arange(3)
    (folder / "table.csv").write_text("id\n1\n2\n")
    said = differences(CARD, folder)
    assert "a.h5: x: N is 2, but 4 as published" in said
    assert differences(CARD, folder, sample=True) == ["a.h5: more/y: N is 3, but 2 in a.h5: x"]


def test_checksums_are_compared(folder) -> None:
    import dataclasses
    import hashlib

    right = hashlib.sha256(b"x").hexdigest()
    for sha, problems in ((right, 0), ("0" * 64, 1)):
        file = File("pictures/1.png", "one", sha256=sha)
        card = dataclasses.replace(CARD, files=(file,))
        assert len(differences(card, folder)) == problems
        assert not differences(card, folder, sample=True)


@pytest.mark.parametrize(
    ("dtype", "wanted", "fits"),
    [
        ("float32", "f4", True),
        ("float64", "f4", False),
        ("float16", "f", True),
        ("uint8", "i", True),
        ("bool", "number", True),
        ("text", "text", True),
        ("text", "f", False),
        ("int64", "text", False),
    ],
)
def test_kinds_of_types(dtype, wanted, fits) -> None:
    assert matches(dtype, wanted) is fits
