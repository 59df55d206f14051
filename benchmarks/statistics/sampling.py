"""How far a metric may lie from what other test samples would have given."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.statistics.paired import LEVEL, Interval
from i2moe_plugin.tasks import Task

#: Samples that are drawn anew, with replacement.
RESAMPLES = 1000


def sample_interval(
    task: Task, metric: str, prediction: NDArray[Any], target: NDArray[Any]
) -> Interval | None:
    """Return the 95 % percentile bootstrap interval of a metric over test samples.

    It speaks of the samples alone: the trained model and the split stay as they are.

    Args:
        task: says how the metric is computed.
        metric: one of the task's.
        prediction: [N, C] outputs.
        target: [N] or [N, C].

    Returns:
        the interval; None where the metric is undefined on more than a twentieth of the draws.
    """
    random, count = np.random.default_rng(0), len(prediction)
    values = np.array(
        [
            task.metric(metric, prediction[rows], target[rows])
            for rows in random.integers(count, size=(RESAMPLES, count))
        ]
    )
    known = values[~np.isnan(values)]
    if len(known) < (1 - LEVEL) * RESAMPLES:
        return None
    low, high = np.quantile(known, [LEVEL / 2, 1 - LEVEL / 2])
    return float(low), float(high)
