"""Compiled steps: the numbers of plain ones, and a way back where there is no compiling."""

from __future__ import annotations

import copy
import shutil

import pytest
import torch
from torch import nn

from i2moe_plugin import Classification, LatentSpec, create_backbone, create_model
from i2moe_plugin.execution import compiling
from i2moe_plugin.execution.compiling import Compiled

compiles = pytest.mark.skipif(
    not compiling.compiles_backward_at_once(), reason="this torch is older than 2.10"
)


def test_an_older_torch_makes_the_call_as_it_is_and_says_why(monkeypatch):
    monkeypatch.setattr(compiling, "compiles_backward_at_once", lambda: False)
    call = Compiled(lambda x: x + 1)
    assert call(torch.zeros(2)).tolist() == [1, 1]
    assert call.problem == "it needs torch 2.10 or newer"


@compiles
def test_a_call_that_cannot_be_compiled_is_made_as_it_is(monkeypatch):
    def drawn(x):
        return x + torch.randn_like(x)

    def compiled(x):
        drawn(x)
        raise NotImplementedError("nothing for tracers\nand more")

    monkeypatch.setattr(torch, "compile", lambda call, **options: compiled)
    call = Compiled(drawn)
    torch.manual_seed(0)
    first, second = call(torch.zeros(3)), call(torch.zeros(3))
    torch.manual_seed(0)
    assert torch.equal(first, torch.randn(3))
    assert torch.equal(second, torch.randn(3))
    assert call.problem == "NotImplementedError: nothing for tracers"


def test_an_error_of_the_call_itself_is_raised():
    def broken(x):
        raise ValueError("no such modality")

    with pytest.raises(ValueError, match="no such modality"):
        Compiled(broken)(torch.zeros(2))


@compiles
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the tracer's, about its own doings
@pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler here")
@pytest.mark.parametrize("plan", ["batched", "stacked"])
def test_a_compiled_step_gives_the_plain_ones_losses_and_gradients(plan):
    latents = [LatentSpec(6), LatentSpec(6)]
    torch.manual_seed(0)
    model = create_model(
        "i2moe",
        [nn.Linear(3, 6), nn.Linear(5, 6)],
        latents,
        lambda: create_backbone("lrtf", latents, 3, rank=2, output_dim=4),
        Classification(3, class_weights=(1.0, 2.0, 3.0)),
        masking="zero",
        reweighting_dropout=0.0,
    )
    model.bank.plan = plan
    model.bank.settle([torch.randn(8, 6), torch.randn(8, 6)])

    def step(of, inputs, target):
        return of.losses(of(inputs), target).total

    other = copy.deepcopy(model)
    compiled = Compiled(lambda inputs, target: step(other, inputs, target))
    for batch in (8, 5):  # the second size must not fail, nor be compiled for anew
        inputs = [torch.randn(batch, 3), torch.randn(batch, 5)]
        target = torch.randint(3, (batch,))
        plain, ours = step(model, inputs, target), compiled(inputs, target)
        assert not compiled.problem
        torch.testing.assert_close(ours, plain)
        plain.backward()
        ours.backward()
    for left, right in zip(other.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(left.grad, right.grad)
