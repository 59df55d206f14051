"""One sample of a run by its tokens, end to end: from the command to the picture."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from i2moe_plugin.attribution.names import EXPLAINERS
from i2moe_plugin.benchmarks.attribution.picture import describe
from i2moe_plugin.benchmarks.attribution.sample import (
    explain_features,
    seeded_rows,
    token_name,
    word_importance,
)
from i2moe_plugin.benchmarks.attribution.trained import TrainedRun
from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.data.layouts import Layout
from i2moe_plugin.benchmarks.encoders.pretrained import TextTokens
from i2moe_plugin.benchmarks.run.store import Run
from i2moe_plugin.errors import ConfigError, RunError


@pytest.fixture
def trained(finished):
    return TrainedRun.open(finished)


def explain(run, *told, sample=None):
    sample = sample or run.outputs("sample_id")["sample_id"][0]
    draws = () if "--draws" in told else ("--draws", "8")
    return CliRunner().invoke(
        main, ["explain", str(run.path), "--sample", sample, "--features", *draws, *told]
    )


def test_a_run_opened_again_says_what_it_said(trained, finished):
    rows = [5, 0, 3]
    tokens = trained.tokens(rows)
    found = trained.model.outputs("mixture", tokens.latents, tokens.padding)
    stored = finished.outputs("prediction", "weights", "expert_outputs")
    np.testing.assert_allclose(found.detach(), stored["prediction"][rows], atol=1e-4)
    weights = trained.model.weights(tokens.latents, tokens.padding).detach()
    np.testing.assert_allclose(weights, stored["weights"][rows], atol=1e-5)
    for number, name in enumerate(trained.model.scopes[1:]):
        said = trained.model.outputs(name, tokens.latents, tokens.padding).detach()
        np.testing.assert_allclose(said, stored["expert_outputs"][rows, number], atol=1e-4)


def test_special_tokens_are_no_candidates(trained):
    rows = [0, 1, 2]
    tokens = trained.tokens(rows)
    for place, row in enumerate(rows):
        text = trained.layouts(row)[0].text
        there = [not special for special in text.special]
        found = tokens.candidates[0][place].tolist()
        assert found[: len(there)] == there
        assert not any(found[len(there) :])


@pytest.mark.parametrize("explainer", EXPLAINERS)
def test_the_record_has_everything(explainer, trained):
    sample = trained.ids[1]
    record = explain_features(trained, sample, explainer=explainer, pairs=6, draws=8)
    assert [scope["scope"] for scope in record["scopes"]] == [
        *("mixture", "uniqueness_1", "uniqueness_2", "synergy", "redundancy"),
    ]
    text, image = record["modalities"]
    assert text["text"] == trained.data.preview("test", 1)[0].value
    for scope in record["scopes"]:
        assert len(scope["words"][0]) == len(text["words"])
        assert scope["words"][1] is None
        assert len(scope["importance"][1]) == np.prod(image["grid"])
        assert ("completeness_error" in scope) == (explainer == "integrated-gradients")
        for word, value in zip(text["words"], scope["words"][0], strict=True):
            own = [scope["importance"][0][token] for token in word["tokens"]]
            assert value == pytest.approx(max(own), abs=1e-4)
    assert [probe["scope"] for probe in record["pairs"]] == ["synergy", "redundancy"]
    for probe in record["pairs"]:
        means = [pair["mean"] for pair in probe["pairs"]]
        assert means == sorted(means, reverse=True)
        assert 1 <= len(means) <= 6
        assert probe["evaluations"] <= probe["naive_evaluations"]


def test_vanilla_is_explained_by_its_own_output(trained_runs):
    run = Run.load(trained_runs("vanilla"))
    trained = TrainedRun.open(run)
    record = explain_features(trained, trained.ids[0], pairs=4, draws=8)
    assert [scope["scope"] for scope in record["scopes"]] == ["mixture"]
    assert [probe["scope"] for probe in record["pairs"]] == ["mixture", "mixture"]


def test_a_result_is_kept_beside_the_run(trained, finished, monkeypatch):
    sample = trained.ids[2]
    first = explain_features(trained, sample, pairs=2, draws=4)
    monkeypatch.setattr(TrainedRun, "tokens", lambda *_: pytest.fail("computed again"))
    assert explain_features(trained, sample, pairs=2, draws=4) == first
    files = list((finished.path / "features").glob("sample-*.json"))
    assert files
    assert json.loads(next(f for f in files if sample in f.read_text()).read_text())
    finished.check()  # the run is whole all the same
    for file in files:
        file.write_text("{")
    with pytest.raises(BaseException, match="computed again"):
        explain_features(trained, sample, pairs=2, draws=4)
    for file in files:
        file.unlink()


def test_the_command_shows_words_patches_and_pairs(finished, tmp_path):
    done = explain(finished, "--pairs", "5", "--png", str(tmp_path / "heat.png"))
    assert done.exit_code == 0, done.output
    for part in ("mixture", "synergy", "text", "image", "Pairs by interaction", "Pairs by redund"):
        assert part in done.output
    with Image.open(tmp_path / "heat.png") as picture:
        assert min(picture.size) > 800
        assert picture.text["Description"].startswith("What counts for")
    record = json.loads(explain(finished, "--pairs", "5", "--json").stdout)
    assert describe(record) in done.output.replace("\n", "") or describe(record) in done.stderr


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (("--explainer", "gradient"), "gradient-rollout"),
        (("--draws", "7"), "even"),
    ],
)
def test_settings_that_make_no_sense(told, message, finished):
    done = explain(finished, *told)
    assert done.exit_code == 1, done.output
    assert message in done.output
    assert isinstance(done.exception, SystemExit)


def test_samples_that_are_not_there(finished):
    done = explain(finished, sample="tabler/nothing")
    assert done.exit_code == 1
    assert "no test sample 'tabler/nothing'" in done.output


def test_a_run_on_vectors_is_refused(small_htad, tmp_path):
    told = "run --fusion concat --no-vanilla --seeds 1 --epochs 1 --jobs 1 --json --dataset htad"
    out = ["--data-root", str(small_htad), "--out", str(tmp_path / "runs")]
    assert CliRunner().invoke(main, [*told.split(), *out]).exit_code == 0
    (folder,) = (tmp_path / "runs").glob("htad-*")
    done = CliRunner().invoke(main, ["explain", str(folder), "--sample", "x", "--features"])
    assert done.exit_code == 1
    assert "comes to the experts as one vector" in done.output


def test_other_outputs_than_stored_are_refused(trained, monkeypatch):
    with torch.no_grad():
        next(iter(trained.model.model.reweighting.parameters())).add_(5)
        trained.model.model.bank.experts[0].backbone.fusion.head.bias.add_(1)
    with pytest.raises(RunError, match="now says something else"):
        trained.tokens([0, 1])


def test_words_count_by_their_largest_piece():
    text = TextTokens("ab c", (1, 2, 3, 4), ((0, 0), (0, 1), (1, 2), (3, 4)), (True, *[False] * 3))
    layout = Layout(text)
    assert word_importance(torch.tensor([9.0, 0.2, 0.6, 0.1]), layout) == pytest.approx([0.6, 0.1])
    assert token_name(layout, 1) == "ab (a)"
    assert token_name(layout, 3) == "c"
    assert token_name(Layout(grid=(2, 3)), 4) == "row 2, column 2"
    assert token_name(None, 0) == "token 1"
    twice = TextTokens("a a", (1, 2), ((0, 1), (2, 3)), (False, False))
    assert [token_name(Layout(twice), n) for n in range(2)] == ["a", "a [2]"]
    with pytest.raises(ValueError, match="of a text or of a picture"):
        Layout()


def test_rows_are_drawn_once_and_for_all():
    assert seeded_rows(3, 5) == [0, 1, 2]
    drawn = seeded_rows(100, 10)
    assert drawn == sorted(set(drawn)) == seeded_rows(100, 10)
    assert len(drawn) == 10


def test_unknown_samples_are_named(trained):
    with pytest.raises(ConfigError, match="Did you mean"):
        trained.rows([trained.ids[0] + "x"])
