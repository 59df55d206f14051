"""Pairs over many samples: by importance, and masked by their scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2moe_plugin.attribution.pair_masking import (
    by_importance,
    mask_by_pairs,
    matched_like,
    random_like,
)
from i2moe_plugin.attribution.study import ScoredPairs, score_pairs
from i2moe_plugin.benchmarks.attribution.intervals import interval
from i2moe_plugin.benchmarks.attribution.sample import PROBES, probe_of
from i2moe_plugin.benchmarks.attribution.subject import Study
from i2moe_plugin.benchmarks.attribution.truth import true_pairs
from i2moe_plugin.benchmarks.data.layouts import Layout

BUDGET = 3  # features of each modality that pair masking takes away, at most


def study_pairs(
    study: Study, layouts: Sequence[Sequence[Layout | None]], advance: Callable[[int], None]
) -> dict[str, Any]:
    """For each score: pairs by importance, and masking by the highest pairs against controls.

    Args:
        study: of two modalities.
        layouts: of the samples, for each modality what its tokens stand for.
        advance: told of each sample that is done.
    """
    found: dict[str, Any] = {}
    for score in PROBES:
        scope = probe_of(study.model, score)
        scored = []
        for row in range(len(study.tokens)):
            scored.append(_scored(study, row, scope))
            advance(1)
        there = [pair for pair in scored if pair is not None]
        if not there:
            continue
        estimates = [pair.terms.estimate(score) for pair in there]
        levels = by_importance(
            [estimate.mean.numpy() for estimate in estimates],
            [pair.importance.double().numpy() for pair in there],
        )
        errors = torch.cat([estimate.standard_error for estimate in estimates])
        found[score] = {
            "scope": scope,
            "samples": len(there),
            "mean_standard_error": float(errors.mean()),
            "levels": [level.__dict__ for level in levels],
            "masking": _masking(study, scored, score, scope),
            "truth": true_pairs(scored, layouts, score),
        }
    return found


def _scored(study: Study, row: int, scope: str) -> ScoredPairs | None:
    """The pairs of one sample; None where a modality has no token that could be in one."""
    one = study.tokens.rows(slice(row, row + 1))
    if not all(there.any() for there in one.candidates):
        return None
    importance = study.maps[scope, study.usual].importance
    found = score_pairs(
        study.model,
        one,
        study.targets.of(row),
        [x[row : row + 1, :size] for x, size in zip(importance, one.sizes, strict=True)],
        study.fill,
        scope,
        pairs=study.options.pairs,
        draws=study.options.draws,
        seed=row,
        rows=study.rows_at_once(scope),
    )
    study.counted.evaluations += found.terms.evaluations
    study.counted.pairs += found.terms.evaluations
    study.counted.naive += found.terms.naive
    return found


def _masking(
    study: Study, scored: Sequence[ScoredPairs | None], score: str, scope: str
) -> dict[str, Any]:
    """How the target's support falls when the highest pairs go, and when others do."""
    masks = study.nothing()
    rows = [row for row, pair in enumerate(scored) if pair is not None]
    for row, pair in enumerate(scored):
        if pair is not None:
            mean = pair.terms.estimate(score).mean
            chosen = mask_by_pairs(pair.terms.pairs, mean, pair.sizes, (BUDGET, BUDGET))
            for mask, taken in zip(masks, chosen, strict=True):
                mask[row, : len(taken)] = taken
    full = study.targets.support(study.outputs(study.nothing(), scope))

    def fall(gone: Sequence[Tensor]) -> NDArray[Any]:
        left = study.targets.support(study.outputs(gone, scope))
        values: NDArray[Any] = (full - left).double().numpy()
        return values[rows]

    def drawn(like: Callable[[int, int, int], Tensor]) -> tuple[NDArray[Any], float]:
        repeats, shared = [], []
        for repeat in range(study.options.repeats):
            gone = study.nothing()
            for m in range(len(masks)):
                for row in rows:
                    gone[m][row] = like(m, row, repeat)
            repeats.append(fall(gone))
            both = sum(int((a & b).sum()) for a, b in zip(gone, masks, strict=True))
            shared.append(both / max(1, sum(int(mask.sum()) for mask in masks)))
        mean: NDArray[Any] = np.mean(repeats, 0)
        return mean, float(np.mean(shared))

    candidates = study.tokens.candidates
    importance = study.maps[scope, study.usual].importance

    def even(m: int, row: int, repeat: int) -> Tensor:
        return random_like(masks[m][row], candidates[m][row], row, repeat)

    def matched(m: int, row: int, repeat: int) -> Tensor:
        return matched_like(masks[m][row], importance[m][row], candidates[m][row], row, repeat)

    own, (by_chance, _), (alike, same) = fall(masks), drawn(even), drawn(matched)
    return {
        "budget": BUDGET,
        "highest_pairs": interval(own),
        "random": interval(by_chance),
        "matched": interval(alike),
        "matched_the_same": same,
        "above_random": interval(own - by_chance),
        "above_matched": interval(own - alike),
    }
