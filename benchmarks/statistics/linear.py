"""The row that keeps everybody honest: logistic regression on the concatenated features."""

from __future__ import annotations

import warnings
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.tasks import HIGHER_IS_BETTER, Classification, Task

STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)


class FeaturesAndLabels(Protocol):
    """What is read of an opened data set."""

    @property
    def task(self) -> Task: ...

    def features(self, split: Any, /) -> NDArray[Any] | None: ...

    def labels(self, split: Any, /) -> NDArray[Any]: ...


def logistic_regression(data: FeaturesAndLabels, metric: str) -> dict[str, Any] | None:
    """Fit on training rows, choose the regularisation on validation rows, test once.

    Args:
        data: a classification data set of features.
        metric: what validation rows choose by.

    Returns:
        ``{"test": metrics, "C": chosen}``; None where there are no features or classes.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    task = data.task
    features = data.features("train")
    if features is None or not isinstance(task, Classification):
        return None
    sign = 1 if HIGHER_IS_BETTER[metric] else -1
    best_value, best, chosen = -np.inf, None, STRENGTHS[0]
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=2000)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a baseline may stop early
            model.fit(features, data.labels("train"))
        valid = task.metrics(_logits(model, data.features("valid")), data.labels("valid"))
        if sign * valid[metric] > best_value:
            best_value, best, chosen = sign * valid[metric], model, strength
    assert best is not None
    test = task.metrics(_logits(best, data.features("test")), data.labels("test"))
    return {"test": test, "C": chosen}


def _logits(model: Any, features: Any) -> Any:
    scores = model.decision_function(features)
    return scores if scores.ndim == 2 else np.stack([-scores / 2, scores / 2], 1)
