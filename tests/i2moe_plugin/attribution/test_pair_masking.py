"""Choosing pairs, masking by them with equal budgets, and their relation to importance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from i2moe_plugin.attribution.pair_masking import (
    by_importance,
    candidate_pairs,
    mask_by_pairs,
    matched_like,
    pair_importance,
    random_like,
)
from i2moe_plugin.errors import ConfigError, ShapeError

ALL = (torch.ones(4, dtype=torch.bool), torch.ones(6, dtype=torch.bool))
RISING = (torch.arange(4.0), torch.arange(6.0))


def test_pairs_are_of_both_modalities_and_of_candidates():
    there = (ALL[0].clone(), ALL[1])
    there[0][0] = False
    pairs = candidate_pairs(RISING, there, limit=100).tolist()
    assert pairs == [[t, 4 + p] for t in (1, 2, 3) for p in range(6)]


def test_pairs_of_the_most_important_features():
    pairs = candidate_pairs(RISING, ALL, share=0.3).tolist()
    assert pairs == [[t, p] for t in (2, 3) for p in (8, 9)]


def test_too_many_pairs_are_drawn_evenly_and_repeatably():
    seen = np.zeros((10, 10))
    for seed in range(400):
        pairs = candidate_pairs(RISING, ALL, limit=6, seed=seed)
        assert len(pairs.unique(dim=0)) == 6
        assert torch.equal(pairs, candidate_pairs(RISING, ALL, limit=6, seed=seed))
        seen[pairs[:, 0], pairs[:, 1]] += 1
    assert seen[:4, 4:].sum() == seen.sum()
    np.testing.assert_allclose(seen[:4, 4:] / 400, 6 / 24, atol=0.1)


def test_no_candidates_no_pairs():
    nothing = (torch.zeros(4, dtype=torch.bool), ALL[1])
    assert candidate_pairs(RISING, nothing).shape == (0, 2)


@pytest.mark.parametrize("told", [{"limit": 0}, {"share": 0.0}])
def test_pairs_that_make_no_sense(told):
    with pytest.raises(ConfigError):
        candidate_pairs(RISING, ALL, **told)
    with pytest.raises(ConfigError, match="two modalities"):
        candidate_pairs(RISING[:1], ALL[:1])


def test_importance_of_a_pair_is_the_product():
    values = (torch.tensor([0.5, 1.0]), torch.tensor([0.2, 0.0, 0.4]))
    found = pair_importance(values, torch.tensor([[0, 2], [1, 4], [1, 3]]))
    torch.testing.assert_close(found, torch.tensor([0.1, 0.4, 0.0]))


def test_features_in_several_pairs_count_once():
    pairs = torch.tensor([[0, 4], [0, 5], [1, 4], [2, 6], [3, 7]])
    score = torch.tensor([5.0, 4, 3, 2, 1])
    first, second = mask_by_pairs(pairs, score, (4, 6), (2, 2))
    assert first.nonzero()[:, 0].tolist() == [0, 1]
    assert second.nonzero()[:, 0].tolist() == [0, 1]
    first, second = mask_by_pairs(pairs, score.flip(0), (4, 6), (3, 2))
    assert first.nonzero()[:, 0].tolist() == [2, 3]
    assert second.nonzero()[:, 0].tolist() == [2, 3]


@settings(deadline=None)
@given(st.data())
def test_budgets_are_kept_and_left_out_pairs_did_not_fit(data):
    pairs = [(t, 4 + p) for t in range(4) for p in range(6)]
    chosen = data.draw(st.lists(st.sampled_from(pairs), min_size=1, max_size=12, unique=True))
    budget = (data.draw(st.integers(0, 4)), data.draw(st.integers(0, 6)))
    order = data.draw(st.permutations(range(len(chosen))))
    score = -torch.tensor(order, dtype=torch.float)
    masks = mask_by_pairs(torch.tensor(chosen), score, (4, 6), budget)
    texts: set[int] = set()
    patches: set[int] = set()
    for place in sorted(range(len(chosen)), key=lambda n: order[n]):
        text, patch = chosen[place]
        if len(texts | {text}) <= budget[0] and len(patches | {patch}) <= budget[1]:
            texts.add(text)
            patches.add(patch)
    assert set(masks[0].nonzero()[:, 0].tolist()) == texts
    assert {4 + p for p in masks[1].nonzero()[:, 0].tolist()} == patches


def test_scores_that_do_not_order_pairs():
    with pytest.raises(ShapeError, match="NaN"):
        mask_by_pairs(torch.tensor([[0, 4]]), torch.tensor([torch.nan]), (4, 6), (1, 1))
    with pytest.raises(ShapeError, match=r"\[n, 2\]"):
        mask_by_pairs(torch.tensor([[0, 4]]), torch.tensor([1.0, 2.0]), (4, 6), (1, 1))


CANDIDATES = torch.tensor([True] * 12 + [False] * 4)
MASK = torch.tensor([n in (0, 10, 11) for n in range(16)])


@pytest.mark.parametrize("control", ["random", "matched"])
def test_controls_take_as_many_candidates(control):
    importance = torch.arange(16.0)
    seen = torch.zeros(16)
    for repeat in range(300):
        chosen = (
            random_like(MASK, CANDIDATES, 0, repeat)
            if control == "random"
            else matched_like(MASK, importance, CANDIDATES, 0, repeat)
        )
        assert chosen.sum() == 3
        assert not (chosen & ~CANDIDATES).any()
        if control == "matched":  # quantiles of three: one of the lowest, two of the highest
            assert chosen[:3].sum() == 1
            assert chosen[9:12].sum() == 2
        seen += chosen
    assert not torch.equal(random_like(MASK, CANDIDATES, 0, 1), random_like(MASK, CANDIDATES, 0, 2))
    expected = 3 / 12 if control == "random" else 1 / 3
    assert (seen[:3] / 300 - expected).abs().max() < 0.1


def test_equal_importance_is_one_group():
    chosen = [matched_like(MASK, torch.zeros(16), CANDIDATES, 0, r) for r in range(300)]
    share = torch.stack(chosen).float().mean(0)[:12]
    assert (share - 3 / 12).abs().max() < 0.1


def test_controls_without_candidates():
    nothing = torch.zeros(16, dtype=torch.bool)
    assert not matched_like(nothing, torch.zeros(16), nothing, 0).any()
    assert not random_like(nothing, nothing, 0).any()
    with pytest.raises(ShapeError, match="no candidates"):
        matched_like(MASK, torch.zeros(16), nothing, 0)
    with pytest.raises(ShapeError, match="3 features are to be drawn from 0"):
        random_like(MASK, nothing, 0)


def test_levels_of_importance():
    draw = np.random.default_rng(0)
    importance = [draw.random(20) for _ in range(30)]
    score = [i + draw.normal(0, 0.1, 20) for i in importance]
    levels = {level.name: level for level in by_importance(score, importance)}
    assert [*levels] == ["low", "middle", "high", "top 10 %", "top 5 %", "top 1 %"]
    assert [levels[n].pairs for n in levels] == [200, 200, 200, 60, 30, 6]
    values, weight = np.concatenate(score), np.concatenate(importance)
    order = np.argsort(weight)
    assert levels["low"].mean == pytest.approx(values[order[:200]].mean())
    assert levels["top 5 %"].mean == pytest.approx(values[order[-30:]].mean())
    for level in levels.values():
        assert level.low < level.mean < level.high
    assert levels["low"].high < levels["middle"].low < levels["middle"].high < levels["high"].low


def test_intervals_take_samples_whole():
    """Pairs of one sample go together: with one score a sample, more pairs tell nothing new."""
    draw = np.random.default_rng(1)
    scores = draw.normal(size=40)
    few, many = (
        by_importance([np.full(n, s) for s in scores], [draw.random(n) for _ in scores], tops=())
        for n in (3, 300)
    )
    widths = [np.mean([level.high - level.low for level in levels]) for levels in (few, many)]
    assert widths[1] > 0.7 * 4 * scores.std() / 40**0.5
    assert widths[0] > widths[1]


def test_a_single_pair():
    levels = by_importance([np.array([2.0])], [np.array([1.0])])
    assert levels[0].mean == 2
    assert np.isnan([levels[0].low, levels[0].high]).all()  # one sample tells nothing of others
    assert np.isnan(levels[2].mean)


def test_levels_without_pairs():
    with pytest.raises(ShapeError, match="there must be pairs"):
        by_importance([np.array([])], [np.array([])])
    with pytest.raises(ShapeError, match="as many scores"):
        by_importance([np.ones(2)], [np.ones(3)])
