"""Importance of single features: restated plainly, and on models whose answer is known."""

from __future__ import annotations

import math
import sys
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from i2moe_plugin.attribution import features
from i2moe_plugin.attribution.features import (
    attention_rollout,
    concentration,
    gradient_rollout,
    integrated_gradients,
    normalised,
)
from i2moe_plugin.errors import BackboneError, ConfigError, ShapeError


def drawn_attentions(layers=3, samples=2, heads=2, tokens=5, seed=0, padding=None):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(layers, samples, heads, tokens, tokens, generator=generator)
    if padding is not None:
        logits = logits.masked_fill(padding[None, :, None, None], -torch.inf)
    return [layer.softmax(-1) for layer in logits]


PADDING = torch.tensor([[False] * 5, [False, False, False, True, True]])


def plain_rollout(layers, sample, queries):
    """The formula, number by number."""
    size = layers[0].shape[-1]
    flow = [[float(i == j) for j in range(size)] for i in range(size)]
    for layer in layers:
        mixed = [[layer[sample][i][j].item() + (i == j) for j in range(size)] for i in range(size)]
        rows = [[value / sum(row) for value in row] for row in mixed]
        flow = [
            [sum(rows[i][k] * flow[k][j] for k in range(size)) for j in range(size)]
            for i in range(size)
        ]
    return [sum(flow[q][j] for q in queries) / len(queries) for j in range(size)]


@pytest.mark.parametrize("padding", [None, PADDING])
def test_rollout_is_the_formula(padding):
    attentions = drawn_attentions(padding=padding)
    found = attention_rollout(attentions, padding)
    means = [layer.mean(1) for layer in attentions]
    for sample in range(2):
        queries = [q for q in range(5) if padding is None or not padding[sample, q]]
        expected = torch.tensor(plain_rollout(means, sample, queries))
        torch.testing.assert_close(found[sample], expected)
    torch.testing.assert_close(found.sum(1), torch.ones(2))


def test_padding_changes_nothing_for_the_others():
    """A sample beside a longer one gets what it gets alone."""
    attentions = drawn_attentions(padding=PADDING)
    alone = [layer[1:, :, :3, :3] for layer in attentions]
    together = attention_rollout(attentions, PADDING)[1]
    torch.testing.assert_close(together[:3], attention_rollout(alone)[0])
    assert (together[3:] == 0).all()


@pytest.mark.parametrize("padding", [None, PADDING])
def test_gradient_rollout_is_the_formula(padding):
    attentions = [layer.requires_grad_() for layer in drawn_attentions(padding=padding)]
    weights = [torch.randn(layer.shape) for layer in attentions]
    score = sum(
        (layer * weight).flatten(1).sum(1)
        for layer, weight in zip(attentions, weights, strict=True)
    )
    found = gradient_rollout(score, attentions, padding)
    joined = [
        (layer * weight.clamp_min(0)).mean(1).detach()
        for layer, weight in zip(attentions, weights, strict=True)
    ]
    for sample in range(2):
        queries = [q for q in range(5) if padding is None or not padding[sample, q]]
        expected = torch.tensor(plain_rollout(joined, sample, queries))
        if padding is not None:
            expected[padding[sample]] = 0
        torch.testing.assert_close(found[sample], expected)


def test_the_graph_is_still_there_after_it():
    (attention,) = drawn_attentions(layers=1)
    attention.requires_grad_()
    score = (attention**2).flatten(1).sum(1)
    gradient_rollout(score, [attention])
    score.sum().backward()
    assert attention.grad is not None


def test_an_attention_beside_the_graph():
    first, second = (layer.requires_grad_() for layer in drawn_attentions(layers=2))
    with pytest.raises(BackboneError, match="layer 2"):
        gradient_rollout(first.flatten(1).sum(1), [first, second])
    with pytest.raises(BackboneError, match="layer 1, 2"):
        gradient_rollout(torch.ones(2), [first, second])


@pytest.mark.parametrize(
    ("attentions", "padding", "message"),
    [
        ([], None, "at least one layer"),
        ([torch.ones(2, 5, 5)], None, r"\[B, heads, T, T\]"),
        ([torch.ones(2, 1, 5, 4)], None, r"\[B, heads, T, T\]"),
        ([torch.ones(2, 1, 5, 5), torch.ones(2, 1, 4, 4)], None, "agree in B and T"),
        ([torch.ones(2, 1, 5, 5)], torch.zeros(2, 4, dtype=torch.bool), "padding must be"),
    ],
)
def test_attentions_that_do_not_fit(attentions, padding, message):
    with pytest.raises(ShapeError, match=message):
        attention_rollout(attentions, padding)


def test_a_score_that_does_not_fit():
    with pytest.raises(ShapeError, match=r"\[2\]"):
        gradient_rollout(torch.ones(3), drawn_attentions())


# Integrated gradients


def linear(tokens):
    text, image = tokens
    return (text * 2.0).flatten(1).sum(1) - (image * torch.arange(3.0)).flatten(1).sum(1)


def drawn_tokens(samples=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(samples, size, 3, generator=generator) for size in (5, 2)]


def test_a_linear_score_is_attributed_exactly():
    text, image = drawn_tokens()
    found = integrated_gradients(linear, [text, image], steps=3)
    torch.testing.assert_close(found.importance[0], (2 * text).abs().mean(-1))
    torch.testing.assert_close(found.importance[1], (image * torch.arange(3.0)).abs().mean(-1))
    torch.testing.assert_close(found.completeness_error, torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.change, linear([text, image]))


def smooth(tokens, gain):
    text, image = tokens
    return (text.sum(1) * image.sum(1)).sum(1).tanh() * gain


def test_it_is_the_right_sum_of_gradients():
    """x * mean over k of the gradient at k/n x, restated."""
    tokens, gain, steps = drawn_tokens(), torch.tensor([1.0, 2.0, -1.0, 0.5]), 7
    found = integrated_gradients(smooth, tokens, [gain], steps=steps)
    totals = [torch.zeros_like(x) for x in tokens]
    for k in range(1, steps + 1):
        at = [(x * k / steps).requires_grad_() for x in tokens]
        for total, gradient in zip(
            totals, torch.autograd.grad(smooth(at, gain).sum(), at), strict=True
        ):
            total += gradient / steps
    for modality, (x, total) in enumerate(zip(tokens, totals, strict=True)):
        torch.testing.assert_close(found.importance[modality], (x * total).abs().mean(-1))
    change = smooth(tokens, gain) - smooth([0 * x for x in tokens], gain)
    signed = sum((x * t).flatten(1).sum(1) for x, t in zip(tokens, totals, strict=True))
    torch.testing.assert_close(found.completeness_error, signed - change, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.change, change, atol=1e-5, rtol=1e-4)


def test_the_error_falls_with_steps_and_with_the_better_rule():
    tokens, gain = [x / 3 for x in drawn_tokens()], torch.ones(4)
    few, many = (
        integrated_gradients(smooth, tokens, [gain], steps=n).completeness_error.abs().mean()
        for n in (8, 128)
    )
    better = integrated_gradients(smooth, tokens, [gain], steps=8, rule="gausslegendre")
    assert many < few / 8
    assert better.completeness_error.abs().mean() < few / 8


@pytest.mark.parametrize("budget", [1, 2000, 20_000, 1 << 30])
def test_memory_does_not_change_numbers(budget):
    tokens, gain = drawn_tokens(), torch.tensor([1.0, 2.0, -1.0, 0.5])
    whole = integrated_gradients(smooth, tokens, [gain])
    most = 0

    def counting(tokens, gain):
        nonlocal most
        most = max(most, len(gain))
        return smooth(tokens, gain)

    parts = integrated_gradients(counting, tokens, [gain], memory_budget=budget)
    for one, other in zip(whole.importance, parts.importance, strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(whole.completeness_error, parts.completeness_error)
    assert most <= 2 if budget == 1 else most > 0


def test_a_small_budget_makes_small_batches():
    network = nn.Sequential(nn.Linear(3, 64), nn.Tanh(), nn.Linear(64, 1))

    def score(tokens):
        return network(torch.cat(list(tokens), 1)).mean((1, 2))

    rows = []

    def counting(tokens):
        rows.append(len(tokens[0]))
        return score(tokens)

    tokens = drawn_tokens(samples=8)
    row = features.bytes_of_a_row(lambda *x: score(x), [x[:1] for x in tokens], 2)
    assert row > 7 * 64 * 4, "at least what tanh keeps of a row"
    rows.clear()
    integrated_gradients(counting, tokens, memory_budget=10 * row)
    assert max(rows[2:]) <= 10


def test_what_was_kept_for_a_backward_pass_is_freed_once_it_is_counted():
    """A softmax keeps its own output, which would hold the graph that holds it."""
    seen = []

    def score(tokens):
        attention = tokens.softmax(-1)
        seen.append(weakref.ref(attention))
        return attention.square().sum((1, 2))

    assert features.bytes_of_a_row(score, [torch.randn(1, 3, 4)], 1) > 3 * 4 * 4
    assert [attention() for attention in seen] == [None, None]


def test_a_baseline_is_where_the_way_begins():
    tokens = drawn_tokens()
    found = integrated_gradients(linear, tokens, baselines=[x[:1] for x in tokens], steps=2)
    torch.testing.assert_close(found.change, linear(tokens) - linear([x[:1] for x in tokens]))
    assert found.importance[0][0].abs().max() < 1e-6


def test_a_modality_that_is_not_used_gets_nothing():
    found = integrated_gradients(lambda tokens: tokens[1].flatten(1).sum(1), drawn_tokens())
    assert (found.importance[0] == 0).all()
    assert (found.importance[1] > 0).all()


def test_without_captum(monkeypatch):
    for name in ("captum", "captum.attr"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=r"pip install 'i2moe-plugin\[features\]'"):
        integrated_gradients(lambda tokens: tokens[0].sum((1, 2)), [torch.ones(1, 2, 3)])


@pytest.mark.parametrize("changes", [{"steps": 0}, {"memory_budget": 0}])
def test_settings_of_integrated_gradients(changes):
    with pytest.raises(ConfigError, match="at least 1"):
        integrated_gradients(linear, drawn_tokens(), **changes)


def test_a_score_of_the_wrong_shape():
    with pytest.raises(ShapeError, match="a score must be"):
        integrated_gradients(lambda tokens: tokens[0].sum(), drawn_tokens())


def test_gradients_that_are_not_finite():
    with pytest.raises(BackboneError, match="NaN"):
        integrated_gradients(lambda tokens: tokens[0].flatten(1).sum(1).log(), drawn_tokens())


# Normalisation and concentration


@st.composite
def maps(draw):
    size = draw(st.integers(1, 8))
    values = st.lists(st.floats(0, 100), min_size=size, max_size=size)
    flags = st.lists(st.booleans(), min_size=size, max_size=size)
    return torch.tensor([draw(values)], dtype=torch.float64), torch.tensor([draw(flags)])


@settings(deadline=None)
@given(maps())
def test_normalised_lies_between_0_and_1_and_keeps_the_order(drawn):
    importance, candidates = drawn
    found = normalised(importance, candidates)
    assert (found[~candidates] == 0).all()
    inside, values = found[candidates], importance[candidates]
    if not len(values) or values.min() == values.max():
        assert (inside == 0).all()
        return
    expected = [(v - values.min().item()) / (values.max() - values.min()).item() for v in values]
    torch.testing.assert_close(inside, torch.stack(expected))
    assert inside.min() == 0
    assert inside.max() == 1


def test_concentration_of_known_maps():
    candidates = torch.tensor([[True] * 4 + [False]] * 3)
    maps = torch.tensor([[1.0, 1, 1, 1, 9], [0, 0, 5, 0, 9], [1, 1, 2, 4, 9]])
    found = concentration(maps, candidates, share=0.25)
    half = [1 / 8, 1 / 8, 1 / 4, 1 / 2]
    entropy = -sum(p * math.log(p) for p in half) / math.log(4)
    gini = sum(abs(a - b) for a in half for b in half) / (2 * 4 * sum(half))
    expected = {
        "entropy": [1, 0, entropy],
        "gini": [0, 3 / 4, gini],
        "top_mass": [1 / 4, 1, 1 / 2],
    }
    for name, values in expected.items():
        torch.testing.assert_close(found[name], torch.tensor(values, dtype=torch.float64))


def test_concentration_where_there_is_nothing():
    found = concentration(torch.zeros(1, 3), torch.ones(1, 3, dtype=torch.bool))
    assert all(values.isnan().all() for values in found.values())
    with pytest.raises(ConfigError, match="not negative"):
        concentration(-torch.ones(1, 3), torch.ones(1, 3, dtype=torch.bool))


@pytest.mark.parametrize(
    ("importance", "candidates", "message"),
    [
        (torch.ones(3), torch.ones(3, dtype=torch.bool), r"\[B, T\]"),
        (torch.ones(1, 3), torch.ones(1, 2, dtype=torch.bool), r"\[B, T\]"),
        (torch.ones(1, 3), torch.ones(1, 3), "true or false"),
    ],
)
def test_maps_that_do_not_fit(importance, candidates, message):
    with pytest.raises(ShapeError, match=message):
        normalised(importance, candidates)
