"""Drawn samples of a module's data set; stand-ins for large frozen networks."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import nn
from torch.nn import functional as F

from i2moe_plugin.benchmarks.data.registry import datasets
from i2moe_plugin.benchmarks.encoders import vgg
from i2moe_plugin.benchmarks.encoders.pretrained import folders


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def drawn(request, tmp_path_factory) -> Path:
    """A sample of the module's ``NAME`` with its ``SIZES``; not to be changed."""
    folder = tmp_path_factory.mktemp("drawn") / request.module.NAME
    datasets.get(request.module.NAME).write_sample(folder, **request.module.SIZES)
    return folder


@pytest.fixture
def sample(drawn, tmp_path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(drawn, tmp_path / drawn.name))


class Thumbnail(nn.Module):
    """Stands for a frozen network where its features do not matter: a small picture."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, x):
        small = F.adaptive_avg_pool2d(x, (16, 8)).flatten(1)
        return F.pad(small, (0, self.width - small.shape[1]))


@pytest.fixture
def thumbnails(monkeypatch) -> list[nn.Module]:
    """Features that cost nothing; gives the list of the networks that were built."""
    built: list[nn.Module] = []

    def build(network: vgg.Network, weights: Any) -> nn.Module:
        built.append(Thumbnail(network.width))
        return built[-1]

    monkeypatch.setattr(vgg, "frozen", build)
    return built


@pytest.fixture
def tiny_pretrained(tiny_models, monkeypatch) -> None:
    """The models that come in packages are tiny."""
    for name, known in folders.KNOWN.items():
        if known.package:
            path = tiny_models / {"text": "text", "image": "picture"}[known.kind]
            found = replace(known, package="numpy", path=str(path))  # a package that is here
            monkeypatch.setitem(folders.KNOWN, name, found)
