"""Parity: against the paper, and against MultiBench's loop (the stand-in's, or a real one's)."""

import json
import os
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.data.open import PreparedDataset, open_dataset
from i2moe_plugin.benchmarks.grid.cells import methods_grid
from i2moe_plugin.benchmarks.grid.runner import GridRunner
from i2moe_plugin.benchmarks.regression.parity import parity
from i2moe_plugin.benchmarks.run.execute import execute
from i2moe_plugin.benchmarks.run.multibench import loop_results
from i2moe_plugin.benchmarks.run.settings import resolve
from i2moe_plugin.benchmarks.run.store import RunStore
from i2moe_plugin.benchmarks.statistics import paper
from i2moe_plugin.errors import ConfigError, PluginError, TrainingError

ROOT = os.environ.get("MULTIBENCH_ROOT") or str(Path(__file__).parents[2] / "multibench_standin")
#: Nothing random in a step: two loops that do the same give the same numbers.
STILL = {
    "epochs": 3,
    "latent_dim": 8,
    "encoder_hidden": 8,
    "device": "cpu",
    "lr": 1e-2,
    "encoder_dropout": 0,
    "input_dropout": 0,
    "reweighting_dropout": 0,
    "masking": "zero",
    "weight_decay": 0.01,
    "clip_grad_norm": 1.0,
    "batch_size": 16,
}


@pytest.fixture
def data(small_htad):
    return open_dataset("htad", small_htad)


def still(method="vanilla", **given):
    settings, _ = resolve("htad", "concat", STILL | given)
    return settings.model_copy(update={"method": method, "seed": 1})


@pytest.mark.parametrize("method", ["vanilla", "i2moe"])
def test_their_loop_trains_the_same_model(tmp_path, data, method):
    store = RunStore(tmp_path)
    ours = execute(still(method), data, store).json("result.json")
    theirs = loop_results(still(method), data, store, ROOT)
    assert theirs["test"] == pytest.approx(
        {name: value for name, value in ours["test"].items() if name != "loss"}, abs=1e-5
    )
    other = loop_results(still(method, lr=0.05), data, store, ROOT)
    assert other["test"] != theirs["test"]


def test_a_finished_loop_is_not_repeated(tmp_path, data, monkeypatch):
    store = RunStore(tmp_path)
    first = loop_results(still(), data, store, ROOT)
    (file,) = (tmp_path / "multibench-loop").iterdir()
    file.write_text(json.dumps({**first, "mark": 1}))
    assert loop_results(still(), data, store, ROOT)["mark"] == 1
    file.write_text("{")
    assert loop_results(still(), data, store, ROOT) == first
    assert list(store) == []  # the folder is no run


def test_what_their_loop_cannot_do(tmp_path, data, monkeypatch):
    store = RunStore(tmp_path)
    with pytest.raises(PluginError):
        loop_results(still(), data, store, str(tmp_path))
    x = torch.zeros(2, 5)
    monkeypatch.setattr(PreparedDataset, "loader", lambda *_, **__: [((x, 3), 1, 2)])
    with pytest.raises((ConfigError, AttributeError)):
        loop_results(still(), data, store, ROOT)


def test_an_error_in_their_loop_is_told(tmp_path, data):
    with pytest.raises(TrainingError, match=r"loop failed|kept no model|diverged"):
        loop_results(still(lr=1e30, clip_grad_norm=None), data, RunStore(tmp_path), ROOT)


@pytest.fixture
def table(tmp_path, small_htad):
    methods = ["vanilla", "i2moe"]
    grid = methods_grid("htad", "concat", methods, range(3), values=STILL, root=small_htad)
    return GridRunner(RunStore(tmp_path), strict=True).run(grid)


def accuracies(table, method):
    (cell,) = [cell for cell in table.cells if cell.settings.method == method]
    return cell.values("accuracy")


@pytest.fixture
def figure(monkeypatch):
    """``figure(value, deviation)``: what the paper is said to report of I2MoE here."""

    def put(value, deviation=None):
        found = paper.Figure(value, deviation, 3, "Table 7")
        key = ("htad", "concat", "i2moe", "accuracy", ())
        monkeypatch.setattr(paper, "figures", lambda: {key: found})

    return put


def test_against_the_paper(table, figure):
    ours = accuracies(table, "i2moe").values()
    figure(sum(ours) / 3)
    (claim,) = parity(table, margin=0.9).claims
    assert (claim.method, claim.answer, claim.against) == (
        "i2moe",
        "equivalent",
        "the paper, Table 7",
    )
    assert "taken as exact" in claim.reason
    figure(sum(ours) / 3 - 0.8, 0.01)
    (far,) = parity(table, margin=0.02).claims
    assert far.answer == "different"
    assert "exact" not in far.reason
    figure(sum(ours) / 3, 5.0)  # so noisy a figure shows nothing
    (noisy,) = parity(table, margin=0.02).claims
    assert noisy.answer == "equivalence not shown"


def test_what_is_not_comparable_is_not_tested(table, figure):
    figure(0.5)
    (claim,) = parity(table, 0.02, altered=["epochs"]).claims
    assert (claim.found, claim.answer) == (None, "not comparable")
    assert "not the paper's: epochs" in claim.reason
    table.cells[0].published = False
    (drawn,) = parity(table, 0.02).claims
    assert drawn.answer == "not comparable"
    assert "drawn sample" in drawn.reason


def test_against_a_loop(table):
    values = {method: accuracies(table, method) for method in ("vanilla", "i2moe")}

    def loop(settings):
        if settings.method == "i2moe":
            raise ConfigError("cannot")
        return {"test": {"accuracy": values[settings.method][settings.seed]}}

    first, second = parity(table, 0.02, loop=loop).claims
    assert (first.answer, first.found.difference) == ("equivalent", 0)
    assert (second.answer, second.reason) == ("not comparable", "cannot")


def test_the_command(small_htad, tmp_path, monkeypatch):
    monkeypatch.setenv("MULTIBENCH_ROOT", ROOT)  # --multibench leaves it set
    quick = [f"--set={key}={value}" for key, value in STILL.items()]
    given = ["parity", "--fusion", "concat", "--data-root", str(small_htad), "--seeds", "3",
             "--out", str(tmp_path), *quick]  # fmt: skip
    done = CliRunner().invoke(main, [*given, "--multibench", ROOT])
    assert done.exit_code == 0, done.output
    said = " ".join(done.stdout.split())
    assert said.count("paired over seeds") == 2
    assert "The paper reports no figure of concat on htad" in said
    found = json.loads(CliRunner().invoke(main, [*given, "--json"]).stdout)
    assert [claim["answer"] for claim in found["claims"]] == ["equivalent"] * 2
