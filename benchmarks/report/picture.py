"""A sample taken apart, as a PNG (matplotlib: it needs no browser, as plotly's pictures do)."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from i2moe_plugin.benchmarks.report.text import without_controls
from i2moe_plugin.benchmarks.report.waterfall import ExplainedParts
from i2moe_plugin.benchmarks.run.files import disk_errors_explained
from i2moe_plugin.interpretation import CAVEAT, Explanation, Waterfall
from i2moe_plugin.interpretation.figures.drawing import expert_colours

if TYPE_CHECKING:
    from i2moe_plugin.benchmarks.data.preview import Preview
    from i2moe_plugin.benchmarks.report.explanation import ExplainedSample

TEXT_LIMIT = 500
SERIES = 4
WATERFALLS = 3


def draw(explained: ExplainedSample | ExplainedParts, shown: Sequence[Preview], path: Path) -> None:
    """Write the picture: the sample above, below it what carried it, words at the foot.

    Of a run of I2MoE weights and products are drawn, of one of evidence the way from the prior to
    the prediction in bits.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    one: Explanation | Waterfall
    if isinstance(explained, ExplainedParts):
        one, correct = explained.waterfall, explained.correct
    else:
        one, correct = explained.explanation, explained.explanation.correct
    figure = Figure(figsize=(10, 8.6 if shown else 5.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    lower: Any = figure
    if shown:
        parts: Any = figure.subfigures(2, 1, height_ratios=[1, 1.6])
        upper, lower = parts
        for axes, item in zip(upper.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
            _modality(axes, item)
    if isinstance(explained, ExplainedParts):
        places = explained.shown[:WATERFALLS]
        for axes, place in zip(
            lower.subplots(1, len(places), squeeze=False)[0], places, strict=True
        ):
            _steps(axes, explained, place)
        words = " ".join(explained.sentences())
    else:
        left, right = lower.subplots(1, 2, width_ratios=[1, 1.8])
        _weights(left, explained)
        _products(right, explained)
        words = f"{explained.verdict.sentence} {CAVEAT}"
    state = "" if correct is None else f", {'correct' if correct else 'wrong'}"
    settings = explained.run.settings
    title = (
        f"{one.sample_id}: predicted {one.decision}, label {one.label}{state}\n"
        f"{settings['fusion']} on {settings['dataset']}, seed {explained.run.seed}"
    )
    figure.suptitle(_text(title, 200), fontsize=12, wrap=True)
    note = "\n".join(textwrap.wrap(words, 130))
    figure.supxlabel(_text(note), fontsize=8)
    with disk_errors_explained(path):
        figure.savefig(path, format="png")


def _steps(axes: Any, explained: ExplainedParts, place: int) -> None:
    """Draw one outcome's way from the prior to the prediction, a step for each part."""
    row = explained.waterfall.steps.iloc[place]
    bits = [float(row[part]) for part in explained.parts]
    ends = np.cumsum([0.0, *bits])
    places = np.arange(len(bits))
    axes.barh(places, bits, left=ends[:-1], color=expert_colours(list(explained.parts)))
    for number, end in enumerate(ends[1:-1]):
        axes.plot([end, end], [number, number + 1], color="grey", linewidth=0.8)
    axes.axvline(0, color="grey", linewidth=0.8)
    axes.axvline(ends[-1], color="black", linewidth=1, linestyle=":")
    names = [
        f"{_text(part, 24)}\n{value:+.2f}"
        for part, value in zip(explained.parts, bits, strict=True)
    ]
    axes.set(yticks=places, yticklabels=names, xlabel="bits")
    title = _text(str(row["outcome"]), 24)
    if not np.isnan(row["prior"]):
        title += f"\n{row['prior']:.1%} to {row['probability']:.1%}"
    axes.set_title(title, fontsize=10)
    axes.invert_yaxis()


def _weights(axes: Any, explained: ExplainedSample) -> None:
    push = explained.explanation.push
    names = [_text(name, 28) for name in push["expert"]]
    places = np.arange(len(names))
    axes.barh(places, push["weight"], color=expert_colours(push["expert"].tolist()))
    for place, (low, high) in zip(places, explained.ranges, strict=False):
        axes.plot([low, high], [place, place], color="black", marker="|", linewidth=1)
    over = f"; line: range over {len(explained.seeds) + 1} seeds" if explained.ranges else ""
    axes.set(yticks=places, yticklabels=names, xlim=(0, 1.02), xlabel=f"weight{over}")
    axes.invert_yaxis()


def _products(axes: Any, explained: ExplainedSample) -> None:
    """Draw stacked bars of weight x output; what is below 0 is stacked to the left."""
    one = explained.explanation
    classes = one.classes["class"].tolist()
    places = np.arange(len(classes))
    above, below = np.zeros(len(classes)), np.zeros(len(classes))
    names = one.push["expert"].tolist()
    for name, colour in zip(names, expert_colours(names), strict=True):
        rows = one.experts[one.experts["expert"] == name]
        product = rows["product"].to_numpy(dtype=float)
        start = np.where(product >= 0, above, below)
        axes.barh(places, product, left=start, color=colour, label=_text(name, 28))
        above, below = above + product.clip(0), below + product.clip(max=0)
    axes.plot(one.classes["prediction"], places, "k|", markersize=14, label="sum: the prediction")
    decides = one.correct is not None
    labels = []
    for row in one.classes.to_dict("records"):
        pairs = (("predicted", row["decided"]), ("label", row["label"]))
        marks = ", ".join(word for word, yes in pairs if yes and decides)
        labels.append(_text(row["class"], 24) + (f"\n({marks})" if marks else ""))
    axes.axvline(0, color="grey", linewidth=0.8)
    axes.set(yticks=places, yticklabels=labels, xlabel="weight x output")
    axes.invert_yaxis()
    axes.legend(fontsize=7, loc="best")


def _modality(axes: Any, item: Preview) -> None:
    axes.set_title(_text(item.modality, 40), fontsize=10)
    if item.kind == "image":
        axes.imshow(item.value)
        axes.axis("off")
    elif item.kind == "text":
        words = "\n".join(textwrap.wrap(str(item.value), 46)[:14])
        axes.text(0, 1, _text(words, TEXT_LIMIT), va="top", fontsize=8, transform=axes.transAxes)
        axes.axis("off")
    elif item.kind == "series":
        for column in np.asarray(item.value).T[:SERIES]:
            axes.plot(column, linewidth=1)
        axes.set_xlabel("time step", fontsize=8)
        axes.set_ylabel("value", fontsize=8)
    else:
        axes.bar(np.arange(len(item.value)), item.value, color="#7F7F7F")
        axes.set_xlabel("feature, numbered from 0", fontsize=8)
        axes.set_ylabel("value", fontsize=8)


def _text(text: str, limit: int | None = None) -> str:
    """Return text that stays text: matplotlib would read formulas between dollar signs."""
    return without_controls(text, limit).replace("$", r"\$")
