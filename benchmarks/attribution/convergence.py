"""How the scores of a sample's pairs settle as contexts are added, and how many were enough."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from i2moe_plugin.attribution.pairs import PairTerms
from i2moe_plugin.interpretation.outputs import ERRORS

FOLLOWED = 3  # of the highest pairs
POINTS = 8  # numbers of draws that are looked at


def convergence(terms: PairTerms, score: str, order: Tensor) -> list[dict[str, Any]]:
    """Estimate a score with the first 4, 6, ... contexts, up to all of them.

    Args:
        terms: of P pairs.
        score: one of :data:`~i2moe_plugin.attribution.pairs.SCORES`.
        order: [P], places of the pairs, the highest by all contexts first.

    Returns:
        for each number of draws the mean over pairs of the standard error and of the distance from
        the last estimate; of the highest pairs each one's ``mean`` and ``standard_error``; and
        ``first``, whether the pair that is highest in the end is highest here.
    """
    steps = terms.convergence(score, points=POINTS)
    last = steps[-1][1].mean
    return [
        {
            "draws": float(draws),
            "mean_standard_error": float(estimate.standard_error.mean()),
            "mean_distance_from_last": float((estimate.mean - last).abs().mean()),
            "first": bool(estimate.mean[order[0]] == estimate.mean.max()),
            "highest": [
                {
                    "mean": float(estimate.mean[place]),
                    "standard_error": float(estimate.standard_error[place]),
                }
                for place in order[:FOLLOWED].tolist()
            ],
        }
        for draws, estimate in steps
    ]


def above_zero(pair: Mapping[str, Any], rounding: float) -> bool:
    """Whether a score lies above 0 by more than its error, and than outputs are rounded.

    Args:
        pair: with ``mean`` and ``standard_error``.
        rounding: see :class:`~i2moe_plugin.attribution.study.ScoredPairs`.
    """
    return bool(pair["mean"] > max(ERRORS * pair["standard_error"], rounding))


def enough_draws(steps: Sequence[dict[str, Any]], rounding: float) -> dict[str, int | None]:
    """Say from which number of draws on the highest pair is what it is in the end.

    Args:
        steps: of :func:`convergence`.
        rounding: as in :func:`above_zero`.

    Returns:
        ``first``: from so many on it was the highest at every number that was looked at;
        ``above_zero``: so, more than two standard errors above 0, None where it is not in the end.

    >>> one = {"draws": 4.0, "first": False, "highest": [{"mean": 1.0, "standard_error": 0.1}]}
    >>> enough_draws([one, {**one, "draws": 8.0, "first": True}], 0.0)
    {'first': 8, 'above_zero': 4}
    """
    above = [above_zero(step["highest"][0], rounding) for step in steps]
    draws = [int(step["draws"]) for step in steps]
    return {
        "first": _from(draws, [step["first"] for step in steps]),
        "above_zero": _from(draws, above),
    }


def _from(draws: Sequence[int], holds: Sequence[bool]) -> int | None:
    """The first number from which on it holds to the end."""
    found = None
    for number, held in zip(reversed(draws), reversed(holds), strict=True):
        if not held:
            break
        found = number
    return found


def enough_in_words(probe: dict[str, Any]) -> str:
    """Say how many draws were enough for the highest pair of a kept score.

    >>> enough_in_words(
    ...     {"draws": 64, "rounding": 0, "pairs": [{"mean": 1}], "enough": {"above_zero": None}}
    ... )
    'The highest pair is not told from 0 by 64 draws.'
    """
    draws, enough = probe["draws"], probe["enough"]
    if probe["pairs"][0]["mean"] <= probe["rounding"]:
        return (
            "No pair is told from 0: none lies higher than outputs are rounded "
            f"({probe['rounding']:.1g})."
        )
    if enough["above_zero"] is None:
        return f"The highest pair is not told from 0 by {draws} draws."
    said = (
        f"The highest pair is more than {ERRORS:.0f} standard errors above 0 from "
        f"{enough['above_zero']} draws on"
    )
    best, *others = probe["convergence"][-1]["highest"]
    if not others:
        return f"{said}."
    said = f"{said}, and the highest of all from {enough['first']} on"
    lead = best["mean"] - others[0]["mean"]
    if lead <= ERRORS * math.hypot(best["standard_error"], others[0]["standard_error"]):
        return f"{said}, but by no more than {ERRORS:.0f} standard errors: the next may be as high."
    return f"{said}."


def order_of(mean: Tensor) -> Tensor:
    """Places of pairs, the highest score first; of equal ones the first."""
    return torch.sort(mean, descending=True, stable=True).indices
