"""Comparing two methods over paired seeds: mean difference, 95 % interval, verdict in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from i2moe_plugin.errors import ConfigError
from i2moe_plugin.tasks import HIGHER_IS_BETTER

Verdict = Literal["better", "worse", "no difference shown", "too few seeds to tell"]
FEWEST_SEEDS = 3


@dataclass(frozen=True)
class Comparison:
    """I2MoE against vanilla on one metric.

    Attributes:
        metric: its name.
        difference: mean over seeds of I2MoE - vanilla.
        low, high: 95 % interval of that mean (paired t); None with fewer than 2 seeds.
        seeds: number of pairs.
        verdict: of I2MoE; ``better`` or ``worse`` only where the interval excludes 0.
    """

    metric: str
    difference: float
    low: float | None
    high: float | None
    seeds: int
    verdict: Verdict

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def compare(metric: str, vanilla: Sequence[float], i2moe: Sequence[float]) -> Comparison:
    """Paired comparison over seeds; the pairs are given in the same order.

    The interval says how much of the difference is seed noise on this one split of this one data
    set; it does not cover other samples of the population. A permutation test cannot reach 5 %
    with five pairs (its smallest p is 1/16), hence the paired t interval.

    Args:
        metric: a name in ``HIGHER_IS_BETTER``.
        vanilla, i2moe: one value a seed.

    Raises:
        ConfigError: unpaired or no values.

    Example:
        >>> compare("accuracy", [0.90, 0.91, 0.92], [0.93, 0.94, 0.96]).verdict
        'better'
    """
    from scipy import stats

    if len(vanilla) != len(i2moe) or not len(vanilla):
        raise ConfigError(
            f"a paired comparison needs as many values of both methods; got {len(vanilla)} and "
            f"{len(i2moe)}."
        )
    difference = np.asarray(i2moe, dtype=float) - np.asarray(vanilla, dtype=float)
    mean, count = float(difference.mean()), len(difference)
    low = high = None
    if count > 1 and np.isfinite(mean):
        spread = float(difference.std(ddof=1))
        low = high = mean
        if spread > 0:
            low, high = map(
                float, stats.t.interval(0.95, count - 1, loc=mean, scale=spread / count**0.5)
            )
    verdict: Verdict = "no difference shown"
    if count < FEWEST_SEEDS:
        verdict = "too few seeds to tell"
    elif low is not None and high is not None and (low > 0 or high < 0):
        verdict = "better" if (low > 0) == HIGHER_IS_BETTER[metric] else "worse"
    return Comparison(metric, mean, low, high, count, verdict)


def summarise(values: Sequence[float]) -> dict[str, float | int | None]:
    """Mean and sample deviation (None below 2 values) over seeds."""
    array = np.asarray(values, dtype=float)
    deviation = float(array.std(ddof=1)) if len(array) > 1 else None
    return {"mean": float(array.mean()), "deviation": deviation, "n": len(array)}
