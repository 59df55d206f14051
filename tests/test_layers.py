"""Imports point one way: benchmarks -> adapters -> i2moe_plugin."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ["i2moe_plugin", "adapters", "benchmarks"]  # each may import itself and those before it
FILES = [path for layer in LAYERS for path in sorted((ROOT / layer).rglob("*.py"))]
#: What the method knows nothing of: the command line, files' formats, data.
NOT_IN_THE_METHOD = {
    *("click", "rich", "yaml", "pydantic", "h5py", "PIL", "torchvision", "gensim", "safetensors"),
    *("pandas", "json", "csv", "pickle", "dask", "jinja2", "plotly", "argparse"),
}
#: Interpretation hands out frames and figures, and is done without torch.
INTERPRETATION = "i2moe_plugin/interpretation"


def imports(source: str) -> set[str]:
    """The full names of everything a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports would hide the layer"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def layer_of(name: str) -> str | None:
    """The layer that a dotted name lies in, if it is ours."""
    first, _, rest = name.partition(".")
    if first in LAYERS[1:]:
        return f"the folder {first} by itself"  # only the mapped name works once installed
    if first != "i2moe_plugin":
        return None
    second = rest.split(".")[0]
    return second if second in LAYERS else "i2moe_plugin"


def forbidden(folder: str, source: str) -> set[str]:
    """What a file of that folder imports and must not."""
    outside = NOT_IN_THE_METHOD
    if folder == INTERPRETATION:
        folder, outside = "i2moe_plugin", NOT_IN_THE_METHOD - {"pandas", "plotly"} | {"torch"}
    allowed = {None, *LAYERS[: LAYERS.index(folder) + 1]}
    names = imports(source)
    wrong = {name for name in names if layer_of(name) not in allowed}
    if folder != "benchmarks":
        wrong |= {name for name in names if name.split(".")[0] in outside}
    return wrong


def folder_of(path: Path) -> str:
    """The layer that a file lies in, or the part of it that has a rule of its own."""
    inside = path.relative_to(ROOT)
    return INTERPRETATION if inside.is_relative_to(INTERPRETATION) else inside.parts[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_imports_against_the_layers(path):
    assert forbidden(folder_of(path), path.read_text()) == set()


def test_every_layer_was_looked_at():
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == set(LAYERS)


@pytest.mark.parametrize(
    ("folder", "source"),
    [
        ("i2moe_plugin", "import i2moe_plugin.adapters"),
        ("i2moe_plugin", "from i2moe_plugin import benchmarks"),
        ("i2moe_plugin", "def f():\n    from i2moe_plugin.benchmarks.cli import main"),
        ("i2moe_plugin", "import click"),
        ("i2moe_plugin", "from rich.table import Table"),
        ("adapters", "if TYPE_CHECKING:\n    from i2moe_plugin.benchmarks import encoders"),
        ("adapters", "import yaml"),
        ("benchmarks", "from adapters.concat import Concat"),
        ("i2moe_plugin", "import benchmarks"),
        ("i2moe_plugin", "import pandas as pd"),
        ("i2moe_plugin/interpretation", "import torch"),
        ("i2moe_plugin/interpretation", "import h5py"),
        ("i2moe_plugin/interpretation", "from i2moe_plugin.benchmarks.run.store import Run"),
    ],
)
def test_the_rule_bites(folder, source):
    assert forbidden(folder, source)


@pytest.mark.parametrize(
    ("folder", "source"),
    [
        ("benchmarks", "from i2moe_plugin.adapters.lrtf import LowRankTensorFusion\nimport click"),
        ("adapters", "from i2moe_plugin import register_backbone"),
        ("i2moe_plugin", "from i2moe_plugin.errors import I2MoEError\nimport torch"),
        ("i2moe_plugin/interpretation", "import pandas as pd\nimport plotly.graph_objects as go"),
    ],
)
def test_the_rule_lets_pass(folder, source):
    assert not forbidden(folder, source)
