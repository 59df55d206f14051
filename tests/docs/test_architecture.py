"""The architecture page: its picture is that of the imports, its paths exist."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import draw_architecture
import networkx
from draw_architecture import Layout, circles, drawn, levels, picture
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
LIMIT = 400


def test_the_picture_is_that_of_the_imports():
    stored = (ROOT / "docs/architecture.svg").read_text(encoding="utf-8")
    assert stored == picture(), "run: python docs/draw_architecture.py"


def test_every_package_is_in_the_picture():
    boxes = set(re.findall(r"<text x[^>]*>([^<]*)</text>", picture()))
    packages = {path.parent.name for path in ROOT.glob("i2moe_plugin/*/__init__.py")} | {
        path.parent.name for path in ROOT.glob("benchmarks/*/__init__.py")
    }
    assert packages | {"adapters", "cli", "errors"} <= boxes


NAMES = ["benchmarks.a", "benchmarks.b", "adapters", "c", "d", "e", "f"]


@st.composite
def graphs(draw):
    """Imports without a circle, which point at what stands later in ``NAMES``."""
    pairs = [(a, b) for i, a in enumerate(NAMES) for b in NAMES[i + 1 :]]
    chosen = draw(st.sets(st.sampled_from(pairs)))
    return {a: {b for x, b in chosen if x == a} for a in NAMES}


@given(graphs())
def test_only_arrows_that_follow_from_others_are_left_out(graph):
    oracle = networkx.DiGraph([(a, b) for a in graph for b in graph[a]])
    assert drawn(graph) == set(networkx.transitive_reduction(oracle).edges)
    assert circles(graph) == set()


@given(graphs())
def test_arrows_point_down_and_boxes_do_not_overlap(graph):
    row = levels(graph)
    assert all(row[a] > row[b] for a in graph for b in graph[a])
    layout = Layout(graph)
    for names in layout.rows:
        for left, right in itertools.pairwise(names):
            gap = layout.x[right] - layout.x[left]
            assert gap >= (layout.width(left) + layout.width(right)) / 2


def test_a_circle_is_shown(monkeypatch):
    graph = {"benchmarks.a": {"c"}, "c": {"d"}, "d": {"c"}, "e": set(), "adapters": set()}
    assert circles(graph) == {("c", "d"), ("d", "c")}
    assert drawn(graph) == {("benchmarks.a", "c"), ("c", "d"), ("d", "c")}
    monkeypatch.setattr(draw_architecture, "arrows", lambda: graph)
    assert picture().count('class="circle"') == 2


def test_modules_above_the_limit_give_their_reason():
    long = {}
    for folder in ("i2moe_plugin", "adapters", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            lines = len(path.read_text(encoding="utf-8").splitlines())
            if lines > LIMIT:
                long[path.relative_to(ROOT).as_posix()] = lines
    section = PAGE.split("## Modules above 400 lines")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `([^`]+)`", section, re.MULTILINE)) == set(long)


def test_every_room_is_described_and_every_path_exists():
    paths = set(re.findall(r"`([\w.-]+/[\w./-]*)`", PAGE))
    assert {path for path in paths if not (ROOT / path).exists()} == set()
    rooms = [*ROOT.glob("i2moe_plugin/*/__init__.py"), *ROOT.glob("benchmarks/*/__init__.py")]
    assert {f"{room.parent.relative_to(ROOT).as_posix()}/" for room in rooms} <= paths


def test_every_table_named_exists():
    """A row that says "a row of NAME in PATH" holds."""
    rows = re.findall(r"row of `(\w+)` in `([\w/.]+)`", PAGE)
    assert len(rows) >= 2
    for name, path in rows:
        assert re.search(rf"^{name}\b", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
