"""The method ``wide``: as many parameters as I2MoE, at a width that can be built."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from i2moe_plugin.backbones.entry import list_backbones, register_backbone, unregister_backbone
from i2moe_plugin.benchmarks.run.model import assemble
from i2moe_plugin.benchmarks.run.settings import RunSettings
from i2moe_plugin.errors import BackboneError, ConfigError
from i2moe_plugin.model import Vanilla
from i2moe_plugin.tasks import Classification
from i2moe_plugin.training import count_parameters

SHIPPED = [entry for entry in list_backbones() if ":" not in entry.name]


def model_of(method, fusion, modalities=2, latent_dim=8, **settings):
    def encoders(chosen):
        if chosen.latents == "tokens":
            shape = (3, chosen.dim)
            return [
                nn.Sequential(nn.Linear(5, 3 * chosen.dim), nn.Unflatten(1, shape))
                for _ in range(modalities)
            ]
        return [nn.Linear(5, chosen.dim) for _ in range(modalities)]

    asked = RunSettings(
        dataset="x", fusion=fusion, method=method, latent_dim=latent_dim, **settings
    )
    return assemble(asked, encoders, [torch.zeros(2, 5)] * modalities, Classification(3))


@pytest.mark.parametrize("entry", SHIPPED, ids=lambda entry: entry.name)
def test_no_width_comes_nearer(entry):
    modalities = max(2, entry.min_modalities)
    goal = count_parameters(model_of("i2moe", entry.name, modalities))
    wide = model_of("wide", entry.name, modalities)
    assert isinstance(wide, Vanilla)
    width = wide.latents[0].dim
    missed = abs(count_parameters(wide) - goal)
    assert missed < 0.12 * goal
    for other in range(max(8, width - 9), width + 10):
        try:
            near = model_of("vanilla", entry.name, modalities, other)
        except BackboneError:
            continue
        assert abs(count_parameters(near) - goal) >= missed


def test_heads_that_an_eighth_of_the_width_has_not():
    heads = {"fusion_settings": {"num_heads": 16}}
    wide = model_of("wide", "token-transformer", latent_dim=32, **heads)
    assert wide.latents[0].dim % 16 == 0
    goal = count_parameters(model_of("i2moe", "token-transformer", latent_dim=32, **heads))
    assert abs(count_parameters(wide) - goal) < 0.25 * goal


@pytest.fixture
def registered():
    names = []

    def register(build):
        register_backbone("wide-test")(build)
        names.append("wide-test")

    yield register
    for name in names:
        unregister_backbone(name)


class Sum(nn.Module):
    def __init__(self, input_dims, num_outputs):
        super().__init__()
        self.head = nn.Linear(input_dims[0], num_outputs)

    def forward(self, latents):
        return self.head(sum(latents))


def test_a_backbone_that_cannot_be_wide_enough_is_told(registered):
    class Narrow(Sum):
        def __init__(self, input_dims, num_outputs):
            if input_dims[0] > 10:
                raise ConfigError("at most 10 wide.")
            super().__init__(input_dims, num_outputs)

    registered(Narrow)
    with pytest.raises(
        ConfigError, match=r"cannot be built wide enough.* Set a smaller latent_dim"
    ):
        model_of("wide", "wide-test")


def test_a_size_that_does_not_depend_on_the_width_is_told(registered):
    class Fixed(nn.Module):
        def __init__(self, num_outputs):
            super().__init__()
            self.head = nn.Linear(1, num_outputs)

        def forward(self, latents):
            return self.head(sum(latents).mean(1, keepdim=True))

    registered(Fixed)

    def encoders(chosen):
        return [nn.Flatten(), nn.Flatten()]

    asked = RunSettings(dataset="x", fusion="wide-test", method="wide", latent_dim=5)
    with pytest.raises(ConfigError, match="does not grow with the latents"):
        assemble(asked, encoders, [torch.zeros(2, 5)] * 2, Classification(3))
