"""The area under the ROC curve where there are many classes."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

#: With more classes than these, scikit-learn's takes longer than most trainings.
MANY_CLASSES = 100


def auroc_of_many(scores: NDArray[Any], target: NDArray[Any], kind: Literal["ovr", "ovo"]) -> float:
    """Compute scikit-learn's macro AUROC, looking once at each class's scores.

    A pair of samples, of which the first is of the class and the other is not, counts 1 where the
    first has the larger score, and 1/2 where they are equal. The mean over a class's pairs is its
    area against the rest (``ovr``). Where the pairs with each other class weigh the same, it is the
    mean of its areas against each of them (``ovo``; Hand and Till, 2001).

    Args:
        scores: [N, C].
        target: the classes [N]; each is there.
        kind: what a class is held against.

    >>> scores = np.array([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.3, 0.2, 0.5], [0.6, 0.3, 0.1]])
    >>> auroc_of_many(scores, np.array([0, 1, 2, 1]), "ovr")
    1.0
    """
    counts = np.bincount(target)
    areas = []
    for label, column in enumerate(np.ascontiguousarray(scores.T)):
        of_class = target == label
        own, others = np.sort(column[of_class]), column[~of_class]
        lower = np.searchsorted(own, others, "left") + np.searchsorted(own, others, "right")
        above = 1 - lower / (2 * len(own))  # the share of the class that lies above each other one
        weights = 1 / counts[target[~of_class]] if kind == "ovo" else None
        areas.append(np.average(above, weights=weights))
    return float(np.mean(areas))
