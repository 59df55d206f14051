"""HD-XOR (Wenderoth et al. 2025): labels are the XOR of bits hidden in high-dimensional noise.

The facts are those of the code released with InterSHAP (arXiv:2412.15828): bits shift the mean of a
normal latent of 200 dimensions, and each modality is a projection of a latent by a matrix of
uniform numbers from -0.5 to 0.5. The label is 1 where exactly one bit is set.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.special import expit, softmax

from i2moe_plugin.benchmarks.datasets.synthetic.drawn import (
    Array,
    Drawn,
    Truth,
    amount_problem,
    check,
    drawn,
    flipped,
    in_shares,
    noisy,
    share_problem,
    size_problem,
)
from i2moe_plugin.benchmarks.statistics.information.decompositions import (
    DEFINITIONS,
    Decomposition,
    additive,
    additive_rule,
)
from i2moe_plugin.benchmarks.statistics.information.joint import Joint, binary_information
from i2moe_plugin.errors import UnknownNameError
from i2moe_plugin.seeding import derive_seed

LATENT = 200
#: Dimensions of the modalities in the released data sets of 2 to 4 modalities.
DIMS = (200, 100, 150, 100)
MOST_MODALITIES = len(DIMS)
#: How far a bit moves each of its latent dimensions, and the noise there.
SHIFT = {"uniqueness": 0.35, "redundancy": 0.25, "synergy": 0.35}
NOISE = {"uniqueness": 1.0, "redundancy": 1.0, "synergy": 2.0}
#: Quadrature nodes of one dimension.
NODES = 64
#: Levels of one bit's posterior, by the number of modalities.
LEVELS = {2: 24, 3: 16, 4: 10}
#: Samples of the oracle of redundancy, and its levels.
ORACLE_SAMPLES, ORACLE_LEVELS = 50_000, 16


@dataclass(frozen=True)
class HDXOR:
    """Settings of an HD-XOR data set.

    Attributes:
        setting: ``uniqueness-0`` to ``uniqueness-(M-1)``: one modality shows both bits;
            ``synergy``: each modality shows a bit of its own; ``redundancy``: all modalities are
            projections of one latent that shows both bits; ``random``: labels are drawn by chance.
        modalities: M, 2 to 4.
        samples: N.
        dims: of each modality; as released, where None.
        label_noise: share of labels that are turned over.
        positives: share of samples whose label is 1, before that.

    Raises:
        UnknownNameError, ConfigError: settings out of range.
    """

    setting: str
    modalities: int = 2
    samples: int = 20_000
    dims: tuple[int, ...] | None = None
    label_noise: float = 0.0
    positives: float = 0.5

    def __post_init__(self) -> None:
        wrong = not 2 <= self.modalities <= MOST_MODALITIES
        check({f"HD-XOR has 2 to {MOST_MODALITIES} modalities, not {self.modalities}.": wrong})
        if self.setting not in self.settings(self.modalities):
            raise UnknownNameError("HD-XOR setting", self.setting, self.settings(self.modalities))
        widths = self.widths
        check(
            {
                **size_problem(self.samples, self.positives),
                **amount_problem(self.samples, self.modalities * LATENT + sum(widths)),
                **share_problem("label_noise", self.label_noise),
                f"dims must be {self.modalities} positive numbers, not {list(widths)}.": (
                    len(widths) != self.modalities or min(widths) < 1
                ),
            }
        )

    @staticmethod
    def settings(modalities: int) -> tuple[str, ...]:
        """The names of the settings."""
        unique = (f"uniqueness-{m}" for m in range(modalities))
        return (*unique, "synergy", "redundancy", "random")

    @property
    def widths(self) -> tuple[int, ...]:
        """The dimensions of the modalities."""
        return DIMS[: self.modalities] if self.dims is None else tuple(self.dims)

    @property
    def kind(self) -> str:
        """The setting without its modality."""
        return self.setting.partition("-")[0]

    def projections(self, seed: int) -> list[Array]:
        """The [d_m, 200] matrices, drawn once for a data set."""
        rng = np.random.default_rng(derive_seed(seed, "synthetic", "hdxor", "projections"))
        return [rng.uniform(-0.5, 0.5, size=(width, LATENT)) for width in self.widths]

    def draw(self, seed: int) -> Drawn:
        """Draw the data set; equal settings and seeds give equal arrays."""
        place = ("synthetic", "hdxor", self.setting, self.modalities)
        rng = np.random.default_rng(derive_seed(seed, *place))
        labels = in_shares(self.samples, self.positives, rng)
        if self.kind == "random":
            latents = [rng.normal(0.5, 1, (self.samples, LATENT)) for _ in self.widths]
        else:
            latents = self._latents(labels, rng)
        projected = [
            latent @ matrix.T
            for latent, matrix in zip(latents, self.projections(seed), strict=True)
        ]
        labels = flipped(labels, self.label_noise, rng)
        return drawn(projected, labels, seed)

    def truth(self, seed: int = 0) -> Truth:
        """The bits in the projections of this seed."""
        return _truth(self, seed)

    def _latents(self, labels: Array, rng: np.random.Generator) -> list[Array]:
        several = self.kind == "synergy"
        bits = _bits(labels, self.modalities if several else 2, rng)
        shift, noise = SHIFT[self.kind], NOISE[self.kind]
        means = shift * (2 * bits - 1)
        if several:
            return [
                rng.normal(means[:, m : m + 1], noise, (self.samples, LATENT))
                for m in range(self.modalities)
            ]
        shown = rng.normal(np.repeat(means, LATENT // 2, axis=1), noise)
        if self.kind == "redundancy":
            return [shown] * self.modalities
        latents = [rng.normal(size=(self.samples, LATENT)) for _ in self.widths]
        latents[int(self.setting.partition("-")[2])] = shown
        return latents


def _bits(labels: Array, count: int, rng: np.random.Generator) -> Array:
    """[N, count]: bits drawn evenly among those with the label."""
    patterns = _patterns(count)
    label = (patterns.sum(1) == 1).astype(int)
    bits = np.empty((len(labels), count), dtype=int)
    for value in (0, 1):
        rows = np.flatnonzero(labels == value)
        choice = np.flatnonzero(label == value)
        bits[rows] = patterns[rng.choice(choice, size=len(rows))]
    return bits


def _patterns(count: int) -> Array:
    return np.array(list(itertools.product((0, 1), repeat=count)))


@cache
def _truth(data: HDXOR, seed: int) -> Truth:
    if data.kind == "random":
        nothing = Decomposition((0.0,) * data.modalities, 0.0, 0.0, "additive")
        return Truth(nothing, (), 0.0, "labels are drawn by chance", 0.0, None)
    signals = [_signal(data, [matrix]) for matrix in data.projections(seed)]
    if data.kind == "uniqueness":
        shows = int(data.setting.partition("-")[2])
        bits = _xor_information(signals[shows], data)
        unique = tuple(bits if m == shows else 0.0 for m in range(data.modalities))
        return Truth(
            Decomposition(unique, 0.0, 0.0, "additive"),
            (),
            0.0,
            "closed form by quadrature: other modalities are independent noise",
            1e-4,
            f"uniqueness_{shows + 1}",
        )
    if data.kind == "synergy":
        joint = _synergy_joint([float(signal[0, 0]) for signal in signals], data)
        parts = additive(joint)
        pairs = data.modalities == 2
        others = [
            define(joint) for name, define in DEFINITIONS.items() if pairs and name != "additive"
        ]
        most = sorted(joint.information([m]) for m in range(data.modalities))[-2]
        levels = LEVELS[data.modalities]
        how = f"from the joint distribution of {levels} levels of each bit's posterior"
        return Truth(parts, tuple(others), most, how, 0.005, "synergy")
    return _redundancy_truth(data, seed, signals)


def _signal(data: HDXOR, matrices: list[Array]) -> Array:
    """[k, k]: the information matrix of the k bits' means in these projections together."""
    matrix = np.concatenate(matrices)
    kept = np.linalg.qr(matrix.T)[0]  # an orthonormal basis of what the projections show
    count = 1 if data.kind == "synergy" else 2
    shown = kept.T @ np.kron(np.eye(count), np.ones((LATENT // count, 1)))
    return np.asarray(shown.T @ shown * (SHIFT[data.kind] / NOISE[data.kind]) ** 2)


def _pattern_shares(count: int, positives: float) -> Array:
    """[2^count]: how probable each pattern of bits is; label 1 is that exactly one is set."""
    label = _patterns(count).sum(1) == 1
    return np.where(label, positives / label.sum(), (1 - positives) / (~label).sum())


def _xor_posterior(scores: Array, signal: Array, data: HDXOR) -> Array:
    """p(y = 1 | t) from sufficient statistics t ~ N(S s, S) [N, 2] of two signs s."""
    signs = 2 * _patterns(2) - 1
    logs = scores @ signs.T - 0.5 * np.einsum("ki,ij,kj->k", signs, signal, signs)
    logs = logs + np.log(_pattern_shares(2, data.positives))
    return np.asarray(softmax(logs, 1)[:, [1, 2]].sum(1))


def _xor_information(signal: Array, data: HDXOR) -> float:
    """I(t; y) of two bits behind normal noise, by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    grid = np.stack(np.meshgrid(nodes, nodes), -1).reshape(-1, 2)
    weight = np.outer(weights, weights).reshape(-1) / (2 * np.pi)
    first = signal[0, 0] ** 0.5  # Cholesky's factor, also of a single dimension's matrix of rank 1
    below = signal[1, 0] / first
    factor = np.array([[first, 0], [below, max(0.0, signal[1, 1] - below**2) ** 0.5]])
    signs = 2 * _patterns(2) - 1
    conditional = [_xor_posterior(signal @ s + grid @ factor.T, signal, data) for s in signs]
    return binary_information(
        noisy(np.concatenate(conditional), data.label_noise),
        np.outer(_pattern_shares(2, data.positives), weight).reshape(-1),
    )


def _synergy_joint(signals: list[float], data: HDXOR) -> Joint:
    """P(levels of the bits' posteriors, y), where each modality shows one bit."""
    from scipy.stats import norm

    patterns = _patterns(data.modalities)
    label = (patterns.sum(1) == 1).astype(int)
    share = _pattern_shares(data.modalities, data.positives)
    # t ~ N(S s, S), log odds of the bit 2 t: levels are narrow where the posterior is extreme.
    levels = LEVELS[data.modalities]
    inner = np.sin(np.linspace(0, np.pi / 2, levels + 1)[1:-1]) ** 2
    edges = np.concatenate([[-np.inf], np.log(inner / (1 - inner)) / 2, [np.inf]])
    seen = [
        np.diff(norm.cdf((edges[None] - np.array([[-signal], [signal]])) / signal**0.5))
        for signal in signals
    ]
    table = np.zeros((*(levels,) * data.modalities, 2))
    for bits, y, weight in zip(patterns, label, share, strict=True):
        cell = np.array(weight)
        for m, bit in enumerate(bits):
            cell = np.multiply.outer(cell, seen[m][bit])
        table[..., y] += cell * (1 - data.label_noise)
        table[..., 1 - y] += cell * data.label_noise
    return Joint.from_table(table)


def _redundancy_truth(data: HDXOR, seed: int, signals: list[Array]) -> Truth:
    """Truth where one latent is in all modalities.

    What each set knows is found by quadrature; what additive models lose of it, where no modality
    of the set shows the whole latent, on drawn samples.
    """
    matrices = data.projections(seed)
    whole = [matrix.shape[0] >= LATENT for matrix in matrices]
    known = {}
    for size in range(1, data.modalities + 1):
        for chosen in itertools.combinations(range(data.modalities), size):
            signal = _signal(data, [matrices[m] for m in chosen])
            known[chosen] = _xor_information(signal, data)

    @cache
    def latents() -> Array:
        rng = np.random.default_rng(derive_seed(seed, "synthetic", "hdxor", "oracle"))
        labels = in_shares(ORACLE_SAMPLES, data.positives, rng)
        signs = 2 * _bits(labels, 2, rng) - 1
        means = np.repeat(signs * SHIFT["redundancy"], LATENT // 2, 1)
        return rng.normal(means, NOISE["redundancy"])

    @cache
    def added(chosen: tuple[int, ...]) -> float:
        if len(chosen) < 2 or any(whole[m] for m in chosen):
            return known[chosen] if chosen else 0.0
        latent, stacked = latents(), [matrices[m] for m in chosen]
        conditional = noisy(_posterior(data, latent, stacked), data.label_noise)
        symbols = np.stack([_levels(data, latent, matrices[m]) for m in chosen], 1)
        rows = np.stack([1 - conditional, conditional], 1) / ORACLE_SAMPLES
        gap = binary_information(conditional) - Joint(symbols, rows).additive_information(
            range(len(chosen))
        )
        return known[chosen] - gap

    parts = additive_rule(
        data.modalities,
        lambda chosen: known[tuple(sorted(chosen))],
        lambda chosen: added(tuple(sorted(chosen))),
    )
    alone = sorted(known[(m,)] for m in range(data.modalities))
    how = "known bits by quadrature"
    if sum(not shows for shows in whole) > 1:
        how += f"; additive models on {ORACLE_SAMPLES:,} drawn samples"
    return Truth(parts, (), alone[-2], how, 0.005, "redundancy")


def _statistics(data: HDXOR, latent: Array, stacked: list[Array]) -> Array:
    """[N, 2] t ~ N(S s, S) of the latents, as these projections show them."""
    kept = np.linalg.qr(np.concatenate(stacked).T)[0]
    shown = kept @ (kept.T @ np.kron(np.eye(2), np.ones((LATENT // 2, 1))))
    return np.asarray(latent @ shown * SHIFT[data.kind] / NOISE[data.kind] ** 2)


def _posterior(data: HDXOR, latent: Array, stacked: list[Array]) -> Array:
    return _xor_posterior(_statistics(data, latent, stacked), _signal(data, stacked), data)


def _levels(data: HDXOR, latent: Array, matrix: Array) -> Array:
    """[N]: the level of both bits' posteriors, as one number."""
    posterior = expit(2 * _statistics(data, latent, [matrix]))
    level = np.arcsin(np.sqrt(posterior)) * 2 / np.pi * ORACLE_LEVELS
    level = np.minimum(level.astype(int), ORACLE_LEVELS - 1)
    return np.asarray(level[:, 0] * ORACLE_LEVELS + level[:, 1])
