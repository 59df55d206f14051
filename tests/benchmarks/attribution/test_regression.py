"""Real values that were trained in standard units are explained in the targets' own."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from i2moe_plugin.attribution.names import EXPLAINERS, MIXTURE
from i2moe_plugin.benchmarks.attribution.sample import explain_features
from i2moe_plugin.benchmarks.attribution.study import study_features
from i2moe_plugin.benchmarks.attribution.subject import StudyOptions
from i2moe_plugin.benchmarks.attribution.trained import TrainedRun
from i2moe_plugin.benchmarks.experiments import run
from i2moe_plugin.benchmarks.run.store import Run
from i2moe_plugin.errors import RunError

UNIT = 1000.0


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Sequences of four and five tokens, targets about 50,000."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("heights")
    one, two = rng.normal(size=(60, 4, 3)), rng.normal(size=(60, 5, 3))
    y = 50_000 + UNIT * one[:, 0, 0] * two[:, 1, 0]
    np.savez(folder / "d.npz", one=one, two=two, y=y)
    places = {name: {"file": "d.npz", "key": name} for name in ("one", "two", "y")}
    description = {
        "name": "heights",
        "modalities": {name: {"kind": "tokens", **places[name]} for name in ("one", "two")},
        "target": places["y"],
        "task": "regression",
        "split": {"train": 0.6, "valid": 0.2, "test": 0.2, "seed": 0},
    }
    (folder / "dataset.yaml").write_text(yaml.safe_dump(description))
    options = {
        "settings": {"epochs": 2, "device": "cpu", "latent_dim": 8},
        "progress": False,
        "jobs": 1,
    }
    out = folder / "runs"
    found = run(str(folder), "token-transformer", ["fl-i2moe"], 1, out=out, **options)
    (one_run,) = [each for each in found.runs if "fl-i2moe" in each.path.name]
    return TrainedRun.open(Run.load(one_run.path))


@pytest.mark.parametrize("explainer", EXPLAINERS)
def test_scores_are_in_the_targets_units(trained, explainer):
    stored = trained.run.outputs("prediction", "expert_outputs")
    record = explain_features(trained, trained.ids[0], explainer=explainer, pairs=4, draws=4)
    for place, scope in enumerate(record["scopes"]):
        said = stored["prediction"] if place == 0 else stored["expert_outputs"][:, place - 1]
        assert scope["score"] == pytest.approx(float(said[0, 0]), rel=1e-6)
        if explainer == "integrated-gradients":
            assert abs(scope["completeness_error"]) < UNIT


def test_what_masking_changes_is_in_the_targets_units(trained):
    found = study_features(trained, StudyOptions(samples=6, shares=(0.3,), repeats=2, pairs=0))
    curves = found["scopes"][MIXTURE]["explainers"]["gradient-rollout"]
    tokens = trained.tokens(trained.rows(found["samples"]))
    gone = tokens.without(tokens.candidates, trained.fill)
    whole, empty = (
        trained.model.outputs(MIXTURE, latents, tokens.padding)
        for latents in (tokens.latents, gone)
    )
    span = float((whole - empty).detach().abs().mean())
    (fall,) = curves["comprehensiveness"]["mean"]
    assert 1e-3 * span < fall < 3 * span, "in units, and not rounded away beside 50,000"
    assert curves["metric_drop"]


def test_another_model_is_noticed_beside_a_large_mean(trained):
    """A hundredth of 50,000 is half a standard deviation: no tolerance for that."""
    weight = trained.model.model.bank.experts[0]
    parameter = next(p for name, p in weight.named_parameters() if name.endswith("head.bias"))
    parameter.data += 0.5
    try:
        with pytest.raises(RunError, match="something else"):
            trained.tokens([0, 1])
    finally:
        parameter.data -= 0.5
