"""Every plan gives the loop's numbers, for every registered backbone."""

from __future__ import annotations

import copy
import functools

import pytest
import torch
from torch.nn.modules.dropout import _DropoutNd
from torch.utils.flop_counter import FlopCounterMode

from i2moe_plugin import ConfigError, ExpertBank
from i2moe_plugin.backbones.entry import backbones
from i2moe_plugin.execution.plans import shares
from i2moe_plugin.testing import Subject

OWN = [entry.name for entry in backbones if entry.build.__module__.startswith("i2moe_plugin.")]
PLANS = ("batched", "shared", "stacked")
#: Operations of a pass from which on a backbone is tested on fewer modalities and samples.
LARGE = 8_000_000


@functools.cache
def work(name):
    """The floating-point operations of one small batch."""
    (backbone, values), *_ = Subject(backbones.get(name)).built()
    with FlopCounterMode(display=False) as counter:
        backbone(values)
    return counter.get_total_flops()


def small(name, latents_kind="", modalities=0):
    """A bank of independent experts, latents and masks."""
    subject = Subject(backbones.get(name))
    latents = subject.latents(latents_kind, modalities)
    experts = len(latents) + 2
    bank = ExpertBank(lambda: subject.build(latents), experts, "independent", plan="loop")
    values = subject.draw(latents)
    masks = None
    if latents_kind == "padded":
        mask = torch.tensor([[place == "1" for place in row] for row in ("00011", "01010")])
        masks = [mask.repeat(3, 1).roll(m, 0) for m in range(len(latents))]
    return bank, values, masks


def with_plan(bank, plan):
    other = copy.deepcopy(bank)
    other.plan, other.report = plan, None
    return other


def results(bank, values, new, masks):
    values = [value.clone().requires_grad_() for value in values]
    outputs, auxiliary = bank(values, new, masks)
    (outputs.sin().sum() + auxiliary).backward()
    gradients = [tensor.grad for tensor in (*values, *bank.parameters())]
    return [outputs, auxiliary, *gradients]


CASES = [
    (name, kind, count)
    for name in OWN
    for subject in [Subject(backbones.get(name))]
    for kind in [*subject.kinds, *(["padded"] if subject.takes_padding else [])]
    for count in sorted({subject.entry.min_modalities, min(subject.entry.max_modalities or 3, 3)})
    if work(name) < LARGE or count == 2
]


@pytest.mark.parametrize(("name", "kind", "count"), CASES)
def test_every_plan_gives_the_loops_numbers(name, kind, count):
    """Outputs, auxiliary loss and all gradients, in float64 and without noise, to 1e-10."""
    bank, values, masks = small(name, kind, count)
    bank = bank.double().eval()
    values = [value.double() for value in values]
    new = [torch.randn(len(bank.experts), *value.shape, dtype=torch.float64) for value in values]
    expected = results(with_plan(bank, "loop"), values, new, masks)
    complete = with_plan(bank, "loop")(values, None, masks)[0]
    valid = []
    for plan in PLANS:
        other = with_plan(bank, plan)
        try:
            other.settle(values, masks)
        except ConfigError:
            continue
        valid.append(plan)
        for ours, loop in zip(results(other, values, new, masks), expected, strict=True):
            assert (ours is None) == (loop is None)
            if ours is not None:
                torch.testing.assert_close(ours, loop, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(other(values, None, masks)[0], complete, rtol=1e-10, atol=1e-10)
    assert ("shared" in valid) == shares(bank.experts[0])
    assert valid, "no plan but the loop"


@pytest.mark.parametrize("name", OWN)
def test_noise_is_drawn_alike_and_apart(name):
    """With dropout on: the loop's distribution, and no two experts, views or samples alike."""
    bank, values, _ = small(name)
    bank.train()
    draws = min(600, max(24, 1_250_000_000 // work(name)))
    experts = len(bank.experts)
    for expert in bank.experts[1:]:
        expert.load_state_dict(bank.experts[0].state_dict())
    # Equal samples: what differs between rows is noise alone.
    values = [value[:1].expand(draws, *value.shape[1:]) for value in values]
    new = [value.flip(-1).expand(experts, *value.shape) for value in values]
    drawn = {}
    for plan in ("loop", *PLANS):
        other = with_plan(bank, plan)
        try:
            other.settle(values)
        except ConfigError:
            continue
        with torch.no_grad():
            drawn[plan] = other(values, new)[0].transpose(1, 2).double()  # [E, draws, V, C]
    loop = drawn.pop("loop")
    noisy = bool((loop[0, :, 0].std(0) > 1e-6).any())
    layers = [m for m in bank.experts[0].modules() if isinstance(m, _DropoutNd) and m.p]
    assert noisy or not layers
    for outputs in drawn.values():
        # Experts are alike here, so their draws are one sample of E times as many.
        one, two = outputs.flatten(0, 1), loop.flatten(0, 1)
        error = ((one.var(0) + two.var(0)) / len(one)).sqrt()
        assert ((one.mean(0) - two.mean(0)).abs() <= 5 * error + 1e-6).all()
        if noisy:
            ratio = (one.var(0) + 1e-12) / (two.var(0) + 1e-12)
            assert ratio.log().abs().max() < 0.35 * (600 / draws) ** 0.5
            columns = outputs[..., 0].permute(0, 2, 1).flatten(0, 1)  # [E V, draws]
            columns = columns[columns.std(1) > 1e-6]
            apart = torch.corrcoef(columns) - torch.eye(len(columns))
            assert apart.abs().max() < 5.5 / draws**0.5
