"""Imports inside ``benchmarks`` point one way, from room to room, and nowhere in a circle."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "benchmarks"
PACKAGE = "i2moe_plugin.benchmarks"
#: Each room may import those before its line; the rooms of one line do not know each other.
ORDER = [
    {"formats", "encoders", "statistics"},
    {"data"},
    {"datasets", "run"},
    {"grid", "speed"},
    {"report", "regression"},
    {"terminal"},
    {"commands"},
]
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}
#: Folders of files that are no modules.
OF_FILES = {"recipes"}


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0]


#: Rooms that are being sorted out; they follow.
LATER = {"formats", "data", "datasets"}
FILES = [path for path in sorted(ROOT.rglob("*.py")) if room_of(path) in RANK.keys() - LATER]


def imported(source: str) -> set[str]:
    """Full names of all that a file imports, wherever in it: lazily, or for types alone."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def forbidden(room: str, source: str) -> set[str]:
    """What a file of that room imports of other rooms, and must not."""
    names = {name for name in imported(source) if name.startswith(f"{PACKAGE}.")}
    others = {name: name.split(".")[2] for name in names}
    return {
        name
        for name, other in others.items()
        if other != room and RANK.get(other, len(ORDER)) >= RANK[room]
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    assert forbidden(room_of(path), path.read_text()) == set()


def test_the_top_of_benchmarks_is_one_module_and_rooms():
    assert {path.name for path in ROOT.glob("*.py")} == {"__init__.py", "cli.py"}
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name[0] not in "._"}
    assert folders == RANK.keys() | OF_FILES


def modules() -> dict[str, set[str]]:
    """Each module of the rooms, and the modules that it imports."""
    names = {f"{PACKAGE}.{'.'.join(p.relative_to(ROOT).with_suffix('').parts)}": p for p in FILES}
    names = {name.removesuffix(".__init__"): path for name, path in names.items()}
    return {
        name: {
            found
            for one in imported(path.read_text())
            for found in (one, one.rpartition(".")[0])
            if found in names and found != name
        }
        for name, path in names.items()
    }


def test_no_module_reaches_itself():
    left = modules()
    while free := {name for name, imports in left.items() if not imports & left.keys()}:
        left = {name: imports for name, imports in left.items() if name not in free}
    assert left == {}


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("run", f"from {PACKAGE}.grid.table import Table"),
        ("run", f"def f():\n    from {PACKAGE}.datasets import datasets"),
        ("grid", f"if TYPE_CHECKING:\n    from {PACKAGE}.terminal.run import show_methods"),
        ("statistics", f"import {PACKAGE}.data.base"),
        ("report", f"from {PACKAGE}.regression import checks"),
        ("speed", f"from {PACKAGE}.commands.speed import speed"),
        ("terminal", f"from {PACKAGE}.cli import main"),
    ],
)
def test_the_rule_bites(room, source):
    assert forbidden(room, source)
