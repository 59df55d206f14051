"""How many draws were enough: held against estimates of as many draws, made anew."""

from __future__ import annotations

import json

import pytest
import torch

from i2moe_plugin.attribution.pairs import sample_pairs
from i2moe_plugin.benchmarks.attribution.convergence import (
    convergence,
    enough_draws,
    enough_in_words,
    order_of,
)
from i2moe_plugin.benchmarks.attribution.sample import explain_features
from i2moe_plugin.benchmarks.attribution.trained import TrainedRun
from i2moe_plugin.benchmarks.report import features

PAIRS = [(i, j) for i in range(3) for j in range(3, 6)]


def random_game(present):
    generator = torch.Generator().manual_seed(5)
    table = torch.randn(64, generator=generator, dtype=torch.float64)
    return table[(present.long() * 2 ** torch.arange(6)).sum(1)]


@pytest.mark.parametrize("score", ["interaction", "redundancy_sub"])
def test_steps_are_estimates_with_so_many_draws(score):
    terms = sample_pairs(random_game, 6, PAIRS, draws=64)
    order = order_of(terms.estimate(score).mean)
    steps = convergence(terms, score, order)
    assert steps[0]["draws"] == 4
    assert steps[-1]["draws"] == 64
    for step in steps:
        alone = terms.estimate(score, int(step["draws"]))
        best = max(range(len(PAIRS)), key=lambda place: float(alone.mean[place]))
        assert step["first"] == (best == int(order[0]))
        for place, found in zip(order[:3].tolist(), step["highest"], strict=True):
            assert found["mean"] == float(alone.mean[place])
            assert found["standard_error"] == float(alone.standard_error[place])
    ends = [found["mean"] for found in steps[-1]["highest"]]
    assert ends == sorted(terms.estimate(score).mean.tolist(), reverse=True)[:3]


def step(draws, first, mean, error, *others):
    highest = [{"mean": mean, "standard_error": error}, *others]
    return {"draws": float(draws), "first": first, "highest": highest}


def test_enough_is_where_nothing_changes_any_more():
    steps = [
        step(4, True, 1.0, 0.1),
        step(8, False, 0.3, 0.2),
        step(16, True, 0.5, 0.2),
        step(32, True, 0.5, 0.1),
    ]
    assert enough_draws(steps, 0.0) == {"first": 16, "above_zero": 16}
    assert enough_draws([*steps, step(64, True, 0.5, 0.25)], 0.0)["above_zero"] is None
    assert enough_draws(steps, 0.4) == {"first": 16, "above_zero": 16}
    assert enough_draws(steps, 0.6)["above_zero"] is None


def test_a_lead_within_the_errors_is_no_lead():
    def said(lead):
        other = {"mean": 1.0 - lead, "standard_error": 0.1}
        steps = [step(4, True, 1.0, 0.1, other)]
        probe = {"draws": 4, "enough": enough_draws(steps, 0.0), "convergence": steps}
        return enough_in_words({**probe, "pairs": [{"mean": 1.0}], "rounding": 0.0})

    assert "the next may be as high" in said(0.25)  # 2 x 0.1 x sqrt(2) is 0.283
    assert "the next may be as high" not in said(0.3)


def test_the_report_draws_every_step(trained_runs):
    from i2moe_plugin.benchmarks.run.store import Run

    trained = TrainedRun.open(Run.load(trained_runs()))
    record = explain_features(trained, trained.ids[1], pairs=5, draws=8)
    drawn = [
        panel
        for panel in features.feature_panels(trained.run)
        if "number of draws" in panel["title"] and record["sample"] in panel["title"]
    ]
    assert len(drawn) == len(record["pairs"]) == 2
    for panel, probe in zip(drawn, record["pairs"], strict=True):
        json.dumps(panel, allow_nan=False)
        assert enough_in_words(probe) in panel["alt"]
        rows = panel["table"]["rows"]
        assert len(rows) == 3 * len(probe["convergence"])
        last = [row for row in rows if row[1] == 8]
        for row, pair in zip(last, probe["pairs"], strict=False):
            assert row[0] == features.pair_name(pair)
            assert row[2:] == pytest.approx([pair["mean"], pair["standard_error"]], abs=1e-5)


def test_rounding_is_not_taken_for_a_score():
    """A model whose output does not depend on its tokens but for rounding."""
    from i2moe_plugin.attribution.study import score_pairs
    from i2moe_plugin.attribution.targets import choose_targets
    from i2moe_plugin.attribution.tokens import Tokens
    from i2moe_plugin.tasks import Classification

    class Rounded:
        task, scale = Classification(2), None

        def outputs(self, scope, latents, padding):
            noise = sum(x.sum((1, 2)) for x in latents).frac() * 6e-8
            return torch.stack([1 + noise, 0 * noise], 1)

    torch.manual_seed(0)
    latents = (torch.randn(1, 4, 3), torch.randn(1, 5, 3))
    there = tuple(torch.ones(x.shape[:2], dtype=torch.bool) for x in latents)
    tokens = Tokens(latents, tuple(~x for x in there), there)
    model = Rounded()
    targets = choose_targets(model.task, model.outputs("mixture", latents, None))
    importance = [torch.ones(x.shape) for x in there]
    fill = [torch.zeros(3)] * 2
    found = score_pairs(model, tokens, targets, importance, fill, "mixture", share=1.0)
    mean = found.terms.estimate("interaction").mean
    assert found.rounding == pytest.approx(4 * 1.19e-7, rel=0.01)
    assert mean.abs().max() <= found.rounding
    steps = convergence(found.terms, "interaction", order_of(mean))
    assert enough_draws(steps, found.rounding)["above_zero"] is None
