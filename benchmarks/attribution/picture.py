"""A sample's words and patches as a PNG, with a text alternative inside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from i2moe_plugin.benchmarks.attribution.convergence import above_zero
from i2moe_plugin.benchmarks.run.files import disk_errors_explained
from i2moe_plugin.interpretation.outputs import ERRORS

if TYPE_CHECKING:
    from i2moe_plugin.benchmarks.data.preview import Preview

LINES = 5  # pairs of each score that are drawn
COLOURS = {"interaction": "#E69F00", "redundancy_sub": "#009E73"}
STYLES = {"interaction": "-", "redundancy_sub": "--"}
NAMES = {"interaction": "interaction", "redundancy_sub": "redundancy"}
LETTERS = 66  # of a line of words
HEAT = "YlOrRd"

Boxes = list[tuple[float, float]]


def draw_features(record: dict[str, Any], shown: Sequence[Preview], path: Path) -> str:
    """Write the picture: for each scope heat over words and patches, then pairs with lines.

    Args:
        record: of :func:`~i2moe_plugin.benchmarks.attribution.sample.explain_features`.
        shown: the sample's modalities, in order.
        path: of the PNG.

    Returns:
        the text alternative, which is also in the file (``Description``).

    Raises:
        RunError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    scopes, alternative = record["scopes"], describe(record)
    lines = max(_lines(modality) for modality in record["modalities"])
    height = max(2.1, 0.24 * lines + 0.5)
    columns = len(record["modalities"])
    rows = len(scopes) + (1 if record["pairs"] else 0)
    figure = Figure(figsize=(10, height * rows + 0.9), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    widths = [1.0 if m["kind"] == "image" else 2.2 for m in record["modalities"]]
    axes: Any = figure.subplots(rows, columns, squeeze=False, width_ratios=widths)
    for line, scope in zip(axes, scopes, strict=False):
        weight = "" if scope["weight"] is None else f", weight {scope['weight']:.2f}"
        for place, (modality, one) in enumerate(zip(record["modalities"], line, strict=True)):
            heat(one, modality, scope, place, shown)
        line[0].set_title(f"{scope['scope']}{weight}", fontsize=10, loc="left")
    if record["pairs"]:
        _pairs(figure, axes[-1], record, shown)
    target = ", ".join(record["target"])
    title = f"{record['sample']}: what counts for {target}, by {record['explainer']}"
    figure.suptitle(_plain(title), fontsize=11, wrap=True)
    with disk_errors_explained(path):
        figure.savefig(path, format="png", metadata={"Description": alternative})
    return alternative


def heat(
    axes: Any,
    modality: dict[str, Any],
    scope: dict[str, Any] | None,
    place: int,
    shown: Sequence[Preview],
) -> Boxes:
    """Draw one modality, coloured by a scope's importance; gives each token's place."""
    values = None if scope is None else np.asarray(scope["importance"][place])
    if modality["kind"] == "image":
        return _patches(axes, modality["grid"], values, shown[place].value if shown else None)
    if modality["kind"] == "text":
        words = modality["words"]
        own = None if scope is None else scope["words"][place]
        return _words(axes, [word["text"] for word in words], words, own)
    axes.bar(np.arange(len(values if values is not None else ())), values, color="#7F7F7F")
    axes.set(ylim=(0, 1), xlabel="token")
    return []


def _patches(axes: Any, grid: Sequence[int], values: Any, picture: Any) -> Boxes:
    rows, columns = grid
    extent = (0, columns, rows, 0)
    if picture is not None:
        axes.imshow(picture, extent=extent)
    if values is not None:
        over = 0.6 if picture is not None else 1.0
        axes.imshow(
            values.reshape(rows, columns), extent=extent, cmap=HEAT, vmin=0, vmax=1, alpha=over
        )
    axes.set(xlim=(0, columns), ylim=(rows, 0), xticks=[], yticks=[])
    return [(column + 0.5, row + 0.5) for row in range(rows) for column in range(columns)]


def _words(axes: Any, names: list[str], words: list[dict[str, Any]], values: Any) -> Boxes:
    """Words line by line on a grid of letters; darker ones matter more."""
    from matplotlib import colormaps

    places, line, column = [], 0, 0
    for name in names:
        if column and column + len(name) > LETTERS:
            line, column = line + 1, 0
        places.append((column, line))
        column += len(name) + 2
    tokens = max((token for word in words for token in word["tokens"]), default=-1) + 1
    boxes: Boxes = [(0.0, 0.0)] * tokens
    for number, (name, (x, y)) in enumerate(zip(names, places, strict=True)):
        value = None if values is None else values[number]
        colour: Any = "none" if value is None else colormaps[HEAT](0.85 * value)
        axes.text(
            x,
            y,
            _plain(name),
            fontsize=9,
            family="monospace",
            va="center",
            color="white" if value is not None and value > 0.75 else "black",
            bbox={"facecolor": colour, "edgecolor": "none", "pad": 2.0},
        )
        for token in words[number]["tokens"]:
            boxes[token] = (x + len(name) / 2, float(y))
    axes.set(xlim=(-1, LETTERS), ylim=(max(line + 1, 5), -1), xticks=[], yticks=[])
    for side in axes.spines.values():
        side.set_visible(False)
    return boxes


def _pairs(figure: Any, line: Any, record: dict[str, Any], shown: Sequence[Preview]) -> None:
    """Lines between the members of the highest pairs."""
    from matplotlib.patches import ConnectionPatch

    boxes = [
        heat(axes, modality, None, place, shown)
        for place, (modality, axes) in enumerate(zip(record["modalities"], line, strict=True))
    ]
    for score, colour in COLOURS.items():
        for pair in told_pairs(record, score, LINES) if all(boxes) else ():
            first, second = (own[token] for own, token in zip(boxes, pair["tokens"], strict=True))
            figure.add_artist(
                ConnectionPatch(
                    first,
                    second,
                    "data",
                    "data",
                    axesA=line[0],
                    axesB=line[1],
                    color=colour,
                    linestyle=STYLES[score],
                    linewidth=1.4,
                    arrowstyle="-",
                )
            )
    line[0].set_title(
        f"highest pairs above {ERRORS:.0f} standard errors: {NAMES['interaction']} (orange), "
        f"{NAMES['redundancy_sub']} (green, dashed)",
        fontsize=9,
        loc="left",
    )


def told_pairs(record: dict[str, Any], score: str, count: int) -> list[dict[str, Any]]:
    """The highest pairs, without those that are not told from 0."""
    return [
        pair
        for probe in record["pairs"]
        if probe["score"] == score
        for pair in probe["pairs"][:count]
        if above_zero(pair, probe["rounding"])
    ]


def describe(record: dict[str, Any], words: int = 3) -> str:
    """Say in words what the picture shows."""
    said = [f"What counts for {', '.join(record['target'])}, by {record['explainer']}."]
    for scope in record["scopes"]:
        parts = []
        for place, modality in enumerate(record["modalities"]):
            names, values = named_tokens(modality, scope, place)
            order = sorted(range(len(values)), key=lambda number: -values[number])[:words]
            best = ", ".join(f"{names[number]} {values[number]:.2f}" for number in order)
            parts.append(f"{modality['name']}: {best or 'nothing'}")
        said.append(f"{scope['scope']}: {'; '.join(parts)}.")
    for score, name in NAMES.items():
        best = "; ".join(
            f"{' with '.join(pair['names'])} {pair['mean']:+.3g}"
            for pair in told_pairs(record, score, words)
        )
        if best:
            said.append(f"Highest pairs by {name}: {best}.")
    return " ".join(said)


def named_tokens(
    modality: dict[str, Any], scope: dict[str, Any], place: int
) -> tuple[list[str], list[float]]:
    """What words or tokens of a modality are called, and their importance."""
    if modality["kind"] == "text":
        own = zip(modality["words"], scope["words"][place], strict=True)
        pairs = [(word["text"], value) for word, value in own if value is not None]
        return [name for name, _ in pairs], [value for _, value in pairs]
    values = scope["importance"][place]
    if modality["kind"] == "image":
        columns = modality["grid"][1]
        names = [f"row {n // columns + 1}, column {n % columns + 1}" for n in range(len(values))]
        return names, values
    return [f"token {n + 1}" for n in range(len(values))], values


def own_tokens(modalities: Sequence[dict[str, Any]]) -> list[str]:
    """Say of which modalities tokens are parts of an encoder's state alone; nothing, if of none."""
    names = ", ".join(one["name"] for one in modalities if one["kind"] == "tokens")
    if not names:
        return []
    return [
        f"Tokens of {names} are numbered parts of what an encoder says: they "
        "stand for no word, and for no place of a picture."
    ]


def _plain(text: str) -> str:
    """Return text that stays text: matplotlib would read formulas between dollar signs."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text).replace(
        "$", r"\$"
    )


def _lines(modality: dict[str, Any]) -> int:
    """How many lines a text takes; a picture 8."""
    if modality["kind"] != "text":
        return 7
    return 1 + sum(len(word["text"]) + 2 for word in modality["words"]) // (LETTERS - 8)
