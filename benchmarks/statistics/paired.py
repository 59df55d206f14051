"""Comparing two methods over paired seeds: how much, how sure, and a verdict in words.

``docs/statistics.md`` says what each number means, and what it does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.errors import ConfigError
from i2moe_plugin.tasks import HIGHER_IS_BETTER

Verdict = Literal["better", "worse", "no difference shown", "too few seeds to tell"]
Interval = tuple[float, float]
FEWEST_SEEDS = 3
LEVEL = 0.05
#: Sign flips and bootstrap samples that are drawn where there are more than can be gone through.
RESAMPLES = 9999


@dataclass(frozen=True)
class Comparison:
    """A method against a reference on one metric.

    Attributes:
        metric: its name.
        difference: mean over seeds of method - reference.
        low, high: 95 % interval of that mean (paired t); None with fewer than 3 seeds, where it
            says nothing: of two, it is 13 times as wide as their difference.
        seeds: number of pairs.
        splits: number of splits that were drawn anew, over which the pairs are spread; 1: the data
            set's own split alone. Then the interval and ``p`` are of the corrected resampled t
            test, and no permutation test and no bootstrap are given, which do not know that
            splits share their samples.
        verdict: of the method; ``better`` or ``worse`` only where the interval excludes 0.
        p: of the paired t test, two-sided; None with fewer than 2 seeds or without any spread.
        p_permutation: of the paired permutation test (signs of the differences flipped), two-sided.
        p_smallest: the smallest p that this test can give with so many seeds.
        bootstrap: 95 % percentile interval of the mean; too narrow for few seeds, and None with
            fewer than 3.
        effect: Cohen's d of the differences with Hedges' correction; None without any spread.
        cliffs_delta: share of pairs (any two seeds) where the method is above the reference, less
            the share where it is below: -1 to 1.
        p_adjusted: ``p`` by Holm over a table's comparisons; see :func:`correct`.
        verdict_adjusted: the verdict that ``p_adjusted`` gives.
    """

    metric: str
    difference: float
    low: float | None
    high: float | None
    seeds: int
    verdict: Verdict
    splits: int = 1
    p: float | None = None
    p_permutation: float | None = None
    p_smallest: float | None = None
    bootstrap: Interval | None = None
    effect: float | None = None
    cliffs_delta: float | None = None
    p_adjusted: float | None = None
    verdict_adjusted: Verdict | None = None

    @property
    def units(self) -> int:
        """What the test counts: splits where there are several, else seeds."""
        return self.splits if self.splits > 1 else self.seeds

    @property
    def shown_verdict(self) -> Verdict:
        """The verdict of its table: corrected, where the table is."""
        return self.verdict_adjusted or self.verdict

    @property
    def rests_on(self) -> str:
        """What the comparison was made over, and so what it covers."""
        if self.splits == 1:
            return f"paired over {self.seeds} seeds, on this one split alone"
        pairs = f"{self.seeds} runs on " if self.seeds > self.splits else ""
        return (
            f"paired over {pairs}{self.splits} splits, corrected resampled t test: covers fresh "
            "splits of this data and seeds together"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        return {**asdict(self), "rests_on": self.rests_on}


def compare(
    metric: str,
    reference: Sequence[float],
    values: Sequence[float],
    splits: Sequence[str] = (),
    test_share: float | None = None,
) -> Comparison:
    """Compare values of two methods that are paired over seeds, or over splits and seeds.

    The interval says how much of the difference is seed noise on this one split of this one data
    set; it does not cover other samples of the population. A permutation test cannot reach 5 %
    with five pairs (its smallest p is 1/16), hence the verdict is by the paired t interval.

    Args:
        metric: a name in ``HIGHER_IS_BETTER``.
        reference, values: one value a seed, of the reference and of the method, in the same order.
        splits: the split of each pair, where there are several. Seeds of one split are averaged,
            and splits are compared by :func:`corrected_resampled`.
        test_share: number of test samples over that of training samples; needed with splits.

    Raises:
        ConfigError: unpaired or no values.

    Example:
        >>> compare("accuracy", [0.90, 0.91, 0.92], [0.93, 0.94, 0.96]).verdict
        'better'
    """
    first, second = _paired(reference, values)
    if len(set(splits)) > 1:
        return _over_splits(metric, first, second, splits, test_share)
    difference = second - first
    mean, count = float(difference.mean()), len(difference)
    if not np.isfinite(mean):
        verdict: Verdict = (
            "no difference shown" if count >= FEWEST_SEEDS else "too few seeds to tell"
        )
        return Comparison(metric, mean, None, None, count, verdict)
    enough = count >= FEWEST_SEEDS
    interval = t_interval(difference) if enough else None
    return Comparison(
        metric,
        mean,
        interval[0] if interval else None,
        interval[1] if interval else None,
        count,
        _verdict(metric, mean, count, interval is not None and not interval[0] <= 0 <= interval[1]),
        p=_paired_t(difference),
        p_permutation=permutation_p(difference),
        p_smallest=min(1.0, 2.0 ** (1 - count)),
        bootstrap=bootstrap_interval(difference) if enough else None,
        effect=hedges_g(difference),
        cliffs_delta=float(np.sign(second[:, None] - first[None, :]).mean()),
    )


def corrected_resampled(
    differences: NDArray[Any], test_share: float
) -> tuple[Interval, float] | None:
    """Return the 95 % interval and the two-sided p of the corrected resampled t test.

    Splits of one data set share their samples, so their differences are correlated, and the plain
    t test finds differences that are none. With J splits, variance s^2 of the differences, and
    n_test and n_train samples in each, the variance of the mean is taken as
    (1/J + n_test/n_train) s^2, with J - 1 degrees of freedom.

    Source: Nadeau, Bengio: Inference for the Generalization Error, Machine Learning 52, 2003.

    Args:
        differences: one a split, [J].
        test_share: n_test / n_train.

    Returns:
        None below 2 splits, and where all differences are equal.
    """
    from scipy import stats

    count, spread = len(differences), deviation(differences)
    if count < 2 or spread == 0:
        return None
    mean, error = float(differences.mean()), spread * (1 / count + test_share) ** 0.5
    low, high = stats.t.interval(1 - LEVEL, count - 1, loc=mean, scale=error)
    return (float(low), float(high)), float(2 * stats.t.sf(abs(mean) / error, count - 1))


def split_means(differences: NDArray[Any], splits: Sequence[str]) -> NDArray[Any]:
    """Return the mean difference of each split, over its seeds, in the order of their first."""
    names = np.array(splits)
    return np.array([differences[names == name].mean() for name in dict.fromkeys(splits)])


def _over_splits(
    metric: str,
    first: NDArray[Any],
    second: NDArray[Any],
    splits: Sequence[str],
    test_share: float | None,
) -> Comparison:
    """Compare over splits; see :func:`compare`."""
    if test_share is None or len(splits) != len(first):
        raise ConfigError("a comparison over splits needs the split of each pair, and test_share.")
    means = split_means(second - first, splits)
    mean, count = float(means.mean()), len(means)
    found = corrected_resampled(means, test_share) if np.isfinite(mean) else None
    interval = found[0] if found is not None and count >= FEWEST_SEEDS else None
    shown = interval is not None and not interval[0] <= 0 <= interval[1]
    return Comparison(
        metric,
        mean,
        interval[0] if interval else None,
        interval[1] if interval else None,
        len(first),
        _verdict(metric, mean, count, shown),
        splits=count,
        p=found[1] if found else None,
        effect=hedges_g(means) if np.isfinite(mean) else None,
        cliffs_delta=float(np.sign(second[:, None] - first[None, :]).mean()),
    )


def correct(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Correct verdicts for how many comparisons a table has (Holm), so that few are chance.

    Args:
        comparisons: those without a p (one seed, undefined, no spread) stay as they are and do not
            count.

    Returns:
        the same comparisons with ``p_adjusted`` and ``verdict_adjusted``.
    """
    tested = [item.p for item in comparisons if item.p is not None]
    adjusted = iter(holm(tested))
    out = []
    for item in comparisons:
        if item.p is None:
            out.append(replace(item, verdict_adjusted=item.verdict))
            continue
        p = next(adjusted)
        verdict = _verdict(item.metric, item.difference, item.units, p < LEVEL)
        out.append(replace(item, p_adjusted=p, verdict_adjusted=verdict))
    return out


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's step-down adjusted p values, in the order given.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    # statsmodels has it, and looks through the process's memory for garbage at every call: 0.3 s.
    given = np.asarray(p_values, dtype=float)
    order = np.argsort(given)
    adjusted = np.empty_like(given)
    adjusted[order] = np.maximum.accumulate(given[order] * np.arange(len(given), 0, -1))
    return [float(p) for p in np.minimum(adjusted, 1)]


def permutation_p(difference: NDArray[Any]) -> float:
    """Return the two-sided p of the mean under all 2^n flips of signs; 9999 drawn ones, n > 13."""
    from scipy import stats

    if len(difference) < 2:
        return 1.0
    found = stats.permutation_test(  # of one sample: signs are flipped
        (difference,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


def bootstrap_interval(difference: NDArray[Any]) -> Interval | None:
    """Return the 95 % percentile bootstrap interval of the mean; None below 2 values."""
    if len(difference) < 2:
        return None
    drawn = np.random.default_rng(0).integers(len(difference), size=(RESAMPLES, len(difference)))
    low, high = np.quantile(difference[drawn].mean(1), [LEVEL / 2, 1 - LEVEL / 2])
    return float(low), float(high)


def t_interval(values: NDArray[Any]) -> Interval | None:
    """Return Student's 95 % interval of the mean; None below 2 values, a point without spread."""
    from scipy import stats

    count, mean = len(values), float(values.mean())
    if count < 2:
        return None
    spread = deviation(values)
    if spread == 0:
        return mean, mean
    low, high = stats.t.interval(1 - LEVEL, count - 1, loc=mean, scale=spread / count**0.5)
    return float(low), float(high)


def hedges_g(difference: NDArray[Any]) -> float | None:
    """Return the mean difference over the deviation (Cohen's d_z), corrected for few seeds.

    It is None below 2 values and where all differences are equal.
    """
    count, spread = len(difference), deviation(difference)
    if spread == 0:
        return None
    correction = 1 - 3 / (4 * (count - 1) - 1)
    return float(difference.mean()) / spread * correction


def deviation(values: NDArray[Any]) -> float:
    """Return the sample deviation; 0 below 2 values and where it is no more than rounding."""
    if len(values) < 2:
        return 0.0
    spread = float(values.std(ddof=1))
    return spread if spread > 1e-12 * max(1.0, float(np.abs(values).max())) else 0.0


def summarise(values: Sequence[float]) -> dict[str, float | int | None]:
    """Return mean, sample deviation (None below 2 values) and number of values over seeds."""
    array = np.asarray(values, dtype=float)
    spread = float(array.std(ddof=1)) if len(array) > 1 else None
    return {"mean": float(array.mean()), "deviation": spread, "n": len(array)}


def what_permutation_can(seeds: int) -> str:
    """Say what a permutation test over so many seeds can show.

    >>> what_permutation_can(5)
    'with 5 seeds no permutation test can give less than p = 1/16 (one-sided: 1/32)'
    """
    return (
        f"with {seeds} seeds no permutation test can give less than p = "
        f"{'1' if seeds < 2 else f'1/{2 ** (seeds - 1)}'} (one-sided: 1/{2**seeds})"
    )


def _paired(
    reference: Sequence[float], values: Sequence[float]
) -> tuple[NDArray[Any], NDArray[Any]]:
    if len(reference) != len(values) or not len(values):
        raise ConfigError(
            f"a paired comparison needs as many values of both methods; got {len(reference)} and "
            f"{len(values)}."
        )
    return np.asarray(reference, dtype=float), np.asarray(values, dtype=float)


def _paired_t(difference: NDArray[Any]) -> float | None:
    from scipy import stats

    count, spread = len(difference), deviation(difference)
    if spread == 0:
        return None
    return float(2 * stats.t.sf(abs(difference.mean()) / (spread / count**0.5), count - 1))


def _verdict(metric: str, difference: float, seeds: int, shown: bool) -> Verdict:
    if seeds < FEWEST_SEEDS:
        return "too few seeds to tell"
    if not shown:
        return "no difference shown"
    return "better" if (difference > 0) == HIGHER_IS_BETTER[metric] else "worse"
