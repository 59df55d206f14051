"""MIMIC-IV in the paper's format: labels, splits by id lists, class weights, bad files."""

import csv
import json
import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from i2moe_plugin.benchmarks.data.open import open_dataset
from i2moe_plugin.benchmarks.data.registry import datasets
from i2moe_plugin.benchmarks.data.splits import SPLITS
from i2moe_plugin.benchmarks.run.model import build_model
from i2moe_plugin.benchmarks.run.settings import resolve
from i2moe_plugin.errors import DatasetError

opened = partial(open_dataset, "mimic")

KEYS = dict(zip(SPLITS, ("training", "validation", "testing"), strict=True))


@pytest.fixture
def sample(tmp_path) -> Path:
    datasets.get("mimic").write_sample(tmp_path / "mimic", count=120)
    return tmp_path / "mimic"


def lists(folder):
    return json.loads((folder / "PTID_splits_mimic.json").read_text())


def labels(folder):
    with (folder / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {row["subject_id"]: int(row["one_year_mortality"]) for row in rows}


def rewrite(folder, name, change):
    path = folder / name
    path.write_text(change(path.read_text()))


def test_row_i_of_a_tensor_is_row_i_of_the_labels(sample, whole):
    """The oracle looks each listed id up by hand; NaN is 0."""
    data, truth = opened(sample), labels(sample)
    tensors = [torch.load(sample / f"{name}_x.pt") for name in ("lab", "note", "code")]
    assert tensors[0].isnan().any()
    order = list(truth)
    for name in SPLITS:
        batch, listed = whole(data, name), lists(sample)[KEYS[name]]
        assert data.sample_ids(name) == [str(i) for i in listed]
        for place in (0, len(listed) - 1):
            *inputs, label = (column[place] for column in batch)
            row = order.index(str(listed[place]))
            assert int(label) == truth[str(listed[place])]
            for x, tensor in zip(inputs, tensors, strict=True):
                assert torch.equal(x, tensor[row].nan_to_num(nan=0.0))


def test_the_loss_has_the_papers_class_weights(sample):
    task = opened(sample).task
    prediction, target = torch.randn(9, 2), torch.arange(9) % 2
    weights = torch.tensor([0.25, 0.75])
    torch.testing.assert_close(
        task.loss(prediction, target), F.cross_entropy(prediction, target, weights)
    )
    assert task.metric_names == ("accuracy", "macro_f1", "auroc")


def test_features_are_the_modalities_side_by_side(sample, whole):
    data = opened(sample)
    *inputs, _ = whole(data, "valid")
    assert np.array_equal(data.features("valid"), torch.cat(inputs, 1).numpy())


def test_ids_of_the_lists_that_the_data_lacks_are_left_out(sample):
    before = opened(sample).sample_ids("test")
    content = lists(sample)
    content["testing"] = [1, *content["testing"], 2, content["testing"][0]]
    (sample / "PTID_splits_mimic.json").write_text(json.dumps(content))
    assert opened(sample).sample_ids("test") == before


SPLIT_FILES = {
    "list": ("[]", "training should be a list"),
    "no test": ('{"training": [1], "validation": [1]}', "none of the 1 ids of training"),
    "of lists": ('{"training": [[1]]}', "training should be a list of ids"),
    "a number": ('{"training": 3}', "training should be a list"),
    "cut": ('{"training": [', "not a readable json file"),
}


@pytest.mark.parametrize("name", SPLIT_FILES)
def test_bad_split_files(name, sample):
    content, reason = SPLIT_FILES[name]
    (sample / "PTID_splits_mimic.json").write_text(content)
    with pytest.raises(DatasetError, match=f"PTID_splits_mimic.json: {reason}"):
        opened(sample)


def test_bad_labels(sample):
    first = (sample / "labels.csv").read_text().splitlines()[1]
    for change, reason in (
        (lambda text: text.replace(first, first[:-1] + "2"), r"is 0 or 1; it holds \[2.0\]"),
        (lambda text: text.replace(first, first[:-1] + "nan"), "row 1: 'nan' is not a number"),
        (lambda text: text.replace(first, first[:-1] + "x"), "row 1: 'x' is not a number"),
        (lambda text: text.replace("subject_id", "id"), "lacks the column subject_id"),
        (lambda text: text + "\n".join([first, ""]), "differ in their number of rows"),
        (lambda text: text.replace(text.splitlines()[2], first), "listed twice"),
    ):
        original = (sample / "labels.csv").read_text()
        rewrite(sample, "labels.csv", change)
        with pytest.raises(DatasetError, match=reason):
            opened(sample)
        (sample / "labels.csv").write_text(original)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (torch.zeros(120, 0), r"expected numbers \[N, F\]"),
        (torch.zeros(119, 5), "differ in their number of rows: labels.csv 120, lab_x.pt 119"),
        (torch.full((120, 5), float("inf")), "infinite"),
        ({"x": torch.zeros(120, 5)}, "expected one dense tensor"),
    ],
)
def test_bad_tensors(value, reason, sample):
    torch.save(value, sample / "lab_x.pt")
    with pytest.raises(DatasetError, match=reason) as error:
        opened(sample)
    assert "lab_x.pt" in str(error.value)


def test_a_tensor_file_that_runs_code_is_refused(sample):
    class Payload:
        def __reduce__(self):
            return (Path.touch, (sample / "ran",))

    (sample / "note_x.pt").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(DatasetError, match=r"note_x\.pt"):
        opened(sample)
    torch.save(Payload(), sample / "note_x.pt")
    with pytest.raises(DatasetError, match=r"note_x\.pt"):
        opened(sample)
    assert not (sample / "ran").exists()


@pytest.mark.parametrize(("method", "count"), [("vanilla", 268_034), ("i2moe", 1_390_095)])
def test_the_recipes_model_has_the_papers_number_of_parameters(method, count, sample):
    """Its table 6 counts fusion, experts and reweighting, without encoders."""
    settings, _ = resolve("mimic", "transformer", {})
    model = build_model(settings.model_copy(update={"method": method}), opened(sample))
    found = {n: p.numel() for n, p in model.named_parameters() if not n.startswith("encoders.")}
    assert sum(found.values()) == count
