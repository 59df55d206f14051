"""Estimators side by side: what they say of data and models whose answer is known."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.data.open import open_dataset
from i2moe_plugin.benchmarks.run.mixed import TrainedModel
from i2moe_plugin.benchmarks.run.store import RunStore
from i2moe_plugin.benchmarks.truth.interactions import of_dataset, of_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Evidence and vanilla on an XOR, trained until they know it."""
    out = tmp_path_factory.mktemp("interactions")
    told = "--method evidence --dataset synthetic:bool-xor --fusion concat --seeds 1 --jobs 1"
    more = "--set data.samples=1500 --set data.dim=2 --epochs 12 --lr 0.01 --device cpu"
    done = CliRunner().invoke(main, ["run", *told.split(), *more.split(), "--out", str(out)])
    assert done.exit_code == 0, done.output
    return {run.method: run for run in RunStore(out)}


def test_a_run_on_xor(runs):
    found = of_run(runs["evidence"]).as_dict()
    by = {row["estimator"]: row for row in found["parts"]}
    assert by["evidence"]["definition"] == "additive"
    assert by["evidence"]["bits"]["synergy"] > 0.9
    assert by["evidence"]["errors"]["synergy"] < 0.1
    assert by["networks (BATCH)"]["definition"] == "BROJA"
    model = found["model"]
    assert model["accuracy of the model"] > 0.95
    assert model["accuracy of its additive projection (EMAP)"] < 0.7  # it is nothing but XOR
    assert model["InterSHAP"] > 0.8
    plain = of_run(runs["vanilla"]).as_dict()
    assert "evidence" not in {row["estimator"] for row in plain["parts"]}
    assert plain["model"]["InterSHAP"] > 0.8


def test_a_model_whose_logits_are_a_sum_is_its_own_projection(runs, monkeypatch):
    """Its probabilities are no sum: their projection decides otherwise where both are rare."""

    def outputs(self, rows):
        first, second = (np.asarray(own) % 10 == 0 for own in rows)
        score = np.where(first, -6.0, 0.0) + np.where(second, 3.2, -3.0)
        return np.stack([np.zeros(len(score)), score], 1)

    monkeypatch.setattr(TrainedModel, "outputs", outputs)
    found = of_run(runs["vanilla"]).model
    target = runs["vanilla"].outputs("target")["target"]
    assert found["accuracy of the model"] == pytest.approx((target == 0).mean())
    assert found["accuracy of its additive projection (EMAP)"] == found["accuracy of the model"]


def test_clusters_find_what_lies_in_few_dimensions():
    data = open_dataset("synthetic:bool-copy", samples=3000, dim=1)
    found = of_dataset(data, clusters=2)
    definition, bits = found.parts["clusters (CVX)"]
    assert definition == "BROJA"
    np.testing.assert_allclose(bits, [0, 0, 0, 1], atol=0.02)
    assert found.model["bits that counting alone invents in clusters"] == pytest.approx(
        4 / (2 * 3000 * np.log(2))
    )


def test_what_cannot_be_estimated_is_said():
    done = CliRunner().invoke(main, ["interactions", "brca"])
    assert done.exit_code == 0, done.output
    assert "decomposes 2 modalities, not 4" in done.output
    found = of_dataset(open_dataset("emoji"))
    assert set(found.missing.values()) == {"image: no plain features"}


def test_the_command_prints_what_was_estimated(runs):
    path = str(runs["evidence"].path)
    shown = CliRunner().invoke(main, ["interactions", path])
    assert shown.exit_code == 0, shown.output
    assert "evidence, additive" in shown.output
    told = json.loads(CliRunner().invoke(main, ["interactions", path, "--json"]).stdout)
    assert told["subject"] == runs["evidence"].name
    bits = told["parts"][0]["bits"]
    assert list(bits) == ["uniqueness_1", "uniqueness_2", "synergy", "redundancy"]
    bad = CliRunner().invoke(main, ["interactions", "htda"])
    assert bad.exit_code == 1
    assert "htad" in bad.output


@pytest.mark.parametrize("rows", [1, 2])
def test_a_single_test_sample_says_what_it_cannot_tell(tmp_path, rows):
    """One shows no error, and aligns with no other; the model is looked at all the same."""
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=80)
    splits = ["train"] * 40 + ["valid"] * (40 - rows) + ["test"] * rows
    lines = [
        f"{y + rng.normal()},{rng.normal()},{y},{one}"
        for y, one in zip(labels, splits, strict=True)
    ]
    (tmp_path / "rows.csv").write_text("a,b,y,split\n" + "\n".join(lines), encoding="utf-8")
    (tmp_path / "dataset.yaml").write_text(
        "name: few\ntask: classification\nmodalities:\n"
        "  a: {file: rows.csv, columns: [a], kind: features}\n"
        "  b: {file: rows.csv, columns: [b], kind: features}\n"
        "target: {file: rows.csv, column: y}\nsplit: {file: rows.csv, column: split}\n",
        encoding="utf-8",
    )
    told = f"run --method evidence --no-vanilla --fusion concat --epochs 1 --seeds 1 --jobs 1 \
        --device cpu --dataset {tmp_path} --out {tmp_path / 'runs'} --json"
    done = CliRunner().invoke(main, told.split())
    assert done.exit_code == 0, done.output
    run = json.loads(done.stdout)
    assert ("evidence" in run["evidence"]) is (rows > 1)
    assert ("No parts in bits of evidence" in " ".join(run["cautions"])) is (rows == 1)
    (found,) = RunStore(tmp_path / "runs")
    estimates = of_run(found)
    missing = {"networks (BATCH)", "evidence"}
    assert missing & set(estimates.missing) == (missing if rows == 1 else set())
    assert missing & set(estimates.parts) == (set() if rows == 1 else missing)
    assert "InterSHAP" in estimates.model
