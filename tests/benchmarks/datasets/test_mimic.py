"""MIMIC-IV in the paper's format: labels, splits by id lists, class weights, bad files."""

from __future__ import annotations

import csv
import json
import pickle
import shutil
import tempfile
from pathlib import Path

import damage
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch.nn import functional as F

from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.data.base import SPLITS
from i2moe_plugin.benchmarks.data.open import open_dataset
from i2moe_plugin.benchmarks.datasets.mimic import MIMIC, get_dataloader
from i2moe_plugin.benchmarks.run.model import build_model
from i2moe_plugin.benchmarks.run.settings import resolve
from i2moe_plugin.errors import DatasetError

KEYS = dict(zip(SPLITS, ("training", "validation", "testing"), strict=True))


@pytest.fixture(scope="session")
def drawn(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mimic") / "sample"
    MIMIC.write_sample(folder, count=60)
    return folder


def batch(data, name):
    split = data.split(name)
    return split.__getitems__(list(range(len(split))))


@pytest.fixture
def sample(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("I2MOE_CACHE", str(tmp_path / "cache"))
    MIMIC.write_sample(tmp_path / "mimic", count=120)
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


def test_row_i_of_a_tensor_is_row_i_of_the_labels(sample):
    """The oracle looks each listed id up by hand; NaN is 0."""
    data, truth = MIMIC(sample), labels(sample)
    tensors = [torch.load(sample / f"{name}_x.pt") for name in ("lab", "note", "code")]
    assert tensors[0].isnan().any()
    order = list(truth)
    for name in SPLITS:
        split, listed = data.split(name), lists(sample)[KEYS[name]]
        assert data.sample_ids(name) == [str(i) for i in listed]
        for place in (0, len(listed) - 1):
            *inputs, label = split[place]
            row = order.index(str(listed[place]))
            assert int(label) == truth[str(listed[place])]
            for x, tensor in zip(inputs, tensors, strict=True):
                assert torch.equal(x, tensor[row].nan_to_num(nan=0.0))


def test_the_loss_has_the_papers_class_weights(sample):
    task = MIMIC(sample).task
    prediction, target = torch.randn(9, 2), torch.arange(9) % 2
    weights = torch.tensor([0.25, 0.75])
    torch.testing.assert_close(
        task.loss(prediction, target), F.cross_entropy(prediction, target, weights)
    )
    assert task.metric_names == ("accuracy", "macro_f1", "auroc")


def test_multibenchs_batches(sample):
    train, _, test = get_dataloader(sample, batch_size=7)
    *inputs, y = next(iter(train))
    assert [tuple(x.shape) for x in inputs] == [(7, 48), (7, 96), (7, 64)]
    assert all(x.dtype == torch.float32 for x in inputs)
    assert (y.shape, y.dtype) == ((7,), torch.int64)
    assert len(test.dataset) == 18  # 15 % of 120


def test_features_are_the_modalities_side_by_side(sample):
    data = MIMIC(sample)
    *inputs, _ = data.split("valid").__getitems__(list(range(18)))
    assert np.array_equal(data.features("valid"), torch.cat(inputs, 1).numpy())


def test_ids_of_the_lists_that_the_data_lacks_are_left_out(sample):
    before = MIMIC(sample).sample_ids("test")
    content = lists(sample)
    content["testing"] = [1, *content["testing"], 2, content["testing"][0]]
    (sample / "PTID_splits_mimic.json").write_text(json.dumps(content))
    assert MIMIC(sample).sample_ids("test") == before


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
        MIMIC(sample)


def test_a_patient_in_two_splits(sample):
    content = lists(sample)
    content["testing"].append(content["training"][0])
    (sample / "PTID_splits_mimic.json").write_text(json.dumps(content))
    with pytest.raises(DatasetError, match="two splits"):
        MIMIC(sample)


def test_bad_labels(sample):
    first = (sample / "labels.csv").read_text().splitlines()[1]
    for change, reason in (
        (lambda text: text.replace(first, first[:-1] + "2"), r"is 0 or 1; it holds \[2.0\]"),
        (lambda text: text.replace(first, first[:-1] + "nan"), "is 0 or 1; it holds"),
        (lambda text: text.replace(first, first[:-1] + "x"), "row 1: 'x' is not a number"),
        (lambda text: text.replace("subject_id", "id"), "lacks the column subject_id"),
        (lambda text: text + "\n".join([first, ""]), "differ in their number of rows"),
        (lambda text: text.replace(text.splitlines()[2], first), "listed twice"),
    ):
        original = (sample / "labels.csv").read_text()
        rewrite(sample, "labels.csv", change)
        with pytest.raises(DatasetError, match=reason):
            MIMIC(sample)
        (sample / "labels.csv").write_text(original)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (torch.zeros(120), r"expected numbers \[N, F\]"),
        (torch.zeros(120, 0), r"expected numbers \[N, F\]"),
        (torch.zeros(119, 5), "differ in their number of rows: labels.csv 120, lab_x.pt 119"),
        (torch.zeros(120, 5, dtype=torch.complex64), r"expected numbers \[N, F\]"),
        (torch.full((120, 5), float("inf")), "infinite"),
        (torch.full((120, 5), 1e300, dtype=torch.float64), "huge"),
        ({"x": torch.zeros(120, 5)}, "expected one dense tensor"),
    ],
)
def test_bad_tensors(value, reason, sample):
    torch.save(value, sample / "lab_x.pt")
    with pytest.raises(DatasetError, match=reason) as error:
        MIMIC(sample)
    assert "lab_x.pt" in str(error.value)


def test_a_tensor_file_that_runs_code_is_refused(sample):
    class Payload:
        def __reduce__(self):
            return (Path.touch, (sample / "ran",))

    (sample / "note_x.pt").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(DatasetError, match=r"note_x\.pt"):
        MIMIC(sample)
    torch.save(Payload(), sample / "note_x.pt")
    with pytest.raises(DatasetError, match=r"note_x\.pt"):
        MIMIC(sample)
    assert not (sample / "ran").exists()


@pytest.mark.parametrize(("method", "count"), [("vanilla", 268_034), ("i2moe", 1_390_095)])
def test_the_recipes_model_has_the_papers_number_of_parameters(method, count, sample):
    """Its table 6 counts fusion, experts and reweighting, without encoders."""
    settings, _ = resolve("mimic", "transformer", {})
    model = build_model(
        settings.model_copy(update={"method": method}), open_dataset("mimic", sample)
    )
    found = {n: p.numel() for n, p in model.named_parameters() if not n.startswith("encoders.")}
    assert sum(found.values()) == count


def test_every_modality_of_a_sample_tells_something(tmp_path):
    MIMIC.write_sample(tmp_path / "mimic")
    data = MIMIC(tmp_path / "mimic")
    columns = {name: data.features(name) for name in ("train", "test")}
    values = {}
    for kept in ((0, 48), (48, 144), (144, 208), (0, 208)):
        model = LogisticRegression(C=0.01).fit(
            columns["train"][:, slice(*kept)], data.labels("train")
        )
        scores = model.decision_function(columns["test"][:, slice(*kept)])
        values[kept] = roc_auc_score(data.labels("test"), scores)
    assert min(values.values()) > 0.6
    assert values[0, 208] == max(values.values())


@settings(max_examples=40)
@given(
    number=st.integers(0, 4),
    flips=st.lists(st.floats(0, 1, exclude_max=True), max_size=6),
    kept=st.just(1.0) | st.floats(0, 1),
    mask=st.integers(1, 255),
)
def test_damage_is_a_data_set_error_or_no_matter(number, flips, kept, mask, drawn):
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        patch.setenv("I2MOE_CACHE", f"{place}/cache")
        folder = Path(shutil.copytree(drawn, f"{place}/data"))
        path = folder / MIMIC.card.files[number].path
        damage.flip(path, *flips, mask=mask)
        damage.truncate(path, kept)
        message = str(folder)
        try:
            data = MIMIC(folder)
            for name in SPLITS:
                for part in batch(data, name)[:-1]:
                    assert torch.isfinite(part).all()
        except DatasetError as error:
            message = str(error)
        assert place in message, "the file is not named"


@pytest.mark.slow
def test_a_run_learns(tmp_path):
    MIMIC.write_sample(tmp_path / "mimic")
    told = "--dataset mimic --fusion concat --seeds 1 --epochs 4 --lr 0.001 --device cpu --json"
    places = ["--data-root", str(tmp_path / "mimic"), "--out", str(tmp_path / "runs")]
    result = CliRunner().invoke(main, ["run", *told.split(), *places])
    assert result.exit_code == 0, result.output
    methods = json.loads(result.stdout)["methods"]
    assert all(m["metrics"]["auroc"]["mean"] > 0.65 for m in methods.values())
