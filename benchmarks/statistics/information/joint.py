"""A discrete joint distribution of modalities and a target, and what its modalities tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, xlogy

from i2moe_plugin.errors import ConfigError, ShapeError

Array = NDArray[Any]
LN2 = float(np.log(2))
#: Steps of the search for an additive model; the gap that is left after them is checked.
STEPS = 5000
#: Largest gap in bits between the lower and the upper bound of its information.
GAP = 1e-4


@dataclass(frozen=True, eq=False)
class Joint:
    """P(x_1, ..., x_M, y) as a list of cells, so that a sparse one stays small.

    Attributes:
        symbols: [C, M] of int; each cell's symbol of each modality, counted from 0.
        probabilities: [C, Y]; each cell's probability with each value of the target; sums to 1.

    Raises:
        ShapeError: arrays that do not fit together.
        ConfigError: probabilities that are negative or do not sum to 1.

    Example:
        >>> table = np.zeros((2, 2, 2))
        >>> for a, b in np.ndindex(2, 2):
        ...     table[a, b, a ^ b] = 1 / 4
        >>> xor = Joint.from_table(table)
        >>> xor.information([0]), xor.information([0, 1]), xor.additive_information([0, 1])
        (0.0, 1.0, 0.0)
    """

    symbols: Array
    probabilities: Array

    def __post_init__(self) -> None:
        symbols, probabilities = np.shape(self.symbols), np.shape(self.probabilities)
        if len(symbols) != 2 or len(probabilities) != 2 or symbols[0] != probabilities[0]:
            raise ShapeError(
                "a joint distribution needs symbols [C, M] and probabilities [C, Y] of the same "
                f"cells; got {list(symbols)} and {list(probabilities)}."
            )
        smallest, total = np.min(self.probabilities, initial=0), np.sum(self.probabilities)
        if smallest < 0 or not np.isclose(total, 1):
            raise ConfigError(
                "probabilities must not be negative and sum to 1; the smallest is "
                f"{smallest:g} and the sum {total:g}."
            )

    @classmethod
    def from_table(cls, table: Array) -> Joint:
        """Take a dense table [K_1, ..., K_M, Y]; what does not sum to 1 is scaled."""
        table = np.asarray(table, dtype=float)
        cells = table.reshape(-1, table.shape[-1])
        used = cells.sum(1) > 0
        symbols = np.stack(np.unravel_index(np.flatnonzero(used), table.shape[:-1]), 1)
        return cls(symbols, cells[used] / table.sum())

    @classmethod
    def from_samples(cls, symbols: Array, target: Array) -> Joint:
        """Count samples.

        Args:
            symbols: [N, M] of int.
            target: [N] of int, or [N, Y]: how probable each value is in each sample.
        """
        target = np.asarray(target)
        soft = target if target.ndim == 2 else np.eye(int(target.max()) + 1)[target]
        cells, place = np.unique(np.asarray(symbols), axis=0, return_inverse=True)
        counts = np.zeros((len(cells), soft.shape[1]))
        np.add.at(counts, place.reshape(-1), soft)
        return cls(cells, counts / counts.sum())

    @property
    def modalities(self) -> int:
        """M."""
        return int(np.shape(self.symbols)[1])

    @cached_property
    def target(self) -> Array:
        """P(y): [Y]."""
        return np.asarray(self.probabilities.sum(0))

    def table(self) -> Array:
        """The dense table [K_1, ..., K_M, Y]."""
        shape = (*(self.symbols.max(0) + 1), self.probabilities.shape[1])
        table = np.zeros(shape)
        np.add.at(table, tuple(self.symbols.T), self.probabilities)
        return table

    def marginal(self, modalities: Sequence[int]) -> Joint:
        """The joint distribution of these modalities and the target."""
        return Joint(*_cells(self.symbols[:, list(modalities)], self.probabilities))

    def information(self, modalities: Sequence[int]) -> float:
        """I(x_A; y) in bits."""
        if not len(modalities):
            return 0.0
        cells = _cells(self.symbols[:, list(modalities)], self.probabilities)[1]
        return _rounded(entropy(self.target) + entropy(cells.sum(1)) - entropy(cells))

    def additive_information(self, modalities: Sequence[int]) -> float:
        """What the best additive model log p(y|x) = sum_m f_m(x_m, y) + const knows, in bits.

        It is the information of the distribution of largest entropy that keeps P(x_A) and every
        P(x_m, y): that of a log-linear model, found by maximum likelihood.

        Raises:
            ConfigError: the bounds did not meet.
        """
        if len(modalities) < 2:
            return self.information(modalities)
        symbols, cells = _cells(self.symbols[:, list(modalities)], self.probabilities)
        weight = cells.sum(1, keepdims=True)
        sizes = symbols.max(0) + 1
        margins = [_margin(*pair, cells) for pair in zip(symbols.T, sizes, strict=True)]
        ends = np.cumsum(sizes)[:-1]

        def conditional(flat: Array) -> Array:
            terms = np.split(flat.reshape(-1, cells.shape[1]), ends)
            scores = sum(term[column] for term, column in zip(terms, symbols.T, strict=True))
            return np.asarray(log_softmax(scores, 1))

        def loss(flat: Array) -> tuple[float, Array]:
            logs = conditional(flat)
            fitted = weight * np.exp(logs)
            slopes = [
                _margin(column, size, fitted) - margin
                for column, size, margin in zip(symbols.T, sizes, margins, strict=True)
            ]
            return -float((cells * logs).sum()), np.concatenate(slopes).reshape(-1)

        start = np.zeros(int(sizes.sum()) * cells.shape[1])
        found = minimize(
            loss,
            start,
            jac=True,
            method="L-BFGS-B",
            options={
                "maxiter": STEPS,
                "maxfun": 2 * STEPS,
                "ftol": 1e-13,
                "gtol": 1e-9,
                "maxcor": 30,
            },
        )
        logs = conditional(found.x)
        # What this very model knows, and what it would know if it kept the margins: the first
        # grows and the second falls to what is looked for.
        lower = self._known(cells, logs)
        upper = self._known(weight * np.exp(logs), logs)
        if abs(upper - lower) > GAP:
            raise ConfigError(
                f"the additive model of modalities {list(modalities)} was not found: after "
                f"{found.nit} steps its information lies between {lower:.5f} and {upper:.5f} bits. "
                "Use fewer or coarser symbols."
            )
        return _rounded(lower)

    def _known(self, cells: Array, logs: Array) -> float:
        return entropy(self.target) + float((cells * logs).sum()) / LN2


def entropy(probabilities: Array) -> float:
    """Entropy in bits.

    >>> entropy(np.array([0.5, 0.25, 0.25]))
    1.5
    """
    return float(-xlogy(probabilities, probabilities).sum() / LN2)


def binary_information(conditional: Array, weight: Array | None = None) -> float:
    """I(x; y) in bits of a binary target, from p(y = 1 | x) of every x.

    Args:
        conditional: [N].
        weight: [N], how probable each x is; equally, where None.

    >>> binary_information(np.array([0.0, 1.0]))
    1.0
    """
    share = np.full(len(conditional), 1 / len(conditional)) if weight is None else weight
    both = np.stack([1 - conditional, conditional], 1) * share[:, None]
    return _rounded(entropy(both.sum(0)) + entropy(share) - entropy(both))


def _cells(symbols: Array, probabilities: Array) -> tuple[Array, Array]:
    """Cells of the same symbols, added up."""
    unique, place = np.unique(symbols, axis=0, return_inverse=True)
    summed = np.zeros((len(unique), probabilities.shape[1]))
    np.add.at(summed, place.reshape(-1), probabilities)
    kept = summed.sum(1) > 0
    return unique[kept], summed[kept]


def _margin(column: Array, size: int, cells: Array) -> Array:
    """[K, Y]: what the cells of each symbol add up to."""
    return np.stack([np.bincount(column, values, size) for values in cells.T], 1)


def _rounded(bits: float) -> float:
    """Without the dust of rounding around 0."""
    return 0.0 if abs(bits) < 1e-12 else bits
