"""How far figures depend on which samples were tested: a bootstrap over test samples.

Each resample gives every sample a weight: how often it was drawn. Metrics of all resamples are
computed at once from these weights; a metric that is not known here is computed by its task on
repeated rows, in fewer resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.statistics.paired import LEVEL, Interval
from i2moe_plugin.tasks import Classification, Multilabel, Regression, SignedRegression, Task

RESAMPLES, FEWEST_RESAMPLES = 1000, 200
#: Weights times outputs, over all runs, that may be gone through: a few seconds.
MOST_WORK = 1e8
#: Weights held at a time.
BLOCK = 1 << 21
#: Of the resamples so many must have the metric defined.
DEFINED = 0.95
#: A metric that is undefined in each of the first so many resamples is not computed in the others:
#: were it defined in 95 % of them, the chance of that would be 4e-11.
PROBED = 8
Floats = NDArray[np.float64]
Weighted = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Judged:
    """What a run said of its test samples.

    Attributes:
        prediction: [N, C].
        target: as it is kept beside the outputs, [N] or [N, C].
        unit: [N], what is drawn: a sample's id, or its group where samples are not independent.
    """

    prediction: NDArray[Any]
    target: NDArray[Any]
    unit: NDArray[Any]


def resamples_for(task: Task, runs: Sequence[Judged]) -> int:
    """Return how many resamples are drawn: 1000, and fewer (from 200) of very large test data."""
    work = sum(len(run.unit) for run in runs) * task.num_outputs * RESAMPLES
    return int(max(FEWEST_RESAMPLES, RESAMPLES * min(1.0, MOST_WORK / max(work, 1))))


def sample_intervals(
    task: Task, runs: Sequence[Judged], names: Sequence[str]
) -> dict[str, Interval | None]:
    """Return the 95 % percentile interval over test samples of each metric's mean over runs.

    Units are drawn with replacement, the same ones for all runs, so that the interval holds the
    runs (their seeds and splits) fixed and says how the mean would vary with other test samples.

    Args:
        task: of the runs.
        runs: at least one; they may have been tested on different samples.
        names: the metrics.

    Returns:
        None for a metric that is undefined in more than 5 % of the resamples.
    """
    units, place = np.unique(np.concatenate([run.unit for run in runs]), return_inverse=True)
    ends = np.cumsum([len(run.unit) for run in runs])[:-1]
    places = np.split(place.reshape(-1), ends)
    count = resamples_for(task, runs)
    draw = np.random.default_rng(0)
    judges = [{name: weighted_metric(task, name, run) for name in names} for run in runs]
    sums: dict[str, list[Floats]] = {name: [] for name in names}
    hopeless: set[str] = set()
    block = max(1, BLOCK // len(units))
    for start in range(0, count, block):
        size = (min(block, count - start), len(units))
        drawn = np.stack([np.bincount(row, minlength=len(units)) for row in
                          draw.integers(len(units), size=size)]).astype(np.float64)  # fmt: skip
        if not start:  # as AUROC is of classes that have one test sample each
            few = drawn[:PROBED, places[0]]
            hopeless = {name for name in names if not np.isfinite(judges[0][name](few)).any()}
        totals = {name: np.zeros(len(drawn)) for name in names if name not in hopeless}
        for where, judge in zip(places, judges, strict=True):
            weights = drawn[:, where]
            for name in totals:
                totals[name] = totals[name] + judge[name](weights)
        for name, total in totals.items():
            sums[name].append(total / len(runs))
    return {name: _interval(np.concatenate(sums[name])) if sums[name] else None for name in names}


def weighted_metric(task: Task, name: str, run: Judged) -> Weighted:
    """Return a function of weights [B, N] that gives the metric [B] of rows repeated so often."""
    makers = next((made for kind, made in _MAKERS.items() if isinstance(task, kind)), {})
    make = makers.get(name)
    if make is not None:
        return make(task, run.prediction, run.target)

    def repeated(weights: Floats) -> Floats:
        rows = (np.repeat(np.arange(len(row)), row.astype(int)) for row in weights)
        return np.array(
            [task.metric(name, run.prediction[some], run.target[some]) for some in rows]
        )

    return repeated


def _interval(values: Floats) -> Interval | None:
    defined = values[np.isfinite(values)]
    if len(defined) < DEFINED * len(values):
        return None
    low, high = np.quantile(defined, [LEVEL / 2, 1 - LEVEL / 2])
    return float(low), float(high)


def _ratio(above: Floats, below: Floats, otherwise: float = np.nan) -> Floats:
    """Return above / below, and something else where there is nothing below."""
    return np.divide(above, below, out=np.full(np.shape(above), otherwise), where=below > 0)


def _mean_of(values: Floats, kept: NDArray[Any] | None = None) -> Weighted:
    """Return the weighted mean of a number a sample, [N], over those that are kept."""
    inside = np.ones(len(values)) if kept is None else kept.astype(np.float64)
    return lambda weights: _ratio(weights @ (values * inside), weights @ inside)


def _accuracy(task: Any, prediction: NDArray[Any], target: NDArray[Any]) -> Weighted:
    right = task.decide(prediction) == target
    return _mean_of((right.all(1) if right.ndim == 2 else right).astype(np.float64))


def _f1(truth: Floats, decided: Floats, average: str) -> Weighted:
    """F1 of labels [N, C] of 0 and 1; ``present``: the mean of those that occur."""
    both, either = truth * decided, truth + decided

    def value(weights: Floats) -> Floats:
        hits, marks = 2 * (weights @ both), weights @ either
        if average == "micro":
            return _ratio(hits.sum(1), marks.sum(1), 0.0)
        scores = _ratio(hits, marks, 0.0)
        if average == "macro":
            return np.asarray(scores.mean(1))
        return _ratio(scores.sum(1), (marks > 0).sum(1).astype(np.float64))

    return value


def _class_f1(task: Any, prediction: NDArray[Any], target: NDArray[Any]) -> Weighted:
    one_hot = np.eye(task.num_outputs)
    return _f1(one_hot[target], one_hot[task.decide(prediction)], "present")


def _label_f1(average: str) -> Callable[..., Weighted]:
    def make(task: Any, prediction: NDArray[Any], target: NDArray[Any]) -> Weighted:
        return _f1(target.astype(np.float64), task.decide(prediction).astype(np.float64), average)

    return make


def _ranked(scores: NDArray[Any], positive: NDArray[Any]) -> Callable[[Floats], tuple[Any, Any]]:
    """Return what gives the weights of positives and negatives of each score, best score first."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    above = positive[order].astype(np.float64)

    def split(weights: Floats) -> tuple[Floats, Floats]:
        found = weights[:, order]
        parts = (np.add.reduceat(found * some, starts, axis=1) for some in (above, 1 - above))
        first, second = parts
        return first, second

    return split


def _area(scores: NDArray[Any], positive: NDArray[Any]) -> Weighted:
    """The area under the ROC curve; NaN without positives or negatives."""
    split = _ranked(scores, positive)

    def value(weights: Floats) -> Floats:
        hits, misses = split(weights)
        before = hits.cumsum(1) - hits / 2
        return _ratio((misses * before).sum(1), hits.sum(1) * misses.sum(1))

    return value


def _precision(scores: NDArray[Any], positive: NDArray[Any]) -> Weighted:
    """The average precision; NaN without positives."""
    split = _ranked(scores, positive)

    def value(weights: Floats) -> Floats:
        hits, misses = split(weights)
        found = hits.cumsum(1)
        precision = _ratio(found, found + misses.cumsum(1), 0.0)
        return _ratio((hits * precision).sum(1), hits.sum(1))

    return value


def _of_classes(area: Callable[..., Weighted]) -> Callable[..., Weighted]:
    """Return what makes the metric of a ranking for two classes, or the mean over more."""

    def make(task: Any, prediction: NDArray[Any], target: NDArray[Any]) -> Weighted:
        from scipy.special import softmax

        scores = softmax(prediction.astype(np.float64), axis=1)
        classes = range(task.num_outputs)
        if task.num_outputs == 2:
            parts = [area(scores[:, 1], target == 1)]
        elif area is _area and task.auroc == "ovo":
            parts = [
                _inside(area(scores[:, one], target == one), (target == one) | (target == other))
                for one in classes
                for other in classes
                if one != other
            ]
        else:
            parts = [area(scores[:, one], target == one) for one in classes]
        one_hot = np.eye(task.num_outputs)[target]

        def value(weights: Floats) -> Floats:
            every = (weights @ one_hot > 0).all(1)
            mean = np.mean([part(weights) for part in parts], axis=0)
            return np.where(every, mean, np.nan)

        return value

    return make


def _inside(metric: Weighted, kept: NDArray[Any]) -> Weighted:
    return lambda weights: metric(weights * kept)


def _error(power: int) -> Callable[..., Weighted]:
    def make(_: Any, prediction: NDArray[Any], target: NDArray[Any]) -> Weighted:
        return _mean_of((np.abs(target.reshape(prediction.shape) - prediction) ** power).mean(1))

    return make


def _correlation(_: Any, prediction: NDArray[Any], target: NDArray[Any]) -> Weighted:
    ours = prediction.astype(np.float64)
    truth = target.reshape(prediction.shape).astype(np.float64)
    ours, truth = ours - ours.mean(0), truth - truth.mean(0)

    def value(weights: Floats) -> Floats:
        total = weights.sum(1, keepdims=True)
        one, two = weights @ ours / total, weights @ truth / total
        shared = weights @ (ours * truth) / total - one * two
        spread = (weights @ ours**2 / total - one**2) * (weights @ truth**2 / total - two**2)
        tiny = 1e-12 * (ours**2).mean(0) * (truth**2).mean(0)
        found = np.where(spread > tiny, shared / np.sqrt(np.maximum(spread, 1e-300)), np.nan)
        return np.asarray(found.mean(1))

    return value


def _sign(*, zeros: bool) -> Callable[..., Weighted]:
    def make(_: Any, prediction: NDArray[Any], target: NDArray[Any]) -> Weighted:
        scores = target.reshape(-1)
        right = (prediction.reshape(-1) > 0) == (scores > 0)
        return _mean_of(right.astype(np.float64), None if zeros else scores != 0)

    return make


_NUMBERS = {"mae": _error(1), "mse": _error(2), "correlation": _correlation}
#: By the kind of task, the more special first.
_MAKERS: Mapping[type[Task], Mapping[str, Callable[..., Weighted]]] = {
    SignedRegression: {
        **_NUMBERS,
        "accuracy": _sign(zeros=True),
        "accuracy_nonzero": _sign(zeros=False),
    },
    Regression: _NUMBERS,
    Multilabel: {
        "accuracy": _accuracy,
        "micro_f1": _label_f1("micro"),
        "macro_f1": _label_f1("macro"),
    },
    Classification: {
        "accuracy": _accuracy,
        "macro_f1": _class_f1,
        "auroc": _of_classes(_area),
        "auprc": _of_classes(_precision),
    },
}
