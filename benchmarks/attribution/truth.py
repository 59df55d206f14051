"""Known answers: how often a token that carries the label comes first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.attribution.maps import Maps
from i2moe_plugin.attribution.study import ScoredPairs
from i2moe_plugin.benchmarks.attribution.intervals import share
from i2moe_plugin.benchmarks.data.layouts import Layout


def known_truth(
    layouts: Sequence[Sequence[Layout | None]],
    maps: Mapping[tuple[str, str], Maps],
    modalities: Sequence[str],
) -> list[dict[str, Any]]:
    """How often the most important token of a sample carries its label, where that is known.

    Args:
        layouts: of the samples, for each modality what its tokens stand for.
        maps: importance by scope and explainer.
        modalities: their names.

    Returns:
        a row for each modality, scope and explainer: the share of samples with its interval, and
        what drawing a token evenly would give.
    """
    found = []
    for m, name in enumerate(modalities):
        facts = [_facts(layout[m]) for layout in layouts]
        if any(fact is None for fact in facts):
            continue
        for (scope, explainer), each in maps.items():
            hits, chances = [], []
            for place, fact in enumerate(facts):
                assert fact is not None
                truth, there = fact
                if (truth & there).any():
                    values = each.importance[m][place, : len(truth)].numpy()
                    hits.append(float(truth[int(np.where(there, values, -1).argmax())]))
                    chances.append(float(truth[there].mean()))
            if hits:
                found.append(
                    {
                        "modality": name,
                        "scope": scope,
                        "explainer": explainer,
                        "samples": len(hits),
                        "first_is_true": share(np.array(hits)),
                        "by_chance": float(np.mean(chances)),
                    }
                )
    return found


def true_pairs(
    scored: Sequence[ScoredPairs | None],
    layouts: Sequence[Sequence[Layout | None]],
    score: str,
) -> dict[str, Any] | None:
    """How often both members of a sample's highest pair carry the label, where that is known.

    Args:
        scored: the pairs of the samples.
        layouts: of the samples, for each modality what its tokens stand for.
        score: of the pairs.

    Returns:
        the share among samples of which such a pair was probed, with its interval; how many these
        are; and what drawing one of the probed pairs evenly would give. None where that is not
        known.
    """
    hits, chances = [], []
    for pairs, layout in zip(scored, layouts, strict=True):
        truth = [None if one is None else one.truth for one in layout]
        if pairs is None or any(one is None for one in truth):
            continue
        true = [
            all(one is not None and one[t] for one, t in zip(truth, place, strict=True))
            for place in pairs.places()
        ]
        if any(true):
            hits.append(float(true[int(pairs.terms.estimate(score).mean.argmax())]))
            chances.append(float(np.mean(true)))
    if not hits:
        return None
    return {
        "samples": len(hits),
        "first_is_true": share(np.array(hits)),
        "by_chance": float(np.mean(chances)),
    }


def heaviest_experts(
    weights: NDArray[Any], experts: Sequence[str], expected: str
) -> list[dict[str, Any]]:
    """How often each expert has the largest weight, and which one ought to.

    Args:
        weights: [N, E].
        experts: E names.
        expected: the expert of the interaction that carries the label by construction; empty where
            that is not known.
    """
    first = weights.argmax(1)
    return [
        {
            "expert": name,
            "largest_weight": share(first == number),
            "expected": name == expected,
        }
        for number, name in enumerate(experts)
    ]


def _facts(layout: Layout | None) -> tuple[Any, Any] | None:
    """Which tokens carry the label, and which are candidates; None where that is not known."""
    if layout is None or layout.truth is None:
        return None
    return np.array(layout.truth), layout.candidates
