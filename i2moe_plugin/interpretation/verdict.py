"""In words: what weights are worth, so that nobody reads more out of them than is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from i2moe_plugin.interpretation.honesty import LARGEST, RANDOM
from i2moe_plugin.interpretation.outputs import Outputs

#: An expert with at least this mean weight has taken over.
COLLAPSED = 0.8
#: Weights are called uniform from this mean normalised entropy on: 1 is all equal, 0 is one expert.
#: With four experts it is reached by 0.30, 0.26, 0.24, 0.20, and not by 0.40, 0.20, 0.20, 0.20.
UNIFORM = 0.98
#: Weights are called constant if no expert's weight has a larger standard deviation over samples.
CONSTANT = 0.01
#: Rank correlations between seeds: below the first, unstable; from the second on, stable.
UNSTABLE, STABLE = 0.3, 0.7

CAVEAT = (
    "A weight is how much of an expert's output was mixed in. It does not show that the "
    "interaction the expert is named after exists in the data, nor that this expert decided: "
    "an expert with small outputs moves little at any weight."
)

Kind = Literal["collapsed", "uniform", "constant", "varied"]


@dataclass(frozen=True)
class WeightVerdict:
    """The state of a run's weights.

    Attributes:
        kind: ``collapsed`` to one expert, ``uniform``, ``constant`` over samples, or ``varied``.
        sentence: that, with figures and the threshold.
        entropy: mean over samples of the weights' entropy over that of equal weights, 0 to 1.
        largest: mean weight of the expert with the largest mean weight.
        deviation: the largest standard deviation of an expert's weight over samples.
        moved: share of samples in which the expert with the largest weight also has the largest
            product (mean absolute weight x output).
    """

    kind: Kind
    sentence: str
    entropy: float
    largest: float
    deviation: float
    moved: float


def weight_verdict(outputs: Outputs) -> WeightVerdict:
    """Say whether weights have collapsed to one expert, or are uniform, or alike for all samples.

    Thresholds: a mean weight of at least ``COLLAPSED``; mean normalised entropy of at least
    ``UNIFORM``; no standard deviation above ``CONSTANT``. The first that holds is told.

    Raises:
        ConfigError: a vanilla run.
    """
    expert_outputs, raw = outputs.mixture()
    weights = raw.astype(np.float64)
    experts = weights.shape[1]
    logs = np.log(weights, out=np.zeros_like(weights), where=weights > 0)
    entropy = float(-(weights * logs).sum(1).mean() / np.log(experts)) if experts > 1 else 0.0
    means, deviation = weights.mean(0), float(weights.std(0).max())
    top, largest = outputs.expert_labels[int(means.argmax())], float(means.max())
    product = np.abs(weights[:, :, None] * expert_outputs).mean(2)
    moved = float((product.argmax(1) == weights.argmax(1)).mean())
    kind: Kind
    if largest >= COLLAPSED:
        kind = "collapsed"
        sentence = (
            f"The weights have collapsed to one expert: {top} has {largest:.2f} of the weight on "
            f"average ({COLLAPSED} or more is called collapsed here). The others hardly take part, "
            "so weights say nothing about their interactions."
        )
    elif entropy >= UNIFORM:
        kind = "uniform"
        sentence = (
            f"The weights are nearly uniform: their entropy is {entropy:.3f} of that of equal "
            f"weights ({UNIFORM} or more is called uniform here). They prefer no interaction, and "
            "small differences between them should not be read."
        )
    elif deviation <= CONSTANT:
        kind = "constant"
        sentence = (
            "The weights are nearly the same for every sample: no expert's weight deviates by more "
            f"than {deviation:.3f} ({CONSTANT} or less is called constant here). A sample's "
            "weights tell nothing about that sample."
        )
    else:
        kind = "varied"
        sentence = (
            f"The weights are neither collapsed nor uniform: {top} has the largest mean weight, "
            f"{largest:.2f}; entropy is {entropy:.2f} of that of equal weights, and the largest "
            f"deviation over samples is {deviation:.2f}."
        )
    return WeightVerdict(kind, sentence, entropy, largest, deviation, moved)


def worth(
    verdict: WeightVerdict,
    deletion: pd.DataFrame,
    control: pd.DataFrame,
    stability: pd.DataFrame | None = None,
    *,
    metric: str,
) -> list[str]:
    """Write the sentences that belong beside every weight of a run.

    Args:
        verdict: :func:`weight_verdict`.
        deletion, control, stability: what the functions of ``honesty`` gave; no stability where
            there is one seed alone.
        metric: the deletion test's, in words.
    """
    return [
        verdict.sentence,
        f"In {1 - verdict.moved:.0%} of the samples the expert with the largest weight is not the "
        "one that contributes most, by the mean size of weight x output.",
        _deletion(deletion, metric),
        _stability(stability),
        _control(control),
    ]


def _deletion(frame: pd.DataFrame, metric: str) -> str:
    rows = frame.set_index("dropped")
    largest, random = rows.loc[LARGEST], rows.loc[RANDOM]
    sentence = (
        f"Deletion: without the expert of largest weight, {metric} gets worse by "
        f"{largest['fall']:.3g}; without a random one by {random['fall']:.3g} "
        f"(95 % of draws: {random['low']:.3g} to {random['high']:.3g})."
    )
    if largest["fall"] > random["high"]:
        return f"{sentence} So a large weight does mark an expert that this prediction leans on."
    return (
        f"{sentence} So a large weight does not mark an expert that mattered more than any other."
    )


def _stability(frame: pd.DataFrame | None) -> str:
    if frame is None:
        return (
            "Stability: unknown, since there is one seed alone. Another seed may give other "
            "weights; train at least 3."
        )
    values = frame["correlation"].to_numpy(dtype=float)
    known = np.isfinite(values)
    if not known.any():
        return "Stability: undefined, since the weights of a run do not vary over samples."
    share = frame["mean_weight"].to_numpy(dtype=float)
    mean = float(np.average(values[known], weights=share[known]))
    counts = [
        f"{row.expert} {row.correlation:.2f} (weight {row.mean_weight:.2f}, from "
        f"{row.mean_weight_low:.2f} to {row.mean_weight_high:.2f} over seeds)"
        for row in frame[known].sort_values("mean_weight", ascending=False).itertuples()
    ]
    if mean >= STABLE:
        word = f"stable (mean {STABLE} or more)"
    elif mean >= UNSTABLE:
        word = f"partly stable (mean from {UNSTABLE} to {STABLE})"
    else:
        word = f"unstable (mean below {UNSTABLE}): they say more about the seed than the sample"
    return (
        f"Stability: over {int(frame['runs'].iloc[0])} seeds, the rank correlation of the same "
        f"samples' weights is {mean:.2f}, each expert counted by its weight; called {word}. By "
        f"expert: {', '.join(counts)}."
    )


def _control(frame: pd.DataFrame) -> str:
    experts = frame["expert"].nunique()
    level = 0.05 / experts  # all experts are looked at
    parts = []
    for statistic, words in (("class", "classes"), ("correct", "right and wrong predictions")):
        rows = frame[frame["statistic"] == statistic]
        found = int((rows["p"] <= level).sum())
        which = f"{found} of {experts} weights differ" if found else "no weight differs"
        parts.append(f"{which} between {words} beyond chance")
    return (
        f"Permuted labels: {', and '.join(parts)} (p at most 0.05 / {experts}, against labels "
        "shuffled among the samples)."
    )
