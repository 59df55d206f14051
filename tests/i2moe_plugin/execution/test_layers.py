from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from i2moe_plugin import ExpertBank, LatentSpec, create_backbone
from i2moe_plugin.execution import layers
from i2moe_plugin.execution.layers import Dropout, Linear, keep_mask, quicken

MANY = 400_000


@pytest.mark.parametrize("p", [0.5, 0.25, 0.1, 0.3, 0.9, 1e-3, 1 - 1e-3])
def test_masks_have_the_right_statistics(p):
    mask = keep_mask((MANY // 100, 100), p, torch.float64)
    scale = mask.max()
    kept = (mask > 0).double()
    assert set(mask.unique().tolist()) == {0.0, scale.item()}
    assert abs(scale - 1 / (1 - p)) < 1e-4 / (1 - p) ** 2
    assert abs(kept.mean() - (1 - p)) < 5 * math.sqrt(p * (1 - p) / MANY) + 2**-17
    # Neighbours in either direction, and every offset within a drawn word, are independent.
    flat = (kept.flatten() - (1 - p)) / math.sqrt(p * (1 - p))
    for offset in (1, 2, 3, 4, 5, 6, 7, 8, 16, 100, MANY // 8, MANY // 4):
        assert abs((flat[offset:] * flat[:-offset]).mean()) < 5.5 / math.sqrt(MANY)


def test_masks_repeat_with_the_seed_and_differ_from_call_to_call():
    layer, x = Dropout(0.5), torch.ones(100, 50)
    torch.manual_seed(3)
    first, second = layer(x), layer(x)
    torch.manual_seed(3)
    assert torch.equal(layer(x), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("rows", [50, 1001])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_gradient_passes_where_the_value_did(dtype, rows):
    x = (torch.rand(rows, 99) + 0.5).to(dtype).requires_grad_()  # older torch draws 0 in bfloat16
    y = Dropout(0.5)(x)
    y.sum().backward()
    assert y.dtype == dtype
    assert torch.equal(x.grad, torch.where(y != 0, 2.0, 0.0).to(dtype))
    assert torch.equal(y, x * x.grad)


def test_evaluation_small_tensors_and_extremes_are_torchs_own():
    x = torch.randn(100, 100)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
    assert not Dropout(1.0)(x).any()
    ours, theirs = Dropout(0.5), nn.Dropout(0.5)
    small = torch.randn(10)
    torch.manual_seed(0)
    one = ours(small)
    torch.manual_seed(0)
    assert torch.equal(one, theirs(small))


def test_under_vmap_masks_differ_or_are_the_same_as_asked():
    layer, x = Dropout(0.5), torch.ones(6, 3000)
    apart = torch.vmap(layer, randomness="different")(x)
    assert not torch.equal(apart[0], apart[1])
    alike = torch.vmap(layer, randomness="same")(x)
    assert torch.equal(alike[0], alike[1])
    assert 0.4 < (alike[0] == 0).double().mean() < 0.6
    with pytest.raises(RuntimeError, match="randomness"):
        torch.vmap(layer)(x)


@pytest.mark.parametrize("bias", [True, False])
def test_a_large_linear_layer_gives_torchs_numbers_and_gradients(bias):
    theirs = nn.Linear(96, 200, bias=bias)
    ours = copy.deepcopy(theirs)
    quicken(ours)
    assert type(ours) is Linear
    x = torch.randn(30, 32, 96)
    assert x.numel() * 200 > layers.SMALL_LINEAR * torch.get_num_threads()
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    cotangent = torch.randn(30, 32, 200)
    outputs = [layer(value) for layer, value in zip((theirs, ours), inputs, strict=True)]
    assert_close(*outputs, rtol=1e-4, atol=1e-5)
    for output in outputs:
        output.backward(cotangent)
    assert_close(inputs[0].grad, inputs[1].grad, rtol=1e-4, atol=1e-4)
    for one, two in zip(theirs.parameters(), ours.parameters(), strict=True):
        assert_close(one.grad, two.grad, rtol=1e-4, atol=1e-3)
    with torch.no_grad():
        assert_close(theirs(x), ours(x), rtol=1e-4, atol=1e-5)


def test_a_second_derivative_through_a_large_linear_layer():
    layer = nn.Linear(96, 200)
    quicken(layer)
    x = torch.randn(960, 96, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(gradient.sum(), x)
    expected = 2 * (layer.weight.t() @ layer.weight).sum(0).expand_as(x)
    assert_close(second, expected, rtol=1e-3, atol=1e-3)


def test_without_the_operator_torchs_own_is_taken(monkeypatch):
    layer, x = nn.Linear(96, 200), torch.randn(960, 96)
    quicken(layer)
    expected = layer(x)
    monkeypatch.setattr(layers, "_ONEDNN", False)
    monkeypatch.setattr(layers, "_multiply", None)
    assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)


def test_only_torchs_own_types_change_and_everything_stays():
    class Mine(nn.Linear):
        pass

    module = nn.Sequential(nn.Linear(3, 4), Mine(4, 4), nn.Dropout(0.1), nn.LazyLinear(3))
    state = [(key, value) for key, value in module.state_dict().items() if "3." not in key]
    called = []
    module[0].register_forward_hook(lambda *_: called.append(1))
    quicken(module)
    assert [type(layer) for layer in module] == [Linear, Mine, Dropout, nn.LazyLinear]
    module(torch.randn(2, 3))
    assert called == [1]
    for key, value in state:
        assert key in module.state_dict()
        assert torch.equal(module.state_dict()[key], value)


def test_experts_are_quickened():
    specs = [LatentSpec(8, 3)] * 2
    bank = ExpertBank(lambda: create_backbone("transformer", specs, 2), 4)
    kinds = {type(layer) for layer in bank.modules()}
    assert Linear in kinds
    assert Dropout in kinds
    assert nn.Linear not in kinds
    assert nn.Dropout not in kinds
