"""One run on a drawn data set, judged by what is known of that set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from i2moe_plugin.benchmarks.datasets.synthetic.dataset import PREFIX, truth_of
from i2moe_plugin.benchmarks.run.store import EVIDENCE, Run
from i2moe_plugin.errors import ConfigError
from i2moe_plugin.interactions.experts import expert_names
from i2moe_plugin.interpretation import evidence

Array = NDArray[Any]
#: A true part of so few bits, or as few as the oracle may be off, is not there.
ABSENT = 0.005


@dataclass(frozen=True, eq=False)
class Judged:
    """A run, and what it says of interactions beside what is known.

    Attributes:
        run: the run.
        score: its metric on test data.
        experts: uniqueness_1..M, synergy, redundancy.
        kind: of the importance: ``bits`` of evidence, mean ``weights`` of a mixture; None where the
            method says nothing.
        importance: [M + 2]; NaN where the method says nothing of an expert.
        said: [M + 2]: what it says is there: bits that are claimed, weights above equal ones.
        truth: [M + 2] bits.
        absent: [M + 2]: what is not there.
        target: the place of the expert that carries the prediction; None where none does alone.
    """

    run: Run
    score: float
    experts: tuple[str, ...]
    kind: Literal["bits", "weights"] | None
    importance: Array
    said: Array
    truth: Array
    absent: Array
    target: int | None

    @property
    def target_first(self) -> bool | None:
        """Whether the target is ranked first; None without a target or an importance."""
        if self.target is None or self.kind is None:
            return None
        known = np.where(np.isnan(self.importance), -np.inf, self.importance)
        return bool(self.said[self.target]) and int(known.argmax()) == self.target

    @property
    def invented(self) -> bool | None:
        """Whether something is said to be there that is not; None without an importance."""
        return None if self.kind is None else bool((self.said & self.absent).any())

    @property
    def rank_correlation(self) -> float:
        """Spearman's correlation of importance and truth; NaN where either is constant."""
        known = ~np.isnan(self.importance)
        if (
            known.sum() < 2
            or np.ptp(self.truth[known]) < ABSENT
            or not np.ptp(self.importance[known])
        ):
            return float("nan")
        return float(spearmanr(self.importance[known], self.truth[known]).statistic)

    @property
    def share_error(self) -> float:
        """Mean absolute error of shares of the whole; NaN where nothing is there to share."""
        if self.kind is None or np.isnan(self.importance).any() or self.truth.sum() < ABSENT:
            return float("nan")
        own = self.importance.clip(0)
        if not own.sum():
            own = np.full(len(own), 1.0)
        return float(np.abs(own / own.sum() - self.truth / self.truth.sum()).mean())


def judge(run: Run) -> Judged:
    """Judge a finished run on a drawn data set.

    Raises:
        ConfigError: its data set is none whose interactions are known.
    """
    settings, result = run.settings, run.result
    if not settings["dataset"].startswith(PREFIX):
        raise ConfigError(
            f"{run.name}: nothing is known of the interactions in {settings['dataset']}; the audit "
            f"takes {PREFIX}NAME."
        )
    truth = truth_of(settings["dataset"], settings["data_settings"])
    names = tuple(expert_names(len(result["modalities"])))
    kind: Literal["bits", "weights"] | None = None
    importance, said = np.full(len(names), np.nan), np.zeros(len(names), dtype=bool)
    weights = result.get("expert_weights", {})
    if EVIDENCE in run.files:
        (one,) = evidence(run.interpretable())
        kind, importance = "bits", one.bits
        said[list(one.ranking)] = True
    elif len(weights) > 1 and set(weights) <= set(names):
        kind = "weights"
        importance = np.array([weights.get(name, np.nan) for name in names], dtype=float)
        said = np.nan_to_num(importance) > 1 / len(weights)
    parts = np.array(truth.parts.parts)
    return Judged(
        run=run,
        score=float(result["test"][result["headline"]]),
        experts=names,
        kind=kind,
        importance=importance,
        said=said,
        truth=parts,
        absent=parts <= max(ABSENT, truth.error),
        target=None if truth.target is None else names.index(truth.target),
    )
