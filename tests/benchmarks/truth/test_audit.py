"""The audit: judged against naive restatements, on runs that were trained."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import rankdata

from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.data.open import open_dataset
from i2moe_plugin.benchmarks.datasets.synthetic.dataset import truth_of
from i2moe_plugin.benchmarks.grid.spec import load_suite, shipped_suites
from i2moe_plugin.benchmarks.run.mixed import TrainedModel
from i2moe_plugin.benchmarks.run.saved import SavedModel
from i2moe_plugin.benchmarks.run.store import RunStore
from i2moe_plugin.benchmarks.run.trained import data_of
from i2moe_plugin.benchmarks.terminal.audit import table_rows
from i2moe_plugin.benchmarks.truth.audit import Audit, AuditRow, varied_data
from i2moe_plugin.benchmarks.truth.judge import Judged, judge
from i2moe_plugin.errors import ConfigError

NAMES = ("uniqueness_1", "uniqueness_2", "synergy", "redundancy")
TOLD = "--set data.samples=400 --epochs 3 --set latent_dim=8 --device cpu --jobs 1"
ONLY = ["--only", "synthetic:hdxor-synergy", "--only", "i2moe", "--only", "evidence"]


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """Two seeds of two methods, small."""
    out = tmp_path_factory.mktemp("audit")
    arguments = ["audit", "truth-short", *ONLY, "--only", "concat", *TOLD.split()]
    done = CliRunner().invoke(main, [*arguments, "--out", str(out), "--seeds", "2", "--json"])
    assert done.exit_code == 0, done.output
    return out, json.loads(done.stdout)


def made(importance, truth, kind="bits", said=None, target=None):
    importance, truth = np.array(importance, float), np.array(truth, float)
    return Judged(
        run=None,
        score=0.5,
        experts=NAMES,
        kind=kind,
        importance=importance,
        said=importance > 0.1 if said is None else np.array(said),
        truth=truth,
        absent=truth < 0.005,
        target=target,
    )


def test_target_first_and_invented():
    right = made([0, 0, 0.8, 0.02], [0, 0, 1, 0], target=2)
    assert right.target_first is True
    assert right.invented is False
    wrong = made([0.9, 0, 0.8, 0], [0, 0, 1, 0], target=2)
    assert (wrong.target_first, wrong.invented) == (False, True)
    unsaid = made([0, 0, 0.08, 0], [0, 0, 1, 0], target=2)  # first, but not claimed
    assert unsaid.target_first is False
    nothing = made([np.nan] * 4, [0, 0, 1, 0], kind=None, target=2)
    assert (nothing.target_first, nothing.invented) == (None, None)
    assert np.isnan(nothing.share_error)
    assert np.isnan(nothing.rank_correlation)
    assert made([0, 0, 0, 0], [0, 0, 0, 0]).target_first is None


def test_errors_against_restatements():
    one = made([0.2, 0.1, 0.5, -0.05], [0.4, 0, 0.4, 0])
    shares = np.array([0.2, 0.1, 0.5, 0]) / 0.8
    assert one.share_error == pytest.approx(np.abs(shares - [0.5, 0, 0.5, 0]).mean())
    ranks = rankdata(one.importance), rankdata(one.truth)
    assert one.rank_correlation == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert np.isnan(made([0.1, 0.2, 0.3, 0.4], [0, 0, 0, 0]).rank_correlation)


def test_every_seed_draws_its_own_data(audited):
    out, found = audited
    assert found["seeds"] == [0, 1]
    runs = list(RunStore(out))
    assert sorted((run.seed, run.settings["data_settings"]["seed"]) for run in runs) == (
        [(0, 0), (0, 0), (1, 1), (1, 1)]
    )
    truths = [truth_of("synthetic:hdxor-synergy", {"samples": 400, "seed": s}) for s in (0, 1)]
    for row in found["rows"]:
        expected = np.mean([truth.parts.parts for truth in truths], 0)
        np.testing.assert_allclose(row["truth"], expected)
        assert row["target"] == "synergy"
        assert 0 <= row["intershap"] <= 1
        assert row["intershap_published"] == pytest.approx(0.98)
        assert row["target_first"]["of"] == row["invented"]["of"] == 2


def test_importance_is_the_runs_own(audited):
    out, found = audited
    by = {row["method"]: row for row in found["rows"]}
    assert by["i2moe"]["importance_is"] == "weights"
    weights = [
        [*run.result["expert_weights"].values()] for run in RunStore(out) if run.method == "i2moe"
    ]
    np.testing.assert_allclose(by["i2moe"]["importance"], np.mean(weights, 0))
    assert by["i2moe"]["bits_error"] is None
    bits = [judge(run).importance for run in RunStore(out) if run.method == "evidence"]
    error = np.abs(np.mean(bits, 0) - by["evidence"]["truth"]).mean()
    assert by["evidence"]["bits_error"] == pytest.approx(error)


def test_a_trained_model_says_again_what_was_stored(audited):
    out, _ = audited
    for run in RunStore(out):
        model = TrainedModel.load(run)
        rows = model.rows("test")
        stored = run.outputs("prediction")["prediction"]
        expected = np.exp(stored) / np.exp(stored).sum(1, keepdims=True)
        np.testing.assert_allclose(model.probabilities([rows, rows]), expected, atol=1e-5)
        if run.method == "i2moe":
            mixed = model.probabilities([rows, rows[::-1]])
            assert not np.allclose(mixed, expected, atol=1e-4)


def test_other_data_is_refused(audited):
    out, _ = audited
    run = next(iter(RunStore(out)))
    other = {**run.settings, "data_settings": {**run.settings["data_settings"], "samples": 402}}
    changed = replace(run)
    changed.__dict__["settings"] = other
    with pytest.raises(Exception, match="other samples"):
        data_of(SavedModel.of(changed))
    real = replace(run)
    real.__dict__["settings"] = {**run.settings, "dataset": "htad"}
    with pytest.raises(ConfigError, match="nothing is known of the interactions in htad"):
        judge(real)
    done = CliRunner().invoke(main, ["audit", "regression", "--seeds", "1"])
    assert "takes drawn sets" in done.output


def test_the_table_says_what_is_wrong(audited, tmp_path):
    out, _ = audited
    arguments = ["audit", "truth-short", *ONLY, "--only", "concat", *TOLD.split()]
    more = ["--out", str(out), "--seeds", "2", "--no-intershap"]
    page = tmp_path / "truth.md"
    done = CliRunner().invoke(main, [*arguments, *more, "--markdown", str(page)])
    assert done.exit_code == 0, done.output
    assert "hdxor-synergy, M = 2, concat" in done.output
    assert "ranks the expert that carries the data first in" in done.output
    assert page.read_text().startswith("| data and backbone | method |")


@pytest.mark.parametrize("name", [name for name in shipped_suites() if "truth" in name])
def test_suites_of_drawn_data_can_be_opened(name):
    grid = load_suite(name)
    assert len({cell.key for cell in grid.cells}) == len(grid.cells)
    for settings in {str(c.settings.data_settings): c.settings for c in grid.cells}.values():
        rare = settings.data_settings.get("positives", 0.5)
        small = {**settings.data_settings, "samples": round(30 / rare)}
        assert open_dataset(settings.dataset, **small)


def test_what_a_suite_varies_of_the_data_is_told_apart():
    grid = load_suite("truth", seeds=(0,))
    shown = [
        (cell.settings.dataset, cell.settings.data_settings.get("modalities"), varied_data(cell))
        for cell in grid.cells
        if (cell.settings.fusion, cell.settings.method) == ("concat", "evidence")
    ]
    assert len(set(shown)) == len(shown)
    noisy = AuditRow("synthetic:hdxor-synergy", 2, "concat", "evidence", (), data=("samples=767",))
    (cells,) = table_rows(Audit("few", (0,), [noisy]))
    assert cells[0] == "hdxor-synergy, M = 2, samples=767, concat"
