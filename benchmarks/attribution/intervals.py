"""Means over samples with their intervals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, t

DIGITS = 9  # behind the point, of what is kept
MOST_DIGITS = 8  # behind the point, of what is shown


def interval(values: NDArray[Any]) -> dict[str, Any]:
    """The mean over samples and its 95 % interval, by Student's t over samples.

    Resampling would give none or too little width to one or a few samples.

    Args:
        values: [N] or [N, K].

    Returns:
        ``mean``, ``low`` and ``high``: numbers, or lists of K. Of one sample there is no interval:
        ``low`` and ``high`` are None.

    >>> interval(np.array([1.0, 3.0]))
    {'mean': 2.0, 'low': -10.706204736, 'high': 14.706204736}
    """
    count = len(values)
    mean = values.mean(0)
    parts: dict[str, Any] = {"mean": mean, "low": None, "high": None}
    if count > 1:
        half = t.ppf(0.975, count - 1) * values.std(0, ddof=1) / count**0.5
        parts |= {"low": mean - half, "high": mean + half}
    elif values.ndim > 1:
        parts |= dict.fromkeys(("low", "high"), [None] * values.shape[1])
    return {
        name: np.round(part, DIGITS).tolist()
        if isinstance(part, np.ndarray | np.floating)
        else part
        for name, part in parts.items()
    }


def in_words(value: dict[str, Any]) -> str:
    """Write a mean with its interval; small numbers with three digits that count.

    >>> in_words({"mean": 0.25, "low": 0.1, "high": 0.4})
    '0.250 (0.100 to 0.400)'
    >>> in_words({"mean": -0.0004, "low": -0.00102, "high": -0.00003})
    '-0.00040 (-0.00102 to -0.00003)'
    """
    parts = [value["mean"], value["low"], value["high"]]
    largest = max(abs(part) for part in parts if part is not None)
    digits = 3
    if 0 < largest < 0.1:
        digits = min(2 - math.floor(math.log10(largest)), MOST_DIGITS)
    mean, *ends = ("" if part is None else f"{part:.{digits}f}" for part in parts)
    return f"{mean} ({' to '.join(ends)})" if all(ends) else f"{mean} (of one sample: no interval)"


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


def shares_of(hits: NDArray[Any]) -> dict[str, list[float]]:
    """So, of K columns: ``mean``, ``low`` and ``high``, lists of K.

    Args:
        hits: [N, K], each 0 or 1.
    """
    found = [share(column) for column in hits.T]
    return {name: [one[name] for one in found] for name in ("mean", "low", "high")}
