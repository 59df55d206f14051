"""Figures of the whole test split: of what :mod:`i2moe_plugin.interpretation.across` returns."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from i2moe_plugin.interpretation.across import AVERAGE, ENSEMBLE, calibration_error
from i2moe_plugin.interpretation.figures.drawing import (
    BLUE,
    DASHES,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    add_legend_mark,
    expert_colours,
    new_figure,
    plain_text,
    style,
    violin,
    with_alt,
)
from i2moe_plugin.interpretation.outputs import Outputs


def weights(outputs: Outputs, by_correctness: bool = False) -> go.Figure:
    """Draw violins of each expert's weight over samples (Fig. 4): median, mean and extremes.

    Args:
        outputs: of an I2MoE run.
        by_correctness: above the line samples that are right, below it those that are wrong.

    Raises:
        ConfigError: a vanilla run.
    """
    _, values = outputs.mixture()
    labels = outputs.expert_labels
    parts = outputs.groups("correct") if by_correctness else [("all", np.ones(len(values), bool))]
    figure = new_figure(
        "Weight of each expert over test samples" + (", by correctness" * by_correctness),
        height=90 + 75 * len(labels),
    )
    sentences = []
    for side, (name, mask) in enumerate(parts):
        for e, label in enumerate(labels):
            column = values[mask, e].astype(float)
            if not len(column):
                continue
            colour = (BLUE, ORANGE)[side] if by_correctness else expert_colours(labels)[e]
            place = len(labels) - 1 - e
            edges = ((0, 0.42), (-0.42, 0))[side] if by_correctness else (-0.42, 0.42)
            first = e == 0 and by_correctness
            for trace in violin(column, place, edges, colour, f"{label}, {name}"):
                figure.add_trace(trace)
            if first:
                figure.data[-4].update(showlegend=True, name=plain_text(f"{name} (n={mask.sum()})"))
            low, median, high = np.quantile(column, [0, 0.5, 1])
            sentences.append(
                f"{label}{f' ({name})' if by_correctness else ''}: median {median:.2f}, mean "
                f"{column.mean():.2f}, from {low:.2f} to {high:.2f}"
            )
    add_legend_mark(figure, "line-ns-open", "median")
    add_legend_mark(figure, "diamond", "mean")
    add_legend_mark(figure, "circle-open", "lowest and highest")
    figure.update_xaxes(title="weight", range=[-0.02, 1.02])
    figure.update_yaxes(
        tickvals=list(range(len(labels))),
        ticktext=[plain_text(label) for label in reversed(labels)],
        range=[-0.6, len(labels) - 0.4],
        showgrid=False,
    )
    return with_alt(figure, "Distribution of each expert's weight. " + "; ".join(sentences) + ".")


def weights_by_class(frame: pd.DataFrame) -> go.Figure:
    """Draw boxes of each expert's weight in each class.

    Args:
        frame: ``weight_summary(outputs, "class")``.
    """
    experts = list(dict.fromkeys(frame["expert"]))
    figure = new_figure("Weight of each expert by class (box: quartiles; whiskers: extremes)", 420)
    for colour, expert in zip(expert_colours(experts), experts, strict=True):
        rows = frame[(frame["expert"] == expert) & (frame["samples"] > 0)]
        figure.add_trace(
            go.Box(
                name=plain_text(expert),
                x=[plain_text(name) for name in rows["group"]],
                lowerfence=rows["min"].to_numpy(),
                q1=rows["q1"].to_numpy(),
                median=rows["median"].to_numpy(),
                mean=rows["mean"].to_numpy(),
                q3=rows["q3"].to_numpy(),
                upperfence=rows["max"].to_numpy(),
                marker_color=colour,
                line_width=1.5,
            )
        )
    figure.update_layout(boxmode="group", meta={"columns": int(frame["group"].nunique())})
    figure.update_yaxes(title="weight", range=[0, 1.02])
    largest = frame.dropna(subset=["mean"]).sort_values("mean", ascending=False)
    largest = largest.groupby("group", sort=False).first()
    parts = [f"{r.group}: {r.expert} {r.mean:.2f}" for r in largest.reset_index().itertuples()]
    return with_alt(figure, "Largest mean weight in each class. " + "; ".join(parts) + ".")


def experts_alone(frame: pd.DataFrame, metric: str, name: str = "") -> go.Figure:
    """Draw one metric of each expert alone, of their plain average and the ensemble (Fig. 5).

    Args:
        frame: ``expert_metrics(outputs)``.
        metric: a column of it.
        name: what to call it.
    """
    name = name or metric
    models = frame["model"].tolist()
    experts = [model for model in models if model not in (AVERAGE, ENSEMBLE)]
    colours = [*expert_colours(experts), GREY, "#595959"]
    figure = new_figure(
        f"{plain_text(name)} of each expert alone, and together", 110 + 34 * len(models)
    )
    figure.add_trace(
        go.Bar(
            x=frame[metric].to_numpy(),
            y=[plain_text(model) for model in models],
            orientation="h",
            marker={"color": colours, "pattern": {"shape": [""] * len(experts) + ["/", ""]}},
            text=[f"{value:.3f}" for value in frame[metric]],
            textposition=["auto"] * len(experts) + ["outside", "auto"],  # not on hatching
            cliponaxis=False,
            textangle=0,
            showlegend=False,
        )
    )
    figure.update_xaxes(title=plain_text(name))
    figure.update_yaxes(autorange="reversed")
    parts = [f"{m} {v:.3f}" for m, v in zip(models, frame[metric], strict=True)]
    return with_alt(figure, f"{name} on the test split: {', '.join(parts)}.")


def agreement(frame: pd.DataFrame) -> go.Figure:
    """Draw bars of where experts agree and the ensemble is right (Table 3).

    Args:
        frame: ``agreement(outputs)``.
    """
    figure = new_figure("Do the experts agree, and is the ensemble right?", 220)
    for colour, pattern, said in ((BLUE, "", "correct"), (ORANGE, "/", "wrong")):
        rows = frame[frame["ensemble"] == said]
        figure.add_trace(
            go.Bar(
                x=rows["share"].to_numpy(),
                y=[f"experts {word}" for word in rows["experts"]],
                orientation="h",
                name=f"ensemble {said}",
                marker={"color": colour, "pattern": {"shape": pattern}},
                text=[f"{share:.1%}" for share in rows["share"]],
                textangle=0,
            )
        )
    figure.update_layout(barmode="stack")
    figure.update_xaxes(title="share of test samples", tickformat=".0%", range=[0, 1])
    parts = [
        f"experts {row.experts} and the ensemble is {row.ensemble}: {row.share:.1%}"
        for row in frame.itertuples()
    ]
    return with_alt(figure, "; ".join(parts) + ".")


def similarity(frame: pd.DataFrame, title: str = "Similarity of the experts' outputs") -> go.Figure:
    """Draw a matrix of how alike experts are.

    Args:
        frame: ``similarity(outputs)``.
        title: what is compared.
    """
    labels = [plain_text(label) for label in frame.columns]
    values = frame.to_numpy(dtype=float)
    figure = new_figure(plain_text(title), 130 + 55 * len(labels), legend=False)
    figure.add_trace(
        go.Heatmap(
            z=values,
            x=labels,
            y=labels,
            zmin=min(0.0, float(np.nanmin(values))),
            zmax=1,
            colorscale="Cividis",
            text=[[f"{value:.2f}" for value in row] for row in values],
            texttemplate="%{text}",
            xgap=2,
            ygap=2,
        )
    )
    figure.update_yaxes(autorange="reversed")
    pairs = [
        f"{a} and {b} {values[i, j]:.2f}"
        for i, a in enumerate(frame.columns)
        for j, b in enumerate(frame.columns)
        if i < j
    ]
    return with_alt(figure, f"{title}: {', '.join(pairs)}.")


def calibration(frame: pd.DataFrame) -> go.Figure:
    """Draw predicted probability against what came true; markers grow with the samples.

    Args:
        frame: ``calibration(outputs)``.
    """
    error = calibration_error(frame)
    figure = new_figure(f"Calibration of the prediction (expected error {error:.3f})", 380)
    both = frame[["predicted", "true"]].to_numpy(dtype=float)
    ends = [min(0.0, both.min()), max(1.0, both.max())]
    figure.add_trace(
        go.Scatter(
            x=ends, y=ends, mode="lines", name="perfect", line={"color": GREY, "dash": "dot"}
        )
    )
    size = np.sqrt(frame["samples"] / frame["samples"].max()).to_numpy()
    figure.add_trace(
        go.Scatter(
            x=frame["predicted"].to_numpy(),
            y=frame["true"].to_numpy(),
            mode="lines+markers",
            name="this run",
            marker={"size": 6 + 16 * size, "color": BLUE},
            text=[f"{n} cases" for n in frame["samples"]],
        )
    )
    figure.update_xaxes(title="predicted")
    figure.update_yaxes(title="true")
    parts = [
        f"predicted {r.predicted:.2f}, true {r.true:.2f} (n={r.samples})"
        for r in frame.itertuples()
    ]
    return with_alt(figure, f"Expected calibration error {error:.3f}. {'; '.join(parts)}.")


def curves(frame: pd.DataFrame, best_epoch: int | None = None) -> go.Figure:
    """Draw every loss term by epoch: totals, interaction losses, mean weights, validation.

    Args:
        frame: ``training_curves(history, experts)``.
        best_epoch: is marked.
    """
    panels = [
        ("losses", frame[frame["term"].isin(["loss", "task", "auxiliary"])]),
        ("interaction losses", frame[frame["term"] == "interaction"]),
        ("mean weights in training", frame[frame["term"] == "weights"]),
    ]
    rest = frame[~frame["term"].isin(["loss", "task", "auxiliary", "interaction", "weights"])]
    panels += [(f"validation {term}", rows) for term, rows in rest.groupby("term", sort=False)]
    panels = [(name, rows) for name, rows in panels if len(rows)]
    figure = make_subplots(
        rows=len(panels),
        cols=1,
        shared_xaxes=True,
        subplot_titles=[plain_text(name) for name, _ in panels],
        vertical_spacing=0.28 / max(len(panels), 1),
    )
    style(figure, "Training", 120 + 190 * len(panels), top=95)
    shown: set[str] = set()
    for row, (_, rows) in enumerate(panels, start=1):
        experts = list(dict.fromkeys(name for name in rows["expert"] if name))
        colours = dict(zip(experts, expert_colours(experts), strict=True))
        lines = rows.groupby(["part", "term", "expert"], sort=False)
        for index, (group, line) in enumerate(lines):
            part, term, expert = map(str, group)
            name = plain_text(expert or f"{term} ({part})")
            figure.add_trace(
                go.Scatter(
                    x=line["epoch"].to_numpy(),
                    y=line["value"].to_numpy(),
                    mode="lines",
                    name=name,
                    legendgroup=name,
                    showlegend=name not in shown,
                    line={
                        "color": colours.get(expert, (BLUE, ORANGE, GREEN, PURPLE)[index % 4]),
                        "dash": DASHES[index % len(DASHES)],
                        "width": 2,
                    },
                ),
                row=row,
                col=1,
            )
            shown.add(name)
    if best_epoch is not None:
        figure.add_vline(x=best_epoch, line={"color": GREY, "dash": "dot", "width": 1})
    figure.update_xaxes(title="epoch", row=len(panels), col=1)
    last = frame[frame["epoch"] == frame["epoch"].max()] if len(frame) else frame
    columns = last[["part", "term", "expert", "value"]].itertuples(index=False)
    parts = [f"{part} {term} {expert} {value:.3g}" for part, term, expert, value in columns]
    epoch = f"Epoch {best_epoch} was kept. " if best_epoch is not None else ""
    return with_alt(figure, f"{epoch}At the last epoch: {'; '.join(parts)}.")
