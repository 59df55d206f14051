"""The figures of a report, each with its title, its words, and its data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pandas as pd

from i2moe_plugin import interpretation as interpret
from i2moe_plugin.benchmarks.data.splits import OWN_SPLIT
from i2moe_plugin.benchmarks.grid.runs import one_split
from i2moe_plugin.benchmarks.report.groups import Group, run_metrics
from i2moe_plugin.benchmarks.run.store import EVIDENCE, Run
from i2moe_plugin.benchmarks.statistics.metrics import metric_heading, metric_title
from i2moe_plugin.errors import ConfigError
from i2moe_plugin.interpretation import figures
from i2moe_plugin.interpretation.mean_parts import DEFINITION
from i2moe_plugin.tasks import Classification, Regression

Panel = dict[str, Any]
SHORT_CAVEAT = (
    "A weight is how much was mixed in: it does not show that the interaction is in the data, nor "
    "that this expert decided."
)
MOST_CLASSES = 30  # that figures of each class are drawn of
MOST_OUTPUTS = 5  # labels or values whose parts are told in words
DIGITS = 5  # of the data beside a figure


def run_panels(run: Run, stability: pd.DataFrame | None) -> tuple[list[Panel], list[str]]:
    """Draw a run's figures, and say what its weights are worth; ``stability`` is its group's."""
    outputs, metric = run.interpretable(), run_metrics(run)[0]
    name = metric_title(metric)
    experts = outputs.expert_labels
    curves = interpret.training_curves(run.history(), experts)
    panels: list[Panel] = []
    sentences: list[str] = []
    if experts and len(outputs):
        verdict = interpret.weight_verdict(outputs)
        deletion = interpret.deletion(outputs, metric)
        unit = name
        if metric_heading(metric).endswith("%"):
            shares = ["metric", "fall", "low", "high"]
            deletion[shares] *= 100
            unit = f"{name} in percentage points"
        control = interpret.permuted_labels(outputs)
        # Areas under curves of many classes take longer than all the rest together.
        quick = [m for m in outputs.task.metric_names if m == metric or not m.startswith("au")]
        alone = interpret.expert_metrics(outputs, quick)
        sentences = interpret.worth(verdict, deletion, control, stability, metric=unit)
        note = f"{verdict.sentence} {SHORT_CAVEAT}"
        by_class = interpret.weight_summary(outputs, "class", MOST_CLASSES)
        panels += [
            panel(
                "Weights of the experts",
                figures.weights(outputs),
                interpret.weight_summary(outputs),
                note,
            ),
            panel(
                "Weights by correctness",
                figures.weights(outputs, by_correctness=True),
                interpret.weight_summary(outputs, "correct"),
                note,
            ),
            panel(
                "Weights by class",
                figures.weights_by_class(by_class),
                by_class,
                f"{_of_classes(outputs)}{note}",
            ),
            panel("Deletion test", figures.deletion(deletion, unit), deletion, _DELETION),
            panel("Permuted-label control", figures.control(control), control, _CONTROL),
            panel(
                "Each expert alone, and together",
                figures.experts_alone(alone, metric, name),
                alone,
                "Experts are trained together on the ensemble's loss; an expert alone is judged at "
                "what it was never trained to do alone.",
            ),
            *_agreement(outputs),
            *_similarity(outputs),
        ]
    if outputs.fitted is not None and outputs.units > 1:
        panels += _parts(outputs)
        told = interpret.evidence(outputs)[:MOST_OUTPUTS]
        sentences = [line for one in told for line in one.sentences()]
    if len(outputs):
        calibration = interpret.calibration(outputs)
        panels.append(panel("Calibration", figures.calibration(calibration), calibration))
        panels += _judged(outputs)
    if len(curves):
        best = run.result.get("best_epoch")
        panels.append(panel("Training", figures.curves(curves, best), curves))
    return panels, sentences


def stability_of(group: Group) -> pd.DataFrame | None:
    """Return how stable a group's weights are; None below 2 seeds, and without experts."""
    alike = one_split(run for run in group.runs() if run.method == "i2moe")
    runs = [run.interpretable() for run in alike]
    try:
        return interpret.stability(runs)
    except ConfigError:
        return None


def group_panels(group: Group, stability: pd.DataFrame | None) -> list[Panel]:
    """Draw what is told of several seeds together: parts in bits, then how stable weights are."""
    panels = []
    alike = one_split(run for run in group.runs() if EVIDENCE in run.files)
    runs = [run.interpretable() for run in alike]
    if len(runs) > 1 and runs[0].units > 1:
        title = f"What carried the prediction, mean over {len(runs)} seeds"
        if alike[0].split != OWN_SPLIT:
            title += f" of split {alike[0].split}"
        frame = interpret.part_summary(runs)
        told = interpret.evidence(runs)[:MOST_OUTPUTS]
        words = " ".join(line for one in told for line in one.sentences())
        panels.append(panel(title, figures.parts(frame, title), frame, words))
    if stability is not None:
        panels.append(stability_panel(stability))
    return panels


def stability_panel(frame: pd.DataFrame) -> Panel:
    """Draw the figure of what :func:`stability_of` gives."""
    return panel(
        "Stability of weights over seeds",
        figures.stability(frame),
        frame,
        "Each seed's weights rank the same test samples. A correlation near 0 says that which "
        "samples an expert gets is decided by the seed. The interval is a jackknife over seeds.",
    )


def panel(title: str, figure: Any, frame: pd.DataFrame, note: str = "") -> Panel:
    """Return a figure with its data; ``note`` is read beside it."""
    content = json.loads(figure.to_json())
    meta = content["layout"].pop("meta")
    rows = [[_plain(value) for value in row] for row in frame.itertuples(index=False)]
    return {
        "title": title,
        "note": note,
        "alt": meta["alt"],
        "columns": meta.get("columns", 0),
        "figure": content,
        "table": {"columns": list(map(str, frame.columns)), "rows": rows},
    }


def _parts(outputs: interpret.Outputs) -> Iterator[Panel]:
    """Draw parts in bits: of all samples, by class, and of right and wrong predictions."""
    note = (
        "Mean log2 of probability over prior of what came true, taken apart by the "
        f"{DEFINITION} definition. An outlined bar is not claimed."
    )
    title = "What carried the prediction"
    frames = {
        title: interpret.part_summary(outputs),
        f"{title}, by class": interpret.part_summary(outputs, "class", MOST_CLASSES),
        f"{title}, by correctness": interpret.part_summary(outputs, "correct"),
    }
    for name, frame in frames.items():
        if len(frame):
            some = _of_classes(outputs) if name.endswith("class") else ""
            yield panel(name, figures.parts(frame, name), frame, f"{some}{note}")


def _of_classes(outputs: interpret.Outputs) -> str:
    """Say that not all classes are drawn; nothing where they are."""
    count = len(outputs.groups("class"))
    if count <= MOST_CLASSES:
        return ""
    return f"Of {count:,} classes, the {MOST_CLASSES} that have most test samples are shown. "


def _judged(outputs: interpret.Outputs) -> Iterator[Panel]:
    """Draw how predictions are right and wrong."""
    if isinstance(outputs.task, Regression):
        frame = interpret.residuals(outputs)
        some = frame.iloc[:: max(1, len(frame) // 200)]
        yield panel("Predicted and true", figures.residuals(frame), some)
        return
    if isinstance(outputs.task, Classification) and len(outputs.class_names) <= MOST_CLASSES:
        counts = interpret.confusion(outputs)
        titled = counts.reset_index(names="true")
        yield panel("Confusion of classes", figures.confusion(counts), titled)
    if len(outputs.class_names) <= MOST_CLASSES:
        alone = interpret.class_metrics(outputs)
        yield panel("Each class alone", figures.class_metrics(alone), alone)
        ranks, recall = interpret.roc(outputs), interpret.precision_recall(outputs)
        if len(ranks):
            areas = ranks.groupby("class", sort=False)["area"].first().reset_index()
            yield panel("ROC curves", figures.roc(ranks), areas)
            mean = ["average_precision", "share"]
            means = recall.groupby("class", sort=False)[mean].first().reset_index()
            figure = figures.precision_recall(recall)
            yield panel("Precision and recall", figure, means)


def _by_class(outputs: interpret.Outputs, note: str) -> Iterator[Panel]:
    frame = interpret.weight_summary(outputs, "class")
    yield panel("Weights by class", figures.weights_by_class(frame), frame, note)


def _agreement(outputs: interpret.Outputs) -> Iterator[Panel]:
    if outputs.agree is not None:
        frame = interpret.agreement(outputs)
        words = (
            "Experts agree on a sample if each of them alone decides for the same class; with "
            "several labels, if they say the same yes or no for every label. The ensemble is right "
            "if its decision is the target, with several labels if every label is right."
        )
        yield panel("Agreement of experts", figures.agreement(frame), frame, words)


def _similarity(outputs: interpret.Outputs) -> Iterator[Panel]:
    frame = interpret.similarity(outputs)
    words = "Mean cosine of two experts' outputs over samples; 1 means the same direction."
    if outputs.prediction.shape[1] == 1:
        words = "Correlation of two experts' outputs over samples."
    titled = frame.reset_index(names="expert")
    yield panel("Similarity of experts", figures.similarity(frame), titled, words)
    if outputs.agree is not None:
        same = interpret.similarity(outputs, "decisions")
        title = "Share of samples with the same decision"
        titled = same.reset_index(names="expert")
        yield panel(title, figures.similarity(same, title), titled)


def _plain(value: Any) -> Any:
    """Return a cell for JSON: numbers to a few digits, nothing for NaN."""
    if isinstance(value, str):
        return value
    number = float(value)
    if number != number:
        return None
    return int(number) if number.is_integer() else float(f"{number:.{DIGITS}g}")


_DELETION = (
    "One expert is dropped and the others' weights are scaled to sum to 1. Where the interval of "
    "an expert lies inside the grey band, dropping it hurts no more than dropping a random one."
)
_CONTROL = (
    "Test labels are shuffled among the samples. A diamond right of its bar says that "
    "weights go with the labels more than chance; it does not say why."
)
