"""What the original has nowhere in one place."""

import sys

import datasets
import torch
import utils.helper_modules
from torch import nn

sys.path.append("/a/folder/that/a/module/added")
assert datasets.STANDIN
assert utils.helper_modules.Sequential2


class LateImport(nn.Module):
    """Imports inside a function."""

    def forward(self, modalities):
        from datasets import STANDIN

        from fusions.common_fusions import Concat

        assert STANDIN
        return Concat()(modalities)


class TwoArguments(nn.Module):
    def forward(self, mus, logvars):
        return mus


class ByName(nn.Module):
    """An unlisted class, whose arguments have the usual names."""

    def __init__(self, input_dims, n_modalities, output_dim=4):
        super().__init__()
        self.layers = [nn.Linear(dim, output_dim) for dim in input_dims]
        assert len(input_dims) == n_modalities

    def forward(self, modalities):
        pairs = zip(self.layers, modalities, strict=True)
        return torch.stack([layer(m) for layer, m in pairs]).sum(0)


class Stale(nn.Module):
    """A tensor computed from a parameter, once."""

    def __init__(self):
        super().__init__()
        self.base = nn.Parameter(torch.ones(1))
        self.double = self.base * 2

    def forward(self, modalities):
        return modalities[0] * self.double


class Remembers(nn.Module):
    """A head that keeps what it computed."""

    def __init__(self, indim, outdim):
        super().__init__()
        self.linear, self.kept = nn.Linear(indim, outdim), []

    def forward(self, x):
        self.last = self.linear(x)
        self.kept = [self.last, {"too": self.last}]
        return self.last
