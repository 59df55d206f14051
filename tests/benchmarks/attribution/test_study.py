"""Many samples of a run: what the record says against what can be counted by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from matplotlib.figure import Figure
from PIL import Image
from scipy.stats import ttest_1samp

from i2moe_plugin.attribution.maps import explain_tokens
from i2moe_plugin.attribution.names import EXPLAINERS, MIXTURE
from i2moe_plugin.attribution.targets import choose_targets
from i2moe_plugin.benchmarks.attribution.curves_picture import draw_curves
from i2moe_plugin.benchmarks.attribution.intervals import in_words, interval, shares_of
from i2moe_plugin.benchmarks.attribution.sample import explain_features
from i2moe_plugin.benchmarks.attribution.study import study_features
from i2moe_plugin.benchmarks.attribution.subject import StudyOptions
from i2moe_plugin.benchmarks.attribution.trained import TrainedRun
from i2moe_plugin.benchmarks.attribution.truth import heaviest_experts
from i2moe_plugin.benchmarks.attribution.words import at_chance, headline
from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.report.features import feature_panels
from i2moe_plugin.errors import ConfigError
from i2moe_plugin.interpretation import Outputs
from i2moe_plugin.tasks import Classification

OPTIONS = StudyOptions(samples=5, shares=(0.1, 0.5), repeats=2, pairs=4, draws=4)


@pytest.fixture
def trained(finished):
    return TrainedRun.open(finished)


@pytest.fixture
def record(trained):
    return study_features(trained, OPTIONS)


def test_every_scope_and_explainer_has_its_curves(record, trained):
    assert set(record["scopes"]) == set(trained.model.scopes)
    for scope in record["scopes"].values():
        assert set(scope["explainers"]) == set(EXPLAINERS)
        for name, curves in scope["explainers"].items():
            assert len(curves["comprehensiveness"]["mean"]) == 2
            assert len(curves["metric_drop"]) == 2
            assert ("area_above_random" in curves) == (name != "random")
    assert len(record["samples"]) == 5
    assert len(record["agreement"]) == 6  # pairs of 4 experts


def test_a_curve_against_one_sample_and_share_at_a_time(record, trained):
    rows = trained.rows(record["samples"])
    falls = np.zeros((5, 2))
    for place, row in enumerate(rows):
        tokens = trained.tokens([row])
        outputs = trained.model.outputs(MIXTURE, tokens.latents, tokens.padding).detach()
        targets = choose_targets(trained.model.task, outputs)
        maps = explain_tokens("gradient-rollout", trained.model, tokens, targets)
        target = int(outputs.argmax())
        for k, share in enumerate((0.1, 0.5)):
            latents = [x.clone() for x in tokens.latents]
            for m, there in enumerate(tokens.candidates):
                number = max(1, int(np.ceil(round(share * int(there.sum()), 9))))
                best = maps.importance[m][0].masked_fill(~there[0], -1)
                chosen = best.argsort(descending=True, stable=True)[:number]
                latents[m][0, chosen] = trained.fill[m]
            said = trained.model.outputs(MIXTURE, latents, tokens.padding).detach()
            falls[place, k] = outputs.softmax(1)[0, target] - said.softmax(1)[0, target]
    found = record["scopes"][MIXTURE]["explainers"]["gradient-rollout"]["comprehensiveness"]
    np.testing.assert_allclose(found["mean"], falls.mean(0), atol=1e-4)


def test_pairs_are_judged_beside_their_controls(record):
    assert set(record["pairs"]) == {"interaction", "redundancy_sub"}
    for found in record["pairs"].values():
        masking = found["masking"]
        for name in ("random", "matched"):
            difference = masking["highest_pairs"]["mean"] - masking[name]["mean"]
            assert masking[f"above_{name}"]["mean"] == pytest.approx(difference, abs=1e-6)
        assert 0 < masking["matched_the_same"] < 1, "a few of these tokens are alone in their third"
        assert sum(level["pairs"] for level in found["levels"][:3]) == 5 * 4
    cost = record["cost"]
    assert cost["pair_evaluations"] < cost["pair_evaluations_of_a_naive_loop"] == 2 * 5 * 4 * 4 * 4


def test_truth_is_known_of_copy_alone(record, trained_runs):
    from i2moe_plugin.benchmarks.run.store import Run

    assert {row["modality"] for row in record["truth"]} == {"text", "image"}
    for row in record["truth"]:
        assert 0 < row["by_chance"] < 1
        assert row["samples"] == 5
    assert [row["expert"] for row in record["experts"] if row["expected"]] == ["redundancy"]
    other = TrainedRun.open(Run.load(trained_runs("fl-i2moe", "match")))
    found = study_features(other, StudyOptions(samples=3, shares=(0.5,), repeats=1, pairs=0))
    assert found["truth"] == []
    assert found["pairs"] == {}
    assert [row["expert"] for row in found["experts"] if row["expected"]] == ["synergy"]


def test_a_pooled_control_is_masked_in_the_same_way(record, trained_runs):
    """Its tokens are masked before they are pooled; there is no attention to roll out."""
    from i2moe_plugin.benchmarks.run.store import Run

    dense = TrainedRun.open(Run.load(trained_runs("dense")))
    found = study_features(dense, OPTIONS)
    assert found["samples"] == record["samples"]
    assert set(found["scopes"]) == {MIXTURE}
    assert set(found["scopes"][MIXTURE]["explainers"]) == {"random", "integrated-gradients"}
    assert found["usual_explainer"] == "integrated-gradients"
    assert "integrated-gradients" in headline(found)
    sample = explain_features(dense, dense.ids[0], pairs=2, draws=4)
    assert sample["explainer"] == "integrated-gradients"
    assert {row["modality"] for row in found["truth"]} == {"text", "image"}
    tokens = dense.tokens(dense.rows(found["samples"]))
    stored = dense.run.outputs("prediction")["prediction"][dense.rows(found["samples"])]
    said = dense.model.outputs(MIXTURE, tokens.latents, tokens.padding).detach()
    np.testing.assert_allclose(said, stored, atol=1e-4)


def test_shares_and_fill_are_told(finished):
    told = ["explain", str(finished.path), "--features", "--samples", "3", "--pairs", "0", "--json"]
    done = CliRunner().invoke(main, [*told, "--shares", "50,10", "--fill", "zero"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["shares"] == [0.1, 0.5]
    assert found["key"]["fill"] == "zero"
    mean = json.loads(CliRunner().invoke(main, [*told, "--shares", "10,50"]).stdout)
    curves = [
        each["scopes"][MIXTURE]["explainers"]["rollout"]["comprehensiveness"]["mean"]
        for each in (found, mean)
    ]
    assert curves[0] != curves[1], "another token stands there"


@pytest.mark.parametrize("shares", ["0,10", "110", "ten", ""])
def test_shares_that_are_none(shares, finished):
    done = CliRunner().invoke(
        main, ["explain", str(finished.path), "--features", "--shares", shares]
    )
    assert done.exit_code == 2
    assert "expected percents" in done.output


def test_random_maps_find_the_truth_as_often_as_chance(record):
    """A check of the counting, not of the model: the share of ties and hits is a probability."""
    for row in record["truth"]:
        values = row["first_is_true"]
        assert 0 <= values["low"] <= values["mean"] <= values["high"] <= 1


def test_a_study_is_kept(trained, record, monkeypatch):
    monkeypatch.setattr(TrainedRun, "tokens", lambda *_: pytest.fail("computed again"))
    assert study_features(trained, OPTIONS) == record


def test_the_memory_budget_changes_no_number(trained, record, monkeypatch):
    from i2moe_plugin.benchmarks.attribution import kept

    monkeypatch.setattr(kept, "FORMAT", 99)
    small = study_features(trained, StudyOptions(**{**OPTIONS.__dict__, "memory_budget": 1}))
    for scope, found in record["scopes"].items():
        for explainer, curves in found["explainers"].items():
            again = small["scopes"][scope]["explainers"][explainer]
            np.testing.assert_allclose(
                again["comprehensiveness"]["mean"], curves["comprehensiveness"]["mean"], atol=1e-4
            )


def test_the_command_prints_and_draws(finished, tmp_path):
    told = ["explain", str(finished.path), "--features", "--samples", "4", "--pairs", "4"]
    png = ["--draws", "4", "--png", str(tmp_path / "curves.png")]
    done = CliRunner().invoke(main, [*told, *png])
    assert done.exit_code == 0, done.output
    for part in ("area above random", "less matched", "comes first", "redundancy"):
        assert part in done.output
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.text["Description"].startswith("gradient-rollout")
    done = CliRunner().invoke(main, [*told, "--draws", "4", "--json"])
    assert headline(json.loads(done.stdout))


def test_intervals_hold_the_mean():
    values = np.random.default_rng(0).normal(size=(50, 3))
    found = interval(values)
    np.testing.assert_allclose(found["mean"], values.mean(0))
    low, high = ttest_1samp(values, 0).confidence_interval(0.95)
    np.testing.assert_allclose(found["low"], low, atol=1e-8)
    np.testing.assert_allclose(found["high"], high, atol=1e-8)


@pytest.mark.parametrize("draws", [2, 5])
def test_draws_are_checked_before_anything_is_computed(draws):
    with pytest.raises(ConfigError, match=f"at least 4, and even, not {draws}"):
        StudyOptions(draws=draws)
    StudyOptions(draws=draws, pairs=0)


def test_one_sample_has_no_interval():
    assert interval(np.array([0.5])) == {"mean": 0.5, "low": None, "high": None}
    found = interval(np.array([[0.5, 0.25]]))
    assert found == {"mean": [0.5, 0.25], "low": [None, None], "high": [None, None]}
    assert in_words(interval(np.array([0.5]))) == "0.500 (of one sample: no interval)"
    assert shares_of(np.array([[1.0, 0.0]]))["mean"] == [1.0, 0.0]


@pytest.mark.parametrize("size", [1e-6, 1e-3, 0.5, 1e5])
def test_numbers_of_any_size_are_told_apart(size):
    said = in_words({"mean": size, "low": 0.4 * size, "high": 1.6 * size})
    numbers = [float(word.strip("()")) for word in said.split() if word != "to"]
    np.testing.assert_allclose(numbers, [size, 0.4 * size, 1.6 * size], rtol=0.02)


def test_a_study_of_one_sample_gives_no_verdict(finished, tmp_path):
    told = ["explain", str(finished.path), "--features", "--samples", "1", "--pairs", "3"]
    told += ["--draws", "4", "--shares", "20,50", "--png", str(tmp_path / "one.png")]
    done = CliRunner().invoke(main, told)
    assert done.exit_code == 0, done.output
    assert "is not judged by one sample" in " ".join(done.output.split())
    record = json.loads(CliRunner().invoke(main, [*told, "--json"]).stdout)
    levels = [level for found in record["pairs"].values() for level in found["levels"]]
    assert all(level["low"] is None for level in levels)
    panels = feature_panels(finished)
    assert any(panel["title"].endswith("? 1 test sample") for panel in panels)
    json.dumps(panels, allow_nan=False)


def test_the_heaviest_expert_is_counted():
    weights = torch.tensor([[0.6, 0.4], [0.7, 0.3], [0.1, 0.9], [0.8, 0.2]]).numpy()
    one, two = heaviest_experts(weights, ["a", "b"], "b")
    assert (one["largest_weight"]["mean"], two["largest_weight"]["mean"]) == (0.75, 0.25)
    assert (one["expected"], two["expected"]) == (False, True)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.1, 0.3, "more than"),
        (-0.3, -0.1, "less than"),
        (-0.1, 0.3, "not distinguishable"),
        (1e-9, 2e-9, "not distinguishable"),  # rounding
        (-2e-9, -1e-9, "not distinguishable"),
        (None, None, "is not judged by one sample"),
    ],
)
def test_the_headline_says_what_the_interval_says(low, high, said):
    area = {"comprehensiveness": {"mean": 0.1, "low": low, "high": high}}
    scopes = {MIXTURE: {"explainers": {"rollout": {"area_above_random": area}}}}
    record = {"scopes": scopes, "rounding": 1e-7}
    assert said in headline(record, "rollout")


@pytest.mark.parametrize(("right", "warned"), [(50, True), (58, True), (90, False)])
def test_a_model_that_knows_nothing_is_said(right, warned):
    target = np.arange(100) % 2
    decided = np.where(np.arange(100) < right, target, 1 - target)
    outputs = Outputs(
        task=Classification(2),
        prediction=np.eye(2)[decided],
        target=target,
        sample_id=np.arange(100).astype(str).astype(object),
        class_names=("no", "yes"),
        modalities=("text", "image"),
    )
    caution = at_chance(outputs)
    assert caution.startswith(f"Caution: {right}.0 % of test samples") == warned
    assert bool(caution) == warned
    area = {"comprehensiveness": {"mean": 0.1, "low": 0.1, "high": 0.3}}
    scopes = {MIXTURE: {"explainers": {"rollout": {"area_above_random": area}}}}
    record = {"scopes": scopes, "rounding": 1e-7}
    assert headline({**record, "caution": caution}, "rollout").endswith(caution or "0.300).")


def test_a_long_headline_stays_inside_the_picture(record, tmp_path, monkeypatch):
    drawn = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda f, *a, **k: (drawn.append(f), save(f, *a, **k)))
    draw_curves({**record, "caution": "Caution: " + "one word after another " * 12}, tmp_path / "a")
    (figure,) = drawn
    box, whole = figure._suptitle.get_window_extent(), figure.bbox
    assert box.x0 >= whole.x0
    assert box.x1 <= whole.x1
    assert box.y1 <= whole.y1
