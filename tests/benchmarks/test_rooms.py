"""What reads data is built up one way: formats and encoders, then data, then data sets.

Imports within functions and for type checkers count.
"""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "benchmarks"
#: What of the package's benchmarks each room may import besides itself.
ROOMS: dict[str, set[str]] = {
    "formats": set(),
    "encoders": set(),
    "data": {"formats", "encoders"},
    "datasets": {"formats", "encoders", "data"},
}
PACKAGE = "i2moe_plugin.benchmarks"


def named(path: Path) -> str:
    """The full name of the module that a file holds."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join([PACKAGE, *parts]).removesuffix(".__init__")


FILES = {named(path): path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))}


def imported(path: Path) -> set[str]:
    """The full names of everything a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith(f"{PACKAGE}.")}


@pytest.mark.parametrize("module", FILES)
def test_imports_point_one_way(module):
    room = module.split(".")[2]
    rooms = {name.split(".")[2] for name in imported(FILES[module])}
    assert rooms <= ROOMS[room] | {room}


def test_no_modules_import_each_other_in_a_circle():
    graph: dict[str, set[str]] = {module: set() for module in FILES}
    for module, path in FILES.items():
        for name in imported(path):
            while name not in FILES:  # what is imported from a module, not one itself
                name = name.rpartition(".")[0]
            graph[module] |= {name} - {module}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names one


@pytest.mark.parametrize("module", FILES)
def test_a_module_can_be_read_in_one_sitting(module):
    assert len(FILES[module].read_text().splitlines()) <= 400
