"""What masking tokens and pairs of tokens does to a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from i2moe_plugin.attribution.faithfulness import SHARES, counts, top
from i2moe_plugin.attribution.pair_masking import candidate_pairs, pair_importance
from i2moe_plugin.attribution.pairs import PairTerms, sample_pairs
from i2moe_plugin.attribution.targets import Targets
from i2moe_plugin.attribution.tokens import TokenModel, Tokens
from i2moe_plugin.backbones.attention import fused_attention
from i2moe_plugin.errors import ConfigError
from i2moe_plugin.tasks import Regression

ROWS = 64  # samples, or versions of one, that are evaluated at once
PAIRS, DRAWS, SHARE = 50, 64, 0.25


def masked_outputs(
    model: TokenModel,
    tokens: Tokens,
    masks: Sequence[Tensor],
    fill: Sequence[Tensor],
    scope: str,
    rows: int = ROWS,
) -> Tensor:
    """What a scope says with tokens taken away, [B, C].

    Args:
        model: the model.
        tokens: a batch.
        masks: M tensors [B, T_m], True where a token is taken away.
        fill: for each modality what stands in its place, [D]; it can still be attended to.
        scope: one of the model's.
        rows: how many samples at once.
    """
    found = []
    # Samples of near length together: less of a batch is padding.
    order = tokens.lengths().argsort(stable=True)
    with fused_attention():
        for at in order.split(rows):
            part = tokens.rows(at)
            own = [mask[at, :size] for mask, size in zip(masks, part.sizes, strict=True)]
            found.append(model.outputs(scope, part.without(own, fill), part.padding))
    return torch.cat(found)[order.argsort()]


def masked_by_importance(
    model: TokenModel,
    tokens: Tokens,
    importance: Sequence[Tensor],
    fill: Sequence[Tensor],
    scope: str,
    shares: Sequence[float] = SHARES,
    rows: int = ROWS,
) -> tuple[Tensor, Tensor]:
    """What a scope says without the most important tokens, and with them alone.

    Of each modality the same share of its candidates is taken, at least one.

    Args:
        model, tokens, fill, scope, rows: as in :func:`masked_outputs`.
        importance: M tensors [B, T_m].
        shares: K shares of candidates.

    Returns:
        without, alone: [K, B, C] each.
    """
    without, alone = [], []
    for share in shares:
        chosen = [
            top(values, there, counts(there, share))
            for values, there in zip(importance, tokens.candidates, strict=True)
        ]
        rest = [there & ~own for there, own in zip(tokens.candidates, chosen, strict=True)]
        without.append(masked_outputs(model, tokens, chosen, fill, scope, rows))
        alone.append(masked_outputs(model, tokens, rest, fill, scope, rows))
    return torch.stack(without), torch.stack(alone)


@dataclass(frozen=True, eq=False)
class ScoredPairs:
    """Pairs of a token of either modality of one sample.

    Attributes:
        terms: their values in all contexts; players are tokens, the first modality's from 0, the
            second's behind them.
        importance: [P], of both members together.
        sizes: the numbers of tokens.
        rounding: how far a score may lie from 0 because the model's outputs are rounded.
    """

    terms: PairTerms
    importance: Tensor
    sizes: tuple[int, int]
    rounding: float

    def places(self) -> list[tuple[int, int]]:
        """Each pair's token in either modality."""
        first = self.sizes[0]
        return [(int(i), int(j) - first) for i, j in self.terms.pairs.tolist()]


def score_pairs(
    model: TokenModel,
    tokens: Tokens,
    targets: Targets,
    importance: Sequence[Tensor],
    fill: Sequence[Tensor],
    scope: str,
    *,
    pairs: int = PAIRS,
    draws: int = DRAWS,
    share: float = SHARE,
    seed: int = 0,
    rows: int = ROWS,
) -> ScoredPairs:
    """Probe pairs of tokens of one sample, one of each modality.

    Players of the game are the candidates of both modalities; what is none, such as the mark of a
    text's start, is always there. A token that is absent is replaced by ``fill``.

    Args:
        model: of two modalities.
        tokens: one sample.
        targets: its.
        importance: M tensors [1, T_m] between 0 and 1, by which candidates of pairs are chosen.
        fill: for each modality [D].
        scope: whose output is the game's value.
        pairs: how many, at most.
        draws: contexts.
        share: of each modality's candidates that pairs are drawn from, the most important ones.
        seed: of pairs and contexts.
        rows: evaluations at once.

    Raises:
        ConfigError: another number of modalities, more than one sample, or no candidates.
    """
    if len(tokens.latents) != 2:
        raise ConfigError(
            f"pairs are of two modalities; this model has {len(tokens.latents)}. Its single tokens "
            "can be explained all the same."
        )
    if len(tokens) != 1:
        raise ConfigError(f"pairs are probed one sample at a time, not {len(tokens)}.")
    single = [values[0] for values in importance]
    there = [values[0] for values in tokens.candidates]
    chosen = candidate_pairs(single, there, share=share, limit=pairs, seed=seed)
    if not len(chosen):
        raise ConfigError("a modality of this sample has no token that could be in a pair.")
    sizes = (tokens.sizes[0], tokens.sizes[1])
    fixed = ~torch.cat(there)

    def value(present: Tensor) -> Tensor:
        gone = ~(present | fixed)
        parts = (tokens.latents, tokens.padding, tokens.candidates)
        many = Tokens(*(_many(part, len(gone)) for part in parts))
        latents = many.without(gone.split(sizes, 1), fill)
        with fused_attention():
            return targets.score(model.outputs(scope, latents, many.padding))

    terms = sample_pairs(
        value,
        sum(sizes),
        chosen,
        draws=draws,
        seed=seed,
        batch_size=rows,
        device=tokens.latents[0].device,
    )
    rounding = _rounding(model, tokens, terms.corners)
    return ScoredPairs(terms, pair_importance(single, chosen), sizes, rounding)


def rounding_of_support(model: TokenModel, tokens: Tokens, outputs: Tensor) -> float:
    """How far a change of the targets' support may lie from 0 for rounding alone.

    Args:
        model: whose outputs they are.
        tokens: a batch.
        outputs: [B, C], of the complete inputs.
    """
    probabilities = not isinstance(model.task, Regression)
    return _rounding(model, tokens, torch.ones(1) if probabilities else outputs)


def _rounding(model: TokenModel, tokens: Tokens, values: Tensor) -> float:
    """Four units in the last place of the largest value: a score is a sum of four.

    Outputs in a target's units are as exact as they were in standard units.
    """
    scale = model.scale
    if scale is not None:
        values = values - torch.tensor(scale.mean, dtype=torch.float64).mean()
    return float(4 * torch.finfo(tokens.latents[0].dtype).eps * values.abs().max())


def _many(part: Sequence[Tensor], rows: int) -> tuple[Tensor, ...]:
    return tuple(x.expand(rows, *x.shape[1:]) for x in part)
