"""Means over samples with their intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

RESAMPLES = 2000


def interval(values: NDArray[Any]) -> dict[str, Any]:
    """The mean over samples and its 95 % interval, by resampling samples.

    Args:
        values: [N] or [N, K].

    Returns:
        ``mean``, ``low`` and ``high``: numbers, or lists of K.

    >>> interval(np.array([1.0, 1.0]))
    {'mean': 1.0, 'low': 1.0, 'high': 1.0}
    """
    draw = np.random.default_rng(0)
    count = len(values)
    weights = draw.multinomial(count, np.full(count, 1 / count), RESAMPLES) / count
    low, high = np.quantile(weights @ values, [0.025, 0.975], axis=0)
    parts = {"mean": values.mean(0), "low": low, "high": high}
    return {name: np.round(part, 9).tolist() for name, part in parts.items()}


def share(hits: NDArray[Any]) -> dict[str, Any]:
    """The share of samples that are hit and its 95 % interval, by Wilson's score.

    Resampling would give no width to a share of none or of all.

    Args:
        hits: [N], each 0 or 1.

    >>> {name: round(value, 2) for name, value in share(np.ones(6)).items()}
    {'mean': 1.0, 'low': 0.61, 'high': 1.0}
    """
    found = binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
    return {"mean": float(hits.mean()), "low": float(found.low), "high": float(found.high)}
