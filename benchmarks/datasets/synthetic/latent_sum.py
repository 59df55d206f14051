"""Labels that are the sign of a sum of normal latents, each latent in some of the modalities.

The synthetic data of PID (Liang et al., NeurIPS 2023), its ten settings for two modalities; and two
sets for three modalities, *ring* and *ringu*, in which each latent is in two modalities.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import numpy as np
from scipy.special import ndtr
from scipy.stats import binom, norm

from i2moe_plugin.benchmarks.datasets.synthetic.drawn import (
    Array,
    Drawn,
    Truth,
    amount_problem,
    check,
    drawn,
    flipped,
    noisy,
    share_problem,
    size_problem,
    target_of,
)
from i2moe_plugin.benchmarks.statistics.information.decompositions import (
    Decomposition,
    additive_rule,
)
from i2moe_plugin.benchmarks.statistics.information.joint import Joint
from i2moe_plugin.errors import UnknownNameError
from i2moe_plugin.seeding import derive_seed

#: Dimensions of each latent, and their variance.
LATENT, VARIANCE = 5, 1.5
#: Share of a latent's dimensions that a label loses by chance, anew for each sample.
DROPPED = 0.2


@dataclass(frozen=True)
class Latent:
    """One latent: the modalities that show it, and how many of its dimensions the label sums."""

    seen_by: tuple[int, ...]
    counted: int


def _pair(first: int, second: int, shared: int) -> tuple[Latent, ...]:
    return Latent((0,), first), Latent((1,), second), Latent((0, 1), shared)


HALF = LATENT // 2  # as int(0.5 * 5) in the released code
RING = tuple(Latent(pair, LATENT) for pair in ((0, 1), (1, 2), (0, 2)))
#: Name -> its latents.
SETTINGS: Mapping[str, tuple[Latent, ...]] = MappingProxyType(
    {
        "redundancy": _pair(0, 0, LATENT),
        "uniqueness-0": _pair(LATENT, 0, 0),
        "uniqueness-1": _pair(0, LATENT, 0),
        "synergy": _pair(LATENT, LATENT, 0),
        "mix1": _pair(HALF, HALF, HALF),
        "mix2": _pair(LATENT, HALF, HALF),
        "mix3": _pair(LATENT, LATENT, HALF),
        "mix4": _pair(HALF, HALF, LATENT),
        "mix5": _pair(0, HALF, HALF),
        "mix6": _pair(0, HALF, LATENT),
        "ring": RING,
        "ringu": (*RING, Latent((0,), LATENT)),
    }
)
#: Samples of the oracle; cells of a latent's sum, and in each of them of its squared length.
ORACLE_SAMPLES, SUMS, LENGTHS = 40_000, 12, 3
#: Dimensions whose dropped subsets are gone through one by one; more are approximated.
ENUMERATED = 10
GRID, REACH = 801, 16.0


@dataclass(frozen=True)
class LatentSum:
    """Settings of a latent-sum data set.

    Each latent is N(0, 1.5 I) in 5 dimensions. A modality shows each of its latents through a
    matrix of uniform numbers from 0 to 1. The label sums the counted dimensions, each of which is
    dropped with probability 0.2 in each sample, and is 1 above the median. The released code draws
    the counted dimensions of its mixes anew for each sample, which is label noise; here they are
    the first ones.

    ``synergy`` is PID's name for two latents, each in one modality, whose sum decides: by every
    definition most of that is unique or redundant, so no one part is its target.

    Attributes:
        setting: one of ``SETTINGS``.
        samples: N.
        dim: of each latent's projection; a modality has this many for each latent that it shows.
        label_noise: share of labels that are turned over.

    Raises:
        UnknownNameError, ConfigError: settings out of range.
    """

    setting: str
    samples: int = 20_000
    dim: int = 32
    label_noise: float = 0.0

    def __post_init__(self) -> None:
        if self.setting not in SETTINGS:
            raise UnknownNameError("latent-sum setting", self.setting, SETTINGS)
        check(
            {
                **size_problem(self.samples),
                **amount_problem(self.samples, len(SETTINGS[self.setting]) * self.dim),
                **share_problem("label_noise", self.label_noise),
                f"dim must be at least {LATENT}, so that a projection shows its latent, not "
                f"{self.dim}.": self.dim < LATENT,
            }
        )

    @property
    def modalities(self) -> int:
        """M."""
        return 1 + max(m for latent in SETTINGS[self.setting] for m in latent.seen_by)

    def draw(self, seed: int) -> Drawn:
        """Draw the data set; equal settings and seeds give equal arrays."""
        rng = np.random.default_rng(derive_seed(seed, "synthetic", "latent-sum", self.setting))
        latents = SETTINGS[self.setting]
        values = [rng.normal(0, VARIANCE**0.5, (self.samples, LATENT)) for _ in latents]
        matrices = [rng.uniform(0, 1, (LATENT, self.dim)) for _ in latents]
        counted = np.concatenate(
            [value[:, : latent.counted] for value, latent in zip(values, latents, strict=True)], 1
        )
        sums = (counted * (rng.random(counted.shape) >= DROPPED)).sum(1)
        labels = np.empty(self.samples, dtype=int)
        labels[np.argsort(sums, kind="stable")] = 2 * np.arange(self.samples) // self.samples
        labels = flipped(labels, self.label_noise, rng)
        modalities = [
            np.concatenate(
                [
                    value @ matrix
                    for value, matrix, latent in zip(values, matrices, latents, strict=True)
                    if m in latent.seen_by
                ],
                1,
            )
            for m in range(self.modalities)
        ]
        return drawn(modalities, labels, seed)

    def truth(self, seed: int = 0) -> Truth:
        """The bits, which no seed changes: every projection shows its latents without loss."""
        return _truth(self.setting, self.label_noise)


@cache
def _truth(setting: str, label_noise: float) -> Truth:
    """Bits of each set by simulation; what additive models lose of them on cells."""
    latents = SETTINGS[setting]
    rng = np.random.default_rng(derive_seed(0, "synthetic", "latent-sum", "oracle"))
    values = [rng.normal(0, VARIANCE**0.5, (ORACLE_SAMPLES, latent.counted)) for latent in latents]
    modalities = 1 + max(m for latent in latents for m in latent.seen_by)
    spread: list[float] = [0.0]

    @cache
    def information(chosen: frozenset[int]) -> float:
        known = [
            value
            for value, latent in zip(values, latents, strict=True)
            if chosen & {*latent.seen_by}
        ]
        hidden = sum(latent.counted for latent in latents if not chosen & {*latent.seen_by})
        if sum(value.shape[1] for value in known) == 0:
            return 0.0
        conditional = noisy(above(np.concatenate(known, 1), hidden), label_noise)
        both = np.stack([conditional, 1 - conditional])
        bits = -np.log2(np.where(both > 0, both, 1)) * both
        spread.append(float(bits.sum(0).std() / len(conditional) ** 0.5))
        # y is balanced by its definition, and by symmetry in the simulation's limit
        return 1 - float(bits.sum(0).mean())

    cells: list[_Cells] = []

    @cache
    def additive(chosen: frozenset[int]) -> float:
        shown = [{*latent.seen_by} & chosen for latent in latents if latent.counted]
        seen = [modalities for modalities in shown if modalities]
        if any(all(m in modalities for modalities in seen) for m in chosen):
            return information(chosen)  # one modality shows all that the set shows
        if not cells:
            cells.append(_Cells(latents, label_noise))
        joint = cells[0].joint
        gap = joint.information(sorted(chosen)) - joint.additive_information(sorted(chosen))
        return information(chosen) - gap

    parts = additive_rule(
        modalities, lambda a: information(frozenset(a)), lambda a: additive(frozenset(a))
    )
    alone = sorted(information(frozenset([m])) for m in range(modalities))
    return Truth(
        parts=parts,
        readings=_least_unique(parts, alone) if modalities == 2 else (),
        redundancy_most=alone[-2],
        how=f"{ORACLE_SAMPLES:,} simulated samples; additive models on a grid of sums and lengths",
        error=max(spread) + (0.005 if cells else 0.0),
        target=target_of(parts),
    )


def _least_unique(parts: Decomposition, alone: Sequence[float]) -> tuple[Decomposition, ...]:
    least = alone[0]
    unique = tuple(part + parts.redundancy - least for part in parts.uniqueness)
    return (Decomposition(unique, parts.synergy - parts.redundancy + least, least, "minimum"),)


def above(known: Array, hidden: int) -> Array:
    """P(sum > 0) of these dimensions [N, n] and ``hidden`` unknown ones, each kept with 0.8.

    Exact for up to 10 known dimensions; beyond that by Edgeworth's expansion to the fourth
    cumulant, whose information is off by less than 0.001 bit there.
    """
    kept = 1 - DROPPED
    if known.shape[1] > ENUMERATED:
        return _edgeworth(known, hidden)
    masks = np.array(list(itertools.product((0.0, 1.0), repeat=known.shape[1])))
    weights = kept ** masks.sum(1) * DROPPED ** (known.shape[1] - masks.sum(1))
    found = np.empty(len(known))
    for rows in np.array_split(np.arange(len(known)), max(1, len(known) // 4000)):
        sums = known[rows] @ masks.T
        total = binom.pmf(0, hidden, kept) * (((sums > 0) + 0.5 * (sums == 0)) @ weights)
        for count in range(1, hidden + 1):
            deviation = (VARIANCE * count) ** 0.5
            total = total + binom.pmf(count, hidden, kept) * (ndtr(sums / deviation) @ weights)
        found[rows] = total
    return found


def _edgeworth(known: Array, hidden: int) -> Array:
    kept = 1 - DROPPED
    spread = kept * DROPPED
    variance = spread * (known**2).sum(1) + hidden * kept * VARIANCE
    third = spread * (1 - 2 * kept) * (known**3).sum(1) / variance**1.5
    fourth = spread * (1 - 6 * spread) * (known**4).sum(1)
    fourth = (fourth + 3 * hidden * VARIANCE**2 * spread) / variance**2
    x = -kept * known.sum(1) / variance**0.5
    shape = third / 6 * (x**2 - 1) + fourth / 24 * (x**3 - 3 * x)
    shape = shape + third**2 / 72 * (x**5 - 10 * x**3 + 15 * x)
    return np.clip(1 - norm.cdf(x) + norm.pdf(x) * shape, 0, 1)


class _Cells:
    """The joint distribution of latents' cells and the label.

    Cells are of a latent's sum, and in each of them of its length, which says how much the dropped
    dimensions may take away.
    """

    def __init__(self, latents: Sequence[Latent], label_noise: float) -> None:
        counted = [latent for latent in latents if latent.counted]
        pair = all(max(latent.seen_by) < 2 for latent in counted)
        sums, lengths = (SUMS, LENGTHS) if pair else (8, 1)
        kinds = {n: _cells(n, sums, lengths) for n in {latent.counted for latent in counted}}
        weights = [kinds[latent.counted][0] for latent in counted]
        pieces = [kinds[latent.counted][1] for latent in counted]
        conditional = noisy(_positive(pieces), label_noise)
        weight = weights[0]
        for other in weights[1:]:
            weight = np.multiply.outer(weight, other)
        place = np.indices(weight.shape).reshape(len(counted), -1)
        symbols = []
        for m in range(1 + max(m for latent in latents for m in latent.seen_by)):
            symbol = np.zeros(place.shape[1], dtype=int)
            for index, latent in enumerate(counted):
                if m in latent.seen_by:
                    symbol = symbol * weight.shape[index] + place[index]
            symbols.append(symbol)
        flat, share = conditional.reshape(-1), weight.reshape(-1)
        both = np.stack([1 - flat, flat], 1) * share[:, None]
        self.joint = Joint(np.stack(symbols, 1), both / both.sum())


def _cells(counted: int, sums: int, lengths: int) -> tuple[Array, Array]:
    """A latent's cells: their shares, and in each the distribution on a grid of the kept sum."""
    rng = np.random.default_rng(derive_seed(0, "synthetic", "latent-sum", "cells", counted))
    size = 100_000 - 100_000 % (sums * lengths)
    latent = rng.normal(0, VARIANCE**0.5, (size, counted))
    by_sum = np.argsort(latent.sum(1)).reshape(sums, -1)
    squared = (latent**2).sum(1)
    by_both = np.take_along_axis(by_sum, np.argsort(squared[by_sum], 1), 1)
    cell = np.empty(size, dtype=int)
    cell[by_both.reshape(-1)] = np.arange(size) * sums * lengths // size
    masks = np.array(list(itertools.product((0.0, 1.0), repeat=counted)))
    weights = (1 - DROPPED) ** masks.sum(1) * DROPPED ** (counted - masks.sum(1))
    pieces = np.zeros(sums * lengths * GRID)
    for mask, weight in zip(masks, weights, strict=True):
        place = np.clip((latent @ mask + REACH) / (2 * REACH) * (GRID - 1), 0, GRID - 1.001)
        left = place.astype(int)
        for index, share in ((left, 1 - (place - left)), (left + 1, place - left)):
            pieces += np.bincount(cell * GRID + index, share * weight, len(pieces))
    shaped = pieces.reshape(sums * lengths, GRID)
    return np.full(sums * lengths, 1 / (sums * lengths)), shaped / shaped.sum(1, keepdims=True)


def _positive(pieces: Sequence[Array]) -> Array:
    """P(sum > 0) for each combination of cells, from distributions of the terms on a grid."""
    length = 1 << (GRID * len(pieces)).bit_length()
    first = [np.fft.rfft(piece, length) for piece in pieces[:-1]]
    last_piece = pieces[-1]
    sizes = [len(piece) for piece in pieces]
    found = np.empty(sizes)
    zero = (GRID // 2) * len(pieces)
    wanted = zero - np.arange(GRID)  # the others' sum that makes all of them zero together
    inside = (wanted >= 0) & (wanted < length)
    for combination in np.ndindex(*sizes[:-1]):
        product = np.ones(length // 2 + 1, dtype=complex)
        for spectrum, index in zip(first, combination, strict=True):
            product = product * spectrum[index]
        others = np.fft.irfft(product, length)
        beyond = 1 - np.cumsum(others)
        chance = np.where(wanted < 0, 1.0, 0.0)
        chance[inside] = beyond[wanted[inside]] + 0.5 * others[wanted[inside]]
        found[combination] = last_piece @ chance
    return np.clip(found, 0, 1)
