"""Imports point one way, between packages and inside them, and never in a circle.

Every import counts, wherever it stands: at the top, in a function, for a type checker alone.
"""

import ast
from graphlib import CycleError, TopologicalSorter
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


# Between modules.

#: The packages of benchmarks: each may import itself and those on lines before its own.
PACKAGES = [
    {"formats", "encoders", "statistics"},
    {"data"},
    {"datasets", "run"},
    {"grid", "speed", "attribution"},
    {"truth", "tuning", "robustness"},
    {"report", "regression"},
    {"experiments"},
    {"terminal"},
    {"commands"},
]


def module_of(path: Path) -> str:
    """The dotted name of a file, without ``i2moe_plugin.``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[parts[0] == "i2moe_plugin" :]).removesuffix(".__init__")


def public_names() -> dict[str, str]:
    """Where each name of ``i2moe_plugin`` itself comes from."""
    stub = ast.parse((ROOT / "i2moe_plugin/__init__.pyi").read_text())
    nodes = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in nodes for alias in node.names}


def imported_modules(sources: dict[str, str], public: dict[str, str]) -> dict[str, set[str]]:
    """The modules among these that each of them imports."""
    graph: dict[str, set[str]] = {}
    for module, source in sources.items():
        graph[module] = set()
        for name in imports(source):
            first, _, name = name.partition(".")
            name = public.get(name, name) if first == "i2moe_plugin" else ""
            while name and name not in sources:
                name = name.rpartition(".")[0]  # what a module holds
            graph[module] |= {name} - {"", module}
    return graph


def circular(graph: dict[str, set[str]]) -> set[tuple[str, str]]:
    """The imports that lie on a circle."""

    def reachable(start: str) -> set[str]:
        found, pending = set(), [start]
        while pending:
            new = graph[pending.pop()] - found
            found |= new
            pending += new
        return found

    try:
        TopologicalSorter(graph).prepare()
    except CycleError:
        return {(one, other) for one in graph for other in graph[one] if one in reachable(other)}
    return set()


def against_the_order(graph: dict[str, set[str]]) -> set[tuple[str, str]]:
    """The imports inside benchmarks that point to a package they must not know."""
    place = {package: line for line, packages in enumerate(PACKAGES) for package in packages}

    def package(module: str) -> str:
        first, *rest = module.split(".")
        return rest[0] if first == "benchmarks" and rest else ""

    return {
        (one, other)
        for one in graph
        for other in graph[one]
        if package(one) in place
        and package(other) in place
        and package(one) != package(other)
        and place[package(other)] >= place[package(one)]
    }


def test_no_module_imports_in_a_circle_or_against_the_order():
    sources = {module_of(path): path.read_text() for path in FILES}
    graph = imported_modules(sources, public_names())
    assert circular(graph) == set()
    assert against_the_order(graph) == set()


def test_benchmarks_are_a_command_line_and_packages():
    folder = ROOT / "benchmarks"
    packages = {path.name for path in folder.iterdir() if any(path.glob("*.py"))}
    assert packages == set.union(*PACKAGES, {"recipes"})  # which holds files, and no code
    assert {path.name for path in folder.glob("*.py")} == {"__init__.py", "cli.py"}


def test_circles_and_the_order_are_found():
    sources = {
        "a": "from i2moe_plugin.b import x",
        "b": "def f():\n    from i2moe_plugin import Public",
        "c": "if TYPE_CHECKING:\n    import i2moe_plugin.a",
        "d.e": "import i2moe_plugin.c",
        "benchmarks.run.store": "from i2moe_plugin.benchmarks.grid import spec",
        "benchmarks.grid.spec": "from i2moe_plugin.benchmarks.run.store import Run",
        "benchmarks.datasets.htad": "import i2moe_plugin.benchmarks.run.settings",
        "benchmarks.run.settings": "from i2moe_plugin.benchmarks.formats.csv import read",
        "benchmarks.formats.csv": "",
        "benchmarks.cli": "import i2moe_plugin.benchmarks.formats.csv",
    }
    graph = imported_modules(sources, {"Public": "d.e"})
    assert {one for one, _ in circular(graph)} == {
        *("a", "b", "c", "d.e", "benchmarks.run.store", "benchmarks.grid.spec")
    }
    assert against_the_order(graph) == {
        ("benchmarks.run.store", "benchmarks.grid.spec"),
        ("benchmarks.datasets.htad", "benchmarks.run.settings"),
    }
