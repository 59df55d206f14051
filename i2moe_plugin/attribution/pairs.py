r"""Pairs of features: the Shapley interaction index and the redundancy gap.

A game has n players (words, patches, modalities) and a value function v that says what an expert's
output for one class is when only some players are present. Everything here is read off four values
of a pair (i, j) in a context S, a set of other players:
``v(S), v(S + i), v(S + j), v(S + i + j)``.

=====================  ==================================================  ===  ====  ===========
score                  mean over contexts of                               OR   AND   a + b
=====================  ==================================================  ===  ====  ===========
``interaction``        v(S+ij) - v(S+i) - v(S+j) + v(S)                    -1   1     0
``redundancy_joint``   d_ij - max(d_i, d_j)                                1    0     min(a, b)
``redundancy_sub``     d_ij - d_i - d_j                                    1    -1    0
``redundancy_min``     min(v(S+i), v(S+j)) - v(S)                          1    0     min(a, b)
=====================  ==================================================  ===  ====  ===========

where d_A is what is lost when A leaves S+ij. Under Shapley's contexts ``interaction`` is the
Shapley interaction index (Grabisch and Roubens, 1999). FL-I2MoE (Kim et al., arXiv 2603.13326)
names a redundancy gap, and its formula is not public; **the three formulas of it here are
ours**. They are fewer than they seem: ``redundancy_sub`` is the interaction with its sign
turned, and ``redundancy_joint`` equals ``redundancy_min`` in every game, because d_ij -
max(d_i, d_j) = min(v(S+i), v(S+j)) - v(S). There are thus two numbers for a pair, not four.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from i2moe_plugin.errors import BackboneError, ConfigError, ShapeError, did_you_mean
from i2moe_plugin.seeding import derive_seed

#: Which players are present, [batch, players], True where one is -> the game's values, [batch].
Value = Callable[[Tensor], Tensor]

MOST_EXACT = 16  # players: 65,536 evaluations
BATCH = 1024  # evaluations at once
ROWS_IN_HAND = 1 << 14  # coalitions that are written out before they are packed
SHAPLEY = (0.0, 1.0)


def interaction(corners: Tensor) -> Tensor:
    """Give what i and j bring together beyond what each brings alone: [..., 4] -> [...]."""
    none, i, j, both = corners.unbind(-1)
    return both - i - j + none


def redundancy_joint(corners: Tensor) -> Tensor:
    """Give the loss when both leave, less the larger loss when one leaves: [..., 4] -> [...]."""
    none, i, j, both = corners.unbind(-1)
    return (both - none) - torch.maximum(both - j, both - i)


def redundancy_sub(corners: Tensor) -> Tensor:
    """Give the loss when both leave, less the losses when one leaves: [..., 4] -> [...]."""
    none, i, j, both = corners.unbind(-1)
    return (both - none) - (both - j) - (both - i)


def redundancy_min(corners: Tensor) -> Tensor:
    """Give what the weaker of the two brings when the other is absent: [..., 4] -> [...]."""
    none, i, j, _ = corners.unbind(-1)
    return torch.minimum(i, j) - none


SCORES: dict[str, Callable[[Tensor], Tensor]] = {
    "interaction": interaction,
    "redundancy_joint": redundancy_joint,
    "redundancy_sub": redundancy_sub,
    "redundancy_min": redundancy_min,
}


@dataclass(frozen=True, eq=False)
class Estimate:
    """A score of each pair.

    Attributes:
        mean: [P].
        standard_error: [P], of the drawing of contexts; 0 where all contexts were looked at.
    """

    mean: Tensor
    standard_error: Tensor


@dataclass(frozen=True, eq=False)
class PairTerms:
    """The four values of each pair in each context; every score is read off them.

    Attributes:
        pairs: [P, 2], the players i and j.
        corners: [P, D, 4], v(S), v(S+i), v(S+j), v(S+ij) for each of D contexts, in float64.
        weights: [P, D], of the contexts, with sum 1, where all were looked at; None: drawn ones,
            which count the same.
        places: [D / group], the shares of present players that drawn contexts have on average;
            contexts of near shares have near values.
        group: how many contexts in a row were drawn together (2: one and its complement).
        evaluations: how often the value function was asked for.
        naive: how often a loop over pairs and contexts would have asked.
    """

    pairs: Tensor
    corners: Tensor
    weights: Tensor | None
    places: Tensor
    group: int
    evaluations: int
    naive: int

    def estimate(self, score: str = "interaction", draws: int | None = None) -> Estimate:
        r"""Average one of :data:`SCORES` over the contexts.

        The standard error of drawn contexts is that of successive differences in the order of
        their shares, ``sqrt(sum_h (x_{h+1} - x_h)^2 / (2 (H - 1) H))`` for H groups, since shares
        are drawn evenly: the plain formula would take the even spread for noise.

        Args:
            score: its name.
            draws: take only the first so many contexts, at least two groups of them.

        Raises:
            ConfigError: no such score, or too few or too many contexts.
        """
        if score not in SCORES:
            known = ", ".join(SCORES)
            raise ConfigError(
                f"{score!r} is no score of a pair.{did_you_mean(score, SCORES)} Known: {known}."
            )
        values = SCORES[score](self.corners)
        if self.weights is not None:
            if draws is not None:
                raise ConfigError("all contexts were looked at: there are no draws to take.")
            mean = (values * self.weights).sum(1)
            return Estimate(mean, torch.zeros_like(mean))
        total = values.shape[1]
        count = total if draws is None else draws
        if not 2 * self.group <= count <= total or count % self.group:
            raise ConfigError(
                f"draws must be a multiple of {self.group} from {2 * self.group} to {total}, "
                f"not {count}."
            )
        groups = values[:, :count].unflatten(1, (-1, self.group)).mean(2)
        size = groups.shape[1]
        steps = groups[:, self.places[:size].argsort()].diff(dim=1)
        variance = steps.square().sum(1) / (2 * (size - 1) * size)
        return Estimate(groups.mean(1), variance.sqrt())

    def convergence(
        self, score: str = "interaction", points: int = 16
    ) -> list[tuple[int, Estimate]]:
        """Estimate with the first 2, 4, ... groups of contexts, for a plot; up to all of them."""
        total = self.corners.shape[1] // self.group
        sizes = np.unique(np.geomspace(2, total, points).round().astype(int))
        return [
            (size * self.group, self.estimate(score, size * self.group)) for size in sizes.tolist()
        ]


def sample_pairs(
    value: Value,
    players: int,
    pairs: Sequence[tuple[int, int]] | Tensor,
    *,
    draws: int = 64,
    seed: int = 0,
    antithetic: bool = True,
    presence: tuple[float, float] = SHAPLEY,
    batch_size: int = BATCH,
    device: torch.device | str = "cpu",
) -> PairTerms:
    """Draw contexts, and evaluate pairs of players in them.

    A context is drawn by a share t and by letting each player in with probability t. With t even
    in [0, 1] the others' coalition has each size with the same probability, and each coalition of
    a size with the same: Shapley's weights. One context serves all pairs at once, which leaves
    1 + (players in pairs) + (pairs) coalitions of 4 x (pairs) for each, and a coalition that
    several contexts lead to is evaluated once.

    Shares are spread evenly by a scrambled Sobol sequence, so that every beginning of it is even
    too. With ``antithetic`` each context is followed by its complement. On games of 12 players with
    known answers both together left between 40 and 80 % of the error of independent draws, with
    one exception: the interaction in a sigmoid of a sum, where complements raise it by a quarter.

    Args:
        value: the game.
        players: n, at least 2.
        pairs: P pairs of different players.
        draws: D contexts; at least 4, and even with ``antithetic``.
        seed: of the contexts, which are the same for every value function.
        antithetic: follow each context by its complement.
        presence: the range of t. (0, 1) gives Shapley's contexts, (0.9, 0.9) contexts near the
            full input, (0.5, 0.5) Banzhaf's.
        batch_size: rows that ``value`` is given at once, at most.
        device: of the rows.

    Raises:
        ConfigError: settings that cannot be used; all problems.
        ShapeError: values of the wrong shape.
        BackboneError: values that are not finite.

    >>> both = sample_pairs(lambda present: present.all(1).double(), 2, [(0, 1)])
    >>> both.estimate("interaction").mean.item(), both.evaluations, both.naive
    (1.0, 4, 256)
    """
    chosen = _checked_pairs(players, pairs)
    group = 2 if antithetic else 1
    problems = _sampling_problems(draws, group, presence, batch_size)
    if problems:
        raise ConfigError(problems)
    present, places = _contexts(players, draws // group, seed, antithetic, presence)
    members, where = chosen.unique(return_inverse=True)
    step = max(1, ROWS_IN_HAND // (1 + len(members) + len(chosen)))
    rows, places_of = _distinct(
        _neighbours(context, members, chosen) for context in present.split(step)
    )
    table = _evaluate(value, rows[:, :players], batch_size, device)
    corners = _corners(present, table[places_of], members, where, chosen)
    return PairTerms(
        pairs=chosen,
        corners=corners,
        weights=None,
        places=places,
        group=group,
        evaluations=len(table),
        naive=4 * draws * len(chosen),
    )


def exact_pairs(
    value: Value,
    players: int,
    pairs: Sequence[tuple[int, int]] | Tensor,
    *,
    presence: tuple[float, float] = SHAPLEY,
    batch_size: int = BATCH,
    device: torch.device | str = "cpu",
) -> PairTerms:
    """Evaluate pairs of players in all contexts, of a game of at most 16 players.

    Args:
        value, players, pairs, presence, batch_size, device: as in :func:`sample_pairs`.

    Raises:
        ConfigError, ShapeError, BackboneError: as :func:`sample_pairs`; also too many players.
    """
    chosen = _checked_pairs(players, pairs)
    problems = _sampling_problems(4, 1, presence, batch_size)
    if players > MOST_EXACT:
        problems.append(
            f"{players} players have 2^{players} coalitions: exact pairs take at most "
            f"{MOST_EXACT}; sample_pairs takes any number."
        )
    if problems:
        raise ConfigError(problems)
    bit = 2 ** torch.arange(players)
    everything = torch.arange(2**players)
    table = _evaluate(value, everything[:, None] & bit != 0, batch_size, device)
    corners, weights = [], []
    for i, j in chosen.tolist():
        one, other = int(bit[i]), int(bit[j])
        context = everything[everything & (one | other) == 0]
        codes = torch.stack([context, context | one, context | other, context | one | other], 1)
        corners.append(table[codes])
        sizes = (context[:, None] & bit != 0).sum(1)
        weights.append(_size_weights(players - 2, presence)[sizes])
    return PairTerms(
        pairs=chosen,
        corners=torch.stack(corners),
        weights=torch.stack(weights),
        places=torch.empty(0),
        group=1,
        evaluations=len(table),
        naive=4 * len(chosen) * 2 ** (players - 2),
    )


def _size_weights(others: int, presence: tuple[float, float]) -> Tensor:
    """The probability of one coalition of each size 0..others: the mean of t^k (1-t)^(others-k)."""
    nodes, mass = np.polynomial.legendre.leggauss(others // 2 + 1)  # exact for these polynomials
    low, high = presence
    share = torch.from_numpy(low + (high - low) * (nodes + 1) / 2)
    sizes = torch.arange(others + 1)[:, None]
    return (share**sizes * (1 - share) ** (others - sizes) * torch.from_numpy(mass / 2)).sum(1)


def _contexts(
    players: int, groups: int, seed: int, antithetic: bool, presence: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Drawn contexts [D, n], each followed by its complement if asked for, and their shares [H]."""
    low, high = presence
    place = derive_seed(seed, "contexts of pairs")
    generator = torch.Generator().manual_seed(place)
    sobol = torch.quasirandom.SobolEngine(1, scramble=True, seed=place)
    part = sobol.draw(groups, dtype=torch.float64)
    chance = torch.rand(groups, players, generator=generator, dtype=torch.float64)
    if not antithetic:
        share = low + (high - low) * part
        return chance < share, share[:, 0]
    share = low + (high - low) * part / 2  # the complements have the other half
    pair = torch.stack([chance < share, 1 - chance < low + high - share], 1)
    return pair.flatten(0, 1), share[:, 0]


def _neighbours(context: Tensor, members: Tensor, pairs: Tensor) -> Tensor:
    """A context, it with each member turned, it with each pair turned: [D * (1 + m + P), n]."""
    turned = context[:, None].repeat(1, 1 + len(members) + len(pairs), 1)
    single = torch.arange(1, 1 + len(members))
    double = torch.arange(1 + len(members), turned.shape[1])
    turned[:, single, members] ^= True
    turned[:, double, pairs[:, 0]] ^= True
    turned[:, double, pairs[:, 1]] ^= True
    return turned.flatten(0, 1)


def _distinct(blocks: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """The different coalitions among rows, [U, n and up to 7 more], and which each row is, [R]."""
    packed = np.concatenate([np.packbits(block.numpy(), axis=1) for block in blocks])
    found, place = np.unique(packed, axis=0, return_inverse=True)
    rows = torch.from_numpy(np.unpackbits(found, axis=1).astype(bool))
    return rows, torch.from_numpy(place.reshape(-1))


def _corners(
    context: Tensor, table: Tensor, members: Tensor, where: Tensor, pairs: Tensor
) -> Tensor:
    """The four values [P, D, 4] of pairs from the values of a context's neighbours."""
    count, m = len(pairs), len(members)
    rows = table.view(len(context), 1 + m + count)
    near = torch.stack(
        [
            rows[:, :1].expand(-1, count),
            rows[:, 1 + where[:, 0]],
            rows[:, 1 + where[:, 1]],
            rows[:, 1 + m :],
        ],
        dim=2,
    )  # with nothing, i, j, both turned
    inside = context[:, pairs[:, 0]].long() + 2 * context[:, pairs[:, 1]].long()
    # Corner c (bit 0: i is in, bit 1: j is in) differs from the context in the bits c ^ inside.
    return near.gather(2, torch.arange(4) ^ inside[..., None]).transpose(0, 1)


def _evaluate(value: Value, present: Tensor, batch_size: int, device: torch.device | str) -> Tensor:
    """Values [R] of rows [R, n], in float64 on the CPU."""
    parts = []
    for rows in present.split(batch_size):
        got = value(rows.to(device))
        if not isinstance(got, Tensor) or got.shape != (len(rows),):
            shape = list(got.shape) if isinstance(got, Tensor) else type(got).__name__
            raise ShapeError(
                f"a value function must give [{len(rows)}] for as many rows, not {shape}."
            )
        parts.append(got.detach().to("cpu", torch.float64))
    values = torch.cat(parts)
    if not values.isfinite().all():
        bad = int((~values.isfinite()).sum())
        raise BackboneError(
            f"{bad} of {len(values)} values of the game are NaN or infinite: a model cannot cope "
            "with what stands for absent players."
        )
    return values


def _checked_pairs(players: int, pairs: Sequence[tuple[int, int]] | Tensor) -> Tensor:
    chosen = torch.as_tensor(pairs, dtype=torch.long, device="cpu")
    problems = []
    if players < 2:
        problems.append(f"a pair needs two players; the game has {players}.")
    if chosen.ndim != 2 or chosen.shape[1] != 2 or not len(chosen):
        problems.append(f"pairs must be [P, 2] with at least one pair, not {list(chosen.shape)}.")
    elif ((chosen < 0) | (chosen >= players)).any():
        problems.append(f"pairs must name players from 0 to {players - 1}.")
    elif (chosen[:, 0] == chosen[:, 1]).any():
        problems.append("a pair must name two different players.")
    if problems:
        raise ConfigError(problems)
    return chosen


def _sampling_problems(
    draws: int, group: int, presence: tuple[float, float], batch_size: int
) -> list[str]:
    problems = []
    if draws < 4 or draws % group:
        problems.append(f"draws must be at least 4{', and even' * (group == 2)}, not {draws}.")
    if not 0 <= presence[0] <= presence[1] <= 1:
        problems.append(f"presence must be a range within 0 and 1, not {presence}.")
    if batch_size < 1:
        problems.append(f"batch_size must be at least 1, not {batch_size}.")
    return problems
