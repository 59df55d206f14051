"""Masks by importance, their random counterpart, and curves: restated plainly."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from i2moe_plugin.attribution.faithfulness import (
    SHARES,
    area,
    chosen_at_random,
    counts,
    curves,
    filled,
    top,
)
from i2moe_plugin.errors import ConfigError, ShapeError


@given(st.integers(0, 600), st.integers(1, 100))
def test_counts_are_rounded_up_without_a_hair(number, percent):
    candidates = torch.ones(1, number, dtype=torch.bool)
    expected = max(1, math.ceil(Fraction(percent, 100) * number)) if number else 0
    assert counts(candidates, percent / 100).tolist() == [expected]


@pytest.mark.parametrize("share", [0, -0.1, 1.1, float("nan")])
def test_shares_that_are_none(share):
    with pytest.raises(ConfigError, match="share of features"):
        counts(torch.ones(1, 3, dtype=torch.bool), share)


@settings(deadline=None)
@given(st.data())
def test_top_takes_the_most_important_and_of_equals_the_first(data):
    size = data.draw(st.integers(1, 8))
    values = data.draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))
    allowed = data.draw(st.lists(st.booleans(), min_size=size, max_size=size))
    number = data.draw(st.integers(0, size))
    found = top(
        torch.tensor([values], dtype=torch.float), torch.tensor([allowed]), torch.tensor([number])
    )
    order = sorted((i for i in range(size) if allowed[i]), key=lambda i: (-values[i], i))
    assert sorted(found[0].nonzero()[:, 0].tolist()) == sorted(order[:number])


def test_importance_without_order():
    one = torch.ones(1, 2, dtype=torch.bool)
    with pytest.raises(ShapeError, match="NaN"):
        top(torch.tensor([[1.0, torch.nan]]), one, torch.tensor([1]))
    with pytest.raises(ShapeError, match=r"\[B, T\]"):
        top(torch.ones(1, 3), one, torch.tensor([1]))


def test_random_choices_are_even_fresh_and_repeatable():
    candidates = torch.ones(2000, 5, dtype=torch.bool)
    candidates[:, 4] = False
    number = torch.full((2000,), 2)
    first = chosen_at_random(candidates, number, seed=0)
    assert (first.sum(1) == 2).all()
    assert not first[:, 4].any()
    np.testing.assert_allclose(first[:, :4].float().mean(0), 0.5, atol=0.05)
    torch.manual_seed(5)
    assert torch.equal(first, chosen_at_random(candidates, number, seed=0))
    assert not torch.equal(first, chosen_at_random(candidates, number, seed=0, repeat=1))


def test_filled_tokens():
    tokens = torch.arange(12.0).view(1, 3, 4)
    mask = torch.tensor([[False, True, False]])
    mean = torch.full((4,), 7.0)
    assert filled(tokens, mask, mean)[0, 1].tolist() == [7] * 4
    assert filled(tokens, mask)[0, 1].tolist() == [0] * 4
    assert torch.equal(filled(tokens, mask)[0, [0, 2]], tokens[0, [0, 2]])


def test_curves_restated():
    full = torch.tensor([0.9, 0.5])
    without = torch.tensor([[0.8, 0.3, 0.1], [0.5, 0.5, 0.4]])
    alone = torch.tensor([[0.2, 0.6, 0.8], [0.1, 0.1, 0.5]])
    shares = (0.1, 0.2, 0.5)
    found = curves(full, without, alone, shares)
    np.testing.assert_allclose(found.comprehensiveness, [[0.1, 0.6, 0.8], [0, 0, 0.1]], atol=1e-6)
    np.testing.assert_allclose(found.sufficiency, [[0.7, 0.3, 0.1], [0.4, 0.4, 0]], atol=1e-6)
    comprehensive, sufficient = found.aopc()
    np.testing.assert_allclose(comprehensive, [1.5 / 3, 0.1 / 3], atol=1e-6)
    np.testing.assert_allclose(sufficient, [1.1 / 3, 0.8 / 3], atol=1e-6)
    under = (0.1 * (0.1 + 0.6) / 2 + 0.3 * (0.6 + 0.8) / 2) / 0.4
    assert found.area()[0][0].item() == pytest.approx(under)
    repeated = curves(full, without.expand(10, 2, 3), alone.expand(10, 2, 3), shares)
    assert repeated.aopc()[0].shape == (10, 2)


def test_one_share_has_its_value_for_area():
    assert area(torch.tensor([[0.4]]), (0.1,)).tolist() == pytest.approx([0.4])


def test_curves_that_do_not_fit():
    good = torch.zeros(2, len(SHARES))
    with pytest.raises(ShapeError, match="without must be"):
        curves(torch.zeros(2), good[:, 1:], good)
    with pytest.raises(ShapeError, match="alone must be"):
        curves(torch.zeros(2), good, good[:1])
    with pytest.raises(ConfigError, match="increase"):
        curves(torch.zeros(2), good, good, (0.1, 0.2, 0.2, 0.3, 0.4))
