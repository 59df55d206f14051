"""What all figures are drawn with: colours, frame, violins, text alternatives."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SKY, PURPLE, GREY = "#56B4E9", "#CC79A7", "#7F7F7F"
UNIQUE = (BLUE, SKY, PURPLE, VERMILION)
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
DENSITY_POINTS = 80
LONGEST_NAME = 40


def expert_colours(experts: Sequence[str]) -> list[str]:
    """Choose a colour for each expert, by its name or label."""
    fixed = {"synergy": ORANGE, "redundancy": GREEN}
    return [fixed.get(name, UNIQUE[i % len(UNIQUE)]) for i, name in enumerate(experts)]


def violin(
    column: NDArray[Any], place: float, edges: tuple[float, float], colour: str, name: str
) -> list[go.Scatter]:
    """Draw a density between two edges around its place, then extremes, median and mean."""
    low, median, high = np.quantile(column, [0, 0.5, 1])
    grid, density = density_of(column)
    below, above = place + edges[0] * density, place + edges[1] * density
    fill = go.Scatter(
        x=np.concatenate([grid, grid[::-1]]).round(4),
        y=np.concatenate([above, below[::-1]]).round(4),
        fill="toself",
        mode="lines",
        line={"color": colour, "width": 1.5},
        hoverinfo="skip",
        showlegend=False,
    )
    middle = place + sum(edges) / 2
    half = sum(edges) != 0
    marks = [
        ([low, high], "circle-open", 7),
        ([median], "line-ns-open", 10 if half else 16),
        ([column.mean()], "diamond", 8),
    ]
    return [
        fill,
        *(
            go.Scatter(
                x=x,
                y=[middle] * len(x),
                mode="markers",
                name=plain_text(name),
                marker={
                    "symbol": symbol,
                    "size": size,
                    "color": "#1a1a1a",
                    "line": {"width": 2, "color": "#1a1a1a"},
                },
                meta="ink",
                showlegend=False,
            )
            for x, symbol, size in marks
        ),
    ]


def density_of(column: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Estimate a density between the extremes, scaled to at most 1; a line where constant."""
    from scipy.stats import gaussian_kde

    low, high = float(column.min()), float(column.max())
    if high - low < 1e-6:
        return np.array([low - 0.002, low + 0.002]), np.ones(2)
    grid = np.linspace(low, high, DENSITY_POINTS)
    density = gaussian_kde(column)(grid)
    return grid, density / density.max()


def interval_dots(figure: go.Figure, names: Any, values: Any, low: Any, high: Any) -> None:
    """Add a dot for each name, with its interval where there is one."""
    values, low, high = (np.asarray(column, dtype=float) for column in (values, low, high))
    figure.add_trace(
        go.Scatter(
            x=values,
            y=[plain_text(name) for name in names],
            mode="markers",
            marker={"size": 10, "color": BLUE},
            error_x={"array": high - values, "arrayminus": values - low, "color": BLUE},
            name="with 95 % interval" if np.isfinite(high).any() else "of this test split",
        )
    )


def add_legend_mark(figure: go.Figure, symbol: str, name: str) -> None:
    """Add a mark to the legend."""
    marker = {"symbol": symbol, "size": 10, "color": "#1a1a1a", "line": {"width": 2}}
    figure.add_trace(
        go.Scatter(x=[None], y=[None], mode="markers", marker=marker, name=name, meta="ink")
    )


def new_figure(title: str, height: int, *, legend: bool = True) -> go.Figure:
    """Make an empty figure of that height in pixels; it is as wide as its place."""
    return style(go.Figure(), title, height, top=60 if legend else 42)


def style(figure: go.Figure, title: str, height: int, *, top: int = 60) -> go.Figure:
    """Set frame, fonts and grid; the legend lies above the plot and the panels' titles."""
    lift = max(top - 69, 0) / max(height - top - 50, 1)
    figure.update_layout(
        template="none",
        title={"text": title, "x": 0.01, "xanchor": "left", "font": {"size": 15}},
        height=height,
        margin={"l": 20, "r": 20, "t": top, "b": 50},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0 + lift, "x": 0},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13},
    )
    figure.update_xaxes(automargin=True, gridcolor="rgba(127,127,127,0.3)", zeroline=False)
    figure.update_yaxes(automargin=True, gridcolor="rgba(127,127,127,0.3)", zeroline=False)
    figure.update_yaxes(ticks="outside", ticklen=6, tickcolor="rgba(0,0,0,0)")  # room for marks
    return figure


def with_alt(figure: go.Figure, alt: str) -> go.Figure:
    """Give a figure its text alternative."""
    figure.update_layout(meta={**(figure.layout.meta or {}), "alt": alt})
    return figure


def plain_text(text: Any) -> str:
    """Escape a name, in which plotly would read tags, and cut a long one."""
    text = str(text)
    short = text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 1]}…"
    return html.escape(short, quote=False)
