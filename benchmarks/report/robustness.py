"""The panels about corrupted and absent modalities, of what is kept beside runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from i2moe_plugin.benchmarks.report.panels import Panel, panel
from i2moe_plugin.benchmarks.report.text import without_controls
from i2moe_plugin.benchmarks.robustness.absence import FILLS, kept_absence
from i2moe_plugin.benchmarks.robustness.curves import kept_curves
from i2moe_plugin.benchmarks.robustness.plot import COLOURS, alternative
from i2moe_plugin.benchmarks.robustness.summary import (
    absence_record,
    bare_notes,
    curves_record,
    group_measured,
    notes_of,
)
from i2moe_plugin.benchmarks.run.store import Run
from i2moe_plugin.benchmarks.statistics.metrics import method_title, metric_title
from i2moe_plugin.interpretation.figures.drawing import (
    DASHES,
    new_figure,
    plain_text,
    style,
    with_alt,
)

_CURVES = (
    "Each modality of the test samples is corrupted more and more, as in MultiBench; at level 0 is "
    "the run's own result. Whiskers are 95 % intervals over seeds, or over splits where runs are "
    "on several, if there are at least three. docs/robustness.md states the corruptions."
)
_ABSENT = (
    "The trained models, tested with some of the modalities. Whiskers are 95 % intervals over "
    "seeds, or over splits where runs are on several, if there are at least three."
)


def robustness_panels(runs: Sequence[Run]) -> list[Panel]:
    """Draw what is kept beside runs of one data set, backbone and setting; nothing is computed."""
    return [*_curves(runs), *(one for fill in FILLS for one in _absence(runs, fill))]


def _curves(runs: Sequence[Run]) -> Iterator[Panel]:
    record = curves_record(group_measured(runs, kept_curves))
    for group in record["groups"]:
        rows = [
            {
                "modality": curve["modality"],
                "method": method_title(curve["method"]),
                "level": level,
                "mean": curve["mean"][place],
                "low": curve["low"][place],
                "high": curve["high"][place],
            }
            for curve in group["curves"]
            for place, level in enumerate(record["levels"])
        ]
        notes = " ".join([_CURVES, *dict.fromkeys(notes_of({"groups": [group]}))])
        alt = alternative([group])
        yield panel(
            "Corrupted modalities",
            with_alt(_curves_figure(group, record["levels"]), without_controls(alt)),
            _numbers(rows),
            without_controls(notes),
        )


def _curves_figure(group: Mapping[str, Any], levels: Sequence[float]) -> go.Figure:
    names = list(dict.fromkeys(curve["modality"] for curve in group["curves"]))
    figure = make_subplots(
        rows=len(names),
        cols=1,
        shared_xaxes=True,
        subplot_titles=[plain_text(without_controls(name)) for name in names],
        vertical_spacing=0.28 / len(names),
    )
    style(figure, "Corrupted modalities", 120 + 190 * len(names), top=95)
    methods = list(dict.fromkeys(curve["method"] for curve in group["curves"]))
    for curve in group["curves"]:
        number = methods.index(curve["method"])
        figure.add_trace(
            _line(levels, curve, curve["method"], number, names.index(curve["modality"]) == 0),
            row=names.index(curve["modality"]) + 1,
            col=1,
        )
    figure.update_xaxes(title="level of corruption", row=len(names), col=1)
    figure.update_yaxes(title=plain_text(metric_title(group["metric"])))
    return figure


def _absence(runs: Sequence[Run], fill: Any) -> Iterator[Panel]:
    record = absence_record(group_measured(runs, lambda run: kept_absence(run, fill)))
    for group in record["groups"]:
        title = f"Absent modalities, filled by {'the method' if fill == 'own' else fill}"
        metric = metric_title(group["metric"])
        names = [row["present"] for row in group["methods"][0]["subsets"]]
        figure = new_figure(title, 320)
        rows = []
        for number, one in enumerate(group["methods"]):
            columns = {key: [row[key] for row in one["subsets"]] for key in ("mean", "low", "high")}
            shown = [plain_text(without_controls(name)) for name in names]
            figure.add_trace(_line(shown, columns, one["method"], number, True))
            rows += [
                {"present": row["present"], "method": method_title(one["method"])}
                | {key: row[key] for key in ("mean", "low", "high")}
                for row in one["subsets"]
            ]
        figure.update_yaxes(title=plain_text(metric))
        filled = "; ".join(f"{method_title(m['method'])}: {m['fill']}" for m in group["methods"])
        said = "; ".join(
            f"{row['method']} with {row['present']}: {row['mean']:.3g}"
            for row in rows
            if row["mean"] is not None
        )
        alt = without_controls(f"Test {metric} by what is present. {said}.")
        note = f"{_ABSENT} What stands for an absent modality's latent: {filled}."
        note = " ".join([note, *(f"{bare[0].upper()}{bare[1:]}" for bare in bare_notes(group))])
        yield panel(title, with_alt(figure, alt), _numbers(rows), without_controls(note))


def _line(
    places: Sequence[Any], curve: Mapping[str, Any], method: str, number: int, shown: bool
) -> go.Scatter:
    """Return one method's points, joined, with their intervals where there are some."""
    errors = {}
    if curve["low"][0] is not None:
        triples = list(zip(curve["mean"], curve["low"], curve["high"], strict=True))
        errors = {
            "error_y": {
                "array": [high - mean for mean, _, high in triples],
                "arrayminus": [mean - low for mean, low, _ in triples],
                "thickness": 1,
            }
        }
    colour = COLOURS[number % len(COLOURS)]
    name = plain_text(method_title(method))
    return go.Scatter(
        x=list(places),
        y=curve["mean"],
        mode="lines+markers",
        name=name,
        legendgroup=name,
        showlegend=shown,
        line={"color": colour, "dash": DASHES[number % len(DASHES)], "width": 2},
        **errors,
    )


def _numbers(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    for key in ("mean", "low", "high"):
        frame[key] = frame[key].astype(float)
    return frame
