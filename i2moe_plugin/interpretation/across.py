"""The whole test split: weights, experts alone, agreement, similarity, calibration, training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd

from i2moe_plugin.errors import ConfigError
from i2moe_plugin.interpretation.local import probability
from i2moe_plugin.interpretation.outputs import Outputs
from i2moe_plugin.tasks import Classification, Multilabel, Regression

ENSEMBLE = "ensemble"
AVERAGE = "plain average"
BINS = 10


def weight_summary(
    outputs: Outputs, by: Literal["class", "correct"] | None = None, most: int | None = None
) -> pd.DataFrame:
    """Summarise each expert's weight over samples: count, mean, deviation, extremes, quartiles.

    Args:
        outputs: of an I2MoE run.
        by: also by class, or by whether the prediction is right; see :meth:`Outputs.groups`.
        most: of so many groups alone, those with most samples.

    Returns:
        A row for each group and expert; a group without samples has NaN.

    Raises:
        ConfigError: a vanilla run.
    """
    _, weights = outputs.mixture()
    groups = outputs.groups(by, most) if by else [("all", np.ones(len(outputs), dtype=bool))]
    names = {"count": "samples", "std": "deviation", "25%": "q1", "50%": "median", "75%": "q3"}
    parts = []
    for group, mask in groups:
        columns = pd.DataFrame(weights[mask].astype(float), columns=list(outputs.expert_labels))
        summary = columns.describe().T.rename(columns=names).astype({"samples": int})
        summary.insert(0, "expert", summary.index)
        summary.insert(0, "group", group)
        parts.append(summary)
    return pd.concat(parts, ignore_index=True)


def expert_metrics(outputs: Outputs, metrics: Sequence[str] | None = None) -> pd.DataFrame:
    """Judge each expert alone, their plain average, and the ensemble (Fig. 5).

    Experts are trained together, on the ensemble's loss: an expert alone is judged at what it was
    never asked to do alone.

    Args:
        outputs: of an I2MoE run.
        metrics: of the task's; all of them by default.

    Raises:
        ConfigError: a vanilla run.
    """
    expert_outputs, _ = outputs.mixture()
    parts = {label: expert_outputs[:, e] for e, label in enumerate(outputs.expert_labels)}
    parts |= {AVERAGE: expert_outputs.mean(1), ENSEMBLE: outputs.prediction}
    names = outputs.task.metric_names if metrics is None else metrics
    rows = []
    for model, prediction in parts.items():
        values = {name: outputs.task.metric(name, prediction, outputs.target) for name in names}
        rows.append({"model": model, **values})
    return pd.DataFrame(rows)


def agreement(outputs: Outputs) -> pd.DataFrame:
    """Count where all experts decide the same, and the ensemble is right (the paper's Table 3).

    Experts agree on a sample if all of them, each alone, decide for the same class; for multilabel,
    if they say the same yes or no for every label. The ensemble is right if its decision is the
    target; for multilabel, if every label is right. The paper gives the table without a definition;
    this one is ours.

    Returns:
        Four rows: ``experts`` (agree, disagree), ``ensemble`` (correct, wrong), ``samples``,
        ``share``.

    Raises:
        ConfigError: real values, which are never equal, or a vanilla run.
    """
    agree, correct = outputs.agree, outputs.correct
    if agree is None or correct is None:
        raise ConfigError("agreement is of decisions; real-valued predictions make none.")
    rows = []
    for experts, said in (("disagree", ~agree), ("agree", agree)):
        for ensemble, right in (("correct", correct), ("wrong", ~correct)):
            count = int((said & right).sum())
            rows.append(
                {
                    "experts": experts,
                    "ensemble": ensemble,
                    "samples": count,
                    "share": count / len(outputs) if len(outputs) else np.nan,
                }
            )
    return pd.DataFrame(rows)


def similarity(outputs: Outputs, of: Literal["outputs", "decisions"] = "outputs") -> pd.DataFrame:
    """Measure how alike the experts are, [E, E].

    Args:
        outputs: of an I2MoE run.
        of: ``outputs``: mean over samples of the cosine of two experts' outputs; for a single real
            value, where a cosine is but a sign, their Pearson correlation over samples.
            ``decisions``: the share of samples on which two experts decide the same.

    Raises:
        ConfigError: decisions of real values, or a vanilla run.
    """
    values, _ = outputs.mixture()
    values = values.astype(np.float64)
    labels = list(outputs.expert_labels)
    if of == "decisions":
        if isinstance(outputs.task, Regression):
            raise ConfigError("real-valued predictions make no decisions to compare.")
        matrix = np.eye(len(labels))
        decisions = [outputs.task.decide(values[:, e]) for e in range(len(labels))]
        for a, b in combinations(range(len(labels)), 2):
            same = decisions[a] == decisions[b]
            share = (same.all(1) if same.ndim == 2 else same).mean()
            matrix[a, b] = matrix[b, a] = share
    elif values.shape[2] == 1:
        with np.errstate(invalid="ignore", divide="ignore"):  # a constant column: NaN says so
            matrix = np.atleast_2d(np.corrcoef(values[:, :, 0].T))
    else:
        norm = np.linalg.norm(values, axis=2, keepdims=True)
        unit = np.divide(values, norm, out=np.zeros_like(values), where=norm > 0)
        matrix = np.einsum("nec,nfc->ef", unit, unit) / max(len(values), 1)
    return pd.DataFrame(matrix, index=labels, columns=labels)


def calibration(outputs: Outputs, bins: int = BINS) -> pd.DataFrame:
    """Compare predicted probabilities with how often they come true.

    Classification: the decided class's probability against accuracy; multilabel: every label's
    probability, of all samples, against how often the label is there; both in bins of equal width.
    Real values: predicted against true mean, in bins of equally many samples, first output.

    Returns:
        A row for each bin that has samples: ``low``, ``high``, ``samples``, ``predicted``, ``true``
        (means in it).
    """
    if isinstance(outputs.task, Regression):
        predicted = outputs.prediction[:, 0].astype(float)
        true = outputs.target.reshape(len(outputs), -1)[:, 0].astype(float)
        edges = np.unique(np.quantile(predicted, np.linspace(0, 1, bins + 1)))
        if len(edges) == 1:  # all predictions equal
            edges = np.array([edges[0], edges[0]])
        place = np.searchsorted(edges[1:-1], predicted, side="right")
    else:
        predicted, true = _confidence(outputs)
        edges = np.linspace(0, 1, bins + 1)
        # Right-closed, as scikit-learn's callers know it; a probability of 0 is in the first bin.
        place = np.clip(np.searchsorted(edges, predicted, side="left") - 1, 0, bins - 1)
    bin_of = pd.DataFrame({"predicted": predicted, "true": true}).groupby(place)
    frame = bin_of.mean()
    frame.insert(0, "low", edges[:-1][frame.index])
    frame.insert(1, "high", edges[1:][frame.index])
    frame.insert(2, "samples", bin_of.size())
    return frame.reset_index(drop=True)


def calibration_error(frame: pd.DataFrame) -> float:
    """Compute the expected error of a :func:`calibration`: its mean gap, weighted by samples."""
    gap = (frame["predicted"] - frame["true"]).abs()
    return float((gap * frame["samples"]).sum() / max(frame["samples"].sum(), 1))


def training_curves(history: Sequence[Mapping[str, Any]], experts: Sequence[str]) -> pd.DataFrame:
    """List every loss term of every epoch, and what validation said.

    Args:
        history: a run's epochs, as :class:`i2moe_plugin.Trainer` records them.
        experts: the experts' names for the terms that each has.

    Returns:
        ``epoch``, ``part`` (train or valid), ``term`` (loss, task, auxiliary, interaction, weights,
        or a metric), ``expert`` (empty where it has none), ``value``.
    """
    rows: list[dict[str, Any]] = []
    for record in history:
        for part in ("train", "valid"):
            for term, value in (record.get(part) or {}).items():
                several = isinstance(value, (list, tuple))
                named = zip(experts, value, strict=True) if several else [("", value)]
                rows += [
                    {
                        "epoch": record["epoch"],
                        "part": part,
                        "term": term,
                        "expert": expert,
                        "value": np.nan if one is None else float(one),
                    }
                    for expert, one in named
                ]
    return pd.DataFrame(rows, columns=["epoch", "part", "term", "expert", "value"])


def _confidence(outputs: Outputs) -> tuple[np.ndarray, np.ndarray]:
    scores = probability(outputs)
    if isinstance(outputs.task, Multilabel):
        return scores.reshape(-1), outputs.target.reshape(-1).astype(float)
    assert isinstance(outputs.task, Classification)
    decided = outputs.decided
    return scores[np.arange(len(scores)), decided], (decided == outputs.target).astype(float)
