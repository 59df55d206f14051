"""Tests of what a weight is worth: deletion, stability over seeds, permuted labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from i2moe_plugin.errors import ConfigError
from i2moe_plugin.interpretation.outputs import Outputs
from i2moe_plugin.tasks import HIGHER_IS_BETTER, Multilabel, Regression

Array = NDArray[Any]

LARGEST = "largest weight of each sample"
SMALLEST = "smallest weight of each sample"
RANDOM = "a random one of each sample"
DRAWS = 200
DELETION_DRAWS = 20
#: Metrics that are means over samples, whose interval is that of a mean of paired differences.
MEANS = {"accuracy", "mae", "mse"}


def without(outputs: Outputs, dropped: Array) -> Array:
    """Predict [N, C] with one expert of each sample dropped and the weights renormalised.

    Args:
        outputs: of an I2MoE run.
        dropped: [N]: the expert to drop. Where it held all the weight, the others share equally.
    """
    expert_outputs, weights = outputs.mixture()
    kept = weights.astype(np.float64)  # a copy
    kept[np.arange(len(kept)), dropped] = 0
    total = kept.sum(1, keepdims=True)
    even = np.full_like(kept, 1 / max(kept.shape[1] - 1, 1))
    even[np.arange(len(kept)), dropped] = 0
    kept = np.where(total > 1e-12, kept / np.where(total > 1e-12, total, 1), even)
    return np.asarray(np.einsum("ne,nec->nc", kept, expert_outputs))


def deletion(
    outputs: Outputs, metric: str, draws: int = DELETION_DRAWS, seed: int = 0
) -> pd.DataFrame:
    """Measure how much worse the metric gets when an expert is dropped.

    Args:
        outputs: of an I2MoE run.
        metric: one of the task's.
        draws: how often random experts are drawn.
        seed: of the draws.

    Returns:
        A row for each expert dropped everywhere, for the expert with the largest and with the
        smallest weight of each sample, and for a random one of each sample: ``dropped``,
        ``metric`` (its value then), ``fall`` (how much worse it got; positive is worse), ``low``,
        ``high``: for a random one, where 95 % of the draws lie; for the others, where the metric
        is a mean over samples, the 95 % interval of the paired difference, and NaN elsewhere.

    Raises:
        ConfigError: a metric that the task does not have, or a vanilla run.
    """
    if metric not in outputs.task.metric_names:
        raise ConfigError(
            f"{outputs.task.name} has no metric {metric!r}; it has "
            f"{', '.join(outputs.task.metric_names)}."
        )
    _, weights = outputs.mixture()
    samples, experts = weights.shape
    sign = 1 if HIGHER_IS_BETTER[metric] else -1
    full = outputs.task.metric(metric, outputs.prediction, outputs.target)
    rules: dict[str, Array] = {
        label: np.full(samples, e, dtype=np.intp) for e, label in enumerate(outputs.expert_labels)
    }
    rules[LARGEST], rules[SMALLEST] = weights.argmax(1), weights.argmin(1)
    rows = []
    for name, dropped in rules.items():
        prediction = without(outputs, dropped)
        value = outputs.task.metric(metric, prediction, outputs.target)
        low, high = _interval(outputs, metric, prediction, sign)
        fall = sign * (full - value)
        rows.append({"dropped": name, "metric": value, "fall": fall, "low": low, "high": high})
    generator = np.random.default_rng(seed)
    values = np.empty(draws)
    for draw in range(draws):
        dropped = np.asarray(generator.integers(experts, size=samples))
        values[draw] = outputs.task.metric(metric, without(outputs, dropped), outputs.target)
    falls = sign * (full - values)
    low, high = np.quantile(falls, [0.025, 0.975])
    rows.append(
        {"dropped": RANDOM, "metric": values.mean(), "fall": falls.mean(), "low": low, "high": high}
    )
    return pd.DataFrame(rows)


def stability(runs: Sequence[Outputs]) -> pd.DataFrame:
    """Test whether the same samples get the same weights in runs that differ in the seed alone.

    For each expert, Spearman's correlation of its weights over the samples, mean over all pairs of
    runs; with three runs or more, a 95 % interval from a jackknife over runs (pairs that share a
    run are not independent, runs are).

    Args:
        runs: of one data set, backbone and setting, one a seed; samples are matched by id.

    Returns:
        A row for each expert: ``expert``; ``correlation`` (NaN where a run's weights are all
        equal), ``low``, ``high``, ``lowest`` (of the pairs); ``runs``, ``samples``;
        ``mean_weight``, ``mean_weight_low``, ``mean_weight_high``: the expert's mean weight, and
        its range over runs.

    Raises:
        ConfigError: fewer than 2 runs, other experts, or no sample in common.
    """
    from scipy.stats import rankdata

    if len(runs) < 2:
        raise ConfigError("stability over seeds needs at least 2 runs.")
    if len({run.experts for run in runs}) > 1:
        raise ConfigError("these runs have different experts; give runs of one configuration.")
    common = sorted(set.intersection(*(set(run.sample_id.tolist()) for run in runs)))
    if len(common) < 2:
        raise ConfigError("these runs have no 2 test samples in common.")
    ranks, means = [], []
    for run in runs:
        place = {name: row for row, name in enumerate(run.sample_id.tolist())}
        weights = run.mixture()[1][[place[name] for name in common]].astype(np.float64)
        ranks.append(rankdata(weights, axis=0))
        means.append(weights.mean(0))
    pairs = {(a, b): _correlation(ranks[a], ranks[b]) for a, b in combinations(range(len(runs)), 2)}
    every = np.array(list(pairs.values()))  # [pairs, E]
    mean = every.mean(0)
    low, high = _jackknife(pairs, len(runs), mean)
    spread = np.array(means)
    return pd.DataFrame(
        {
            "expert": runs[0].expert_labels,
            "correlation": mean,
            "low": low,
            "high": high,
            "lowest": every.min(0),
            "runs": len(runs),
            "samples": len(common),
            "mean_weight": spread.mean(0),
            "mean_weight_low": spread.min(0),
            "mean_weight_high": spread.max(0),
        }
    )


def permuted_labels(outputs: Outputs, draws: int = DRAWS, seed: int = 0) -> pd.DataFrame:
    """Test whether weights go with the labels more than chance would have it.

    Labels are shuffled among the test samples, ``draws`` times, and the same statistics are
    computed; nothing is retrained, so this asks about the weights as they are.

    Returns:
        A row for each ``statistic`` and ``expert``: ``observed``; ``permuted`` (mean) and
        ``permuted_high`` (95 % quantile) under permuted labels; ``p``: the share of draws, the
        observation among them, that reach the observed value. Statistics: ``class``: the share of
        the weight's variance between classes (multilabel: mean over labels; real values: squared
        rank correlation with the target); ``correct``: the absolute difference of its mean weight
        between right and wrong predictions (real values: below and above the median error).

    Raises:
        ConfigError: a vanilla run.
    """
    _, weights = outputs.mixture()
    weights = weights.astype(np.float64)
    right = outputs.groups("correct")[0][1].astype(np.float64)[:, None]
    design, statistic = _class_statistic(outputs, weights)
    generator = np.random.default_rng(seed)
    orders = [generator.permutation(len(outputs)) for _ in range(draws)]
    tests = {
        "class": (statistic(design), [statistic(design[order]) for order in orders]),
        "correct": (_gap(right, weights), [_gap(right[order], weights) for order in orders]),
    }
    rows = []
    for name, (observed, drawn) in tests.items():
        null = np.array(drawn)
        for e, label in enumerate(outputs.expert_labels):
            # A hair's breadth below, since equal sums in another order differ in the last bits.
            reached = int((null[:, e] >= observed[e] * (1 - 1e-9)).sum())
            rows.append(
                {
                    "statistic": name,
                    "expert": label,
                    "observed": observed[e],
                    "permuted": null[:, e].mean(),
                    "permuted_high": np.quantile(null[:, e], 0.95),
                    "p": (1 + reached) / (1 + draws) if np.isfinite(observed[e]) else np.nan,
                }
            )
    return pd.DataFrame(rows)


def _class_statistic(outputs: Outputs, weights: Array) -> tuple[Any, Callable[[Any], Array]]:
    """Choose what is permuted, and the statistic [E] of it."""
    from scipy.sparse import csr_array
    from scipy.stats import rankdata

    if isinstance(outputs.task, Regression):
        ranks = rankdata(weights, axis=0)
        target = rankdata(outputs.target.reshape(len(outputs), -1)[:, 0].astype(float))
        return target, lambda y: _correlation(np.tile(y[:, None], ranks.shape[1]), ranks) ** 2
    if isinstance(outputs.task, Multilabel):
        return outputs.target.astype(np.float64), lambda y: _between_labels(y, weights)
    rows, classes = np.arange(len(outputs)), outputs.target.astype(int)
    shape = (len(outputs), outputs.task.num_outputs)
    one_hot = csr_array((np.ones(len(outputs)), (rows, classes)), shape=shape)
    return one_hot, lambda y: _between(y, weights).sum(0)


def _between(member: Any, weights: Array) -> Array:
    """Compute each group's part of the weights' variance, n (group mean - mean)^2 / (N variance).

    [C, E]. A weight that does not vary has NaN; a group without samples has no part. Members are
    ones in [N, C], of numpy or sparse.
    """
    count = member.sum(0)[:, None]
    sums = member.T @ weights
    gap = np.divide(sums, count, out=np.zeros_like(sums), where=count > 0) - weights.mean(0)
    total = len(weights) * weights.var(0)
    part = np.where(count > 0, count * gap**2, 0)
    varies = np.broadcast_to(weights.std(0) > 1e-9, part.shape)
    return np.divide(part, total, out=np.full_like(part, np.nan), where=varies)


def _between_labels(member: Array, weights: Array) -> Array:
    """Compute the share [E] of variance between samples with and without a label, averaged."""
    return np.asarray((_between(member, weights) + _between(1 - member, weights)).mean(0))


def _gap(right: Array, weights: Array) -> Array:
    """Compute how far two groups' mean weights [E] lie apart; NaN where one is empty."""
    count = right.sum()
    if count in (0, len(right)):
        return np.full(weights.shape[1], np.nan)
    one = (right * weights).sum(0) / count
    other = ((1 - right) * weights).sum(0) / (len(right) - count)
    return np.asarray(np.abs(one - other))


def _correlation(a: Array, b: Array) -> Array:
    """Compute Pearson's correlation [E] of each pair of columns; NaN where one is constant."""
    a, b = a - a.mean(0), b - b.mean(0)
    scale = np.sqrt((a**2).sum(0) * (b**2).sum(0))
    return np.divide((a * b).sum(0), scale, out=np.full(scale.shape, np.nan), where=scale > 0)


def _jackknife(
    pairs: Mapping[tuple[int, int], Array], runs: int, mean: Array
) -> tuple[Array, Array]:
    """Compute the 95 % interval of the mean over pairs, leaving out one run at a time.

    It is NaN below 3 runs.
    """
    if runs < 3:
        return np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    from scipy import stats

    left_out = np.array(
        [np.mean([r for pair, r in pairs.items() if run not in pair], 0) for run in range(runs)]
    )
    pseudo = runs * mean - (runs - 1) * left_out
    half = stats.t.ppf(0.975, runs - 1) * pseudo.std(0, ddof=1) / np.sqrt(runs)
    return np.clip(mean - half, -1, 1), np.clip(mean + half, -1, 1)


def _interval(outputs: Outputs, metric: str, prediction: Array, sign: int) -> tuple[float, float]:
    """Compute the 95 % interval of a fall in a metric that is a mean over samples."""
    before, after = (_scores(outputs, metric, p) for p in (outputs.prediction, prediction))
    if before is None or after is None or len(before) < 2:
        return np.nan, np.nan
    difference = sign * (before - after)
    half = 1.96 * difference.std(ddof=1) / np.sqrt(len(difference))
    return float(difference.mean() - half), float(difference.mean() + half)


def _scores(outputs: Outputs, metric: str, prediction: Array) -> Array | None:
    """Compute each sample's part in a metric that is a mean over samples; None for another."""
    if metric not in MEANS:
        return None
    truth = outputs.target.reshape(len(outputs), -1)
    if metric == "accuracy":
        decided = outputs.task.decide(prediction).reshape(len(outputs), -1)
        return np.asarray((decided == truth).all(1), dtype=np.float64)
    error = np.abs(prediction - truth)
    return np.asarray((error if metric == "mae" else error**2).mean(1), dtype=np.float64)
