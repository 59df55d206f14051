"""What `explain` shows: a sample taken apart, and the sample itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.text import Text

from i2moe_plugin.benchmarks.report.text import without_controls
from i2moe_plugin.benchmarks.terminal.tables import Table

if TYPE_CHECKING:
    from i2moe_plugin.benchmarks.data.preview import Preview
    from i2moe_plugin.benchmarks.report.explanation import ExplainedSample
    from i2moe_plugin.benchmarks.report.waterfall import ExplainedParts
    from i2moe_plugin.benchmarks.run.store import Run
    from i2moe_plugin.interpretation import Explanation, Waterfall

BARS = "▁▂▃▄▅▆▇█"
MOST_BARS = 60
PICTURE_WIDTH = 32
TEXT_LIMIT = 1200
FEATURES = 8
SPARKLINES = 6
#: Characters that a waterfall takes.
STEPS = 20


def show_explanation(console: Console, explained: ExplainedSample) -> None:
    """Show the decision, the experts, and what the weights are worth."""
    one = explained.explanation
    said = _decision(console, explained.run, one, one.correct)
    if one.agree is not None:
        said.append(f"; the experts, each alone, {'agree' if one.agree else 'disagree'}")
    console.print(said + ".")
    console.print(_weights(explained))
    console.print(_products(explained))
    if one.classes_left_out:
        console.print(Text(f"{one.classes_left_out} more classes are not shown.", style="dim"))
    console.print(Text("How far these weights can be trusted", style="bold"))
    for sentence in explained.sentences():
        console.print(Text(f"· {without_controls(sentence)}"), soft_wrap=False)


def _decision(
    console: Console, run: Run, one: Explanation | Waterfall, correct: bool | None
) -> Text:
    """Show which sample of which run it is; return what was predicted, and whether it is right."""
    head = Text(without_controls(one.sample_id), style="bold")
    of = f"   {run.settings['fusion']} on {run.settings['dataset']}, seed {run.seed}"
    console.print(head.append(of, style="dim"))
    said = Text("Predicted ")
    said.append(without_controls(one.decision), style="bold")
    said.append(", label ")
    said.append(without_controls(one.label), style="bold")
    if correct is not None:
        said.append(": ")
        said.append(*(("correct", "bold green") if correct else ("wrong", "bold red")))
    return said


def show_parts(console: Console, explained: ExplainedParts) -> None:
    """Show the decision, and the way from the prior to it in bits."""
    said = _decision(console, explained.run, explained.waterfall, explained.correct)
    console.print(said + ".")
    for place in explained.shown:
        console.print(_waterfall(explained, place))
    left_out = len(explained.waterfall.steps) - len(explained.shown)
    if left_out:
        console.print(Text(f"{left_out} more outcomes are not shown.", style="dim"))
    console.print(Text("How to read it", style="bold"))
    for sentence in explained.sentences():
        console.print(Text(f"· {without_controls(sentence)}"), soft_wrap=False)


def show_modalities(console: Console, shown: Sequence[Preview], missing: str) -> None:
    """Show the sample's own modalities."""
    if missing:
        console.print(
            Text(f"Its modalities are not shown: {without_controls(missing)}", style="yellow")
        )
    for item in shown:
        console.print(Text(without_controls(item.modality), style="bold"))
        if item.kind == "image" and console.color_system in (None, "standard"):
            height, width = item.value.shape[:2]
            console.print(f"an image of {width} x {height}; a terminal with 256 colours shows it")
        elif item.kind == "image":
            console.print(_picture(item.value))
        elif item.kind == "text":
            console.print(Text(without_controls(str(item.value), TEXT_LIMIT)))
        elif item.kind == "series":
            console.print(_series(item))
        else:
            console.print(_features(item))


def sparkline(values: Any) -> str:
    """Draw values as little bars, averaged to at most 60; a gap where there is none.

    >>> sparkline([0, 1, 2, 3])
    '▁▃▆█'
    """
    array = np.asarray(values, dtype=float)
    if len(array) > MOST_BARS:
        array = np.array([part.mean() for part in np.array_split(array, MOST_BARS)])
    good = array[np.isfinite(array)]
    if not len(good):
        return ""
    low, high = good.min(), good.max()
    level = (array - low) / ((high - low) or 1) * (len(BARS) - 1)
    return "".join(BARS[round(one)] if np.isfinite(one) else " " for one in level)


def _weights(explained: ExplainedSample) -> Table:
    one = explained.explanation
    table = Table(title="Weights", title_justify="left", box=SIMPLE)
    table.add_column("expert", no_wrap=True)
    table.add_column("weight", justify="right")
    table.add_column("", min_width=12)
    if explained.ranges:
        table.add_column(f"over {len(explained.seeds) + 1} seeds", justify="right", no_wrap=True)
    towards = f"push to {without_controls(one.decision, 24)}"
    against = f" over {without_controls(one.against, 24)}" if one.against else ""
    table.add_column(Text(towards + against), justify="right")
    largest = one.push["push"].idxmax()
    for index, row in one.push.iterrows():
        cells: list[Any] = [Text(without_controls(row["expert"], 32)), f"{row['weight']:.3f}"]
        cells.append("█" * round(12 * row["weight"]))
        if explained.ranges:
            low, high = explained.ranges[int(str(index))]
            cells.append(f"{low:.2f} to {high:.2f}")
        style = "bold" if index == largest else ""
        table.add_row(*cells, Text(f"{row['push']:+.2f}", style=style))
    return table


def _waterfall(explained: ExplainedParts, place: int) -> Table:
    """Lay out one outcome: the prior, each part's step in bits, and where it ends."""
    row = explained.waterfall.steps.iloc[place]
    bits = [float(row[part]) for part in explained.parts]
    ends = np.cumsum([0.0, *bits])
    low, high = min(ends), max(ends)
    scale = (STEPS - 1) / ((high - low) or 1)
    known = not np.isnan(row["prior"])
    title = without_controls(str(row["outcome"]), 48)
    table = Table(title=title, title_justify="left", box=SIMPLE)
    table.add_column("", no_wrap=True)
    table.add_column("bits", justify="right")
    if explained.ranges is not None:
        runs = len(explained.seeds) + 1
        table.add_column(f"over {runs} seeds", justify="right", no_wrap=True)
    table.add_column("", min_width=STEPS, no_wrap=True)
    gap = [""] * (explained.ranges is not None)
    before, after = (f" {row[name]:.1%}" if known else "" for name in ("prior", "probability"))
    table.add_row(f"prior{before}", "", *gap, " " * round(-low * scale) + "│", style="dim")
    for number, (part, value) in enumerate(zip(explained.parts, bits, strict=True)):
        start, end = sorted((ends[number], ends[number + 1]))
        left, right = round((start - low) * scale), round((end - low) * scale)
        bar = Text(" " * left + ("█" if value >= 0 else "░") * max(1, right - left))
        cells: list[Any] = [Text(without_controls(part, 32)), f"{value:+.2f}"]
        if explained.ranges is not None:
            least, most = explained.ranges[place, number]
            cells.append(f"{least:+.2f} to {most:+.2f}")
        table.add_row(*cells, bar)
    end = " " * round((ends[-1] - low) * scale) + "│"
    table.add_row(f"prediction{after}", f"{ends[-1]:+.2f}", *gap, end, style="bold")
    return table


def _products(explained: ExplainedSample) -> Table:
    one = explained.explanation
    title = "Weight x output of the classes that matter; below it, the output alone"
    table = Table(title=title, title_justify="left", box=SIMPLE)
    table.add_column("class")
    for name in one.push["expert"]:
        column = without_controls(name, 32).replace(": ", ":\n")
        table.add_column(Text(column), justify="right", overflow="fold", min_width=8)
    table.add_column("sum", justify="right", style="bold")
    decides = one.correct is not None
    for row in one.classes.to_dict("records"):
        name = Text(without_controls(row["class"], 32))
        marks = [
            word for word, yes in (("predicted", row["decided"]), ("label", row["label"])) if yes
        ]
        if decides and marks:
            name.append(f"\n{', '.join(marks)}", style="dim")
        cells: list[Any] = [name]
        for said in one.experts[one.experts["class"] == row["class"]].itertuples():
            cell = Text(f"{said.product:+.2f}")
            cell.append(f"\n{said.output:.2f}", style="dim")
            cells.append(cell)
        total = Text(f"{row['prediction']:+.2f}")
        if decides:
            total.append(f"\n{row['probability']:.1%}", style="not bold dim")
        table.add_row(*cells, total)
    return table


def _picture(value: Any) -> Text:
    """Draw two pixels a character: the upper half block in one colour on the other."""
    from PIL import Image

    image = Image.fromarray(value)
    height = max(2, round(image.height * PICTURE_WIDTH / image.width / 2) * 2)
    height = min(height, 2 * PICTURE_WIDTH)
    pixels = np.asarray(image.resize((PICTURE_WIDTH, height)))
    text = Text()
    for upper, lower in zip(pixels[::2].tolist(), pixels[1::2].tolist(), strict=True):
        for a, b in zip(upper, lower, strict=True):
            text.append("▀", style=f"rgb({a[0]},{a[1]},{a[2]}) on rgb({b[0]},{b[1]},{b[2]})")
        text.append("\n")
    return text


def _series(item: Preview) -> Table:
    values = np.asarray(item.value)
    table = Table(show_header=False, box=None)
    for column in range(min(values.shape[1], SPARKLINES)):
        name = item.names[column] if column < len(item.names) else f"channel {column}"
        line = sparkline(values[:, column])
        table.add_row(Text(without_controls(name, 24)), line, f"{_low_high(values[:, column])}")
    rest = values.shape[1] - SPARKLINES
    if rest > 0:
        table.add_row(Text(f"and {rest} more channels", style="dim"))
    return table


def _features(item: Preview) -> Table:
    values = np.asarray(item.value, dtype=float)
    table = Table(show_header=False, box=None)
    table.add_row(Text("all", style="dim"), sparkline(values), _low_high(values))
    order = np.argsort(-np.abs(np.nan_to_num(values)))[:FEATURES]
    for index in order:
        name = item.names[index] if index < len(item.names) else f"feature {index}"
        table.add_row(Text(without_controls(name, 24)), f"{values[index]:.4g}")
    if len(values) > FEATURES:
        more = f"the {FEATURES} furthest from 0 of {len(values)}, numbered from 0"
        table.add_row(Text(more, style="dim"))
    return table


def _low_high(values: Any) -> str:
    good = np.asarray(values)[np.isfinite(values)]
    return f"{good.min():.3g} to {good.max():.3g}" if len(good) else "no values"
