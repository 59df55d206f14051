"""Figures of what a weight is worth: of what :mod:`i2moe_plugin.interpretation.honesty` returns."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from i2moe_plugin.interpretation.figures.drawing import (
    BLUE,
    GREY,
    ORANGE,
    interval_dots,
    new_figure,
    plain_text,
    style,
    with_alt,
)


def deletion(frame: pd.DataFrame, metric: str) -> go.Figure:
    """Draw how much worse the metric gets without each expert, against a random one.

    Args:
        frame: ``deletion(outputs, metric)``.
        metric: its name in words.
    """
    random = frame.iloc[-1]
    rows = frame.iloc[:-1]
    figure = new_figure(f"Deletion test: fall of {plain_text(metric)}", 150 + 34 * len(rows))
    figure.add_vrect(
        x0=random["low"], x1=random["high"], fillcolor=GREY, opacity=0.25, line_width=0
    )
    interval_dots(figure, rows["dropped"], rows["fall"], rows["low"], rows["high"])
    figure.add_trace(
        go.Scatter(
            x=[None],
            y=[None],
            mode="markers",
            marker={"symbol": "square", "size": 12, "color": GREY, "opacity": 0.4},
            name="a random one of each sample (95 % of draws)",
        )
    )
    figure.add_vline(x=0, line={"color": GREY, "width": 1})
    figure.update_xaxes(title=f"fall of {plain_text(metric)} (right of 0: worse without it)")
    figure.update_yaxes(autorange="reversed")
    parts = [f"without {r.dropped}: {r.fall:+.4f}" for r in frame.itertuples()]
    return with_alt(figure, f"Fall of {metric}, positive is worse. {'; '.join(parts)}.")


def stability(frame: pd.DataFrame) -> go.Figure:
    """Draw the rank correlation of each expert's weights between seeds, with intervals.

    Args:
        frame: ``stability(runs)``.
    """
    runs = int(frame["runs"].iloc[0])
    figure = new_figure(f"Stability of weights over {runs} seeds", 150 + 40 * len(frame))
    interval_dots(figure, frame["expert"], frame["correlation"], frame["low"], frame["high"])
    figure.add_vline(x=0, line={"color": GREY, "width": 1})
    figure.update_xaxes(title="Spearman's correlation between seeds", range=[-1.05, 1.05])
    figure.update_yaxes(autorange="reversed")
    parts = [
        f"{r.expert} {r.correlation:.2f} (95 % interval {r.low:.2f} to {r.high:.2f})"
        for r in frame.itertuples()
    ]
    return with_alt(figure, f"Rank correlation of weights between seeds: {'; '.join(parts)}.")


def control(frame: pd.DataFrame) -> go.Figure:
    """Draw observed statistics of the weights against those under permuted labels.

    Args:
        frame: ``permuted_labels(outputs)``.
    """
    names = {"class": "variance between classes", "correct": "right against wrong"}
    figure = make_subplots(rows=1, cols=2, subplot_titles=list(names.values()), shared_yaxes=True)
    style(figure, "Permuted-label control", 160 + 40 * frame["expert"].nunique(), top=95)
    for col, statistic in enumerate(names, start=1):
        rows = frame[frame["statistic"] == statistic]
        labels = [plain_text(name) for name in rows["expert"]]
        series = (
            ("observed", "observed", "diamond", BLUE),
            ("permuted_high", "95 % of permuted labels lie below", "line-ns-open", ORANGE),
        )
        for column, name, symbol, colour in series:
            marker = {"symbol": symbol, "size": 12, "color": colour, "line": {"width": 2}}
            figure.add_trace(
                go.Scatter(
                    x=rows[column].to_numpy(),
                    y=labels,
                    mode="markers",
                    name=name,
                    legendgroup=name,
                    showlegend=col == 1,
                    marker=marker,
                ),
                row=1,
                col=col,
            )
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(rangemode="tozero")
    parts = [
        f"{r.expert}, {names[str(r.statistic)]}: {r.observed:.3f}, permuted mean {r.permuted:.3f}, "
        f"p {r.p:.3f}"
        for r in frame.itertuples()
    ]
    return with_alt(figure, "; ".join(parts) + ".")
