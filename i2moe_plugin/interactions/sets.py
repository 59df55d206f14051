"""Sets of modalities: their order, and which sets' information each part is made of."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.errors import ConfigError

Array = NDArray[Any]
#: Every set has a model: more modalities would have too many.
MOST_MODALITIES = 8


def modality_sets(modalities: int) -> tuple[tuple[int, ...], ...]:
    """All non-empty sets of modalities, small ones first: the order of additive models.

    Raises:
        ConfigError: fewer than 2 modalities, or more than 8.

    >>> modality_sets(2)
    ((0,), (1,), (0, 1))
    """
    if not 2 <= modalities <= MOST_MODALITIES:
        raise ConfigError(
            f"evidence needs 2 to {MOST_MODALITIES} modalities, since each set of them has a "
            f"model; not {modalities}."
        )
    sizes = range(1, modalities + 1)
    return tuple(
        chosen for size in sizes for chosen in itertools.combinations(range(modalities), size)
    )


def part_coefficients(bits: Sequence[float] | Array) -> Array:
    """[M + 2, 2^M]: what sets' information each part is the sum of.

    An additive model that knows less on validation data than that of one of its subsets is
    replaced by it, so that a modality which adds nothing has a uniqueness of exactly 0. Rows are
    uniqueness_1..M, synergy and redundancy; they sum to the prediction's row.

    Args:
        bits: [2^M]: mean information of each set, in the order of :func:`modality_sets`, and of the
            prediction.

    Example: both modalities tell the same, and nothing more together.
        >>> part_coefficients([1.0, 1.0, 1.0, 1.0]) @ [1.0, 1.0, 1.0, 1.0]
        array([0., 0., 0., 1.])
    """
    means = np.asarray(bits, dtype=float)
    rows = additive_models(means)
    sets = modality_sets(len(means).bit_length() - 1)
    model = {(): np.zeros(len(means)), **dict(zip(sets, rows, strict=True))}  # of nothing: nothing
    everything = sets[-1]
    alone = [float(means @ model[k,]) for k in everything]
    order = sorted(everything, key=lambda k: -alone[k])

    def fewer(first: Array, second: Array) -> Array:
        return first if first @ means < second @ means else second

    gains, unique = np.zeros((2, len(everything), len(means)))
    for place, k in enumerate(order):
        before, after = (tuple(sorted(order[:end])) for end in (place, place + 1))
        gains[k] = fewer(model[k,], model[after] - model[before])
        others = tuple(m for m in everything if m != k)
        unique[k] = fewer(gains[k], model[everything] - model[others])
    prediction = np.eye(len(means))[-1]
    return np.stack([*unique, prediction - gains.sum(0), (gains - unique).sum(0)])


def additive_models(means: Array) -> Array:
    """[2^M - 1, 2^M]: which model stands for each set: its own, or a subset's that knows more."""
    sets = modality_sets(len(means).bit_length() - 1)
    model: dict[tuple[int, ...], Array] = {}
    for row, chosen in zip(np.eye(len(means)), sets, strict=False):
        smaller = [
            model[tuple(k for k in chosen if k != left)] for left in chosen if len(chosen) > 1
        ]
        # The first of equals is taken: a modality that adds nothing is left out.
        model[chosen] = max([*smaller, row], key=means.dot)
    return np.stack([model[chosen] for chosen in sets])


def sampling_variance(values: Array, groups: Array | None = None) -> Array:
    """The variance of the mean over samples, [N, ...] -> [...].

    Samples of a group (a patient, a trajectory) are not independent: the groups are, and the
    variance is that of their sums of deviations from the mean (Liang and Zeger 1986).

    Args:
        values: of N samples, at least 2.
        groups: [N] names, at least 2 different ones; None: every sample by itself.

    Example: two samples that are each there twice tell no more than two.
        >>> sampling_variance(np.array([0.0, 2.0])), sampling_variance(
        ...     np.array([0.0, 0.0, 2.0, 2.0]), np.array(["a", "a", "b", "b"])
        ... )
        (np.float64(1.0), np.float64(1.0))
    """
    if groups is None:
        return np.asarray(values.var(0, ddof=1) / len(values))[()]
    names, place = np.unique(groups, return_inverse=True)
    sums = np.zeros((len(names), *values.shape[1:]))
    np.add.at(sums, place.reshape(-1), values - values.mean(0))
    count = len(names)
    return np.asarray((sums**2).sum(0) * count / (count - 1) / len(values) ** 2)[()]


def standard_errors(
    parts: Array, copies: Sequence[Array] = (), groups: Array | None = None
) -> Array:
    """[L, M + 2]: how far mean parts may be off, by the test samples and by training.

    Networks of another seed give other parts of the same samples. Copies of all models, trained
    with weights of their own, show by how much: the variance of the mean is that of the samples'
    parts over N, plus that of the copies' means over the number of copies. What more data would
    teach all copies alike is not in it.

    Args:
        parts: [N, L, M + 2] of the pooled models.
        copies: the same of each copy by itself, each calibrated like the pooled models.
        groups: [N], see :func:`sampling_variance`.

    >>> standard_errors(np.array([[[0.0]], [[2.0]]])).round(3), standard_errors(
    ...     np.array([[[0.0]], [[2.0]]]), [np.full((2, 1, 1), 0.0), np.full((2, 1, 1), 2.0)]
    ... ).round(3)
    (array([[1.]]), array([[1.414]]))
    """
    variance = sampling_variance(parts, groups)
    if len(copies) > 1:
        means = np.stack([copy.mean(0) for copy in copies])
        variance = variance + means.var(0, ddof=1) / len(copies)
    return np.asarray(np.sqrt(variance))
