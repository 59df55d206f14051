"""Which pairs are scored, how scores go with importance, and masking by pairs.

A sample has two modalities of features. As players of a game they are numbered through: the first
modality's features from 0, the second's behind them. Everything here is about one sample, except
:func:`by_importance`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2moe_plugin.attribution.faithfulness import counts, top
from i2moe_plugin.errors import ConfigError, ShapeError
from i2moe_plugin.seeding import derive_seed

BINS = ("low", "middle", "high")
TOPS = (0.10, 0.05, 0.01)
RESAMPLES = 2000


def candidate_pairs(
    importance: Sequence[Tensor],
    candidates: Sequence[Tensor],
    *,
    share: float = 1.0,
    limit: int = 50,
    seed: int = 0,
) -> Tensor:
    """Pairs of a feature of either modality, drawn evenly among the most important of each.

    Args:
        importance: of the two modalities, [T] and [P].
        candidates: [T] and [P], True where a feature may be chosen.
        share: of each modality's candidates that pairs are drawn from, the most important ones.
        limit: how many pairs at most; all there are, if they are fewer.
        seed: of the draw.

    Returns:
        [n, 2], players, in rising order; n = 0 where a modality has no candidate.

    Raises:
        ConfigError: another number of modalities than two, or no pairs are asked for.
    """
    if len(importance) != 2 or len(candidates) != 2 or limit < 1:
        raise ConfigError("pairs are of two modalities, and at least one must be asked for.")
    first, second = (
        top(values[None], there[None], counts(there[None], share))[0].nonzero()[:, 0].cpu()
        for values, there in zip(importance, candidates, strict=True)
    )
    pairs = torch.cartesian_prod(first, second + len(importance[0])).view(-1, 2)
    if len(pairs) <= limit:
        return pairs
    draw = np.random.default_rng(derive_seed(seed, "pairs of features"))
    return pairs[np.sort(draw.choice(len(pairs), limit, replace=False))]


def pair_importance(importance: Sequence[Tensor], pairs: Tensor) -> Tensor:
    """The product of both members' importance between 0 and 1, [n]; the formula is ours."""
    both = torch.cat([values.cpu() for values in importance])
    return both[pairs].prod(1)


def mask_by_pairs(
    pairs: Tensor, score: Tensor, sizes: tuple[int, int], budget: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """The features of the best pairs, each counted once, up to a number of features a modality.

    Pairs are gone through from the highest score down (of equal ones the first); both members are
    taken, unless one is new and its modality's budget is used up: then the pair is left out.

    Args:
        pairs: [n, 2], players.
        score: [n].
        sizes: the numbers of features T and P.
        budget: how many features of either modality at most.

    Returns:
        Masks [T] and [P], True where a feature is taken.

    Raises:
        ShapeError: shapes that do not fit, or scores that are NaN.
    """
    if pairs.shape != (len(score), 2) or score.isnan().any():
        raise ShapeError(
            f"pairs must be [n, 2] with as many scores that are no NaN, not {list(pairs.shape)} "
            f"and {list(score.shape)}."
        )
    taken: tuple[set[int], set[int]] = (set(), set())
    for place in score.sort(descending=True, stable=True).indices.tolist():
        members = pairs[place].tolist()
        own = [int(member >= sizes[0]) for member in members]
        if all(
            member in taken[modality] or len(taken[modality]) < budget[modality]
            for member, modality in zip(members, own, strict=True)
        ):
            for member, modality in zip(members, own, strict=True):
                taken[modality].add(member)
    masks = []
    for modality, size in enumerate(sizes):
        mask = torch.zeros(size, dtype=torch.bool)
        mask[[member - modality * sizes[0] for member in sorted(taken[modality])]] = True
        masks.append(mask)
    return masks[0], masks[1]


def random_like(mask: Tensor, candidates: Tensor, seed: int, repeat: int = 0) -> Tensor:
    """As many candidates as a mask takes, drawn evenly: the control of :func:`mask_by_pairs`.

    Random pairs of which each feature counts once, until a modality's budget is used up, are even
    draws from each modality.

    Args:
        mask: [T], the features taken.
        candidates: [T], True where a feature may be chosen.
        seed, repeat: decide the draw.
    """
    draw = np.random.default_rng(derive_seed(seed, "random features of pairs", repeat))
    return _drawn(draw, candidates.nonzero()[:, 0].numpy(), int(mask.sum()), len(mask))


def matched_like(
    mask: Tensor,
    importance: Tensor,
    candidates: Tensor,
    seed: int,
    repeat: int = 0,
    bins: int = 4,
) -> Tensor:
    """As many candidates of each quantile of importance as a mask takes of it, drawn evenly.

    It is the harder control: what is left of an advantage over it is not the importance of single
    features.

    Args:
        mask: [T], the features taken, all of them candidates.
        importance: [T].
        candidates: [T], True where a feature may be chosen.
        seed, repeat: decide the draw.
        bins: how many quantiles; equal importance falls into one.

    Raises:
        ShapeError: a mask that takes what is no candidate.
    """
    if (mask & ~candidates).any():
        raise ShapeError("the mask takes features that are no candidates.")
    places = candidates.nonzero()[:, 0].numpy()
    if not len(places):
        return torch.zeros_like(mask)
    values = importance[candidates].double().cpu().numpy()
    edges = np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1])
    group = np.searchsorted(edges, values, side="left")
    wanted = np.bincount(group[mask[candidates].numpy()], minlength=bins)
    draw = np.random.default_rng(derive_seed(seed, "matched features of pairs", repeat))
    chosen = torch.zeros_like(mask)
    for number, count in enumerate(wanted.tolist()):
        chosen |= _drawn(draw, places[group == number], count, len(mask))
    return chosen


def _drawn(draw: np.random.Generator, places: NDArray[np.int64], count: int, size: int) -> Tensor:
    if count > len(places):
        raise ShapeError(f"{count} features are to be drawn from {len(places)} candidates.")
    chosen = torch.zeros(size, dtype=torch.bool)
    chosen[draw.choice(places, count, replace=False)] = True
    return chosen


@dataclass(frozen=True)
class Level:
    """A score's mean over the pairs of one level of importance.

    Attributes:
        name: ``low``, ``middle``, ``high``, ``top 10 %``, ...
        pairs: how many.
        mean: of the score.
        low, high: the 95 % interval of the mean, by resampling samples with all their pairs; NaN of
            one sample.
    """

    name: str
    pairs: int
    mean: float
    low: float
    high: float


def by_importance(
    score: Sequence[NDArray[np.float64]],
    importance: Sequence[NDArray[np.float64]],
    *,
    tops: Sequence[float] = TOPS,
    seed: int = 0,
) -> list[Level]:
    """A pair score by levels of importance: thirds of all pairs, and the most important ones.

    Args:
        score, importance: of the pairs of each sample, N arrays [n].
        tops: shares of all pairs, the most important ones.
        seed: of the resampling.

    Raises:
        ShapeError: no pairs, or scores and importance of different number.
    """
    if [len(s) for s in score] != [len(i) for i in importance] or not sum(map(len, score)):
        raise ShapeError("there must be pairs, and as many scores as importances in each sample.")
    values, weight = np.concatenate(score), np.concatenate(importance)
    sample = np.repeat(np.arange(len(score)), [len(s) for s in score])
    rank = np.argsort(np.argsort(weight, kind="stable"), kind="stable")
    total = len(values)
    levels = {name: (rank * len(BINS)) // total == number for number, name in enumerate(BINS)} | {
        f"top {100 * share:g} %": rank >= total - max(1, round(share * total)) for share in tops
    }
    draw = np.random.default_rng(derive_seed(seed, "resampled samples"))
    drawn = draw.multinomial(len(score), np.full(len(score), 1 / len(score)), RESAMPLES)
    found = []
    for name, inside in levels.items():
        if not inside.any():
            found.append(Level(name, 0, np.nan, np.nan, np.nan))
            continue
        sums = np.bincount(sample, np.where(inside, values, 0), len(score))
        sizes = np.bincount(sample, inside, len(score))
        with np.errstate(invalid="ignore"):  # a draw without any pair of this level says nothing
            means = (drawn @ sums) / (drawn @ sizes)
        low, high = np.nan, np.nan  # one sample tells nothing of others
        if len(score) > 1:
            low, high = np.nanquantile(means, [0.025, 0.975])
        found.append(
            Level(name, int(inside.sum()), float(values[inside].mean()), float(low), float(high))
        )
    return found
