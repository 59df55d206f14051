"""What a trained model makes of some of its modalities: EMAP and InterSHAP.

Both look at a model from outside, as a function of arrays: its outputs where modalities of
different samples are put together (EMAP), or where some are replaced by a background (InterSHAP).
Neither says what the data could tell, only what this model does with it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.errors import ConfigError, ShapeError

Array = NDArray[Any]
#: M arrays of the same number of rows -> outputs [rows, C].
Predict = Callable[[Sequence[Array]], Array]
#: Rows that are given to a model at once, and put together in all.
BLOCK, MOST_ROWS = 8192, 20_000_000


def additive_projection(
    predict: Predict, modalities: Sequence[Array], *, draws: int | None = None, seed: int = 0
) -> Array:
    """EMAP: the additive function of modalities that is closest to a model on these samples.

    The empirical multimodally-additive projection (Hessel and Lee 2020):

        f+(x_1, ..., x_M) = sum_m E[f | x_m] - (M - 1) E[f]

    where expectations put together modalities of different samples, each drawn on its own. It is
    the closest in squares among all sums of functions of single modalities. Where it predicts as
    well as the model, the model's interactions are not needed.

    Args:
        predict: the model; give logits, in which models without interactions are sums.
        modalities: M arrays of N rows.
        draws: other samples' modalities drawn for each sample and modality; None: all N^M, which
            is exact.
        seed: of the draws.

    Returns:
        [N, C]: the projection's outputs on the samples.

    Raises:
        ShapeError: modalities of different lengths.
        ConfigError: too many rows to put together without ``draws``.

    Example:
        >>> x = [np.array([0.0, 1.0]), np.array([3.0, 5.0])]
        >>> additive_projection(lambda rows: (rows[0] * rows[1])[:, None], x).ravel()
        array([-0.5,  4.5])
    """
    samples, count = _samples(modalities), len(modalities)
    if draws is None and samples**count > MOST_ROWS:
        raise ConfigError(
            f"all combinations of {samples:,} samples in {count} modalities are too many rows; "
            "give draws, or fewer samples."
        )
    if draws is None:
        grid = _in_blocks(predict, modalities, _combinations(samples, count))
        outputs = grid.reshape(*(samples,) * count, -1)
        given = [
            outputs.mean(tuple(axis for axis in range(count) if axis != m)) for m in range(count)
        ]
        return np.asarray(sum(given) - (count - 1) * given[0].mean(0))
    rng = np.random.default_rng(seed)
    means = []
    for m in range(count):
        rows = rng.integers(samples, size=(samples * draws, count))
        rows[:, m] = np.repeat(np.arange(samples), draws)
        drawn = _in_blocks(predict, modalities, np.array_split(rows, -(-len(rows) // BLOCK)))
        means.append(drawn.reshape(samples, draws, -1).mean(1))
    overall = np.mean([mean.mean(0) for mean in means], 0)
    return np.asarray(sum(means) - (count - 1) * overall)


@dataclass(frozen=True, eq=False)
class Interactions:
    """Shapley interaction values of modalities.

    Attributes:
        matrix: [N, M, M]; off the diagonal half of each pair's Shapley interaction index, on it
            what is left of the modality's Shapley value; each sample's sums to what the complete
            input changes.
        share: InterSHAP of the samples together: the absolute off-diagonal means over all absolute
            means; 0 for an additive model, 1 for pure interaction, NaN where nothing changes.
        local: [N]: the same of each sample.
    """

    matrix: Array
    share: float
    local: Array


def coalition_values(
    predict: Predict,
    modalities: Sequence[Array],
    background: Sequence[Array],
    *,
    draws: int | None = None,
    seed: int = 0,
) -> Array:
    """What a model says of each sample with each set of modalities.

    Absent modalities are replaced by the background's mean, or by modalities of samples drawn from
    it, whose outputs are averaged (the released InterSHAP draws; a mean may be unlike any sample).
    The value is the output of the class that the complete input gets the most of, so give
    probabilities; of a single output it is that output.

    Args:
        predict: the model.
        modalities: M arrays of N rows to explain.
        background: M arrays of training rows.
        draws: samples drawn from the background; None: their mean.
        seed: of the draws.

    Returns:
        [N, 2^M]; bit m of a column's number says whether modality m is present.
    """
    samples, count = _samples(modalities), len(modalities)
    rng = np.random.default_rng(seed)
    complete = np.asarray(predict(list(modalities)))
    chosen = complete.argmax(1)
    values = np.empty((samples, 2**count))
    values[:, -1] = complete[np.arange(samples), chosen]
    for number in range(2**count - 1):
        total = np.zeros(samples)
        for _ in range(draws or 1):
            rows = rng.integers(len(background[0]), size=samples)
            mixed = [
                x if number >> m & 1 else _absent(background[m], rows, mean=draws is None)
                for m, x in enumerate(modalities)
            ]
            total += np.asarray(predict(mixed))[np.arange(samples), chosen]
        values[:, number] = total / (draws or 1)
    return values


def intershap(values: Array) -> Interactions:
    """InterSHAP (Wenderoth et al. 2025) of a model's values with each set of modalities.

    Args:
        values: [N, 2^M], as :func:`coalition_values` gives them.

    Raises:
        ShapeError: not 2^M columns, or fewer than two modalities.

    Example:
        >>> both_or_nothing = np.array([[0.0, 0.0, 0.0, 1.0]])
        >>> intershap(both_or_nothing).share, intershap(np.array([[0.0, 1.0, 2.0, 3.0]])).share
        (1.0, 0.0)
    """
    count = int(np.shape(values)[-1]).bit_length() - 1
    if np.ndim(values) != 2 or np.shape(values)[1] != 2**count or count < 2:
        raise ShapeError(
            "values of sets of M modalities are [N, 2^M] with M of at least 2; got "
            f"{list(np.shape(values))}."
        )
    matrix = np.zeros((len(values), count, count))
    for first, second in itertools.combinations(range(count), 2):
        index = np.zeros(len(values))
        for others in _subsets([m for m in range(count) if m not in (first, second)]):
            base, size = sum(1 << m for m in others), len(others)
            weight = _weight(size, count - 1)
            with_first, with_second = base | 1 << first, base | 1 << second
            index += weight * (
                values[:, with_first | with_second]
                - values[:, with_first]
                - values[:, with_second]
                + values[:, base]
            )
        matrix[:, first, second] = matrix[:, second, first] = index / 2
    for m in range(count):
        value = np.zeros(len(values))
        for others in _subsets([k for k in range(count) if k != m]):
            base, size = sum(1 << k for k in others), len(others)
            weight = _weight(size, count)
            value += weight * (values[:, base | 1 << m] - values[:, base])
        matrix[:, m, m] = value - matrix[:, m].sum(1)
    return Interactions(matrix, float(_share(matrix.mean(0)[None])[0]), _share(matrix))


def _weight(before: int, players: int) -> float:
    """How often a player comes after exactly these others, over all orders of the players."""
    return math.factorial(before) * math.factorial(players - before - 1) / math.factorial(players)


def _share(matrix: Array) -> Array:
    every = np.abs(matrix).sum((1, 2))
    alone = np.abs(np.diagonal(matrix, axis1=1, axis2=2)).sum(1)
    return np.divide(every - alone, every, out=np.full(len(matrix), np.nan), where=every > 0)


def _subsets(items: Sequence[int]) -> Iterator[tuple[int, ...]]:
    return itertools.chain.from_iterable(
        itertools.combinations(items, size) for size in range(len(items) + 1)
    )


def _absent(background: Array, rows: Array, *, mean: bool) -> Array:
    if mean:
        return np.broadcast_to(background.mean(0), (len(rows), *background.shape[1:]))
    return np.asarray(background[rows])


def _samples(modalities: Sequence[Array]) -> int:
    lengths = {len(x) for x in modalities}
    if len(lengths) != 1:
        raise ShapeError(f"modalities must have the same number of rows, not {sorted(lengths)}.")
    return lengths.pop()


def _combinations(samples: int, count: int) -> Iterator[Array]:
    total = samples**count
    for start in range(0, total, BLOCK):
        numbers = np.arange(start, min(start + BLOCK, total))
        yield np.stack(np.unravel_index(numbers, (samples,) * count), 1)


def _in_blocks(predict: Predict, modalities: Sequence[Array], blocks: Any) -> Array:
    return np.concatenate(
        [np.asarray(predict([x[rows[:, m]] for m, x in enumerate(modalities)])) for rows in blocks]
    )
