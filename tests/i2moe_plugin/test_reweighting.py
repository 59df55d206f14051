import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from i2moe_plugin import ConfigError, GlobalReweighting, MLPReweighting


@given(
    dims=st.lists(st.integers(1, 5), min_size=2, max_size=8),
    layers=st.integers(1, 4),
    temperature=st.sampled_from([0.05, 1.0, 3.0]),
    batch=st.integers(1, 4),
)
def test_weights_are_positive_and_sum_to_one(dims, layers, temperature, batch):
    """Unequal widths; upstream needs them equal."""
    mlp = MLPReweighting(dims, len(dims) + 2, num_layers=layers, temperature=temperature)
    weights = mlp([torch.randn(batch, dim) for dim in dims])
    assert weights.shape == (batch, len(dims) + 2)
    assert (weights > 0).all()
    assert_close(weights.sum(1), torch.ones(batch))


def test_temperature_goes_from_the_best_alone_to_all_alike():
    latents = [torch.randn(6, 3), torch.randn(6, 4)]
    mlp = MLPReweighting([3, 4], 4).eval()
    logits = mlp.layers(torch.cat(latents, 1))
    for temperature in (0.5, 1.0, 7.0):
        mlp.temperature = temperature
        assert_close(mlp(latents), (logits / temperature).softmax(1))
    mlp.temperature = 1e6
    assert_close(mlp(latents), torch.full((6, 4), 0.25), atol=1e-5, rtol=0)
    mlp.temperature = 1e-6
    assert_close(mlp(latents), nn.functional.one_hot(logits.argmax(1), 4).float())


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_the_layers_are_the_papers(layers):
    mlp = MLPReweighting([3, 4], 5, hidden_dim=6, num_layers=layers, dropout=0.3)
    hidden = [nn.Linear, nn.ReLU, nn.Dropout] * (layers - 1)
    assert [type(layer) for layer in mlp.layers] == [*hidden, nn.Linear]
    linears = [layer for layer in mlp.layers if isinstance(layer, nn.Linear)]
    assert [layer.in_features for layer in linears] == [7, *[6] * (layers - 1)]
    assert [layer.out_features for layer in linears] == [*[6] * (layers - 1), 5]
    assert all(layer.p == 0.3 for layer in mlp.layers if isinstance(layer, nn.Dropout))


def test_the_defaults_are_the_papers():
    first, _, dropout, last = MLPReweighting([3, 4], 5).layers
    assert (first.out_features, last.out_features, dropout.p) == (128, 5, 0.5)
    for weights in (MLPReweighting([3, 4], 5), GlobalReweighting(5)):
        assert weights.temperature == 1.0


def test_dropout_is_for_training_only():
    mlp, latents = MLPReweighting([30, 40], 4), [torch.randn(8, 30), torch.randn(8, 40)]
    assert not torch.equal(mlp(latents), mlp(latents))
    mlp.eval()
    assert torch.equal(mlp(latents), mlp(latents))


def test_tokens_are_pooled_without_padding():
    mlp = MLPReweighting([3, 4], 4).eval()
    vector, tokens = torch.randn(2, 3), torch.randn(2, 5, 4)
    assert_close(mlp([vector, tokens]), mlp([vector, tokens.mean(1)]))
    mask = torch.tensor([[False, False, True, True, True], [True] * 5])
    pooled = torch.stack([tokens[0, :2].mean(0), torch.zeros(4)])
    tokens[mask] = 1e9
    assert_close(mlp([vector, tokens], [None, mask]), mlp([vector, pooled]))


def test_global_weights_start_even_and_are_learned():
    weights = GlobalReweighting(4, temperature=2.0)
    latents = [torch.randn(3, 2), torch.randn(3, 2)]
    assert_close(weights(latents), torch.full((3, 4), 0.25))
    weights(latents)[:, 1].sum().backward()
    assert weights.logits.grad[1] > 0
    with torch.no_grad():
        weights.logits.copy_(torch.tensor([0.0, 1.0, 2.0, 3.0]))
    assert_close(weights(latents)[2], torch.tensor([0.0, 0.5, 1.0, 1.5]).softmax(0))


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_that_is_not_positive_is_refused(temperature):
    with pytest.raises(ConfigError, match="temperature must be above 0"):
        MLPReweighting([2, 2], 4, temperature=temperature)
    with pytest.raises(ConfigError, match="temperature must be above 0"):
        GlobalReweighting(4, temperature=temperature)


@pytest.mark.parametrize("wrong", [{"num_layers": 0}, {"hidden_dim": 0}, {"dropout": -0.1}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match="the reweighting needs at least 1 layer"):
        MLPReweighting([3, 4], 4, **wrong)
