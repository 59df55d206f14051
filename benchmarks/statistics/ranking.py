"""Several methods on several data sets: ranks, Friedman's test, and who is told apart from whom.

Source: Demsar: Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 7, 2006;
Benavoli, Corani, Mangili: Should We Really Use Post-Hoc Tests Based on Mean-Ranks?, JMLR 17, 2016.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.statistics.paired import LEVEL, holm
from i2moe_plugin.errors import ConfigError, counted


@dataclass(frozen=True)
class Ranking:
    """How methods rank over data sets; rank 1 is the best.

    Attributes:
        names: of the k methods.
        datasets: names of the N data sets.
        mean_ranks: of each method, over data sets; ties share their ranks.
        statistic: Iman and Davenport's F, from Friedman's chi-squared; None where methods rank
            alike on every data set (it is infinite), or there are only two methods.
        friedman: Friedman's chi-squared.
        p: that all methods rank alike, by F; of two methods by Wilcoxon's signed-rank test.
        critical_difference: by Nemenyi, of two mean ranks at 5 %.
        pairs: (method, method) -> p by Wilcoxon's signed-rank test over data sets, corrected by
            Holm over all pairs; it does not depend on the other methods, as Nemenyi's test does.
    """

    names: tuple[str, ...]
    datasets: tuple[str, ...]
    mean_ranks: tuple[float, ...]
    statistic: float | None
    friedman: float
    p: float
    critical_difference: float
    pairs: dict[tuple[str, str], float]

    @property
    def ordered(self) -> list[tuple[str, float]]:
        """The methods with their mean ranks, the best first."""
        return sorted(zip(self.names, self.mean_ranks, strict=True), key=lambda one: one[1])

    @property
    def cliques(self) -> list[tuple[str, ...]]:
        """The largest groups of methods whose mean ranks differ by less than the critical one."""
        ordered = self.ordered
        found: list[tuple[str, ...]] = []
        for start, (_, best) in enumerate(ordered):
            inside = [
                name for name, rank in ordered[start:] if rank - best < self.critical_difference
            ]
            group = tuple(inside)
            if len(group) > 1 and not any(set(group) <= set(other) for other in found):
                found.append(group)
        return found

    @property
    def sentences(self) -> list[str]:
        """What came out."""
        count, many = len(self.datasets), len(self.names)
        ranks = ", ".join(f"{name} {rank:.2f}" for name, rank in self.ordered)
        if self.p < LEVEL:
            said = "methods do not rank alike"
        else:
            said = "no difference between methods shown"
        test = "Wilcoxon's test" if many == 2 else "Friedman's test with Iman and Davenport's F"
        lines = [
            f"Mean ranks over {count} data sets (1 is the best): {ranks}.",
            f"Over data sets: {said} ({test}, p = {self.p:.3g}).",
        ]
        if many > 2:
            lines.append(
                f"Mean ranks that differ by less than {self.critical_difference:.2f} are not told "
                "apart (Nemenyi, 5 %)."
            )
        told = [f"{a} and {b}" for (a, b), p in self.pairs.items() if p < LEVEL]
        lines.append(
            f"By Wilcoxon's test, corrected by Holm over {counted(len(self.pairs), 'pair')}: "
            + (f"told apart are {'; '.join(told)}." if told else "no pair is told apart.")
        )
        if count < 6:
            lines.append(
                f"With {count} data sets Wilcoxon's test cannot give less than p = "
                f"{2 / 2**count:.3g} for a pair."
            )
        return lines

    def as_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        return {
            "datasets": list(self.datasets),
            "mean_ranks": dict(zip(self.names, self.mean_ranks, strict=True)),
            "friedman_chi2": self.friedman,
            "iman_davenport_f": self.statistic,
            "p": self.p,
            "critical_difference": self.critical_difference,
            "not_told_apart": [list(group) for group in self.cliques],
            "pairs": [{"methods": list(pair), "p": p} for pair, p in self.pairs.items()],
        }


def rank_methods(
    names: Sequence[str], datasets: Sequence[str], values: Any, higher_is_better: Sequence[bool]
) -> Ranking:
    """Rank methods over data sets, and test whether they differ.

    Args:
        names: of k methods, at least 2.
        datasets: names of N data sets, at least 2.
        values: [N, k], each method's mean figure on each data set.
        higher_is_better: [N], of the figure of each data set.

    Raises:
        ConfigError: fewer of either, or figures that are undefined.
    """
    from scipy import stats

    table: NDArray[Any] = np.asarray(values, dtype=float)
    count, many = table.shape
    if count < 2 or many < 2 or not np.isfinite(table).all():
        raise ConfigError("ranks need at least 2 methods on 2 data sets, with defined figures.")
    signed = table * np.where(np.asarray(higher_is_better), 1.0, -1.0)[:, None]
    ranks = stats.rankdata(-signed.round(12), axis=1)
    mean = ranks.mean(0)
    chi2 = 12 * count / (many * (many + 1)) * ((mean**2).sum() - many * (many + 1) ** 2 / 4)
    statistic, p = None, _wilcoxon(signed[:, 1] - signed[:, 0])
    if many > 2:
        left = count * (many - 1) - chi2
        statistic = float((count - 1) * chi2 / left) if left > 1e-9 else None
        degrees = (many - 1, (many - 1) * (count - 1))
        p = 0.0 if statistic is None else float(stats.f.sf(statistic, *degrees))
    q = _nemenyi(many)
    pairs = list(itertools.combinations(range(many), 2))
    raw = [_wilcoxon(signed[:, two] - signed[:, one]) for one, two in pairs]
    return Ranking(
        tuple(names),
        tuple(datasets),
        tuple(map(float, mean)),
        statistic,
        float(chi2),
        p,
        float(q * np.sqrt(many * (many + 1) / (6 * count))),
        {
            (names[one], names[two]): value
            for (one, two), value in zip(pairs, holm(raw), strict=True)
        },
    )


@functools.cache
def _nemenyi(many: int) -> float:
    """Return Nemenyi's critical value of k methods; scipy integrates a second for it."""
    from scipy import stats

    return float(stats.studentized_range.ppf(1 - LEVEL, many, np.inf) / np.sqrt(2))


def _wilcoxon(differences: NDArray[Any]) -> float:
    """Return the two-sided p of Wilcoxon's signed-rank test; 1 where all differences are 0."""
    from scipy import stats

    kept = differences[np.abs(differences) > 1e-12]
    return float(stats.wilcoxon(kept).pvalue) if len(kept) else 1.0
