"""New samples are read as those of training: predictions of test samples are the run's own."""

import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.experiments import load_run
from i2moe_plugin.errors import ConfigError, DatasetError, RunError


def assert_own(run, found):
    """The very same as the run's own test outputs."""
    stored = run.outputs()
    assert found.outputs.sample_id.tolist() == stored["sample_id"].tolist()
    for ours, name in (
        ("prediction", "prediction"),
        ("weights", "weights"),
        ("expert_outputs", "expert_outputs"),
        ("target", "target"),
    ):
        if name in stored:
            np.testing.assert_array_equal(getattr(found.outputs, ours), stored[name])


@pytest.mark.parametrize(
    ("task", "fusion", "method"),
    [
        ("classification", "transformer", "i2moe"),
        ("multilabel", "lrtf", "wide"),
        ("regression", "concat", "i2moe"),
        ("regression", "mult", "vanilla"),
        ("classification", "lrtf", "evidence"),
    ],
)
def test_without_the_training_data_predictions_are_the_runs_own(
    tmp_path, own_folder, train, task, fusion, method
):
    data = own_folder(task)
    if fusion in ("lrtf", "mult"):  # slow with six modalities
        kept = ("words", "series", "picture")
        data.description["modalities"] = {
            name: one for name, one in data.description["modalities"].items() if name in kept
        }
    data.write(tmp_path / "data")
    run = load_run(train(tmp_path / "data", tmp_path / "runs", fusion, method))
    (tmp_path / "data").rename(tmp_path / "gone")
    new = data.write(tmp_path / "new", data.TEST, described=False)
    assert_own(run, run.predict(new))
    assert_own(run, run.predict(tmp_path / "gone", "test"))
    model = run.model()
    assert not model.training


def test_values_of_a_caller_are_read_as_the_files(classified):
    data, run = classified
    rows = np.flatnonzero(data.TEST)
    numbers = [[float(data.columns[f"f{i}"][row] or "nan") for i in (1, 2, 3)] for row in rows]
    values = {
        "numbers": np.array(numbers),
        "words": [data.columns["words"][row] for row in rows],
        "series": (data.arrays["series"][rows], data.arrays["steps"][rows]),
        "tokens": data.arrays["tokens"][rows],
        "pixels": data.arrays["pixels"][rows],
        "picture": [f"p{row}.png" for row in rows],
    }
    with pytest.raises(DatasetError, match="12 of 12 image files are missing"):
        run.predict(values)
    with pytest.raises(DatasetError, match="the data lacks words; the modalities are"):
        run.predict({name: one for name, one in values.items() if name != "words"})
    with pytest.raises(DatasetError, match=r"series: give values .* and lengths"):
        run.predict({**values, "series": values["series"][0]})


def test_the_table_says_classes_probabilities_weights_and_labels(classified, tmp_path):
    data, run = classified
    label = list(data.columns["label"])
    label[3] = ""
    table = run.predict(data.write(tmp_path / "new", described=False, label=label)).table
    assert table["id"].tolist() == data.columns["id"]
    chances = table.filter(regex="^probability:")
    assert list(chances) == ["probability:a", "probability:b", "probability:c"]
    np.testing.assert_allclose(chances.sum(axis=1), 1)
    assert table["prediction"].tolist() == ["abc"[one] for one in chances.to_numpy().argmax(1)]
    weights = table.filter(regex="^weight:")
    assert list(weights) == [f"weight:{name}" for name in run.result["expert_weights"]]
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    expected = [None if word == "" else word for word in label]
    assert [None if pd.isna(one) else one for one in table["label"]] == expected


def test_a_part_is_what_the_split_says(classified, tmp_path):
    data, run = classified
    new = data.write(tmp_path / "new", described=False)
    whole = run.predict(new).table.set_index("id")
    valid = run.predict(new, "valid").table.set_index("id")
    assert list(valid.index) == [f"s{row}" for row in range(2, 48, 4)]
    np.testing.assert_allclose(
        valid["probability:a"], whole.loc[valid.index, "probability:a"], rtol=1e-4
    )


def test_columns_in_another_order_and_files_of_other_names(classified, tmp_path):
    data, run = classified
    expected = run.predict(data.write(tmp_path / "same", data.TEST, described=False)).table
    data.columns = dict(reversed(data.columns.items()))
    moved = data.write(tmp_path / "moved", data.TEST)
    (moved / "t.csv").rename(moved / "march.csv")
    text = (moved / "dataset.yaml").read_text().replace("t.csv", "march.csv")
    (moved / "dataset.yaml").write_text(text)
    pd.testing.assert_frame_equal(run.predict(moved).table, expected)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"drop": ("f2",)}, "t.csv: lacks the column 'f2'"),
        ({"drop": ("words",)}, "lacks the column 'words'"),
        ({"drop": ("tokens",)}, "x.npz: .*tokens"),
        ({"label": ["a", "b", "d"] * 16}, "'d': none of the classes that the run was trained on"),
        ({"tokens": np.zeros((48, 4, 6))}, "tokens: 6 columns; the run was trained on 5"),
        ({"tokens": np.zeros((48, 3, 5))}, "3 steps a sample; the run was trained on 4"),
        (
            {"series": np.zeros((48, 9, 3)), "steps": np.full(48, 7)},
            "a sample of 7 steps; the run was trained on at most 6",
        ),
        ({"pixels": np.zeros((48, 8, 8, 3), np.float32)}, r"pictures of \[8, 8\]; .* \[9, 8\]"),
        ({"pixels": np.zeros((48, 9, 8, 3), np.uint8)}, "pixels are uint8; in training"),
        ({"f1": ["x"] * 48}, "column f1, row 1"),
        ({"f1": ["1e39"] * 48}, "beyond single precision"),
        ({"id": ["s"] * 48}, "the id 's' stands there more than once"),
    ],
)
def test_what_is_not_of_the_form_of_training_is_refused(classified, tmp_path, changes, reason):
    data, run = classified
    with pytest.raises(DatasetError, match=reason):
        run.predict(data.write(tmp_path / "new", described=False, **changes))


def test_longer_padding_is_cut(classified, tmp_path):
    data, run = classified
    series = np.pad(data.arrays["series"], ((0, 0), (0, 3), (0, 0)), constant_values=np.nan)
    new = data.write(tmp_path / "new", data.TEST, described=False, series=series)
    assert_own(run, run.predict(new))


def test_without_labels_ids_and_split(classified, tmp_path):
    data, run = classified
    new = data.write(tmp_path / "new", data.TEST, described=False, drop=("label", "id", "split"))
    found = run.predict(new)
    assert found.table["id"].tolist() == [str(row) for row in range(12)]
    assert "label" not in found.table
    np.testing.assert_array_equal(found.outputs.prediction, run.outputs()["prediction"])
    assert any("samples are called by their row" in note for note in found.notes)
    with pytest.raises(DatasetError, match="nothing tells the test samples"):
        run.predict(new, "test")


def test_words_that_training_did_not_have_are_noted(classified, tmp_path):
    data, run = classified
    found = run.predict(data.write(tmp_path / "new", described=False, words=["xyz"] * 48))
    assert any("0 of 48 texts hold a word" in note for note in found.notes)


def test_the_command_writes_each_format(classified, tmp_path):
    data, run = classified
    new = data.write(tmp_path / "new", data.TEST, described=False)
    table = run.predict(new).table
    for ending in ("csv", "parquet", "json"):
        if ending == "parquet":
            pytest.importorskip("pyarrow")
        file = tmp_path / "out" / f"p.{ending}"
        arguments = ["predict", str(run.path), "--data", str(new), "-o", str(file), "--json"]
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 0, done.output
        if ending == "json":
            assert json.loads(file.read_text()) == json.loads(done.stdout)
            read = pd.DataFrame(json.loads(file.read_text())["samples"])
        else:
            read = pd.read_csv(file) if ending == "csv" else pd.read_parquet(file)
        pd.testing.assert_frame_equal(read, table, check_dtype=False)


def test_the_command_shows_the_first(classified, tmp_path):
    data, run = classified
    new = data.write(tmp_path / "new", described=False)
    done = CliRunner().invoke(main, ["predict", str(run.path), "--data", str(new)])
    assert done.exit_code == 0, done.output
    assert "and 38 more; -o FILE writes them all." in done.stdout


def test_one_file_for_several_is_refused(classified, tmp_path):
    data, run = classified
    new = data.write(tmp_path / "new", described=False)
    with pytest.raises(DatasetError, match=r"modalities lie in 2 files \(t.csv, x.npz\)"):
        run.predict(new / "t.csv")
    with pytest.raises(DatasetError, match="no such file or folder"):
        run.predict(tmp_path / "nothing")


def test_one_file_for_one(tmp_path, own_folder, train):
    data = own_folder("classification")
    data.description["modalities"] = {
        name: data.description["modalities"][name] for name in ("numbers", "words")
    }
    data.write(tmp_path / "data")
    run = load_run(train(tmp_path / "data", tmp_path / "runs", "concat", "i2moe"))
    file = data.write(tmp_path / "new", data.TEST) / "t.csv"
    found = run.predict(file.rename(file.with_name("march.csv")))
    assert_own(run, found)


def test_samples_of_other_data_sets_are_their_own(tmp_path, small_htad):
    out = tmp_path / "runs"
    arguments = ["run", "--data-root", str(small_htad), "--seeds", "1", "--epochs", "1"]
    arguments += ["--fusion", "concat", "--out", str(out), "--device", "cpu", "--no-vanilla"]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    (path,) = (path for path in out.iterdir() if (path / "manifest.json").is_file())
    run = load_run(path)
    assert_own(run, run.predict(split="test"))
    assert len(run.predict()) == 90
    with pytest.raises(RunError, match="leave the data out"):
        run.predict(small_htad)
    arrays = dict(np.load(small_htad / "htad.npz"))
    np.savez(small_htad / "htad.npz", **{**arrays, "audio": arrays["audio"] + 1})
    with pytest.raises(DatasetError, match="not those that the run was trained on"):
        run.predict()


def test_another_ending_is_refused(classified, tmp_path):
    data, run = classified
    found = run.predict(data.write(tmp_path / "new", described=False))
    with pytest.raises(ConfigError, match=r"must end in \.csv, \.parquet, \.json"):
        found.write(tmp_path / "p.xlsx")


def test_new_samples_need_only_the_modalities_of_the_run(own_folder, train, tmp_path):
    own_folder("classification").write(tmp_path / "data")
    chosen = ["--set", "data.modalities=[words, series]"]
    run = load_run(train(tmp_path / "data", tmp_path / "runs", "concat", "i2moe", *chosen))
    found = run.predict(tmp_path / "data", "test")
    assert found.outputs.modalities == ("words", "series")
    np.testing.assert_array_equal(found.outputs.prediction, run.outputs()["prediction"])
