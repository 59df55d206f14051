"""Texts without a word, whatever they hold: explained all the same, and said so."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from i2moe_plugin.attribution.names import EXPLAINERS
from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.run.store import Run

TEXTS = {
    "all empty": lambda row, text: "",
    "white space": lambda row, text: " \n\t",
    "some empty": lambda row, text: text if row % 2 else "",
}
FIRST = ("--draws", "4", "--pairs", "3")


def call(*told):
    done = CliRunner().invoke(main, [*map(str, told)])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module", params=TEXTS)
def run(request, tmp_path_factory, write_icons, tiny_models):
    """A run on icons with such texts; each of a base name's styles has the same text."""
    folder = tmp_path_factory.mktemp("empty")
    data = write_icons(folder / "icons", keep=lambda row: row % 48 == 0)
    with np.load(data / "icons.npz") as archive:
        arrays = dict(archive)
    change = TEXTS[request.param]
    numbers = np.unique(arrays["base"], return_inverse=True)[1]
    arrays["text"] = np.array(
        [change(n, str(text)) for n, text in zip(numbers, arrays["text"], strict=True)]
    )
    np.savez(data / "icons.npz", **arrays)
    call(
        *("run", "--method", "fl-i2moe", "--no-vanilla", "--dataset", "icons"),
        *("--data-root", data, "--set", "data.task=style", "--set", "latent_dim=8"),
        *("--set", f"data.text_model={tiny_models}/text"),
        *("--set", f"data.picture_model={tiny_models}/picture"),
        *("--seeds", "1", "--epochs", "1", "--jobs", "1", "--device", "cpu", "--json"),
        *("--out", folder / "runs"),
    )
    (path,) = (folder / "runs").glob("icons-*")
    return Run.load(path)


def test_samples_studies_and_reports(run, request, tmp_path):
    whole = "empty" in request.node.name and "all" in request.node.name
    sample = run.outputs("sample_id")["sample_id"][0]
    for explainer in EXPLAINERS:
        told = ("--sample", sample, "--features", "--explainer", explainer, *FIRST)
        record = json.loads(call("explain", run.path, *told, "--json"))
        for scope in record["scopes"]:
            assert np.isfinite(np.concatenate(scope["importance"])).all()
    told = ("--sample", sample, "--features", *FIRST, "--png", tmp_path / "heat.png")
    said = call("explain", run.path, *told)
    study = ("explain", run.path, "--features", "--samples", "4", *FIRST)
    record = json.loads(call(*study, "--json"))
    for found in record["scopes"].values():
        for curves in found["explainers"].values():
            assert np.isfinite(curves["comprehensiveness"]["mean"]).all()
    shown = call(*study, "--png", tmp_path / "curves.png")
    if whole:
        assert "no tokens that stand for anything" in said
        assert "No pairs" in said
        assert record["pairs"] == {}
        assert "No pairs" in shown
    call("report", run.path, "-o", tmp_path / "report.html")
    assert "heat" in (tmp_path / "report.html").read_text(encoding="utf-8").lower()
