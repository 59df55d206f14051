"""A wheel of somebody else's, which registers a backbone by its entry point alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PYPROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "third-party-fusion"
version = "1.2"
[project.entry-points."i2moe_plugin.backbones"]
third-party = "third_party_fusion:Sum"
gone = "third_party_fusion:Gone"
[tool.setuptools]
py-modules = ["third_party_fusion"]
"""
MODULE = '''
from torch import nn
from i2moe_plugin import register_backbone

@register_backbone("third-party", latents="vector", max_modalities=3, paper="A paper")
class Sum(nn.Module):
    """The sum of linear layers."""

    def __init__(self, input_dims, width=8):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(dim, width) for dim in input_dims)

    def forward(self, latents):
        return sum(layer(x) for layer, x in zip(self.layers, latents))
'''


def command(*arguments: object, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder with the wheel installed, built without network."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("third-party")
    project = folder / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(PYPROJECT)
    (project / "third_party_fusion.py").write_text(MODULE)
    offline = ("--quiet", "--no-deps", "--no-index")
    command("pip", "wheel", *offline, "--no-build-isolation", "-w", folder, project)
    (wheel,) = folder.glob("*.whl")
    command("pip", "install", *offline, "--target", folder / "site", wheel)
    return folder / "site"


def bench(site: Path, *arguments: str) -> str:
    return command("i2moe_plugin.benchmarks.cli", *arguments, PYTHONPATH=str(site))


def test_it_is_listed_with_its_facts(site):
    rows = {row["name"]: row for row in json.loads(bench(site, "list", "backbones", "--json"))}
    assert rows["third-party"]["what"] == "The sum of linear layers."
    assert rows["third-party"]["modalities"] == "2-3"
    assert "lrtf" in rows
    assert "gone" not in rows


def test_what_cannot_be_loaded_is_told_and_harms_nothing(site):
    shown = " ".join(bench(site, "list", "backbones").split())
    assert "gone is installed but cannot be loaded" in shown
    assert "has no attribute 'Gone'" in shown
