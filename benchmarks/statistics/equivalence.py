"""Is it the same? Two one-sided tests (TOST): against pairs, a number, or another's mean.

A difference that was not shown is not an equivalence. The margin is what would matter in practice;
it is chosen before the figures are seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from i2moe_plugin.benchmarks.statistics.paired import LEVEL, deviation, split_means
from i2moe_plugin.errors import ConfigError

Outcome = Literal["equivalent", "different", "not shown"]


@dataclass(frozen=True)
class Equivalence:
    """Whether a mean lies within a margin of what it is compared with.

    Attributes:
        difference: ours - theirs.
        low, high: the 90 % interval of the difference; None where no deviation is known.
        margin: what counts as the same.
        p: of both one-sided tests, the larger; below 0.05 the interval lies within the margin.
        outcome: ``equivalent``; ``different``: the interval lies outside the margin; else
            ``not shown``.
        seeds: how many values are ours.
    """

    difference: float
    low: float | None
    high: float | None
    margin: float
    p: float | None
    outcome: Outcome
    seeds: int

    def as_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        return asdict(self)


def equivalent_pairs(
    reference: Sequence[float],
    values: Sequence[float],
    margin: float,
    splits: Sequence[str] = (),
    test_share: float | None = None,
) -> Equivalence:
    """Test pairs of values, one pair a seed; on several splits as :func:`compare` does.

    Raises:
        ConfigError: unpaired or no values, or a margin that is not positive.

    Example:
        >>> equivalent_pairs([0.90, 0.91, 0.92, 0.90], [0.90, 0.91, 0.91, 0.91], 0.02).outcome
        'equivalent'
    """
    if len(reference) != len(values):
        raise ConfigError(
            f"a paired comparison needs as many values of both; got {len(reference)} and "
            f"{len(values)}."
        )
    differences = np.subtract(values, reference)
    if len(set(splits)) < 2:
        return equivalent_to(differences.tolist(), 0.0, margin)
    if test_share is None:
        raise ConfigError("a test over splits needs test_share.")
    means = split_means(_checked(differences.tolist(), margin), splits)
    mean, count, spread = float(means.mean()), len(means), deviation(means)
    if not np.isfinite(mean):
        return Equivalence(mean, None, None, margin, None, "not shown", count)
    if spread == 0:
        return _judged(mean, mean, mean, margin, 0.0 if abs(mean) < margin else 1.0, count)
    from scipy import stats

    error = spread * (1 / count + test_share) ** 0.5
    p = float(stats.t.sf((margin - abs(mean)) / error, count - 1))
    half = float(stats.t.ppf(1 - LEVEL, count - 1)) * error
    return _judged(mean, mean - half, mean + half, margin, p, count)


def equivalent_to(values: Sequence[float], target: float, margin: float) -> Equivalence:
    """Test values over seeds against one number that is taken as exact.

    Raises:
        ConfigError: no values, or a margin that is not positive.
    """
    array = _checked(values, margin)
    shifted = array - target
    mean, count = float(shifted.mean()), len(shifted)
    if count < 2 or not np.isfinite(mean):
        return Equivalence(mean, None, None, margin, None, "not shown", count)
    if deviation(shifted) == 0:
        return _judged(mean, mean, mean, margin, 0.0 if abs(mean) < margin else 1.0, count)
    from statsmodels.stats.weightstats import DescrStatsW

    described = DescrStatsW(shifted)
    p = float(described.ttost_mean(-margin, margin)[0])
    low, high = map(float, described.tconfint_mean(2 * LEVEL))
    return _judged(mean, low, high, margin, p, count)


def equivalent_to_mean(
    values: Sequence[float], mean: float, spread: float, seeds: int, margin: float
) -> Equivalence:
    """Test values over seeds against another's mean, deviation and number of seeds (Welch).

    Raises:
        ConfigError: fewer than 2 seeds on either side, or a margin that is not positive.
    """
    from scipy import stats

    array = _checked(values, margin)
    if len(array) < 2 or seeds < 2:
        raise ConfigError("Welch's test needs at least 2 seeds on both sides.")
    ours = (float(array.mean()), float(array.std(ddof=1)), len(array))
    difference = ours[0] - mean
    parts = ours[1] ** 2 / ours[2], spread**2 / seeds
    if sum(parts) == 0:
        p = 0.0 if abs(difference) < margin else 1.0
        return _judged(difference, difference, difference, margin, p, len(array))
    sides: tuple[tuple[float, Literal["greater", "less"]], ...] = (
        (-margin, "greater"),
        (margin, "less"),
    )
    p = max(
        float(
            stats.ttest_ind_from_stats(
                ours[0], ours[1], ours[2], mean + bound, spread, seeds, False, side
            ).pvalue
        )
        for bound, side in sides
    )
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / (ours[2] - 1) + parts[1] ** 2 / (seeds - 1))
    half = float(stats.t.ppf(1 - LEVEL, freedom)) * sum(parts) ** 0.5
    return _judged(difference, difference - half, difference + half, margin, p, len(array))


def _checked(values: Sequence[float], margin: float) -> Any:
    if not len(values):
        raise ConfigError("an equivalence test needs values.")
    if not margin > 0:
        raise ConfigError(f"the margin of an equivalence test must be positive, not {margin}.")
    return np.asarray(values, dtype=float)


def _judged(
    difference: float, low: float, high: float, margin: float, p: float, seeds: int
) -> Equivalence:
    outcome: Outcome = "not shown"
    if p < LEVEL:
        outcome = "equivalent"
    elif low > margin or high < -margin:
        outcome = "different"
    return Equivalence(difference, low, high, margin, p, outcome, seeds)
