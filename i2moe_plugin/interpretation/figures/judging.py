"""Figures of how predictions are right and wrong."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from i2moe_plugin.interpretation.figures.drawing import (
    BLUE,
    DASHES,
    GREEN,
    GREY,
    ORANGE,
    UNIQUE,
    new_figure,
    plain_text,
    with_alt,
)

#: Points of a curve, so that a figure's size does not grow with the number of samples.
POINTS = 200
#: Dots of a scatter.
DOTS = 1000


def confusion(frame: pd.DataFrame) -> go.Figure:
    """Draw a confusion matrix; each row is coloured by its shares.

    Args:
        frame: ``confusion(outputs)``.
    """
    counts = frame.to_numpy(dtype=float)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    names = [plain_text(name) for name in frame.columns]
    few = len(names) <= 12
    figure = new_figure("Confusion of classes", 220 + 26 * len(names), legend=False)
    figure.add_trace(
        go.Heatmap(
            z=shares.round(4),
            x=names,
            y=names,
            text=counts.astype(int) if few else None,
            texttemplate="%{text}" if few else None,
            customdata=counts.astype(int),
            hovertemplate="true %{y}, decided %{x}: %{customdata}<extra></extra>",
            colorscale="Blues",
            zmin=0,
            zmax=1,
            colorbar={"title": "share of row"},
        )
    )
    figure.update_xaxes(title="decided", type="category")
    figure.update_yaxes(title="true", type="category", autorange="reversed")
    right = int(np.trace(counts))
    off = counts - np.diag(np.diag(counts))
    row, column = np.unravel_index(int(off.argmax()), off.shape)
    said = f"{right} of {int(counts.sum())} decisions are right."
    if off.any():
        true, decided = list(frame.index)[int(row)], list(frame.columns)[int(column)]
        said += f" Most often {true} was taken for {decided} ({int(off.max())} times)."
    return with_alt(figure, said)


def class_metrics(frame: pd.DataFrame) -> go.Figure:
    """Draw precision, recall and F1 of each class.

    Args:
        frame: ``class_metrics(outputs)``.
    """
    names = [plain_text(name) for name in frame["class"]]
    figure = new_figure("Each class alone", 200 + 26 * len(names))
    marks = (("precision", BLUE, "circle"), ("recall", ORANGE, "square"), ("f1", GREEN, "diamond"))
    for column, colour, symbol in marks:
        figure.add_trace(
            go.Scatter(
                x=frame[column].to_numpy(),
                y=names,
                mode="markers",
                name="F1" if column == "f1" else column,
                marker={"color": colour, "symbol": symbol, "size": 10},
            )
        )
    figure.update_xaxes(title="share", range=[-0.03, 1.03])
    figure.update_yaxes(type="category", autorange="reversed")
    parts = [
        f"{row['class']}: precision {row['precision']:.2f}, recall {row['recall']:.2f}, F1 "
        f"{row['f1']:.2f}, {row['samples']} samples"
        for _, row in frame.iterrows()
    ]
    return with_alt(figure, f"{'; '.join(parts)}.")


def roc(frame: pd.DataFrame) -> go.Figure:
    """Draw ROC curves.

    Args:
        frame: ``roc(outputs)``.
    """
    figure = new_figure("ROC: each class against the rest", 420)
    figure.add_trace(_line([0, 1], [0, 1], "chance", GREY, "dot"))
    names = ("false_positive_rate", "true_positive_rate", "area")
    return _curves(figure, frame, names, "area")


def precision_recall(frame: pd.DataFrame) -> go.Figure:
    """Draw curves of precision over recall.

    Args:
        frame: ``precision_recall(outputs)``.
    """
    figure = new_figure("Precision and recall: each class against the rest", 420)
    names = ("recall", "precision", "average_precision")
    return _curves(figure, frame, names, "average precision")


def residuals(frame: pd.DataFrame) -> go.Figure:
    """Draw predicted against true values, of at most 1,000 samples; each output's own colour.

    Args:
        frame: ``residuals(outputs)``.
    """
    figure = new_figure("Predicted and true", 420)
    step = max(1, -(-len(frame) // DOTS))
    ends = [float(frame[["true", "predicted"]].min().min())]
    ends.append(float(frame[["true", "predicted"]].max().max()))
    figure.add_trace(_line(ends, ends, "perfect", GREY, "dot"))
    for place, (name, rows) in enumerate(frame.groupby("output", sort=False)):
        some = rows.iloc[::step]
        figure.add_trace(
            go.Scatter(
                x=some["true"].to_numpy().round(5),
                y=some["predicted"].to_numpy().round(5),
                mode="markers",
                name=plain_text(name),
                marker={"color": UNIQUE[place % len(UNIQUE)], "size": 6, "opacity": 0.6},
            )
        )
    figure.update_xaxes(title="true")
    figure.update_yaxes(title="predicted")
    mean, spread = frame["residual"].mean(), frame["residual"].std(ddof=0)
    return with_alt(
        figure, f"Residuals (predicted - true): mean {mean:.3g}, deviation {spread:.3g}."
    )


def _curves(
    figure: go.Figure, frame: pd.DataFrame, columns: tuple[str, str, str], title: str
) -> go.Figure:
    x, y, area = columns
    said = []
    for place, (name, rows) in enumerate(frame.groupby("class", sort=False)):
        value = float(rows[area].iloc[0])
        keep = np.unique(np.linspace(0, len(rows) - 1, min(POINTS, len(rows))).round().astype(int))
        some = rows.iloc[keep]
        colours = (*UNIQUE, ORANGE, GREEN)
        figure.add_trace(
            _line(
                some[x].to_numpy().round(4),
                some[y].to_numpy().round(4),
                f"{plain_text(name)} {value:.3f}",
                colours[place % len(colours)],
                DASHES[place // len(colours) % len(DASHES)],
            )
        )
        said.append(f"{name} {value:.3f}")
    figure.update_xaxes(title=x.replace("_", " "), range=[-0.02, 1.02])
    figure.update_yaxes(title=y.replace("_", " "), range=[-0.02, 1.02])
    return with_alt(figure, f"{title.capitalize()}: {', '.join(said) or 'undefined'}.")


def _line(x: object, y: object, name: str, colour: str, dash: str) -> go.Scatter:
    return go.Scatter(x=x, y=y, mode="lines", name=name, line={"color": colour, "dash": dash})
