"""The Maxout network: its arithmetic, its shapes as published, and the last batch of one row."""

import pytest
import torch
from torch import nn

from i2moe_plugin.benchmarks.encoders import EncoderSettings, MaxoutMLP, maxout_encoder
from i2moe_plugin.benchmarks.encoders.maxout import Maxout, RowNorm


def test_maxout_is_the_largest_of_its_linear_maps():
    layer, x = Maxout(5, 3, pool=4), torch.randn(7, 5)
    weight, bias = layer.linear.weight, layer.linear.bias
    maps = [x @ weight[start::4].T + bias[start::4] for start in range(4)]
    torch.testing.assert_close(layer(x), torch.stack(maps).max(0).values)


def test_the_published_network():
    """I2MoE's and MultiBench's for the posters of MM-IMDb: 4096 -> 1024 -> 512, pools of two."""
    layers = list(MaxoutMLP(4096, (1024, 512), None, 0.3))
    assert [type(layer) for layer in layers] == [
        RowNorm,
        Maxout,
        RowNorm,
        nn.Dropout,
        Maxout,
        RowNorm,
        nn.Dropout,
    ]
    shapes = [tuple(layer.linear.weight.shape) for layer in layers if isinstance(layer, Maxout)]
    assert shapes == [(2048, 4096), (1024, 1024)]
    assert [layer.p for layer in layers if isinstance(layer, nn.Dropout)] == [0.3, 0.3]
    assert layers[0].eps == 1e-4
    assert layers[2].eps == nn.BatchNorm1d(1).eps


@pytest.mark.parametrize("latents", ["vector", "tokens"])
def test_encoders_of_both_kinds(latents):
    settings = EncoderSettings(latents=latents, dim=6, hidden=8, dropout=0.3, patches=3)
    encoder = maxout_encoder(10, 2, settings)
    shape = (4, 6) if latents == "vector" else (4, 3, 6)
    assert encoder(torch.randn(4, 10)).shape == shape
    linear = maxout_encoder(10, 2, EncoderSettings(latents=latents, dim=6, hidden=0))
    assert sum(p.numel() for p in linear.parameters()) < 100
    maxima = [layer for layer in encoder.modules() if isinstance(layer, Maxout)]
    assert [layer.linear.out_features for layer in maxima] == [2 * 16, 2 * 8]


def test_one_row_is_normalised_by_running_statistics():
    layer = RowNorm(3)
    layer(torch.randn(50, 3) * 2 + 1)
    x = torch.randn(1, 3)
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    in_training = layer.train()(x)
    assert all(torch.equal(before[key], value) for key, value in layer.state_dict().items())
    torch.testing.assert_close(in_training, layer.eval()(x))


def test_more_rows_are_normalised_as_torch_does():
    ours, theirs, x = RowNorm(3, eps=1e-4), nn.BatchNorm1d(3, eps=1e-4), torch.randn(5, 3)
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))
