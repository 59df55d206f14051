"""MultiBench's encoders of robots' sensors (``unimodals/gentle_push``, ``unimodals/robotics``)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Residual(nn.Module):
    """x -> ReLU(x + second(ReLU(first(x))))."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x: Tensor) -> Tensor:
        """Compute it for any shape that both modules take."""
        return F.relu(x + self.second(F.relu(self.first(x))))


def _residual_linear(units: int) -> nn.Module:
    return Residual(nn.Linear(units, units), nn.Linear(units, units))


def step_vector_layers(in_features: int, units: int) -> nn.Module:
    """Build the layers of a time step's vector: [N, F] -> [N, units]."""
    return nn.Sequential(nn.Linear(in_features, units), nn.ReLU(), _residual_linear(units))


def step_image_layers(size: tuple[int, int], units: int) -> nn.Module:
    """Build the layers of a time step's picture: [N, H, W] -> [N, units], without pooling."""
    return nn.Sequential(
        nn.Unflatten(1, (1, size[0])),
        nn.Conv2d(1, 32, 5, padding=2),
        nn.ReLU(),
        Residual(nn.Conv2d(32, 32, 3, padding=1), nn.Conv2d(32, 32, 3, padding=1)),
        nn.Conv2d(32, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 8, 3, padding=1),
        nn.Flatten(),
        nn.Linear(8 * prod(size), units),
        nn.ReLU(),
        _residual_linear(units),
    )


class PerStep(nn.Module):
    """A network on each time step: [B, T, ...] -> [B, T, F]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, ...] -> [B, T, F]."""
        steps: Tensor = self.network(x.flatten(0, 1))
        return steps.unflatten(0, x.shape[:2])


class StridedCNN(nn.Sequential):
    """Convolutions (width, kernel) of stride 2, one linear layer: [B, C, 128, 128] -> [B, F]."""

    def __init__(
        self, channels: int, layers: Sequence[tuple[int, int]], features: int = 256
    ) -> None:
        stages: list[nn.Module] = []
        for width, kernel in layers:
            convolution = nn.Conv2d(channels, width, kernel, stride=2, padding=(kernel - 1) // 2)
            nn.init.kaiming_normal_(convolution.weight)
            nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
            stages += [convolution, nn.LeakyReLU(0.1)]
            channels = width
        super().__init__(*stages, nn.Flatten(), nn.Linear(4 * channels, features))


class CausalCNN(nn.Module):
    """Causal convolutions (kernel 2, stride 2) over time: [B, C, 2^layers] -> [B, widths[-1]]."""

    def __init__(self, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv1d(before, after, 2, stride=2) for before, after in pairwise([channels, *widths])
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] -> [B, F]."""
        for layer in self.layers:
            x = F.leaky_relu(layer(F.pad(x, (1, 0))), 0.1)
        return x.flatten(1)


class LeakyMLP(nn.Sequential):
    """[B, widths[0]] -> [B, widths[-1]]: linear layers, leaky ReLU (0.1) after each."""

    def __init__(self, *widths: int) -> None:
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.LeakyReLU(0.1)]
        super().__init__(*layers)


class ColourPlanes(nn.Module):
    """Pictures as cameras give them: [B, H, W, 3] from 0 to 255 -> [B, 3, H, W] from 0 to 1."""

    def forward(self, x: Tensor) -> Tensor:
        """Channels first."""
        return x.permute(0, 3, 1, 2) / 255


class DepthFilter(nn.Module):
    """Distances that are no measurement (at most 1e-7 or at least 2 metres) become 0."""

    def forward(self, x: Tensor) -> Tensor:
        """Filter distances of any shape."""
        return torch.where((x > 1e-7) & (x < 2), x, 0.0)
