"""What stands in a user's files stays what it is, what is missing is missing, and losses are said.

Each fact is tried in every format that a folder may use.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.data.open import OpenedDataset, open_dataset
from i2moe_plugin.benchmarks.data.registry import datasets
from i2moe_plugin.benchmarks.data.splits import SPLITS
from i2moe_plugin.errors import DatasetError

N = 30
SPLIT = ["train", "train", "train", "valid", "test"] * 6
ENDINGS = ("csv", "parquet", "npz", "h5")


class Own:
    """A folder in the making: columns of one file, and a description."""

    def __init__(self, folder: Path, ending: str) -> None:
        self.folder, self.ending = folder / "own", ending
        self.folder.mkdir()
        random = np.random.default_rng(0)
        np.savez(self.folder / "x.npz", a=random.normal(size=(N, 3)), b=random.normal(size=(N, 2)))
        self.columns: dict[str, Any] = {
            "label": ["a", "b", "c"] * 10,
            "split": list(SPLIT),
            "id": [f"s{row}" for row in range(N)],
        }
        self.lines = ["task: classification"]
        self.modalities = {
            "a": "file: x.npz, key: a, kind: features",
            "b": "file: x.npz, key: b, kind: features",
        }

    def place(self, name: str) -> str:
        where = "column" if self.ending in ("csv", "parquet") else "key"
        return f"file: t.{self.ending}, {where}: {name}"

    def write(self) -> None:
        path = self.folder / f"t.{self.ending}"
        if self.ending == "csv":
            with path.open("w", newline="", encoding="utf-8") as file:
                rows = zip(*self.columns.values(), strict=True)
                csv.writer(file).writerows([list(self.columns), *rows])
        elif self.ending == "parquet":
            parquet = pytest.importorskip("pyarrow.parquet")
            import pyarrow

            parquet.write_table(pyarrow.table(self.columns), path)
        elif self.ending == "npz":
            np.savez(path, **{key: np.array(cells) for key, cells in self.columns.items()})
        else:
            with h5py.File(path, "w") as file:
                for key, cells in self.columns.items():
                    array = np.array(cells)
                    text = array.dtype.kind in "UO"
                    file[key] = array.astype(h5py.string_dtype()) if text else array
        entries = [f"  {name}: {{{entry}}}" for name, entry in self.modalities.items()]
        places = [f"{to}: {{{self.place(key)}}}" for to, key in self.places.items()]
        lines = ["name: own", "modalities:", *entries, *places, *self.lines]
        (self.folder / "dataset.yaml").write_text("\n".join(lines), encoding="utf-8")

    @property
    def places(self) -> dict[str, str]:
        return {"target": "label", "split": "split", "ids": "id"}

    def open(self) -> OpenedDataset:
        self.write()
        return open_dataset(str(self.folder))

    def refused(self, reason: str) -> None:
        """Both `run` and `data verify` say it."""
        with pytest.raises(DatasetError, match=reason):
            self.open()
        (problem,) = datasets.get("folder:own").verify(self.folder)
        with pytest.raises(DatasetError, match=reason):
            raise DatasetError(problem)


@pytest.fixture(params=ENDINGS)
def own(request, tmp_path) -> Own:
    return Own(tmp_path, request.param)


@pytest.fixture
def table(tmp_path) -> Own:
    return Own(tmp_path, "csv")


LABELS = [
    ["1E1", "1E2", "10"],
    ["01", "1", "10"],
    ["1_1", "1_2", "2_1"],
    ["1.0", "1", "1.00"],
    ["true", "True", "1"],
    ["none", "no", "-"],
    [" a", "a", "A"],
    ["9" * 5000, "\u00b2", "\u0663"],
    ["-1", "0", "1"],
]


@pytest.mark.parametrize("names", LABELS, ids=lambda names: names[0][:9])
def test_labels_are_the_names_that_are_written(own, names):
    own.columns["label"] = names * 10
    data = own.open()
    assert sorted(data.class_names) == sorted(names)
    for split in SPLITS:
        found = [data.class_names[label] for label in data.labels(split)]
        assert found == [names[int(one[1:]) % 3] for one in data.sample_ids(split)]


def test_labels_that_look_alike_are_noted(own):
    own.columns["label"] = np.repeat(["1E1", "10", "b", "B ", "c", "c"], 5).tolist()
    (note,) = own.open().notes
    assert "'10' and '1E1'" in note
    assert "'B ' and 'b'" in note
    own.columns["label"] = [str(2**63 + row % 3) for row in range(N)]
    assert own.open().notes == ()


@pytest.mark.parametrize("kind", [int, float, bool, "u1", "S3"])
def test_labels_that_are_numbers_are_named_by_their_digits(own, kind):
    if own.ending == "csv" or (own.ending == "parquet" and kind == "S3"):
        return
    values = np.array([row % 2 for row in range(N)]).astype(kind)
    own.columns["label"] = values
    expected = ("False", "True") if kind is bool else ("0", "1")
    assert own.open().class_names == expected
    if own.ending == "npz":
        own.columns["label"] = values[:, None]
        assert own.open().class_names == expected


MISSING = ["", "nan", "NaN", "NULL", " ", "N/A", "<NA>", "NA", "None"]


@pytest.mark.parametrize("word", MISSING)
def test_missing_labels_are_refused_and_may_be_dropped(own, word):
    own.columns["label"][4] = own.columns["label"][6] = word
    own.refused(r"label: 2 of 30 rows have no label \(rows 5, 7\)")
    own.lines.append("drop_unlabelled: true")
    data = own.open()
    assert data.class_names == ("a", "b", "c")
    assert any("2 of 30 rows have no label (rows 5, 7) and are left out" in n for n in data.notes)
    kept = [one for split in SPLITS for one in data.sample_ids(split)]
    assert sorted(kept) == sorted({f"s{row}" for row in range(N)} - {"s4", "s6"})


@pytest.mark.parametrize("word", ["NA", "nan", "None"])
def test_a_word_for_missing_may_be_a_class(own, word):
    own.columns["label"] = [word, "b", "c"] * 10
    own.lines.append(f"classes: [{word}, b, c]")
    data = own.open()
    assert data.class_names == (word, "b", "c")
    assert data.labels("train")[0] == 0


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_missing_numbers_are_no_labels(own, task):
    values = np.arange(N) % 2 * 1.0
    values[[0, 8]] = np.nan
    own.columns["label"] = values
    own.lines = [f"task: {task}"]
    own.refused(r"2 of 30 rows have no label \(rows 1, 9\)")
    own.lines.append("drop_unlabelled: true")
    data = own.open()
    assert sum(len(data.labels(split)) for split in SPLITS) == N - 2
    assert "s0" not in data.sample_ids("train")


def test_targets_that_single_precision_does_not_tell_apart(own):
    own.lines = ["task: regression"]
    own.columns["label"] = [1_700_000_000 + row for row in range(N)]
    (note,) = own.open().notes
    assert note.startswith("the 30 values of the target are 1 in single precision")
    own.columns["label"] = [row * 1e-300 for row in range(N)]
    own.refused("would be 0 in single precision")
    own.columns["label"] = [row * 1e-6 for row in range(N)]
    assert own.open().notes == ()


def test_nulls_are_no_labels(tmp_path):
    own = Own(tmp_path, "parquet")
    for cells in (["a", "b", None], [1, 2, None], [True, False, None]):
        own.columns["label"] = cells * 10
        own.lines = ["task: classification"]
        own.refused("10 of 30 rows have no label")
    own.columns["label"] = [None] * N
    own.refused("no row has a label")


def test_categories_are_their_names(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    own = Own(tmp_path, "parquet")
    for name in ("label", "split", "id"):
        own.columns[name] = pyarrow.array(own.columns[name]).dictionary_encode()
    data = own.open()
    assert data.class_names == ("a", "b", "c")
    assert data.sample_ids("test")[0] == "s4"


IDS = {
    "leading zeros": [f"{row:05d}" for row in range(N)],
    "tweets": [str(1114679353714016256 + row) for row in range(N)],
    "powers": [f"1E{row}" for row in range(N)],
    "floats": [f"{row}.0" for row in range(N)],
    "spaced": [f" {row}" for row in range(N)],
}


@pytest.mark.parametrize("kind", IDS)
def test_ids_stay_as_they_are_written(own, kind):
    own.columns["id"] = IDS[kind]
    data = own.open()
    for split in SPLITS:
        assert data.sample_ids(split) == [
            one for one, part in zip(IDS[kind], SPLIT, strict=True) if part == split
        ]


def test_ids_of_64_bits_stay_whole(own):
    numbers = [1114679353714016256 + row for row in range(N)]
    own.columns["id"] = numbers
    assert own.open().sample_ids("train")[:2] == list(map(str, numbers[:2]))
    if own.ending != "csv":
        own.columns["id"] = [float(number) for number in numbers]
        own.refused("does not hold every whole number")


def test_ids_that_are_missing_or_stand_twice(own):
    own.columns["id"][3] = ""
    own.refused(r"1 of 30 rows have no id \(row 4\)")
    own.columns["id"][3] = "s4"
    own.refused("listed twice: s4")
    own.columns["id"] = ["1", "01", "1.0", *own.columns["id"][5:], "x", "y"]
    assert len(own.open().sample_ids("train")) == 18


def test_splits_are_words_one_a_row(own):
    own.columns["split"] = [word.upper() + " " for word in SPLIT]
    assert len(own.open().sample_ids("test")) == 6
    own.columns["split"] = [{"train": 0, "valid": 1, "test": 2}[word] for word in SPLIT]
    own.refused(r"the split holds \['0', '1', '2'\]; expected train, valid and test")
    own.columns["split"] = ["", *SPLIT[1:]]
    own.refused(r"1 of 30 rows have no split \(row 1\)")


@pytest.mark.parametrize("ending", ["npz", "h5"])
@pytest.mark.parametrize("name", ["id", "split", "label"])
def test_more_than_one_cell_a_row_is_refused(tmp_path, ending, name):
    own = Own(tmp_path, ending)
    own.columns[name] = np.stack([own.columns[name]] * 2, 1)
    own.refused(rf"{name} is \[30, 2\]; expected one cell a row")


def test_text_is_text_where_the_description_says_so(own):
    answers = [str(100 + row % 3) for row in range(N)]
    own.columns["answer"] = answers
    own.modalities["b"] = f"{own.place('answer')}, kind: text"
    data = own.open()
    assert data.preview("test", 0)[1].value == answers[4]
    own.columns["answer"] = [str(row % 3) for row in range(N)]  # one letter each
    assert next(iter(own.open().prepare().loader("test", batch_size=6)))[1].any(1).all()


BAD_CELLS = ["1_0", "0,5", "NA", "inf", "1e300", "-1e39", "x"]


@pytest.mark.parametrize("cell", BAD_CELLS)
@pytest.mark.parametrize("several", [False, True])
def test_a_cell_that_is_no_number_is_named(own, cell, several):
    own.columns["age"] = [str(row) for row in range(N)]
    own.columns["age"][17] = cell
    entry = own.place("age")
    if several and own.ending in ("csv", "parquet"):
        entry = entry.replace("column: age", "columns: [age]")
    own.modalities["b"] = f"{entry}, kind: features"
    own.refused(rf"t\.{own.ending}: .*age, row 18: '?{cell}")


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("row", [0, 3, 4])
def test_numbers_that_no_model_can_read_are_named(own, value, row):
    own.columns["age"] = np.arange(N) * 1.0
    own.columns["age"][row] = value
    own.modalities["b"] = f"{own.place('age')}, kind: features"
    own.refused(rf"age, row {row + 1}")
    own.modalities["b"] = "file: x.npz, key: b, kind: features"
    own.columns["label"] = own.columns.pop("age")
    own.lines = ["task: regression"]
    own.refused(rf"label, row {row + 1}")


def test_features_that_are_constant_in_training_are_0(own):
    values = np.arange(N) * 1.0
    values[[part == "train" for part in SPLIT]] = 0.1
    own.columns |= {"one": values, "two": np.arange(N) * 1.0}
    own.modalities["b"] = f"{own.place('one')}, kind: features"
    data = own.open()
    assert "b: 1 of 1 columns hold one value in all training rows" in data.notes[0]
    for split in SPLITS:
        assert not next(iter(data.prepare().loader(split, batch_size=N)))[1].any()
    if own.ending == "csv":
        own.modalities["b"] = "file: t.csv, columns: [two, one], kind: features"
        (note,) = own.open().notes
        assert note.endswith("given as 0: one.")


def test_lists_and_truths_of_parquet(tmp_path):
    own = Own(tmp_path, "parquet")
    lists = np.random.default_rng(0).normal(size=(N, 4))
    own.columns |= {"vector": lists.tolist(), "flag": [row % 2 == 0 for row in range(N)]}
    own.modalities["b"] = f"{own.place('vector')}, kind: features"
    own.modalities["c"] = f"{own.place('flag')}, kind: features"
    own.lines.append("standardise: false")
    _, vector, flag, _ = next(iter(own.open().prepare().loader("test", batch_size=6)))
    test = [row for row, part in enumerate(SPLIT) if part == "test"]
    np.testing.assert_allclose(vector, lists[test], rtol=1e-6)
    np.testing.assert_array_equal(flag[:, 0], [row % 2 == 0 for row in test])


@pytest.mark.parametrize(("true", "false"), [("True", "False"), ("TRUE", "0"), ("1", "0.0")])
def test_several_labels_may_be_truths(own, true, false):
    own.columns |= {"p": [true, false] * 15, "q": [false, false, true] * 10}
    if own.ending in ("csv", "parquet"):
        target = f"target: {{file: t.{own.ending}, columns: [p, q]}}"
    else:
        pairs = zip(own.columns.pop("p"), own.columns.pop("q"), strict=True)
        own.columns["label"] = list(pairs)
        target = f"target: {{{own.place('label')}}}"
    own.lines = ["task: multilabel"]
    own.write()
    path = own.folder / "dataset.yaml"
    lines = path.read_text(encoding="utf-8").splitlines()
    lines = [target if line.startswith("target:") else line for line in lines]
    path.write_text("\n".join(lines), encoding="utf-8")
    found = open_dataset(str(own.folder)).labels("train")
    rows = np.array([row for row, part in enumerate(SPLIT) if part == "train"])
    np.testing.assert_array_equal(found, np.stack([rows % 2 == 0, rows % 3 == 2], 1))


# dataset.yaml


@pytest.mark.parametrize(
    ("classes", "labels"),
    [("[0, 1, 2]", ["0", "1", "2"]), ("[no, yes]", ["no", "yes"]), ("[01, 1.0]", ["01", "1.0"])],
)
def test_classes_are_taken_as_they_are_written(table, classes, labels):
    table.columns["label"] = [labels[row % len(labels)] for row in range(N)]
    table.lines.append(f"classes: {classes}")
    data = table.open()
    assert list(data.class_names) == labels
    assert data.labels("train")[:2].tolist() == [0, 1]


def test_names_in_classes_go_before_places(table):
    table.columns["label"] = ["0", "1"] * 15
    table.lines.append('classes: ["1", "0"]')
    data = table.open()
    assert data.labels("train")[0] == 1
    assert "read as names of classes" in data.notes[0]
    table.lines[-1] = "classes: [neg, pos]"
    data = table.open()
    assert (data.class_names, data.labels("train")[0]) == (("neg", "pos"), 0)
    assert data.notes == ()
    table.columns["label"] = ["False", "True"] * 15
    assert table.open().labels("train")[:2].tolist() == [0, 1]


def test_words_that_yaml_reads_as_truths_and_numbers(table):
    table.modalities = {"no": table.modalities["a"], "010": table.modalities["b"]}
    table.lines.append("title: yes")
    data = table.open()
    assert data.modalities == ("no", "010")
    path = table.folder / "dataset.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("name: own", "name: 2024"))
    assert open_dataset(str(table.folder)).name == "folder:2024"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("task: regression", r"task is written twice, in lines \d and \d"),
        ("classes: [a, a]", "a is listed twice"),
        ("classes: [a, null]", r"classes\.1.*in quotes"),
    ],
)
def test_mistakes_in_the_description(table, line, reason):
    table.lines.append(line)
    table.write()
    with pytest.raises(DatasetError, match=reason):
        open_dataset(str(table.folder))


def test_a_bad_name_is_said_as_it_is(table):
    table.write()
    path = table.folder / "dataset.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("name: own", "name: My Data"))
    with pytest.raises(DatasetError, match="name: 'My Data' is not letters, digits, - and _ alone"):
        open_dataset(str(table.folder))


# Modalities that lost their content


def pictures(own: Own, draw: Any, ending: str = "png") -> None:
    own.columns["file"] = [f"{row}.{ending}" for row in range(N)]
    for row in range(N):
        draw(row).save(own.folder / f"{row}.{ending}")
    own.modalities["b"] = f"{own.place('file')}, kind: image, size: [8, 8]"


def test_deep_pictures_keep_their_brightness(table):
    levels = (np.arange(N) % 3 + 1) * 1000
    pictures(table, lambda row: Image.fromarray(np.full((8, 8), levels[row], np.uint16)))
    data = table.open()
    images = next(iter(data.prepare().loader("test", batch_size=6)))[1]
    rows = [row for row, part in enumerate(SPLIT) if part == "test"]
    np.testing.assert_allclose(images.mean((1, 2, 3)), levels[rows] / 4095, rtol=1e-5)
    assert data.observations() == ()


@pytest.mark.parametrize(
    ("values", "expected"),
    [(np.uint16(60000), 60000 / 65535), (np.int64(200), 200 / 255), (np.float32(0.5), 0.5)],
)
@pytest.mark.parametrize("ending", ["npz", "h5"])
def test_pixels_in_arrays_are_scaled_by_their_range(tmp_path, ending, values, expected):
    own = Own(tmp_path, ending)
    own.columns["pixels"] = np.full((N, 8, 8, 3), values)
    own.modalities["b"] = f"{own.place('pixels')}, kind: image"
    images = next(iter(own.open().prepare().loader("test", batch_size=6)))[1]
    np.testing.assert_allclose(images, expected, rtol=1e-5)


def test_pictures_without_content_are_noted(table):
    pictures(table, lambda row: Image.new("RGB", (8, 8), (row % 2, 0, 0)))
    (note,) = table.open().observations()
    assert note.startswith("b hardly varies: 30 samples")
    pictures(table, lambda row: Image.new("RGB", (8, 8), (9 * row if row < 25 else 0, 0, 0)))
    assert table.open().observations() == ()


def test_a_split_of_one_sample_over_and_over_is_noted(table):
    table.columns["split"] = ["train"] * 10 + ["valid"] * 10 + ["test"] * 10
    values = np.random.default_rng(0).normal(size=(N, 2))
    values[20:29] = 1
    np.savez(table.folder / "y.npz", b=values)
    table.modalities["b"] = "file: y.npz, key: b, kind: features"
    (note,) = table.open().observations()
    assert note.startswith("b: 9 of 10 test samples looked at are exactly the same")


def test_texts_without_known_words_are_noted(table):
    table.columns["says"] = [f"word{row} other{row}" for row in range(N)]
    table.modalities["b"] = f"{table.place('says')}, kind: text"
    notes = table.open().notes
    assert [note.split(" texts")[0] for note in notes] == ["b: 0 of 6 valid", "b: 0 of 6 test"]
    table.columns["says"] = ["\u4eca\u5929\u5929\u6c14" + chr(0x4E00 + row) for row in range(N)]
    assert table.open().notes == ()


def test_notes_stand_in_verify_and_run(table, tmp_path):
    pictures(table, lambda row: Image.new("RGB", (8, 8)))
    table.columns["label"] = ["a", "A", "c"] * 10
    table.write()
    own = str(table.folder)
    shown = CliRunner().invoke(main, ["data", "verify", own])
    assert shown.exit_code == 0
    assert "Note: classes are kept apart" in shown.output
    assert "Note: b hardly varies" in shown.output
    record = json.loads(CliRunner().invoke(main, ["data", "verify", own, "--json"]).output)
    assert len(record["notes"]) == 2
    run = ["run", "--dataset", own, "--fusion", "concat", "--seeds", "1", "--epochs", "1"]
    run += ["--device", "cpu", "--out", str(tmp_path / "runs"), "--jobs", "1"]
    result = CliRunner().invoke(main, [*run, "--json"])
    assert json.loads(result.stdout)["notes"] == record["notes"]
    assert "Note: b hardly varies" in CliRunner().invoke(main, run).output
