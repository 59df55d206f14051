"""The figure of parts in bits: of what :mod:`i2moe_plugin.interpretation.bits` returns."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from i2moe_plugin.errors import ConfigError
from i2moe_plugin.interpretation.bits import TOTAL
from i2moe_plugin.interpretation.figures.drawing import (
    add_legend_mark,
    expert_colours,
    new_figure,
    plain_text,
    with_alt,
)
from i2moe_plugin.interpretation.mean_parts import in_bits
from i2moe_plugin.interpretation.outputs import ERRORS


def parts(frame: pd.DataFrame, title: str = "What carried the prediction") -> go.Figure:
    """Draw stacked bars of mean parts, one a group and predicted thing, with intervals.

    A bar that is only an outline is not claimed, such as one not distinguishable from zero;
    the interval is two standard errors to each side; the diamond is the total.

    Args:
        frame: of :func:`~i2moe_plugin.interpretation.part_summary`.
        title: the figure's.

    Raises:
        ConfigError: nothing to draw.
    """
    if frame.empty:
        raise ConfigError("there are no parts to draw.")
    outputs = frame["output"].where(frame["output"] == "", ": " + frame["output"])
    frame = frame.assign(bar=[plain_text(name) for name in frame["group"] + outputs])
    names = [name for name in dict.fromkeys(frame["part"]) if name != TOTAL]
    bars = list(dict.fromkeys(frame["bar"]))
    figure = new_figure(title, height=140 + 34 * len(bars))
    for name, colour in zip(names, expert_colours(names), strict=True):
        rows = frame[frame["part"] == name]
        filled = [colour if claimed else "rgba(0,0,0,0)" for claimed in rows["claimed"]]
        figure.add_trace(
            go.Bar(
                x=rows["bits"].round(4),
                y=rows["bar"],
                orientation="h",
                name=plain_text(name),
                marker={"color": filled, "line": {"color": colour, "width": 1.5}},
                error_x={"array": (ERRORS * rows["error"]).round(4), "thickness": 1, "width": 3},
            )
        )
    total = frame[frame["part"] == TOTAL]
    figure.add_trace(
        go.Scatter(
            x=total["bits"].round(4),
            y=total["bar"],
            mode="markers",
            marker={"symbol": "diamond", "size": 8, "color": "#1a1a1a"},
            meta="ink",
            showlegend=False,
        )
    )
    add_legend_mark(figure, "diamond", "total")
    figure.update_layout(barmode="relative")
    figure.update_xaxes(title="bits (mean over test samples, ± 2 standard errors)")
    figure.update_yaxes(autorange="reversed", showgrid=False)
    told = [
        f"{row.bar}, {row.part}: {row.said} ± {row.error:.3f}"
        f"{'' if row.claimed else f' ({row.state})'}"
        for row in frame.assign(said=frame["bits"].map(in_bits)).itertuples()
    ]
    return with_alt(figure, "Parts of the prediction in bits. " + "; ".join(told) + ".")
