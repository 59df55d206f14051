"""Logs hold what runs hold, each epoch once, whatever was stopped and went on."""

import importlib.util
import sys
import types
from collections import defaultdict

import pytest
from click.testing import CliRunner

from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.commands.options import LOG
from i2moe_plugin.benchmarks.grid.cells import methods_grid
from i2moe_plugin.benchmarks.grid.logs import LOGS, PROJECT, WRITERS, _flat
from i2moe_plugin.benchmarks.grid.runner import GridRunner
from i2moe_plugin.benchmarks.run.store import RunStore
from i2moe_plugin.errors import ConfigError

QUICK = {"epochs": 3, "latent_dim": 8, "encoder_hidden": 8, "device": "cpu", "batch_size": 32}


def read_tensorboard(folder, run):
    """Name -> [(step, value)] of a run's events."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / LOGS / "tensorboard" / run))
    found.Reload()
    return {
        tag: [(event.step, event.value) for event in found.Scalars(tag)]
        for tag in found.Tags()["scalars"]
    }


def read_mlflow(folder, run):
    """The same of MLflow's."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=(folder / LOGS / "mlflow").absolute().as_uri())
    experiment = client.get_experiment_by_name(PROJECT)
    runs = client.search_runs([experiment.experiment_id])
    (found,) = [one for one in runs if one.info.run_name == run]
    assert found.info.status == "FINISHED"
    assert found.data.params["latent_dim"] == "8"
    assert found.data.params["fusion.head_dropout"]
    names = found.data.metrics
    history = {name: client.get_metric_history(found.info.run_id, name) for name in names}
    return {name: [(one.step, one.value) for one in values] for name, values in history.items()}


READ = {"tensorboard": read_tensorboard, "mlflow": read_mlflow}


@pytest.fixture(params=READ)
def kind(request, monkeypatch):
    pytest.importorskip(WRITERS[request.param][1], reason=f"needs the extra {request.param}")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return request.param


@pytest.fixture
def grid(small_htad):
    return methods_grid("htad", "concat", ("vanilla", "i2moe"), (0,), values=QUICK, root=small_htad)


def check(folder, kind):
    """The log of every run against the run itself."""
    runs = list(RunStore(folder))
    assert runs
    for run in runs:
        expected = defaultdict(list)
        for epoch in run.history():
            for name, value in _flat(epoch).items():
                expected[name].append((epoch["epoch"], pytest.approx(value, rel=1e-5)))
        for name, value in run.result["test"].items():
            expected[f"test/{name}"].append((3, pytest.approx(value, rel=1e-5)))
        found = READ[kind](folder, run.name)
        # Of an epoch that was trained twice the first one's are logged.
        taken = [step for step, _ in expected.pop("seconds")]
        assert [step for step, _ in found.pop("seconds")] == taken
        assert found == expected
    return len(runs)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_log_holds_what_the_run_holds(grid, kind, tmp_path, workers):
    GridRunner(RunStore(tmp_path), workers=workers, log=[kind]).run(grid)
    assert check(tmp_path, kind) == 2


def test_epochs_of_a_resumed_run_are_logged_once(grid, kind, tmp_path):
    """It was stopped before a state was saved: the first epochs are trained a second time."""

    def stop(cell, attempt, epoch):
        if epoch is not None and epoch["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        GridRunner(RunStore(tmp_path), log=[kind], on_event=stop).run(grid)
    GridRunner(RunStore(tmp_path), log=[kind]).run(grid)
    assert check(tmp_path, kind) == 2


def test_finished_runs_are_not_logged_again(grid, kind, tmp_path):
    GridRunner(RunStore(tmp_path), log=[kind]).run(grid)
    files = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    GridRunner(RunStore(tmp_path), log=[kind]).run(grid)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p in files} == files
    GridRunner(RunStore(tmp_path), log=[kind], fresh=True).run(grid)  # with the same digits


def test_nothing_is_logged_by_default(grid, tmp_path):
    GridRunner(RunStore(tmp_path)).run(grid)
    assert not (tmp_path / LOGS).exists()


@pytest.mark.parametrize("name", WRITERS)
def test_a_package_that_is_not_installed_is_named_before_anything_runs(
    name, tmp_path, small_htad, monkeypatch
):
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None)
    out = tmp_path / "runs"
    line = ["run", "--data-root", str(small_htad), "--out", str(out), "--log", name]
    result = CliRunner().invoke(main, line)
    assert result.exit_code == 1
    assert f"pip install 'i2moe-plugin[{name}]'" in result.stderr
    assert not out.exists()


def test_an_unknown_log_is_refused(grid, tmp_path):
    with pytest.raises(ConfigError, match="'csv' is not one of tensorboard, mlflow, wandb"):
        GridRunner(RunStore(tmp_path), log=["csv"]).run(grid)


def test_a_log_that_fails_does_not_take_the_training_with_it(grid, tmp_path, monkeypatch, caplog):
    def fail(*_):
        raise ConnectionError("no server")

    monkeypatch.setitem(WRITERS, "tensorboard", (fail, "json"))
    table = GridRunner(RunStore(tmp_path), log=["tensorboard"]).run(grid)
    assert table.states["finished"] == 2
    assert [r.getMessage() for r in caplog.records] == [
        "tensorboard: nothing more is logged there (no server)."
    ]


def test_weights_and_biases_are_told(grid, tmp_path, monkeypatch):
    """By its documented calls, on a stand-in: its package is not among those of the tests."""
    told = []

    class Run:
        def __init__(self, **options):
            self.options, self.logged, self.finished = options, [], False
            told.append(self)

        def log(self, values, step):
            self.logged.append((step, values))

        def finish(self):
            self.finished = True

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=Run))
    monkeypatch.setitem(WRITERS, "wandb", (WRITERS["wandb"][0], "json"))
    GridRunner(RunStore(tmp_path), log=["wandb"]).run(grid)
    for run, kept in zip(told, sorted(RunStore(tmp_path), key=lambda r: -len(r.name)), strict=True):
        assert run.finished
        assert (run.options["id"], run.options["resume"]) == (kept.name, "allow")
        assert run.options["config"]["latent_dim"] == 8
        assert [step for step, _ in run.logged] == [1, 2, 3, 3]
        assert run.logged[1][1] == _flat(kept.history()[1])
        assert run.logged[-1][1]["test/accuracy"] == kept.result["test"]["accuracy"]


def test_the_option_offers_what_there_is():
    option = LOG(lambda: None).__click_params__[0]
    assert list(option.type.choices) == list(WRITERS)
