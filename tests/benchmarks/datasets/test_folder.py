"""A folder of the user's own, against naive restatements; and every mistake in it."""

import contextlib
import csv
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import StandardScaler

from i2moe_plugin.backbones.latents import latent_specs
from i2moe_plugin.benchmarks.data.open import open_dataset
from i2moe_plugin.benchmarks.data.preprocessing import fit_standardiser
from i2moe_plugin.benchmarks.data.registry import datasets, find_dataset
from i2moe_plugin.benchmarks.data.splits import SPLITS
from i2moe_plugin.benchmarks.datasets.folder.description import Description
from i2moe_plugin.benchmarks.encoders import EncoderSettings
from i2moe_plugin.errors import DatasetError

N = 40
SPLIT = np.array(["train", "train", "valid", "test"] * 10)
LABEL = np.arange(N) % 3
SPEC: dict[str, Any] = {
    "name": "own",
    "modalities": {
        "numbers": {"file": "arrays.npz", "key": "numbers", "kind": "features"},
        "cells": {"file": "table.csv", "columns": "x_*", "kind": "features"},
        "steps": {"file": "arrays.h5", "key": "steps", "kind": "series", "lengths": "lengths"},
        "bag": {"file": "bag.npy", "kind": "tokens"},
        "words": {"file": "table.csv", "column": "words", "kind": "text"},
        "photo": {"file": "table.csv", "column": "photo", "kind": "image", "size": [16, 24]},
        "pixels": {"file": "arrays.npz", "key": "pixels", "kind": "image"},
    },
    "target": {"file": "table.csv", "column": "label"},
    "ids": {"file": "table.csv", "column": "id"},
    "task": "classification",
    "split": {"file": "table.csv", "column": "split"},
}


@pytest.fixture
def own(tmp_path) -> Path:
    random = np.random.default_rng(0)
    folder = tmp_path / "own"
    (folder / "photos").mkdir(parents=True)
    numbers = random.normal(3, 2, size=(N, 4))
    numbers[random.random((N, 4)) < 0.2] = np.nan
    numbers[:, 3] = 7  # a constant column
    pixels = random.integers(0, 256, (N, 20, 10, 3)).astype(np.uint8)
    np.savez(folder / "arrays.npz", numbers=numbers, pixels=pixels)
    np.save(folder / "bag.npy", random.normal(size=(N, 5, 3)).astype(np.float32))
    with h5py.File(folder / "arrays.h5", "w") as file:
        file["steps"] = random.normal(size=(N, 6, 2)).astype(np.float32)
        file["lengths"] = random.integers(1, 7, N)
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["id", "label", "split", "x_a", "x_b", "words", "photo"])
        for row in range(N):
            Image.new("RGB", (9, 9), (row, 2 * row, 0)).save(folder / f"photos/{row}.png")
            cell = "" if row % 7 == 0 else row * 1.5
            words = ["cat dog", "dog bird bird", "only-in-test fish"][row % 3]
            table.writerow(
                [f"s{row}", "abc"[LABEL[row]], SPLIT[row], cell, row**2, words, f"photos/{row}.png"]
            )
    write(folder, SPEC)
    return folder


def write(folder: Path, spec: Any) -> None:
    (folder / "dataset.yaml").write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")


def changed(**parts: Any) -> dict[str, Any]:
    return {**SPEC, **parts}


def batch(data: Any, name: Any) -> list[Any]:
    return next(iter(data.prepare().loader(name, batch_size=N)))


def test_a_path_is_a_name_and_a_root(own, monkeypatch) -> None:
    assert find_dataset(str(own)) == ("folder:own", own)
    assert find_dataset("htad", "x") == ("htad", Path("x"))
    monkeypatch.chdir(own.parent)
    assert find_dataset("own") == ("folder:own", Path("own"))
    with pytest.raises(DatasetError, match=r"no dataset\.yaml there"):
        find_dataset("./nowhere")
    assert open_dataset("folder:own", own).name == "folder:own"


def test_batches_are_what_the_files_hold(own) -> None:
    data = open_dataset(str(own))
    assert data.modalities == tuple(SPEC["modalities"])
    assert data.class_names == ("a", "b", "c")
    rows = {name: np.flatnonzero(name == SPLIT) for name in SPLITS}
    arrays = np.load(own / "arrays.npz")
    with h5py.File(own / "arrays.h5") as file:
        steps, lengths = file["steps"][()], file["lengths"][()]
    train = rows["train"]
    real = np.arange(6) < lengths[:, None]
    scaler = StandardScaler().fit(steps[train][real[train]])
    for name in SPLITS:
        numbers, cells, (series, said), bag, words, photo, pixels, target = batch(data, name)
        here = rows[name]
        assert data.sample_ids(name) == [f"s{row}" for row in here]
        np.testing.assert_array_equal(target, LABEL[here])
        np.testing.assert_array_equal(data.labels(name), LABEL[here])
        imputer = SimpleImputer(strategy="mean", add_indicator=True)
        filled = imputer.fit(arrays["numbers"][train]).transform(arrays["numbers"][here])
        fitted = StandardScaler().fit(imputer.transform(arrays["numbers"][train])[:, :4])
        # The deviation is of the values that are there, not of those that were filled in.
        there = np.nanstd(arrays["numbers"][train], 0)
        there[3] = 1
        expected = (filled[:, :4] - fitted.mean_) / there
        np.testing.assert_allclose(numbers[:, :4], expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(numbers[:, 4:], filled[:, 4:])
        assert cells.shape == (len(here), 3)
        expected = scaler.transform(steps[here].reshape(-1, 2)).reshape(-1, 6, 2)
        expected[~real[here]] = 0
        np.testing.assert_allclose(series, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(said, lengths[here])
        assert bag.shape == (len(here), 5, 3)
        vectorizer = TfidfVectorizer(sublinear_tf=True)
        texts = [["cat dog", "dog bird bird", "only-in-test fish"][row % 3] for row in range(N)]
        vectorizer.fit([texts[row] for row in train])
        dense = vectorizer.transform([texts[row] for row in here]).toarray()
        np.testing.assert_allclose(words, dense, rtol=1e-6)
        assert photo.shape == (len(here), 3, 16, 24)
        np.testing.assert_allclose(photo[:, 0, 0, 0] * 255, here, atol=0.5)
        np.testing.assert_array_equal(pixels, arrays["pixels"][here].transpose(0, 3, 1, 2))


@pytest.mark.parametrize("latents", ["vector", "tokens"])
def test_encoders_read_every_kind(own, latents) -> None:
    data = open_dataset(str(own)).prepare()
    *inputs, _ = next(iter(data.loader("train", batch_size=4)))
    encoders = data.encoders(EncoderSettings(latents=latents, dim=8))
    specs = latent_specs(encoders, inputs)
    assert [spec.dim for spec in specs] == [8] * 7
    assert [spec.tokens is not None or spec.padded for spec in specs] == [latents == "tokens"] * 7


def test_nothing_is_learned_from_other_rows_than_training(own) -> None:
    before = batch(open_dataset(str(own)), "train")
    arrays = dict(np.load(own / "arrays.npz"))
    arrays["numbers"][SPLIT != "train"] += 1e6
    np.savez(own / "arrays.npz", **arrays)
    text = (own / "table.csv").read_text(encoding="utf-8").splitlines()
    text = [
        line.replace("fish", "whale").replace("dog", "eel") if ",test," in line else line
        for line in text
    ]
    (own / "table.csv").write_text("\n".join(text), encoding="utf-8")
    after = batch(open_dataset(str(own)), "train")
    for old, new in zip(before, after, strict=True):
        for a, b in zip(*(x if isinstance(x, list) else [x] for x in (old, new)), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_drawn_splits_are_of_their_seed_and_disjoint(own) -> None:
    parts = {"train": 0.5, "valid": 0.25, "test": 0.25}
    write(own, changed(split={**parts, "seed": 3}))
    data = open_dataset(str(own))
    ids = [data.sample_ids(name) for name in SPLITS]
    assert [len(part) for part in ids] == [20, 10, 10]
    assert len({i for part in ids for i in part}) == N
    assert [open_dataset(str(own)).sample_ids(name) for name in SPLITS] == ids
    write(own, changed(split={**parts, "seed": 4}))
    assert open_dataset(str(own)).sample_ids("test") != ids[2]


def test_other_tasks(own) -> None:
    columns = {"file": "table.csv", "columns": ["x_b"]}
    write(own, changed(task="regression", target=columns))
    data = open_dataset(str(own))
    assert data.metric == "mae"
    np.testing.assert_array_equal(data.labels("test")[:, 0], np.flatnonzero(SPLIT == "test") ** 2)
    np.savez(own / "many.npz", y=np.eye(N, 3, dtype=np.int8))
    write(own, changed(task="multilabel", target={"file": "many.npz", "key": "y"}))
    data = open_dataset(str(own))
    assert data.task.num_outputs == 3
    assert data.class_names == ("output 1", "output 2", "output 3")


def test_classes_are_names_or_their_numbers(own) -> None:
    write(own, changed(classes=["c", "b", "a"]))
    assert open_dataset(str(own)).labels("train")[0] == 2
    np.savez(own / "codes.npz", y=LABEL)
    target = {"file": "codes.npz", "key": "y"}
    write(own, changed(target=target, classes=["rain", "sun", "snow"]))
    data = open_dataset(str(own))
    assert data.class_names == ("rain", "sun", "snow")
    np.testing.assert_array_equal(data.labels("train"), LABEL[SPLIT == "train"])
    np.savez(own / "codes.npz", y=LABEL * 5 + 6)  # 6, 11, 16: sorted as numbers, not as text
    write(own, changed(target=target))
    assert open_dataset(str(own)).class_names == ("6", "11", "16")


def test_parquet_is_read_like_csv(own) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    with (own / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    table = pyarrow.table({key: [row[key] for row in rows] for key in rows[0]})
    parquet.write_table(table, own / "table.parquet")
    expected = batch(open_dataset(str(own)), "test")
    text = (own / "dataset.yaml").read_text(encoding="utf-8")
    (own / "dataset.yaml").write_text(text.replace("table.csv", "table.parquet"), encoding="utf-8")
    (own / "table.csv").unlink()
    found = batch(open_dataset(str(own)), "test")
    torch.testing.assert_close(found[1], expected[1])
    torch.testing.assert_close(found[4], expected[4])


def test_the_fingerprint_is_of_the_content(own) -> None:
    first = open_dataset(str(own)).fingerprint()
    assert open_dataset(str(own)).fingerprint() == first
    Image.new("RGB", (9, 9), "red").save(own / "photos" / "3.png")
    second = open_dataset(str(own)).fingerprint()
    assert second != first
    write(own, changed(title="another"))
    assert open_dataset(str(own)).fingerprint() != second


def test_what_people_see(own) -> None:
    shown = {item.modality: item for item in open_dataset(str(own)).preview("test", 0)}
    assert shown["words"].kind == "text"
    assert shown["words"].value == "cat dog"
    assert shown["photo"].kind == "image"
    assert shown["steps"].kind == "series"


#: The entry of dataset.yaml, the value put there (None drops it), and what is said of it.
MISTAKES = [
    ("modalities.bag.file", "nothing.npy", r"nothing\.npy is missing"),
    ("modalities.numbers.key", "nombers", "lacks nombers; it holds numbers"),
    ("target.column", "lable", "lacks the column 'lable'. Did you mean 'label'"),
    ("modalities.cells.columns", "z_*", "no column match"),
    ("modalities.cells.columns", ["words"], "'cat dog' is not a number"),
    ("modalities.bag.file", "../bag.npy", "must lie inside the folder"),
    ("target.file", "/etc/passwd", "must lie inside the folder"),
    ("modalities.bag.kind", "audio", "kind"),
    ("taks", "x", "taks: no such setting. Did you mean 'task'"),
    ("split", None, "split is missing"),
    ("modalities", {"bag": SPEC["modalities"]["bag"]}, "at least two modalities"),
    ("split", {"train": 0.5, "valid": 0.2, "test": 0.2}, "- split: train.* must add up to 1"),
    ("split", {"train": 0.5, "valid": 0.5}, "- split.test is missing$"),
    ("split", {"train": 0.5, "valid": 0.25, "test": 0.25, "sed": 1}, "Did you mean 'seed'"),
    ("split", {"file": "table.csv", "colum": "split"}, "split.colum: .* Did you mean 'column'"),
    ("split", "table.csv", "split: expected a file and what of it"),
    ("modalities", ["bag", "words"], "modalities: expected names"),
    ("modalities.photo.size", 16, "size: expected two numbers"),
    ("target.drop_unlabelled", True, "drop_unlabelled stands beside target, not in it"),
    ("target.colum", "label", "target.colum: .* Did you mean 'column'"),
    ("split.column", "words", "expected train, valid and test"),
    ("metric", "acuracy", "Did you mean 'accuracy'"),
    ("classes", ["a", "b"], "none of the classes"),
    ("modalities.bag.kind", "features", "features are .N, F."),
    ("modalities.steps.lengths", "steps", "must be integers"),
    ("modalities.photo.column", "words", "40 of 40 image files are missing"),
    ("ids.column", "split", "listed twice: train"),
]


@pytest.mark.parametrize(("entry", "value", "message"), MISTAKES)
def test_mistakes_are_named(own, entry, value, message) -> None:
    spec = part = yaml.safe_load((own / "dataset.yaml").read_text(encoding="utf-8"))
    *way, last = entry.split(".")
    for step in way:
        part = part[step]
    part[last] = value
    write(own, {key: value for key, value in spec.items() if value is not None})
    with pytest.raises(DatasetError, match=message):
        open_dataset(str(own))
    assert datasets.get("folder:any").verify(own)
    assert not datasets.get("folder:any").status(own).ready


def test_several_mistakes_at_once(own) -> None:
    write(own, changed(task="klassify", taks=1, modalities={"a": {"file": "x.txt", "kind": "b"}}))
    with pytest.raises(DatasetError) as caught:
        open_dataset(str(own))
    for part in ("taks", "task", "modalities.a.file", "modalities.a.kind"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1, 2]",
        "a: [",
        "a: !!python/object/apply:os.system ['touch pwned']",
        "a: &a [1, 2]\nb: *a",
        "x" * 2_000_000,
        "\x00\x01",
    ],
)
def test_hostile_yaml_is_refused(own, text, monkeypatch) -> None:
    monkeypatch.chdir(own)
    (own / "dataset.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(DatasetError, match=r"dataset\.yaml"):
        open_dataset(str(own))
    assert not (own / "pwned").exists()


def test_too_few_rows_or_classes(own) -> None:
    np.savez(own / "arrays.npz", **{k: v[:-1] for k, v in np.load(own / "arrays.npz").items()})
    with pytest.raises(DatasetError, match="numbers has 39 rows, the target has 40"):
        open_dataset(str(own))


def test_a_class_that_is_never_trained(own) -> None:
    text = (own / "table.csv").read_text(encoding="utf-8").replace(",a,train,", ",b,train,")
    (own / "table.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DatasetError, match="no training sample of a"):
        open_dataset(str(own))


@given(
    st.integers(2, 40),
    st.integers(1, 4),
    st.floats(-1e6, 1e6),
    st.floats(1e-3, 1e3),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=50, deadline=None)
def test_standardised_training_rows_have_mean_0_and_deviation_1(rows, width, shift, scale, seed):
    random = np.random.default_rng(seed)
    values = random.normal(size=(rows, width)) * scale + shift
    train = random.permutation(rows)[: max(2, rows // 2)]
    made = fit_standardiser("x", values, train)(values[train]).astype(np.float64)
    np.testing.assert_allclose(made.mean(0), 0, atol=1e-3)
    spread = values[train].std(0) > 1e-9 * max(abs(shift), 1)
    np.testing.assert_allclose(made.std(0)[spread], 1, atol=1e-3)


@given(data=st.data())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_damaged_files_give_data_or_a_dataset_error(own, data) -> None:
    path = own / data.draw(
        st.sampled_from(["arrays.npz", "arrays.h5", "bag.npy", "table.csv", "dataset.yaml"])
    )
    content = path.read_bytes()
    try:
        damaged = bytearray(content[: data.draw(st.integers(0, len(content)))])
        for _ in range(data.draw(st.integers(0, 3))):
            if damaged:
                damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(
                    st.integers(0, 255)
                )
        path.write_bytes(damaged)
        with contextlib.suppress(DatasetError):
            opened = open_dataset(str(own))
            for name in SPLITS:
                batch(opened, name)
    finally:
        path.write_bytes(content)


# Splits drawn anew


def grouped(folder: Path, groups: Any, **changes: Any) -> None:
    """Add a column of groups to the table."""
    with (folder / "table.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.reader(file))
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        rows = [[*line, group] for line, group in zip(lines, ["who", *groups], strict=True)]
        csv.writer(file).writerows(rows)
    write(folder, {**SPEC, "groups": {"file": "table.csv", "column": "who"}, **changes})


def test_a_split_drawn_anew_is_as_if_the_column_had_said_it(own, tmp_path, whole):
    grouped(own, [f"g{row // 3}" for row in range(N)])
    drawn = open_dataset(str(own), split="2")
    words = {one: name for name in SPLITS for one in drawn.sample_ids(name)}
    with (own / "table.csv").open(newline="", encoding="utf-8") as file:
        head, *lines = csv.reader(file)
    with (own / "table.csv").open("w", newline="", encoding="utf-8") as file:
        said = [[line[0], line[1], words[line[0]], *line[3:]] for line in lines]
        csv.writer(file).writerows([head, *said])
    told = open_dataset(str(own))
    for name in SPLITS:
        assert told.sample_ids(name) == drawn.sample_ids(name)
        assert told.groups(name).tolist() == drawn.groups(name).tolist()
        for one, two in zip(whole(drawn, name), whole(told, name), strict=True):
            one, two = ([*x] if isinstance(x, (tuple, list)) else [x] for x in (one, two))
            assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_groups_stay_together_where_fractions_draw_the_split(own):
    fractions = {"train": 0.5, "valid": 0.25, "test": 0.25}
    grouped(own, [f"g{row // 4}" for row in range(N)], split=fractions)
    data = open_dataset(str(own))
    inside = [set(data.groups(name).tolist()) for name in SPLITS]
    assert sum(map(len, inside)) == len(set.union(*inside)) == 10
    assert [len(data.sample_ids(name)) for name in SPLITS] == [20, 12, 8]


def test_groups_in_two_splits_are_noted(own):
    grouped(own, [f"g{row // 4}" for row in range(N)])
    assert any("groups of the test split" in note for note in open_dataset(str(own)).notes)


def test_a_row_without_group(own):
    grouped(own, ["", *["g"] * (N - 1)])
    with pytest.raises(DatasetError, match="1 of 40 rows have no group"):
        open_dataset(str(own))


@pytest.mark.parametrize(
    "split",
    [
        {"train": 0.5, "valid": 0.25, "test": 0.25, "seed": 3},
        {"file": "t.csv", "column": "split"},
    ],
)
def test_a_split_is_written_as_it_was_read(split):
    place = {"file": "t.csv", "column": "y"}
    modality = {"file": "t.csv", "columns": ["x"], "kind": "features"}
    described = Description(
        name="x", modalities={"a": modality, "b": modality}, target=place,
        task="regression", split=split,
    )  # fmt: skip
    assert described.model_dump(mode="json", exclude_none=True)["split"] == split
