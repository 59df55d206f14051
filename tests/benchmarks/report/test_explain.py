"""The command `explain`: what it tells, of what it warns, how fast it answers."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from i2moe_plugin import Classification, Multilabel, Regression
from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.datasets import open_dataset
from i2moe_plugin.benchmarks.report.text import without_controls
from i2moe_plugin.benchmarks.report.waterfall import _named, _worth_showing, explain_parts
from i2moe_plugin.benchmarks.run.collect import find_runs, runs_of_other_seeds
from i2moe_plugin.benchmarks.run.store import Run
from i2moe_plugin.benchmarks.terminal.explain import sparkline
from i2moe_plugin.errors import RunError
from i2moe_plugin.interpretation import Outputs, Waterfall

EVIL = "\x1b[31m\x9b2J\u202eevil[bold]x[/bold]\x07"


def explain(*arguments):
    return CliRunner().invoke(main, ["explain", *map(str, arguments)], catch_exceptions=False)


def told(run, *more):
    result = explain(run.path, "--no-data", "--json", *more)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize("task", [Classification(3), Multilabel(6), Regression(1)], ids=str)
def test_json_is_the_stored_sample(tmp_path, write_run, task):
    run = write_run(tmp_path, task)
    found = told(run, "--sample", "s5")
    outputs = run.outputs(rows=slice(5, 6))
    assert found["sample"] == "s5"
    for e, expert in enumerate(found["experts"]):
        assert expert["weight"] == pytest.approx(float(outputs["weights"][0, e]))
        for cell in expert["classes"]:
            c = run.json("result.json")["class_names"].index(cell["class"])
            said = float(outputs["expert_outputs"][0, e, c])
            assert cell["output"] == pytest.approx(said)
            assert cell["product"] == pytest.approx(said * expert["weight"], rel=1e-5)
    for row in found["classes"]:
        total = sum(
            cell["product"]
            for expert in found["experts"]
            for cell in expert["classes"]
            if cell["class"] == row["class"]
        )
        assert row["prediction"] == pytest.approx(total, abs=1e-5)
    assert found["modalities_missing"] == "left out by --no-data"
    assert any("does not show that the interaction" in line for line in found["worth"])


def test_the_terminal_shows_weights_products_and_their_worth(tmp_path, write_run):
    run = write_run(tmp_path)
    result = explain(run.path, "--sample", "s4", "--no-data")
    assert result.exit_code == 0
    shown = " ".join(result.stdout.split())
    for words in ("unique: video", "Predicted class", "label class 1", "One seed alone"):
        assert words in shown
    weight = run.outputs("weights")["weights"][4, 2]
    assert f"{weight:.3f}" in shown


def test_other_seeds_give_ranges(tmp_path, write_run):
    runs = [write_run(tmp_path, seed=seed) for seed in range(3)]
    write_run(tmp_path, seed=4, lr=0.5)  # another configuration
    write_run(tmp_path, seed=0, method="vanilla")
    found = told(runs[1], "--sample", "s7")
    assert found["other_seeds"] == [0, 2]
    values = np.array([run.outputs("weights")["weights"][7] for run in runs])
    for e, expert in enumerate(found["experts"]):
        assert expert["weight_over_seeds"]["low"] == pytest.approx(values[:, e].min())
        assert expert["weight_over_seeds"]["high"] == pytest.approx(values[:, e].max())
    assert [other.seed for other in runs_of_other_seeds(find_runs([runs[1].path]).runs[0])] == [
        0,
        2,
    ]


def test_what_cannot_be_explained_says_what_to_do(tmp_path, write_run):
    run = write_run(tmp_path / "runs")
    vanilla = write_run(tmp_path / "runs", method="vanilla")
    cases = [
        ([run.path], "no sample named: --sample ID, for instance s"),
        ([run.path, "--sample", "S4"], "Did you mean"),
        ([vanilla.path, "--sample", "s4"], "vanilla has no experts"),
        ([tmp_path / "runs", "--sample", "s4"], "2 runs; give one of them: drawn-concat-i2moe"),
        ([tmp_path / "none", "--sample", "s4"], "no such directory"),
        ([tmp_path, "--sample", "s4"], "no run and no folder of runs"),
    ]
    for arguments, words in cases:
        result = explain(*arguments)
        assert result.exit_code == 1
        assert words in result.stderr
    (run.path / "outputs.h5").write_bytes(b"")
    result = explain(run.path, "--sample", "s4")
    assert (result.exit_code, "not the file the manifest" in result.stderr) == (1, True)


def test_a_data_set_that_is_not_at_hand_is_said_so(tmp_path, write_run):
    run = write_run(tmp_path, dataset="enrico", data_root=str(tmp_path / "moved"))
    result = explain(run.path, "--sample", "s4")
    assert result.exit_code == 0
    assert "Its modalities are not shown: the data set enrico is not at hand" in " ".join(
        result.stdout.split()
    )


def test_the_samples_own_features_are_shown(tmp_path, write_run):
    data = open_dataset("htad")
    ids = data.sample_ids("test")
    make = {"dataset": "htad", "modalities": data.modalities, "samples": len(ids), "ids": ids}
    run = write_run(tmp_path, splits=data.split_hash(), **make)
    result = explain(run.path, "--sample", ids[3], "--json")
    found = json.loads(result.stdout)
    assert found["modalities_missing"] == ""
    *inputs, _ = next(iter(data.prepare().loader("test", batch_size=4)))
    for item, x in zip(found["modalities"], inputs, strict=True):
        assert item["kind"] == "features"
        np.testing.assert_allclose(item["value"], x[3].numpy(), rtol=1e-6)
    other = write_run(tmp_path / "other", splits="another", **make)
    result = explain(other.path, "--sample", ids[3])
    assert "other samples than the run" in " ".join(result.stdout.split())


def test_text_of_the_data_does_not_steer_the_terminal(tmp_path, write_run):
    run = write_run(tmp_path, class_names=[EVIL, "b", "c"], modalities=(EVIL, "video"))
    result = explain(run.path, "--sample", "s3", "--no-data")
    assert result.exit_code == 0
    for character in "\x1b\x9b\u202e\x07":
        assert character not in result.stdout
    assert "[bold]" in "".join(result.stdout.split())  # text, not markup
    assert without_controls("a\u202eb", 2) == "a…"


def test_a_picture_of_a_sample(tmp_path, write_run):
    run = write_run(tmp_path, class_names=["$\\frac$", "b" * 300, "c"])
    file = tmp_path / "sample.png"
    assert explain(run.path, "--sample", "s3", "--no-data", "--png", file).exit_code == 0
    with Image.open(file) as image:
        assert min(image.size) > 500
        assert len(np.unique(np.asarray(image.convert("L")))) > 20
    result = explain(run.path, "--sample", "s3", "--no-data", "--png", tmp_path / "no" / "x.png")
    assert (result.exit_code, "cannot write" in result.stderr) == (1, True)


def test_sparklines():
    assert sparkline([1, 1, 1]) == "▁▁▁"
    assert sparkline([0, np.nan, 7]) == "▁ █"
    assert sparkline([]) == sparkline([np.nan]) == ""
    assert len(sparkline(range(1000))) == 60


def test_runs_and_what_is_none(tmp_path, write_run):
    run = write_run(tmp_path)
    broken = write_run(tmp_path, seed=1)
    (broken.path / "result.json").write_text("{}")
    (tmp_path / ".unfinished" / "later").mkdir(parents=True)
    found = find_runs([tmp_path, run.path])
    assert [run.path for run in found.runs] == [run.path]
    reasons = dict(found.problems)
    assert "not the file" in reasons[broken.path.name]
    assert reasons["later"] == "stopped before it was finished"
    with pytest.raises(RunError, match="no finished run to show"):
        find_runs([broken.path])


LARGE = {"samples": 25_959, "modalities": ("language", "image")}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_a_large_run_is_explained_within_bounds(tmp_path, write_run):
    """25,959 samples of 23 labels: process start included, without torch."""
    run = write_run(tmp_path, Multilabel(23), **LARGE)
    code = (
        "import re, sys, json\n"
        "from i2moe_plugin.benchmarks.cli import main\n"
        "main(['explain', *sys.argv[1:]], standalone_mode=False)\n"
        # Not getrusage, which counts what the parent had before exec.
        "status = open('/proc/self/status').read()\n"
        "peak = int(re.search(r'VmHWM:\\s*(\\d+) kB', status)[1]) // 1024\n"
        "print(json.dumps([peak, 'torch' in sys.modules]), file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", code, str(run.path), "--sample", "s20000", "--no-data"]
    before, start = os.times(), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    wall, after = time.perf_counter() - start, os.times()
    peak, torch = json.loads(done.stderr.splitlines()[-1])
    assert "s20000" in done.stdout
    assert not torch
    assert peak < 500
    processor = sum(after[2:4]) - sum(before[2:4])  # a busy machine takes longer by the clock
    assert min(wall, processor) < 2


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.chdir(Path(tmp_path))


@pytest.fixture(scope="module")
def in_parts(tmp_path_factory):
    """Two seeds of the evidence method on drawn data."""
    out = tmp_path_factory.mktemp("evidence")
    told = "--method evidence --no-vanilla --dataset synthetic:bool-and --fusion concat --seeds 2"
    more = "--set data.samples=300 --set latent_dim=8 --epochs 4 --jobs 1 --device cpu"
    done = CliRunner().invoke(main, ["run", *told.split(), *more.split(), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "What carried the prediction" in done.output
    return sorted(path for path in out.iterdir() if path.is_dir() and path.name[0] != ".")


def test_parts_of_a_sample_are_shown_from_prior_to_prediction(in_parts, tmp_path):
    run = Run.load(in_parts[0])
    sample = str(run.outputs("sample_id")["sample_id"][0])
    arguments = ["explain", str(run.path), "--sample", sample]
    done = CliRunner().invoke(main, [*arguments, "--png", str(tmp_path / "one.png")])
    assert done.exit_code == 0, done.output
    for word in ("prior", "unique: x1", "synergy", "prediction", "over 2 seeds", "x2"):
        assert word in done.output
    assert (tmp_path / "one.png").read_bytes()[:4] == b"\x89PNG"
    told = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)
    assert told["definition"] == "additive"
    assert [item["modality"] for item in told["modalities"]] == ["x1", "x2"]
    for outcome in told["outcomes"]:
        bits = sum(part["bits"] for part in outcome["parts"])
        assert bits == pytest.approx(np.log2(outcome["probability"] / outcome["prior"]), abs=1e-5)
        for part in outcome["parts"]:
            assert part["over_seeds"]["low"] <= part["bits"] <= part["over_seeds"]["high"]
    none = CliRunner().invoke(main, ["explain", str(run.path)])
    assert "no sample named" in none.output


def test_the_report_has_parts_in_bits_above_what_weights_say(in_parts, tmp_path):
    page = tmp_path / "report.html"
    done = CliRunner().invoke(main, ["report", str(in_parts[0].parent), "-o", str(page)])
    assert done.exit_code == 0, done.output
    text = page.read_text()
    assert "What carried the prediction, mean over 2 seeds" in text
    for title in ("What carried the prediction, by class", "by correctness"):
        assert title in text
    assert "What may be claimed of this run" in text
    assert "not distinguishable from zero" in text
    assert "Before you read a weight" not in text, "there are no weights"


def test_decided_and_true_classes_are_shown_whatever_they_are_called():
    names = ("red, green", "blue", "grey", "white", "none")
    prediction = np.log(np.array([[0.02, 0.08, 0.2, 0.6, 0.1]]))
    outputs = Outputs(
        Classification(5, class_weights=(100.0, 1.0, 1.0, 1.0, 1.0)),
        np.where(np.arange(5) == 4, 9.0, prediction),  # by the weights of training
        np.array([0]),
        np.array(["s"]),
        names,
        ("a", "b"),
    )
    steps = pd.DataFrame({"outcome": names, "probability": np.exp(prediction[0])})
    one = Waterfall("s", "none", "red, green", steps, pd.Series(dtype=float))
    assert _worth_showing(one, _named(outputs, 0), 3) == [3, 4, 0]
    labels = replace(
        outputs,
        task=Multilabel(5),
        prediction=np.array([[-1.0, 1, -1, -1, -1]]),
        target=np.eye(5)[:1],
    )
    assert _named(labels, 0) == {0, 1}


def test_a_decision_by_weighted_classes_is_said(in_parts):
    run = Run.load(in_parts[0])
    one = explain_parts(run, str(run.outputs("sample_id")["sample_id"][0]), 3)
    assert not one.weighted
    said = " ".join(replace(one, weighted=True).sentences())
    assert "need not be the most probable one" in said
    assert "need not be the most probable one" not in " ".join(one.sentences())
    assert "of 1 decide the same" in " ".join(one.sentences())
    assert "decide the same" not in " ".join(replace(one, correct=None).sentences())


def test_real_values_of_other_seeds_are_not_said_to_be_the_same(tmp_path, write_run):
    runs = [write_run(tmp_path, Regression(1), seed=seed) for seed in (0, 1)]
    said = " ".join(told(runs[0], "--sample", "s5")["worth"])
    assert "Other seeds: 1; the ranges" in said
    assert "decide the same" not in said
