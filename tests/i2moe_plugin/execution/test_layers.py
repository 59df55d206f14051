from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from i2moe_plugin import ExpertBank, LatentSpec, create_backbone
from i2moe_plugin.execution.layers import Dropout, keep_mask, quicken

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


def test_under_vmap_what_is_the_same_for_all_is_dropped_apart():
    """A latent that no view masks, the same for every expert, under the stacked plan."""
    layer, x = Dropout(0.5), torch.ones(3000)
    scaled = torch.vmap(lambda scale: scale * layer(x), randomness="different")(torch.ones(3))
    assert not torch.equal(scaled[0], scaled[1])
    assert set(scaled.unique().tolist()) == {0.0, 2.0}


def test_only_torchs_own_type_changes_and_everything_stays():
    class Mine(nn.Dropout):
        pass

    module = nn.Sequential(nn.Linear(3, 4), Mine(0.1), nn.Dropout(0.1))
    called = []
    module[2].register_forward_hook(lambda *_: called.append(1))
    quicken(module)
    assert [type(layer) for layer in module] == [nn.Linear, Mine, Dropout]
    module(torch.randn(2, 3))
    assert called == [1]


def test_experts_are_quickened():
    specs = [LatentSpec(8, 3)] * 2
    bank = ExpertBank(lambda: create_backbone("transformer", specs, 2), 4)
    kinds = {type(layer) for layer in bank.modules()}
    assert Dropout in kinds
    assert nn.Dropout not in kinds
