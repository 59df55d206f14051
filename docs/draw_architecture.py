"""Draws docs/architecture.svg from the imports of the source; run it after imports have changed.

    python docs/draw_architecture.py

Every box is a package, or a module that lies beside packages; ``adapters`` is one box. An arrow
points at what is imported, wherever in a file the import stands. An arrow that follows from others
is left out (a imports b, b imports c: a to c is not drawn); one that belongs to a circle is red.
"""

from __future__ import annotations

import ast
import importlib
import itertools
import math  # whose fsum gives the same digits on every version of Python
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: From the top of the picture to its foot: folder and colour.
STOREYS = {"benchmarks": "#dbe9f6", "adapters": "#fdebd0", "i2moe_plugin": "#dff0e0"}
HEIGHT, ROW, GAP, MARGIN = 30, 66, 16, 20

Arrow = tuple[str, str]


def box_of(module: str) -> str | None:
    """The box that holds a module of ours, by its dotted name below ``i2moe_plugin``."""
    first, *rest = module.split(".")
    if first == "adapters":
        return first
    if first == "benchmarks":
        return f"benchmarks.{rest[0]}" if rest else None
    return first or None


def storey_of(box: str) -> str:
    """The folder at the top level that a box lies in."""
    first = box.split(".")[0]
    return first if first in STOREYS else "i2moe_plugin"


def modules() -> dict[str, Path]:
    """Every module's file, by its dotted name below ``i2moe_plugin``."""
    found = {}
    for storey in STOREYS:
        for path in sorted((ROOT / storey).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            parts = parts[storey == "i2moe_plugin" :]
            found[".".join(parts).removesuffix("__init__").removesuffix(".")] = path
    return found


def imported(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """The modules of ours that a file imports, by their dotted names below ``i2moe_plugin``."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    for name in names:
        first, _, rest = name.partition(".")
        if first != "i2moe_plugin" or rest.startswith("__"):
            continue
        while rest and rest not in known:  # a function or class: its module
            rest, _, attribute = rest.rpartition(".")
            if not rest:  # a public name of the package, which says itself where it comes from
                home = getattr(importlib.import_module(first), attribute).__module__
                rest = home.partition(".")[2]
        yield rest


def arrows() -> dict[str, set[str]]:
    """Box -> the boxes it imports, for every box."""
    known = modules()
    found: dict[str, set[str]] = {box: set() for box in map(box_of, known) if box}
    for module, path in known.items():
        box = box_of(module)
        if box:
            found[box] |= {other for other in map(box_of, imported(path, known)) if other}
            found[box].discard(box)
    return found


def reachable(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """Box -> all that it imports directly or through others."""
    reached = {}
    for box in graph:
        seen: set[str] = set()
        ahead = list(graph[box])
        while ahead:
            other = ahead.pop()
            if other not in seen:
                seen.add(other)
                ahead += graph[other]
        reached[box] = seen
    return reached


def circles(graph: dict[str, set[str]]) -> set[Arrow]:
    """The arrows from whose end a way leads back to their beginning."""
    reached = reachable(graph)
    return {(a, b) for a in graph for b in graph[a] if a in reached[b]}


def drawn(graph: dict[str, set[str]]) -> set[Arrow]:
    """The arrows that do not follow from others, and all that belong to a circle."""
    reached, round_ = reachable(graph), circles(graph)

    def follows(a: str, b: str) -> bool:
        return any(
            b in reached[c] and a not in reached[c] and c not in reached[b] for c in graph[a] - {b}
        )

    return {(a, b) for a in graph for b in graph[a] if (a, b) in round_ or not follows(a, b)}


def levels(graph: dict[str, set[str]]) -> dict[str, int]:
    """The row of each box, 0 at the foot: above all that it imports, storey above storey."""
    round_ = circles(graph)
    found: dict[str, int] = {}

    def level(box: str) -> int:
        if box not in found:
            found[box] = 1 + max(
                (
                    level(other)
                    for other in graph[box]
                    if storey_of(other) == storey_of(box) and (box, other) not in round_
                ),
                default=-1,
            )
        return found[box]

    base, result = 0, {}
    for storey in reversed(STOREYS):
        inside = {box: base + level(box) for box in sorted(graph) if storey_of(box) == storey}
        result |= inside
        base = max(inside.values()) + 1
    return result


class Layout:
    """Boxes in rows, their order chosen so that few arrows cross; lengths in pixels.

    An arrow over several rows gets a narrow place in each row that it passes.
    """

    def __init__(self, graph: dict[str, set[str]]) -> None:
        self.level = levels(graph)
        rows = [sorted(box for box in graph if self.level[box] == k) for k in range(99)]
        self.rows = [row for row in rows if row]
        self.up: dict[str, list[str]] = defaultdict(list)
        self.down: dict[str, list[str]] = defaultdict(list)
        for a, b in sorted(drawn(graph) - circles(graph)):
            below = range(self.level[a] - 1, self.level[b], -1)
            places = [a, *(f"{b}@{k}" for k in below), b]
            for k, name in zip(below, places[1:-1], strict=True):
                if name not in self.rows[k]:
                    self.rows[k].append(name)
            for upper, lower in itertools.pairwise(places):
                if lower not in self.down[upper]:
                    self.down[upper].append(lower)
                    self.up[lower].append(upper)
        self._order()
        self.x = self._place()

    def width(self, name: str) -> float:
        return 4.0 if "@" in name else 7.5 * len(label(name)) + 24

    def _crossings(self) -> int:
        count = 0
        for upper, lower in zip(self.rows[1:], self.rows, strict=False):
            at = {name: i for i, name in enumerate(lower)}
            ends = [i for name in upper for i in sorted(at[other] for other in self.down[name])]
            count += sum(ends[j] > ends[i] for i in range(len(ends)) for j in range(i))
        return count

    def _order(self) -> None:
        """Sort each row by the mean place of its neighbours, to and fro; the best order stays."""
        best, fewest = [list(row) for row in self.rows], self._crossings()
        for turn in range(40):
            rows = range(len(self.rows) - 1) if turn % 2 else range(len(self.rows) - 1, 0, -1)
            for k in rows:  # sort the next row by the one that stands
                fixed, free = (k, k + 1) if turn % 2 else (k, k - 1)
                at = {name: i / len(self.rows[fixed]) for i, name in enumerate(self.rows[fixed])}
                near = self.down if turn % 2 else self.up
                keys = {}
                for i, name in enumerate(self.rows[free]):
                    places = [at[other] for other in near[name]] or [i / len(self.rows[free])]
                    keys[name] = math.fsum(places) / len(places)
                self.rows[free].sort(key=keys.__getitem__)
            if self._crossings() < fewest:
                best, fewest = [list(row) for row in self.rows], self._crossings()
        self.rows = best

    def _place(self) -> dict[str, float]:
        """Centres near the mean of their neighbours', in order and without overlap."""
        x = {name: 0.0 for row in self.rows for name in row}
        for row in self.rows:
            x |= self._row(row, dict.fromkeys(row, 0.0), dict.fromkeys(row, 1.0))
        for turn in range(60):
            for row in self.rows if turn % 2 else self.rows[::-1]:
                wish, weight = {}, {}
                for name in row:
                    near = self.up[name] + self.down[name]
                    weights = [9.0 if "@" in name and "@" in other else 1.0 for other in near]
                    weight[name] = math.fsum(weights) or 1.0
                    places = zip(weights, near, strict=True)
                    wished = math.fsum(w * x[other] for w, other in places) / weight[name]
                    wish[name] = wished if near else x[name]
                x |= self._row(row, wish, weight)
        left = min(x[name] - self.width(name) / 2 for name in x)
        return {name: x[name] - left for name in x}

    def _row(
        self, row: Sequence[str], wish: Mapping[str, float], weight: Mapping[str, float]
    ) -> dict[str, float]:
        """The places nearest to those wished for (least squares) that keep order and distance."""
        offset, offsets = 0.0, []
        for i, name in enumerate(row):
            if i:
                offset += (self.width(row[i - 1]) + self.width(name)) / 2 + GAP
            offsets.append(offset)
        blocks: list[tuple[float, float, int]] = []  # mean, weight, number of places
        for name, offset in zip(row, offsets, strict=True):
            mean, heavy, size = wish[name] - offset, weight[name], 1
            while blocks and blocks[-1][0] > mean:
                before, more, count = blocks.pop()
                mean = (mean * heavy + before * more) / (heavy + more)
                heavy, size = heavy + more, size + count
            blocks.append((mean, heavy, size))
        base = [mean for mean, _, size in blocks for _ in range(size)]
        return {name: b + o for name, b, o in zip(row, base, offsets, strict=True)}


def label(box: str) -> str:
    """What stands in a box."""
    return box.removeprefix("benchmarks.")


def picture() -> str:
    """The picture as SVG."""
    graph = arrows()
    layout = Layout(graph)
    x = {name: place + 2 * MARGIN for name, place in layout.x.items()}
    width = max(x[name] + layout.width(name) / 2 for name in x) + MARGIN

    def y(level: int) -> int:
        return MARGIN + (len(layout.rows) - 1 - level) * ROW + 18

    shapes = []
    for storey, colour in STOREYS.items():
        inside = [layout.level[box] for box in graph if storey_of(box) == storey]
        first, last = y(max(inside)) - 24, y(min(inside)) + HEIGHT + 6
        shapes.append(
            f'<rect x="4" y="{first}" width="{width - 8:.0f}" height="{last - first}" '
            f'fill="{colour}"/><text class="name" transform="translate(20 {(first + last) / 2}) '
            f'rotate(-90)">{storey}</text>'
        )
    for k, row in enumerate(layout.rows):
        for upper, lower in ((name, below) for name in row for below in layout.down[name]):
            start, foot, end = y(k) + HEIGHT * (upper in graph), y(k) + HEIGHT, y(k - 1)
            middle = (foot + end) / 2
            shapes.append(
                f'<path class="{"arrow" if lower in graph else "line"}" d="M{x[upper]:.1f} {start} '
                f"V{foot} C{x[upper]:.1f} {middle} {x[lower]:.1f} {middle} {x[lower]:.1f} {end}"
                '"/>'
            )
    for a, b in sorted(circles(graph)):
        ends = " ".join(f"{x[box]:.1f} {y(layout.level[box]) + HEIGHT / 2}" for box in (a, b))
        shapes.append(f'<path class="circle" d="M{ends}"/>')
    for box in sorted(graph):
        wide, above = layout.width(box), y(layout.level[box])
        shapes.append(
            f'<rect class="box" x="{x[box] - wide / 2:.1f}" y="{above}" width="{wide:.1f}" '
            f'height="{HEIGHT}"/><text x="{x[box]:.1f}" y="{above + 20}">{label(box)}</text>'
        )
    head = HEAD.format(width=round(width), height=y(0) + HEIGHT + MARGIN)
    return "\n".join([head, *shapes, "</svg>", ""])


HEAD = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" \
width="{width}" height="{height}" role="img">
<title>The packages of i2moe-plugin and what each imports</title>
<style>
text {{ font: 13px "DejaVu Sans", Verdana, sans-serif; text-anchor: middle; fill: #222 }}
.name {{ font-weight: bold; fill: #555 }}
.box {{ fill: #fff; stroke: #555; rx: 5 }}
.line, .arrow {{ fill: none; stroke: #667; stroke-width: 1.3 }}
.arrow {{ marker-end: url(#end) }}
.circle {{ fill: none; stroke: #c22; stroke-width: 1.3 }}
</style>
<defs>
<marker id="end" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" \
orient="auto"><path d="M0 0L8 4L0 8z" fill="#667"/></marker>
</defs>
<rect width="{width}" height="{height}" fill="#fff"/>"""


if __name__ == "__main__":
    (ROOT / "docs/architecture.svg").write_text(picture(), encoding="utf-8", newline="\n")
