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
    fitted = [(name, BASELINES[name](data.task, metric, *rows)) for name in names]
    return [Baseline(name, data.name, found.pop("test"), found) for name, found in fitted]


def logistic_regression(
    task: Classification,
    metric: str,
    train: FeaturesAndLabels,
    valid: FeaturesAndLabels,
    test: FeaturesAndLabels,
) -> dict[str, Any]:
    """Fit on training rows, choose the regularisation by validation rows, and test once.

    Returns:
        ``{"test": metrics, "C": chosen strength}``.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    sign = 1 if HIGHER_IS_BETTER[metric] else -1
    best_value, best, chosen = -np.inf, None, STRENGTHS[0]
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=2000)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a baseline may stop early
            model.fit(*train)
        value = sign * task.metrics(_logits(model, valid[0]), valid[1])[metric]
        if best is None or value > best_value:  # an undefined metric chooses the first
            best_value, best, chosen = value, model, strength
    return {"test": task.metrics(_logits(best, test[0]), test[1]), "C": chosen}


def _logits(model: Any, features: NDArray[Any]) -> NDArray[Any]:
    scores = model.decision_function(features)
    return scores if scores.ndim == 2 else np.stack([-scores / 2, scores / 2], 1)


#: Each gives ``{"test": metrics}``, and what it chose.
BASELINES: dict[str, Callable[..., dict[str, Any]]] = {"logistic regression": logistic_regression}
