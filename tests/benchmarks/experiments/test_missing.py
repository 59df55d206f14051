"""Folders of one's own whose samples lack modalities."""

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from i2moe_plugin.backbones.latents import encode_one
from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.data.open import open_dataset
from i2moe_plugin.benchmarks.experiments import load_run
from i2moe_plugin.benchmarks.robustness.absence import measure_absence
from i2moe_plugin.benchmarks.robustness.curves import measure_curves
from i2moe_plugin.benchmarks.robustness.subject import Subject
from i2moe_plugin.errors import DatasetError
from i2moe_plugin.incomplete import Incomplete
from i2moe_plugin.multimodal import MultimodalModel

#: Which rows lack which modality.
LACKING = {
    "numbers": [2, 5, 7, 11],
    "words": [1, 5, 9, 10],
    "series": [0, 3, 8, 15],
    "pixels": [4, 12, 13, 19],
    "picture": [6, 14, 21, 27],
}


def lacking(own_folder, folder, by="values", small_pictures=False):
    """Write a folder whose rows lack modalities, as empty values or as columns say.

    Small pictures have an encoder that cannot be trained on one of them alone.
    """
    data = own_folder("classification")
    if not small_pictures:
        data.description["modalities"]["picture"]["size"] = [32, 32]
        del data.description["modalities"]["pixels"]
    count = len(data.columns["id"])
    told = {name: [int(row in rows) for row in range(count)] for name, rows in LACKING.items()}
    for name in LACKING.keys() & data.description["modalities"].keys():
        data.description["modalities"][name]["missing"] = True
        if by == "columns":
            data.description["modalities"][name]["missing"] = f"no_{name}"
            if name in ("series", "pixels"):
                data.arrays[f"no_{name}"] = np.array(told[name], bool)
            else:
                data.columns[f"no_{name}"] = told[name]
    if by == "values":
        for name in ("f1", "f2", "f3"):
            cells = list(data.columns[name])
            data.columns[name] = [
                "" if row in LACKING["numbers"] else cell for row, cell in enumerate(cells)
            ]
        for name, key in (("words", "words"), ("picture", "picture")):
            for row in LACKING[name]:
                data.columns[key][row] = " "
        for name in ("series", "pixels"):
            data.arrays[name][LACKING[name]] = np.nan
    data.write(folder)
    return data


@pytest.mark.parametrize("by", ["values", "columns"])
def test_batches_hold_nothing_of_what_is_lacking(own_folder, tmp_path, by):
    lacking(own_folder, tmp_path / "data", by, small_pictures=True)
    data = open_dataset(str(tmp_path / "data"))
    assert data.incomplete == tuple(LACKING)
    rows = {name: [int(one[1:]) for one in data.sample_ids(name)] for name in ("train", "test")}
    loader = data.prepare().loader("train", batch_size=len(rows["train"]))
    *inputs, _ = next(iter(loader))
    for name, x in zip(data.modalities, inputs, strict=True):
        gone = [row in LACKING.get(name, ()) for row in rows["train"]]
        assert isinstance(x, Incomplete) == any(gone)
        if any(gone):
            assert x.size == len(gone)
            assert x.rows.tolist() == np.flatnonzero(~np.array(gone)).tolist()
            first = x.x[0] if isinstance(x.x, (tuple, list)) else x.x
            assert len(first) == len(x.rows)
            assert torch.isfinite(first.float()).all()
    assert any("lacking in" in note for note in data.notes)
    number = rows["test"].index(7)
    shown = {one.modality: one for one in data.preview("test", number)}
    assert shown["numbers"].value == "(this sample lacks it)"
    assert len(data.observations()) == 0


@pytest.mark.parametrize("length", [2, 0])
def test_what_lies_behind_the_end_of_a_sequence_is_no_value(own_folder, tmp_path, length):
    """Padding is zeros where files are written so; a sequence without a step has no value."""
    found = []
    for name in ("whole", "padded"):
        data = lacking(own_folder, tmp_path / f"{name}-first")
        if name == "padded":
            gone = LACKING["series"]
            data.arrays["steps"][gone] = length
            data.arrays["series"][gone, length:] = 0
            assert np.isnan(data.arrays["series"][gone]).any() == (length > 0)
        opened = open_dataset(str(data.write(tmp_path / name)))
        assert "series" in opened.incomplete
        found.append(next(iter(opened.prepare().loader("train", batch_size=48)))[2])
    whole, padded = found
    assert whole.rows.tolist() == padded.rows.tolist()
    assert all(map(torch.equal, whole.x, padded.x))


def test_what_is_lacking_teaches_no_scale_and_no_word(own_folder, tmp_path):
    whole = own_folder("classification")
    for row in LACKING["numbers"]:
        whole.columns["f1"][row] = 1e6
    whole.columns["no"] = [int(row in LACKING["numbers"]) for row in range(48)]
    whole.description["modalities"]["numbers"]["missing"] = "no"
    whole.write(tmp_path / "data")
    data = open_dataset(str(tmp_path / "data"))
    arrays = data.learned().arrays
    train = [int(one[1:]) for one in data.sample_ids("train")]
    there = [row for row in train if row not in LACKING["numbers"]]
    assert arrays["numbers/mean"][0] == pytest.approx(whole.columns["f1"][there].mean())


@pytest.mark.parametrize(
    ("fusion", "method"), [("concat", "vanilla"), ("concat", "i2moe"), ("transformer", "i2moe")]
)
def test_runs_train_test_predict_and_are_robust(
    own_folder, train, tmp_path, monkeypatch, fusion, method
):
    data = lacking(own_folder, tmp_path / "data")
    run = load_run(train(tmp_path / "data", tmp_path / "runs", fusion, method))
    assert any("picture is lacking in" in note for note in run.result["notes"])
    noise = [note for note in run.result["notes"] if "Noise stands for what a sample" in note]
    assert len(noise) == (method == "i2moe")
    stored = run.outputs()
    (tmp_path / "data").rename(tmp_path / "moved")
    found = run.predict(tmp_path / "moved", "test")
    assert [note for note in found.notes if "Noise stands for" in note] == noise
    np.testing.assert_array_equal(found.outputs.prediction, stored["prediction"])
    rows = [int(one[1:]) for one in stored["sample_id"].astype(str)]
    columns = {name: np.array(cells, object)[rows] for name, cells in data.columns.items()}
    held = {
        "numbers": np.array([[float(x or "nan") for x in columns[f"f{i}"]] for i in (1, 2, 3)]).T,
        "words": columns["words"],
        "series": (data.arrays["series"][rows], data.arrays["steps"][rows]),
        "tokens": data.arrays["tokens"][rows],
        "picture": columns["picture"],
    }
    monkeypatch.chdir(tmp_path / "moved")  # where pictures lie
    np.testing.assert_array_equal(run.predict(held).outputs.prediction, stored["prediction"])
    own = run.result["test"]["accuracy"]
    absent = measure_absence(run, "own", tmp_path / "moved")
    assert absent["values"][" + ".join(run.result["modalities"])] == own
    for subset, bare in absent["bare"].items():
        lack = set.intersection(*(set(LACKING.get(name, ())) for name in subset.split(" + ")))
        assert bare == len(lack & set(rows))
    assert any(absent["bare"].values())
    if fusion == "concat":
        stands = []
        monkeypatch.setattr(MultimodalModel, "fill_absent_by", lambda _, what: stands.append(what))
        measure_absence(run, "mean", tmp_path / "moved")
        subject = Subject.load(run, tmp_path / "moved")
        encoders = subject.predictor.trainer.model.eval().encoders
        for m, encoder in enumerate(encoders):
            of_those = [batch[m] for batch in subject.batches(subject.train)]
            there = [x.x if isinstance(x, Incomplete) else x for x in of_those]
            with torch.no_grad():
                latents = torch.cat([encode_one(encoder, x)[0] for x in there if x is not None])
            torch.testing.assert_close(stands[0].get_buffer(f"mean_{m}"), latents.mean(0))
    if method == "vanilla":
        measured = measure_curves(run, tmp_path / "moved")
        assert {curve["values"][0] for curve in measured["curves"].values()} == {own}
        for name, curve in measured["curves"].items():
            lack = len(set(LACKING.get(name, ())) & set(rows))
            said = f"{lack} of {len(rows)} test samples lack it, and stay as they are"
            assert curve["note"] == (said if lack else "")
        assert set(measured["curves"]) == {*run.result["modalities"], "all together"}


def test_both_ways_to_say_it_give_the_same_run(own_folder, train, tmp_path):
    results = []
    for by in ("values", "columns"):
        lacking(own_folder, tmp_path / by, by)
        run = load_run(train(tmp_path / by, tmp_path / f"runs-{by}", "concat", "i2moe"))
        results.append(run.outputs()["prediction"])
    np.testing.assert_array_equal(*results)


def test_a_table_has_simple_models_too(own_folder, tmp_path):
    lacking(own_folder, tmp_path / "data")
    done = CliRunner().invoke(
        main,
        f"run --dataset {tmp_path / 'data'} --fusion concat --seeds 1 --epochs 1 --device cpu "
        f"--out {tmp_path / 'runs'} --jobs 1 --json".split(),
    )
    assert done.exit_code == 0, done.output
    names = [row["name"] for row in json.loads(done.stdout)["simple_models"]]
    assert {f"{name} alone" for name in LACKING if name != "pixels"} <= set(names)


def test_evidence_refuses_in_words(own_folder, tmp_path):
    lacking(own_folder, tmp_path / "data")
    done = CliRunner().invoke(
        main,
        f"run --dataset {tmp_path / 'data'} --fusion concat --method evidence --seeds 1 "
        f"--out {tmp_path / 'runs'}".split(),
    )
    assert done.exit_code == 1
    assert "evidence cannot be trained on such samples" in " ".join(done.output.split())
    assert not list((tmp_path / "runs").glob("*evidence*"))


def test_an_encoder_that_cannot_learn_of_one_sample_is_refused_in_words(own_folder, tmp_path):
    lacking(own_folder, tmp_path / "data", small_pictures=True)
    done = CliRunner().invoke(
        main,
        f"run --dataset {tmp_path / 'data'} --fusion concat --seeds 1 --out {tmp_path}".split(),
    )
    assert done.exit_code == 1
    assert "on which BatchNorm cannot be trained" in " ".join(done.output.split())


def change(data, **described):
    data.description["modalities"]["numbers"] |= described


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ([2] + [0] * 47, r"no, row 1: 2; it says by 1 or true"),
        ([""] + [0] * 47, r"no, row 1: nan; it says by 1 or true"),
        (["maybe"] + [0] * 47, r"no, row 1: 'maybe' is not a number"),
        ([1] * 48, "no training sample has it"),
    ],
)
def test_columns_that_say_something_else_are_refused(own_folder, tmp_path, cells, said):
    data = own_folder("classification")
    change(data, missing="no")
    data.columns["no"] = cells
    data.write(tmp_path / "data")
    with pytest.raises(DatasetError, match=said):
        open_dataset(str(tmp_path / "data"))


def test_a_sample_without_any_modality_is_refused(own_folder, tmp_path):
    data = own_folder("classification")
    kept = ("numbers", "words")
    data.description["modalities"] = {
        name: {**data.description["modalities"][name], "missing": True} for name in kept
    }
    for name in ("f1", "f2", "f3", "words"):
        cells = list(data.columns[name])
        cells[3] = ""
        data.columns[name] = cells
    data.write(tmp_path / "data")
    with pytest.raises(DatasetError, match=r"lack every modality \(1\), such as that of row 4"):
        open_dataset(str(tmp_path / "data"))


def test_a_sample_without_any_chosen_modality_is_refused_as_such(own_folder, tmp_path):
    lacking(own_folder, tmp_path / "data")  # row 5 lacks numbers and words
    open_dataset(str(tmp_path / "data"), modalities=["words", "series"])
    with pytest.raises(DatasetError, match=r"none of the chosen modalities, numbers, words \(1\)"):
        open_dataset(str(tmp_path / "data"), modalities=["words", "numbers"])


def test_without_the_word_empty_cells_are_single_values_as_before(own_folder, tmp_path):
    data = own_folder("classification")
    for name in ("f1", "f2", "f3"):
        cells = list(data.columns[name])
        cells[4] = ""
        data.columns[name] = cells
    data.write(tmp_path / "data")
    opened = open_dataset(str(tmp_path / "data"))
    assert opened.incomplete == ()
    *inputs, _ = next(iter(opened.prepare().loader("train", batch_size=48)))
    assert inputs[0].shape[1] == 3 + 3  # with an indicator each
