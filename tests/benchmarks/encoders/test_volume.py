"""The encoder of volumes."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from i2moe_plugin.benchmarks.encoders import EncoderSettings, VolumeCNN, volume_encoder
from i2moe_plugin.errors import ShapeError


def published(network: VolumeCNN, x: torch.Tensor) -> torch.Tensor:
    """The paper's network restated, with pooling that needs volumes of 91 x 109 x 91 voxels."""
    one, two, three, four, five, six = network.convolutions
    x = F.max_pool3d(F.relu(two(F.relu(one(x[:, None])))), 2, 2)
    x = F.max_pool3d(F.relu(four(F.relu(three(x)))), 3, 3)
    x = F.max_pool3d(F.relu(six(F.relu(five(x)))), 4)
    return network.projection(x.reshape(len(x), -1))


@torch.no_grad()
def test_volumes_of_the_published_size_go_through_the_published_network():
    """Narrow, so that 900,000 voxels take a second; every pooling is the published one."""
    network = VolumeCNN(4, channels=(2, 2, 2, 2, 3)).eval()
    x = torch.randn(1, 91, 109, 91)
    assert network.projection.in_features == 4 * 3 * 4 * 3
    torch.testing.assert_close(network(x), published(network, x))


def test_its_widths_are_the_papers():
    shapes = [(c.in_channels, c.out_channels, c.kernel_size) for c in VolumeCNN(7).convolutions]
    widths = [(1, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 7)]
    assert shapes == [(*pair, (3, 3, 3)) for pair in widths]


@pytest.mark.parametrize("shape", [(12, 14, 12), (1, 1, 1), (5, 30, 2)])
def test_volumes_of_any_size_give_a_vector_and_every_weight_learns(shape):
    network = VolumeCNN(6)
    latent = network(torch.rand(2, *shape))
    assert latent.shape == (2, 6)
    latent.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_tokens_are_patches_of_the_vector():
    encoder = volume_encoder(EncoderSettings(latents="tokens", dim=6, patches=3)).eval()
    x = torch.rand(2, 6, 7, 6)
    tokens = encoder(x)
    assert tokens.shape == (2, 3, 6)
    network, patches = encoder
    assert isinstance(patches, nn.Module)
    torch.testing.assert_close(tokens, patches.projection(network(x).reshape(2, 3, 2)))


def test_dropout_is_of_training_alone():
    network = VolumeCNN(32)
    x = torch.rand(4, 6, 7, 6)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


@pytest.mark.parametrize("shape", [(2, 6, 6), (2, 1, 6, 6, 6)])
def test_another_rank_is_refused(shape):
    with pytest.raises(ShapeError, match=r"\[B, X, Y, Z\]"):
        VolumeCNN(4)(torch.rand(shape))
