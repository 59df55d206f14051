"""Simple models on a data set's features: rows that stand beside the methods of a table."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.data.open import OpenedDataset
from i2moe_plugin.benchmarks.data.splits import SPLITS
from i2moe_plugin.tasks import HIGHER_IS_BETTER, Classification

STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)
#: Iterations of a fit at most, and how many one usually takes.
ITERATIONS, USUAL = 2000, 100
#: Rows x features x classes x iterations that may be spent: about a minute. By count and not by a
#: clock, which would give other digits each time.
WORK = 1e11
#: The features [N, F] and the labels [N] of a split.
FeaturesAndLabels = tuple[NDArray[Any], NDArray[Any]]


@dataclass(frozen=True)
class Baseline:
    """A simple model, fitted once: its metrics on test data, and what validation data chose."""

    name: str
    dataset: str
    test: Mapping[str, float]
    chosen: Mapping[str, Any]


def fit_baselines(names: Sequence[str], data: OpenedDataset, metric: str) -> list[Baseline]:
    """Fit the named baselines, of :data:`BASELINES`, where classes are told by plain features."""
    features = {split: data.features(split) for split in SPLITS}
    rows = [(x, data.labels(split)) for split, x in features.items() if x is not None]
    if len(rows) < len(SPLITS) or not isinstance(data.task, Classification):
        return []
    baselines = []
    for name in names:
        found = BASELINES[name](data.task, metric, *rows)
        if "iterations" in found:
            name = f"{name} (stopped after {found['iterations']} iterations)"
        baselines.append(Baseline(name, data.name, found.pop("test"), found))
    return baselines


def logistic_regression(
    task: Classification,
    metric: str,
    train: FeaturesAndLabels,
    valid: FeaturesAndLabels,
    test: FeaturesAndLabels,
) -> dict[str, Any]:
    """Fit on training rows, choose the regularisation by validation rows, and test once.

    Where there are so many classes that this would take hours, one strength is fitted, and only for
    as many iterations as :data:`WORK` allows.

    Returns:
        ``{"test": metrics, "C": chosen strength}``, and ``iterations`` where they were too few.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    sign = 1 if HIGHER_IS_BETTER[metric] else -1
    allowed = WORK / (train[0].size * task.num_outputs)
    bounded = allowed < len(STRENGTHS) * USUAL
    strengths, most = ((1.0,), max(1, int(allowed))) if bounded else (STRENGTHS, ITERATIONS)
    best_value, best, chosen = -np.inf, None, strengths[0]
    for strength in strengths:
        model = LogisticRegression(C=strength, max_iter=most)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a baseline may stop early
            model.fit(*train)
        logits = _logits(model, valid[0])
        value = sign * task.metric(metric, logits, valid[1])
        if np.isnan(value):  # undefined on these rows
            value = task.metric("accuracy", logits, valid[1])
        if best is None or value > best_value:
            best_value, best, chosen = value, model, strength
    stopped = bounded and int(best.n_iter_[0]) >= most
    found = {"test": task.metrics(_logits(best, test[0]), test[1]), "C": chosen}
    return found | ({"iterations": most} if stopped else {})


def _logits(model: Any, features: NDArray[Any]) -> NDArray[Any]:
    scores = model.decision_function(features)
    return scores if scores.ndim == 2 else np.stack([-scores / 2, scores / 2], 1)


#: Each gives ``{"test": metrics}``, and what it chose.
BASELINES: dict[str, Callable[..., dict[str, Any]]] = {"logistic regression": logistic_regression}
