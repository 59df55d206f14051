"""Samples that lack a modality: left out of a study, and refused by name."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from i2moe_plugin.benchmarks.cli import main

DESCRIPTION = """name: lacking
modalities:
  a: {file: d.npz, key: a, kind: tokens, lengths: lengths, missing: true}
  b: {file: d.npz, key: b, kind: tokens, missing: true}
target: {file: d.npz, key: y}
task: classification
split: {file: d.npz, key: split}
"""
LACKING = 2  # of the test samples


@pytest.fixture(scope="module", params=["fl-i2moe", "dense"])
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lacking")
    draw = np.random.default_rng(0)
    y = np.arange(60) % 3
    a, b = draw.normal(size=(60, 6, 4)) + y[:, None, None], draw.normal(size=(60, 5, 3))
    split = np.array(["train", "train", "train", "valid", "test"])[np.arange(60) % 5]
    a[[0, 5, 14]], b[[1, 3, 24]] = np.nan, np.nan  # 14 and 24 are test samples
    lengths = draw.integers(2, 7, 60)
    np.savez(folder / "d.npz", a=a, b=b, lengths=lengths, y=y, split=split)
    (folder / "dataset.yaml").write_text(DESCRIPTION)
    told = ["--method", request.param, "--no-vanilla", "--fusion", "token-transformer"]
    told += ["--seeds", "1", "--epochs", "1", "--jobs", "1", "--device", "cpu", "--json"]
    told += ["--set", "latent_dim=8", "--out", str(folder / "runs")]
    done = CliRunner().invoke(main, ["run", "--dataset", str(folder), *told])
    assert done.exit_code == 0, done.output
    (path,) = (folder / "runs").glob("folder.*")
    return path


def test_a_study_leaves_them_out_and_says_so(run):
    told = ["explain", str(run), "--features", "--draws", "4", "--pairs", "2"]
    done = CliRunner().invoke(main, [*told, "--json"])
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert record["lacking"] == LACKING
    assert set(record["samples"]) == {str(n) for n in range(4, 60, 5)} - {"14", "24"}
    shown = CliRunner().invoke(main, told).stdout
    assert "2 that lack a modality are not among them" in " ".join(shown.split())


@pytest.mark.parametrize("sample", ["14", "24"])
def test_a_sample_that_lacks_one_is_refused(sample, run):
    done = CliRunner().invoke(main, ["explain", str(run), "--features", "--sample", sample])
    assert done.exit_code == 1
    said = " ".join(done.output.split())
    assert f"the sample '{sample}' lacks a modality" in said
    assert "for instance 4, 9, 19" in said
