import errno
import json
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from i2moe_plugin import Classification, Multilabel, Regression
from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.run.files import disk_errors_explained, json_ready, write_json
from i2moe_plugin.benchmarks.run.outputs import task_of_outputs, write_outputs
from i2moe_plugin.benchmarks.run.store import Run, RunStore
from i2moe_plugin.errors import RunError


def write_run(store, name="run", text="hello"):
    with store.writing(name, "id") as folder:
        (folder / "file.txt").write_text(text)
        write_json(folder / "result.json", {"x": 1})
    return store.find(name)


def test_a_finished_run_is_found_with_its_manifest(tmp_path):
    store = RunStore(tmp_path / "runs")
    run = write_run(store)
    assert run.json("result.json") == {"x": 1}
    assert run.manifest["identity"] == "id"
    assert set(run.manifest["files"]) == {"file.txt", "result.json"}
    assert [found.path.name for found in store] == ["run"]
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["run"]  # nothing left over


def test_a_run_that_failed_is_not_found_and_keeps_what_it_wrote(tmp_path):
    store = RunStore(tmp_path)
    with pytest.raises(ZeroDivisionError), store.writing("run", "id") as folder:
        (folder / "state").write_text("half")
        raise ZeroDivisionError
    assert store.find("run") is None
    assert list(store) == []
    with store.writing("run", "id") as folder:
        assert (folder / "state").read_text() == "half"


def test_fresh_drops_what_a_stopped_run_left(tmp_path):
    store = RunStore(tmp_path)
    with pytest.raises(KeyboardInterrupt), store.writing("run", "id") as folder:
        (folder / "state").write_text("half")
        raise KeyboardInterrupt
    with store.writing("run", "id", fresh=True) as folder:
        assert not (folder / "state").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda run: (run / "file.txt").unlink(),
        lambda run: (run / "file.txt").write_text("hallo"),
        lambda run: (run / "file.txt").write_text("longer than before"),
        lambda run: (run / "manifest.json").write_text("{"),
        lambda run: (run / "manifest.json").write_text("[]"),
        lambda run: (run / "manifest.json").unlink(),
        lambda run: (run / "manifest.json").write_text('{"format": 99, "files": {}}'),
    ],
)
def test_damage_is_noticed(tmp_path, damage):
    store = RunStore(tmp_path)
    damage(write_run(store).path)
    with pytest.raises(RunError):
        store.find("run")


def test_a_damaged_run_is_replaced_by_a_new_one(tmp_path):
    store = RunStore(tmp_path)
    (write_run(store).path / "file.txt").write_text("x")
    assert write_run(store, text="new").path.joinpath("file.txt").read_text() == "new"


def hold(folder, ready):
    with RunStore(folder).writing("run", "id"):
        ready.set()
        time.sleep(60)


def test_two_processes_do_not_write_one_run_and_a_killed_one_lets_go(tmp_path):
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    process = context.Process(target=hold, args=(tmp_path, ready))
    process.start()
    assert ready.wait(30)
    store = RunStore(tmp_path)
    with pytest.raises(RunError, match="another process"), store.writing("run", "id"):
        pass
    assert store.unfinished() == {"run": True}
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert store.find("run") is None
    assert store.unfinished() == {"run": False}
    write_run(store)
    assert store.unfinished() == {}


def test_a_folder_that_cannot_be_made_is_explained(tmp_path):
    (tmp_path / "file").write_text("")
    store = RunStore(tmp_path / "file" / "runs")
    with pytest.raises(RunError, match="--out"), store.writing("run", "id"):
        pass


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "space"), (errno.EROFS, "--out"), (errno.EACCES, "--out")]
)
def test_system_errors_say_what_to_do(tmp_path, number, words):
    with pytest.raises(RunError, match=words), disk_errors_explained(tmp_path):
        raise OSError(number, os.strerror(number))


def test_json_has_no_nan(tmp_path):
    value = {"a": float("nan"), "b": [np.float32(1.5), np.int64(2), float("inf")], 3: (True, None)}
    write_json(tmp_path / "x.json", value)
    text = (tmp_path / "x.json").read_text()
    assert json.loads(text) == {"a": None, "b": [1.5, 2, None], "3": [True, None]}
    assert json_ready(value) == json.loads(text)
    assert list(tmp_path.iterdir()) == [tmp_path / "x.json"]


def test_what_is_not_a_run_is_refused(tmp_path):
    with pytest.raises(RunError, match="not a finished run"):
        Run.load(tmp_path)


COLUMNS = {
    "prediction": np.random.default_rng(0).normal(size=(2500, 3)).astype(np.float32),
    "target": np.arange(2500) % 3,
    "sample_id": np.array([f"Übung-{i} <b>\N{SNOWMAN}</b>" for i in range(2500)]),
}


def run_with_outputs(folder, columns):
    with RunStore(folder).writing("run", "id") as aside:
        write_outputs(aside, columns)
    return RunStore(folder).find("run")


@pytest.mark.parametrize("length", [0, 1, 2500])
def test_outputs_come_back_as_they_were_written(tmp_path, length):
    columns = {name: values[:length] for name, values in COLUMNS.items()}
    found = run_with_outputs(tmp_path, columns).outputs()
    assert set(found) == set(columns)
    for name, values in columns.items():
        np.testing.assert_array_equal(found[name], values)
        assert found[name].dtype.kind == values.dtype.kind


def test_outputs_are_read_by_column_and_row(tmp_path):
    run = run_with_outputs(tmp_path, COLUMNS)
    assert list(run.outputs("target")) == ["target"]
    part = run.outputs("sample_id", "prediction", rows=slice(1500, 1501))
    assert part["sample_id"].tolist() == [COLUMNS["sample_id"][1500]]
    np.testing.assert_array_equal(part["prediction"], COLUMNS["prediction"][1500:1501])
    rows = np.array([3, 1023, 1024, 2499])
    np.testing.assert_array_equal(run.outputs("target", rows=rows)["target"], rows % 3)
    with pytest.raises(
        RunError, match=r"lacks the array 'weights'; it holds prediction, sample_id"
    ):
        run.outputs("weights")


def test_equal_outputs_are_equal_files(tmp_path):
    digests = [
        run_with_outputs(tmp_path / name, COLUMNS).manifest["files"]["outputs.h5"]
        for name in ("one", "two")
    ]
    assert digests[0] == digests[1]


@pytest.mark.parametrize("held", ["a", "b", "abc"])
def test_equal_outputs_are_equal_files_though_somebody_looks_on(tmp_path, monkeypatch, held):
    """As a profiler does whose thread holds the objects of the thread that it samples."""
    import h5py

    columns = {name: np.arange(30.0).reshape(10, 3) + at for at, name in enumerate("abc")}
    write_outputs(tmp_path, columns)
    alone = (tmp_path / "outputs.h5").read_bytes()
    create, looked_at = h5py.Group.create_dataset, []

    def look_at(group, name, **settings):
        found = create(group, name, **settings)
        if name in held:
            looked_at.append(found)
        return found

    monkeypatch.setattr(h5py.Group, "create_dataset", look_at)
    write_outputs(tmp_path, columns)
    assert len(looked_at) == len(held)
    assert (tmp_path / "outputs.h5").read_bytes() == alone


def test_outputs_that_cannot_be_read_are_explained(tmp_path):
    run = run_with_outputs(tmp_path, COLUMNS)
    run.outputs("target")
    (run.path / "outputs.h5").write_bytes(b"no HDF5")  # after it was checked
    with pytest.raises(RunError, match="not a readable"):
        run.outputs()


def test_a_file_is_checked_when_it_is_read(tmp_path):
    run = write_run(RunStore(tmp_path))
    (run.path / "file.txt").write_text("hallo")
    damaged = Run.load(run.path)
    assert damaged.json("result.json") == {"x": 1}
    with pytest.raises(RunError, match=r"file\.txt is not the file the manifest describes"):
        damaged.file("file.txt")
    with pytest.raises(RunError, match=r"its manifest lists no settings\.json"):
        damaged.json("settings.json")


def test_what_a_killed_process_left_is_no_part_of_the_run(tmp_path):
    store = RunStore(tmp_path)
    with pytest.raises(KeyboardInterrupt), store.writing("run", "id") as folder:
        for name in (".result.json.tmp", ".lock", "manifest.json"):
            (folder / name).write_text("{")
        raise KeyboardInterrupt
    run = write_run(store)
    assert set(run.manifest["files"]) == {"file.txt", "result.json"}
    assert {path.name for path in run.path.iterdir()} == {*run.manifest["files"], "manifest.json"}


@pytest.fixture
def format_1(tmp_path):
    """Two runs of each method as version 0.1.0 wrote them before outputs were HDF5."""
    return shutil.copytree(Path(__file__).with_name("format_1"), tmp_path / "runs")


def test_runs_of_format_1_are_read(format_1):
    for run in RunStore(format_1):
        run.check()
        columns, result = run.outputs(), run.result
        with np.load(run.path / "outputs.npz") as archive:
            for name, values in archive.items():
                np.testing.assert_array_equal(columns[name], values)
        outputs = run.interpretable()
        assert outputs.task == Classification(3)
        assert outputs.task.metrics(outputs.prediction, outputs.target) == pytest.approx(
            {name: value for name, value in result["test"].items() if name != "loss"}
        )
        part = run.outputs("target", rows=slice(3, 5))
        np.testing.assert_array_equal(part["target"], columns["target"][3:5])
        if run.method == "i2moe":
            outputs.mixture()
        with pytest.raises(RunError, match=r"lacks .*nothing.*; it holds"):
            run.outputs("nothing")
        (run.path / "outputs.npz").write_bytes(b"PK")
        with pytest.raises(RunError):
            Run.load(run.path).outputs()


def test_runs_of_format_1_are_reported_and_explained(format_1, tmp_path):
    page = tmp_path / "page.html"
    done = CliRunner().invoke(main, ["report", str(format_1), "-o", str(page)])
    assert (done.exit_code, "4 runs" in done.stdout) == (0, True), done.output
    assert "too few seeds to tell" in page.read_text(encoding="utf-8")
    (first, second) = [run for run in RunStore(format_1) if run.method == "i2moe"]
    sample = str(first.outputs("sample_id")["sample_id"][0])
    done = CliRunner().invoke(main, ["explain", str(first.path), "--sample", sample, "--json"])
    found = json.loads(done.stdout)
    assert found["other_seeds"] == [second.seed]
    weights = first.outputs("weights")["weights"][0]
    assert [expert["weight"] for expert in found["experts"]] == pytest.approx(weights.tolist())


@pytest.mark.parametrize(
    ("target", "task"),
    [
        (np.array([0, 2]), Classification(3)),
        (np.array([[0, 1, 1.0], [1, 0, 0]]), Multilabel(3)),
        (np.array([[0, 1, 1.5], [1, 0, 0]]), Regression(3)),
        (np.array([0.5, 1.5]), Regression(3)),
    ],
)
def test_the_task_of_outputs_that_do_not_say_it(target, task):
    assert task_of_outputs({"prediction": np.zeros((2, 3)), "target": target}) == task


def write_many(folder, names):
    for name in names:
        write_run(RunStore(folder), name)


def test_processes_that_begin_and_end_runs_at_once_do_not_harm_each_other(tmp_path):
    """The last one to end removes the folder of unfinished runs, while another begins."""
    context = multiprocessing.get_context("fork")
    names = [[f"{process}-{place}" for place in range(60)] for process in range(2)]
    processes = [context.Process(target=write_many, args=(tmp_path, own)) for own in names]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert {run.name for run in RunStore(tmp_path)} == {name for own in names for name in own}
    assert not (tmp_path / ".unfinished").exists()
