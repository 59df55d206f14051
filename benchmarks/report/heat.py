"""The panel that shows which words and patches count: heat, and marks of the highest pairs."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from i2moe_plugin.benchmarks.attribution.convergence import above_zero
from i2moe_plugin.benchmarks.attribution.picture import describe, named_tokens, own_tokens
from i2moe_plugin.benchmarks.report.panels import Panel, panel
from i2moe_plugin.benchmarks.report.text import without_controls
from i2moe_plugin.interpretation.figures.drawing import (
    BLUE,
    GREEN,
    plain_text,
    style,
    with_alt,
)

WORDS = 8  # in a line
LINE, PICTURE = 24, 190  # pixels
HEAT = "YlOrRd"
MARKED = 3  # pairs of a score
PAIR_COLOURS = {"interaction": BLUE, "redundancy_sub": GREEN}
_RULE = (
    "Importance is scaled to lie between 0 and 1 within each sample and modality: it does not "
    "compare between them. A word counts as much as its most important piece. The same number on a "
    "word and on a patch marks one of the three highest pairs, by interaction (blue) or by "
    "redundancy (green), if it is told from 0. How far to trust it the masking curves tell, where "
    "they were computed (explain RUN --features)."
)


def heat_panel(record: dict[str, Any]) -> Panel:
    """Draw importance over words and picture for each scope, and mark the members of pairs.

    Args:
        record: of :func:`~i2moe_plugin.benchmarks.attribution.sample.explain_features`.
    """
    modalities, scopes = record["modalities"], record["scopes"]
    lines = [
        _lines(modality, len(scopes[0]["importance"][place]))
        for place, modality in enumerate(modalities)
    ]
    row = max(
        PICTURE if modality["kind"] == "image" else LINE * count + 30
        for modality, count in zip(modalities, lines, strict=True)
    )
    titles = [
        plain_text(_title(scope)) if place == 0 else ""
        for scope in scopes
        for place in range(len(modalities))
    ]
    figure = make_subplots(
        len(scopes),
        len(modalities),
        subplot_titles=titles,
        column_widths=[1.0 if m["kind"] == "image" else 3.0 for m in modalities],
        horizontal_spacing=0.03,
        vertical_spacing=30 / (len(scopes) * (row + 30)),
    )
    name = without_controls(record["sample"], 60)
    target = ", ".join(without_controls(one, 40) for one in record["target"])
    style(figure, f"{name}: what counts for {target}", len(scopes) * (row + 30) + 90, top=80)
    table = []
    for place, modality in enumerate(modalities):
        for number, scope in enumerate(scopes, 1):
            _heat_of(figure, modality, scope, place, number)
            names, values = named_tokens(modality, scope, place)
            table += [
                [scope["scope"], modality["name"], without_controls(word), value]
                for word, value in zip(names, values, strict=True)
            ]
    for probe in record["pairs"]:
        number = 1 + [scope["scope"] for scope in scopes].index(probe["scope"])
        _mark(figure, modalities, probe, number)
    figure.update_xaxes(showgrid=False, showticklabels=False, ticks="")
    figure.update_yaxes(showgrid=False, showticklabels=False, autorange="reversed", ticks="")
    figure.update_layout(meta={"columns": 12})
    return panel(
        f"Words and patches of {name}, by {record['explainer']}",
        with_alt(figure, without_controls(describe(record))),
        pd.DataFrame(table, columns=["scope", "modality", "token", "importance"]),
        " ".join([_RULE, *map(without_controls, own_tokens(modalities))]),
    )


def _title(scope: dict[str, Any]) -> str:
    weight = "" if scope["weight"] is None else f", weight {scope['weight']:.2f}"
    return f"{scope['scope']}{weight}"


def _heat_of(
    figure: go.Figure, modality: dict[str, Any], scope: dict[str, Any], place: int, row: int
) -> None:
    """One modality of one scope: a grid of words, or patches over the picture."""
    names, values = named_tokens(modality, scope, place)
    trace: dict[str, Any] = {
        "colorscale": HEAT,
        "zmin": 0,
        "zmax": 1,
        "showscale": row == 1 and place == 0,
        "colorbar": {
            "thickness": 12,
            "title": {"text": "importance"},
            "len": PICTURE,
            "lenmode": "pixels",
            "y": 1,
            "yanchor": "top",
        },
        "xgap": 1,
        "ygap": 1,
    }
    if modality["kind"] == "image":
        rows, columns = modality["grid"]
        cells = [values[r * columns : (r + 1) * columns] for r in range(rows)]
        picture = modality["picture"]
        figure.add_trace(
            go.Heatmap(
                z=cells,
                opacity=0.6 if picture else 1.0,
                hovertemplate="row %{y}, column %{x}: %{z:.2f}<extra></extra>",
                x0=1,
                y0=1,
                **{**trace, "xgap": 0, "ygap": 0},
            ),
            row,
            place + 1,
        )
        figure.update_xaxes(range=[0.5, columns + 0.5], constrain="domain", row=row, col=place + 1)
        near = {"scaleanchor": _axis(figure, row, place), "constrain": "domain"}
        figure.update_yaxes(**near, constraintoward="top", row=row, col=place + 1)
        if picture:
            figure.add_layout_image(
                source=picture,
                x=0.5,
                y=0.5,
                sizex=columns,
                sizey=rows,
                sizing="stretch",
                layer="below",
                row=row,
                col=place + 1,
            )
        return
    lines = _lines(modality, len(values))
    padded = [*values, *[None] * (lines * WORDS - len(values))]
    texts = [plain_text(without_controls(name, 14)) for name in names]
    texts += [""] * (len(padded) - len(texts))
    figure.add_trace(
        go.Heatmap(
            z=[padded[n * WORDS : (n + 1) * WORDS] for n in range(lines)],
            text=[texts[n * WORDS : (n + 1) * WORDS] for n in range(lines)],
            texttemplate="%{text}",
            hovertemplate="%{text}: %{z:.2f}<extra></extra>",
            **trace,
        ),
        row,
        place + 1,
    )


def _mark(
    figure: go.Figure, modalities: list[dict[str, Any]], probe: dict[str, Any], row: int
) -> None:
    """Put the number of each of the highest pairs on its word and on its patch."""
    colour = PAIR_COLOURS[probe["score"]]
    for place, modality in enumerate(modalities):
        spots: dict[tuple[float, float], list[str]] = {}
        told = [pair for pair in probe["pairs"][:MARKED] if above_zero(pair, probe["rounding"])]
        for number, pair in enumerate(told, 1):
            spot = _spot(modality, pair["tokens"][place])
            if spot is not None:
                spots.setdefault(spot, []).append(str(number))
        figure.add_trace(
            go.Scatter(
                x=[x for x, _ in spots],
                y=[y for _, y in spots],
                mode="markers+text",
                marker={"size": 17, "color": colour, "line": {"color": "white", "width": 1}},
                text=[",".join(numbers) for numbers in spots.values()],
                textfont={"color": "white", "size": 10},
                hovertemplate=f"{probe['score']}, pair %{{text}}<extra></extra>",
                showlegend=False,
            ),
            row,
            place + 1,
        )


def _spot(modality: dict[str, Any], token: int) -> tuple[float, float] | None:
    """Where a token's mark stands: in the corner of its word, on its patch."""
    if modality["kind"] == "image":
        columns = modality["grid"][1]
        return 1.0 + token % columns, 1.0 + token // columns
    place = token
    if modality["kind"] == "text":
        there = [word["tokens"] for word in modality["words"] if word["tokens"]]
        place = next((n for n, tokens in enumerate(there) if token in tokens), -1)
        if place < 0:
            return None
    return place % WORDS - 0.36, float(place // WORDS)


def _axis(figure: go.Figure, row: int, place: int) -> str:
    (ref,) = {trace.xaxis for trace in figure.select_traces(row=row, col=place + 1)}
    return str(ref or "x")


def _lines(modality: dict[str, Any], tokens: int) -> int:
    there = tokens
    if modality["kind"] == "text":
        there = sum(bool(word["tokens"]) for word in modality["words"])
    return max(1, math.ceil(there / WORDS))
