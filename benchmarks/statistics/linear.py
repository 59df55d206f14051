"""The row that keeps everybody honest: logistic regression on the concatenated features."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.tasks import HIGHER_IS_BETTER, Classification

STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)
#: The features [N, F] and the labels [N] of a split.
Rows = tuple[NDArray[Any], NDArray[Any]]


def logistic_regression(
    task: Classification, metric: str, train: Rows, valid: Rows, test: Rows
) -> dict[str, Any]:
    """Fit on training rows, choose the regularisation on validation rows, and test once.

    Args:
        task: what is predicted.
        metric: what validation rows choose the strength by.
        train, valid, test: features and labels of each split.

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
