"""Simple models of one modality's features: some of what there is to be known of the target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
#: Rows that a probe is trained on, and features that it looks at, at most.
MOST_ROWS, MOST_FEATURES = 5000, 1000
#: What a probe says beyond the prior is multiplied by one of these, chosen on validation data.
WEIGHTS = np.linspace(0, 2, 41)


def _logistic(seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=300)


def _boosting(seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    # Bins of a 32nd of the rows: a third of the time, and it knows as much.
    return HistGradientBoostingClassifier(
        max_iter=50, max_bins=32, early_stopping=False, random_state=seed
    )


#: Name -> makes an untrained model.
PROBES: Mapping[str, Callable[[int], Any]] = {
    "logistic regression": _logistic,
    "gradient boosting": _boosting,
}


def probe_bits(
    train: tuple[Array, Array],
    valid: tuple[Array, Array],
    test: tuple[Array, Array],
    classes: int,
    *,
    seed: int = 0,
) -> tuple[str, Array]:
    """Train the probes, and take the one that knows most on validation data.

    Args:
        train, valid, test: features [N, F] and classes [N] of each split.
        classes: how many there are.
        seed: of the rows that are taken of many, and of the boosting.

    Returns:
        the probe's name, and for each test sample log2 of what it says over the classes' shares.

    Example: features that are the class.
        >>> rng = np.random.default_rng(0)
        >>> y = rng.integers(2, size=300)
        >>> x = np.stack([y + 0.01 * rng.normal(size=300)], 1)
        >>> name, bits = probe_bits((x[:200], y[:200]), (x[200:250], y[200:250]),
        ...                         (x[250:], y[250:]), 2)
        >>> bool(bits.mean() > 0.9)
        True
    """
    counts = np.bincount(train[1], minlength=classes) + 0.5
    prior = np.log(counts / counts.sum())
    rows = np.random.default_rng(seed).permutation(len(train[1]))[:MOST_ROWS]
    center, spread = train[0][rows].mean(0), train[0][rows].std(0)
    spread[spread == 0] = 1
    found = []
    for name, make in PROBES.items():
        model = make(seed).fit((train[0][rows] - center) / spread, train[1][rows])
        said = [_excess(model, (x - center) / spread, prior) for x, _ in (valid, test)]
        losses = [-_bits(weight * said[0], valid[1], prior).mean() for weight in WEIGHTS]
        best = int(np.argmin(losses))
        bits = _bits(WEIGHTS[best] * said[1], test[1], prior)
        found.append((losses[best], name, bits))
    _, name, bits = min(found, key=lambda one: one[0])
    return name, bits


def _excess(model: Any, x: Array, prior: Array) -> Array:
    """Log p - log prior of every class; a class that the probe never saw keeps its prior."""
    excess = np.zeros((len(x), len(prior)))
    known = np.asarray(model.classes_, dtype=int)
    excess[:, known] = np.log(np.clip(model.predict_proba(x), 1e-12, 1)) - prior[known]
    return excess


def _bits(excess: Array, target: Array, prior: Array) -> Array:
    from scipy.special import log_softmax

    rows = np.arange(len(target))
    return np.asarray((log_softmax(prior + excess, 1)[rows, target] - prior[target]) / np.log(2))
