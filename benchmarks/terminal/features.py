"""What `explain --features` shows: words and patches by importance, pairs, curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.text import Text

from i2moe_plugin.benchmarks.attribution.convergence import enough_in_words
from i2moe_plugin.benchmarks.attribution.picture import own_tokens
from i2moe_plugin.benchmarks.report.text import without_controls
from i2moe_plugin.benchmarks.terminal.tables import Table

SHADES = " ░▒▓█"
WORDS = 6  # named of each text
TEXT_LIMIT = 60
EXPLANATIONS = {
    "interaction": "Pairs by interaction: what both bring beyond what each brings (output of the "
    "{scope} expert; Shapley interaction index, {draws} draws)",
    "redundancy_sub": "Pairs by redundancy: what either can stand in for (output of the {scope} "
    "expert; redundancy gap by subtraction, a formula of ours, {draws} draws)",
}


def show_features(console: Console, record: dict[str, Any], top: int = 5) -> None:
    """Show one sample's record of :func:`~i2moe_plugin.benchmarks.attribution.sample`."""
    target = ", ".join(without_controls(name) for name in record["target"])
    console.print(
        Text(f"What counts for {target}, by {record['explainer']}", style="bold"), soft_wrap=True
    )
    for place, modality in enumerate(record["modalities"]):
        table = Table(
            title=Text(without_controls(modality["name"])), title_justify="left", box=SIMPLE
        )
        table.add_column("scope", no_wrap=True)
        table.add_column("weight", justify="right")
        table.add_column("the most important first" if modality["kind"] != "image" else "")
        for scope in record["scopes"]:
            weight = "" if scope["weight"] is None else f"{scope['weight']:.3f}"
            table.add_row(scope["scope"], weight, _heat(modality, scope, place))
        console.print(table)
    for sentence in own_tokens(record["modalities"]):
        console.print(Text(without_controls(sentence), style="dim"))
    if not record["pairs"]:
        console.print(Text(no_pairs(record), style="dim"))
    for probe in record["pairs"]:
        console.print(_pairs(probe, [each["name"] for each in record["modalities"]], top))
        console.print(Text(enough_in_words(probe), style="dim"))


def no_pairs(record: dict[str, Any]) -> str:
    """Say why a record has no pairs."""
    count = len(record["modalities"])
    if count != 2:
        return f"No pairs: they are of two modalities, and there are {count}."
    return "No pairs: none were asked for, or a modality has no token that could be in one."


def _heat(modality: dict[str, Any], scope: dict[str, Any], place: int) -> Text:
    importance = scope["importance"][place]
    if modality["kind"] == "image":
        rows, columns = modality["grid"]
        lines = (shades(importance[row * columns : (row + 1) * columns]) for row in range(rows))
        return Text("\n".join(lines))
    if modality["kind"] == "text":
        names = [word["text"] for word in modality["words"]]
        values = scope["words"][place]
    else:
        names = [f"token {number + 1}" for number in range(len(importance))]
        values = importance
    if not any(value is not None for value in values):
        return Text("no tokens that stand for anything", style="dim")
    ranked = sorted(
        ((value, name) for value, name in zip(values, names, strict=True) if value is not None),
        key=lambda pair: -pair[0],
    )
    said = Text()
    for value, name in ranked[:WORDS]:
        said.append(without_controls(name, 24), style="bold" if value > 0.5 else "")
        said.append(f" {value:.2f}  ", style="dim")
    if len(ranked) > WORDS:
        said.append(f"and {len(ranked) - WORDS} more", style="dim")
    return said


def shades(values: Sequence[float]) -> str:
    """Draw numbers from 0 to 1 as shades, two characters each: a patch is as high as wide.

    >>> shades([0, 0.5, 1])
    '  ▒▒██'
    """
    return "".join(2 * SHADES[round(value * (len(SHADES) - 1))] for value in values)


def _pairs(probe: dict[str, Any], modalities: Sequence[str], top: int) -> Table:
    title = EXPLANATIONS[probe["score"]].format(**probe)
    table = Table(title=Text(title), title_justify="left", box=SIMPLE)
    for name in modalities:
        table.add_column(Text(without_controls(name)))
    table.add_column("score", justify="right")
    table.add_column("± standard error", justify="right")
    for pair in probe["pairs"][:top]:
        words = [Text(without_controls(name, 32)) for name in pair["names"]]
        table.add_row(*words, f"{pair['mean']:+.3g}", f"{pair['standard_error']:.2g}")
    return table
