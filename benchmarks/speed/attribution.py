"""How fast words and patches are explained: evaluations a second, and what a naive loop would take.

    python -m i2moe_plugin.benchmarks.speed.attribution [SAMPLES]

measures an untrained FL-I2MoE of the shape that icons have, from its token latents on. Speed does
not depend on what weights say. Seconds are of processor time, all threads together.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from i2moe_plugin.attribution.features import MEMORY_BUDGET
from i2moe_plugin.attribution.maps import explain_tokens, rows_at_once
from i2moe_plugin.attribution.names import EXPLAINERS, MIXTURE, USUAL
from i2moe_plugin.attribution.study import score_pairs
from i2moe_plugin.attribution.targets import choose_targets
from i2moe_plugin.attribution.tokens import TokenModel
from i2moe_plugin.backbones.create import create_backbone
from i2moe_plugin.backbones.latents import LatentSpec
from i2moe_plugin.methods import create_model
from i2moe_plugin.tasks import Classification

SCOPES = ("synergy", "redundancy")  # in whose outputs pairs are probed
NAIVE = 32  # evaluations that are timed one at a time


@dataclass(frozen=True)
class Sizes:
    """The shape of samples and of the model.

    Attributes:
        words, patches: candidates of each modality.
        width, classes: D and C.
        pairs, draws: pairs of a sample, and contexts of each.
    """

    words: int = 12
    patches: int = 64
    width: int = 64
    classes: int = 16
    pairs: int = 50
    draws: int = 64


def measure(
    samples: int, sizes: Sizes | None = None, memory_budget: int = MEMORY_BUDGET
) -> dict[str, Any]:
    """Explain samples by every explainer in every scope, and probe their pairs.

    Args:
        samples: how many.
        sizes: of the samples and the model.
        memory_budget: bytes that a pass may keep.

    Returns:
        ``seconds`` of processor time by part, ``pair_evaluations`` made, how many of them
        ``a_second``, ``naive_evaluations`` of a loop over pairs and contexts, and the seconds that
        one at a time would take (``naive_seconds``, by multiplication).
    """
    sizes = sizes or Sizes()
    latents = [LatentSpec(sizes.width, sizes.words), LatentSpec(sizes.width, sizes.patches)]
    torch.manual_seed(0)
    model = TokenModel(
        create_model(
            "fl-i2moe",
            [nn.Identity() for _ in latents],
            latents,
            lambda: create_backbone("token-transformer", latents, sizes.classes),
            Classification(sizes.classes),
            expert_init="independent",
        )
    )
    tokens = model.encode([torch.randn(samples, *spec.shape) for spec in latents])
    fill = [torch.zeros(sizes.width) for _ in latents]
    seconds: dict[str, float] = {}

    def timed(part: str, compute: Callable[[], Any]) -> Any:
        start = time.process_time()
        found = compute()
        seconds[part] = seconds.get(part, 0.0) + time.process_time() - start
        return found

    with torch.no_grad():
        targets = choose_targets(model.task, model.outputs(MIXTURE, tokens.latents, tokens.padding))
    maps = {}
    for explainer in EXPLAINERS:
        for scope in model.scopes:
            explain = partial(explain_tokens, explainer, model, tokens, targets, scope)
            maps[explainer, scope] = timed(explainer, partial(explain, memory_budget=memory_budget))
    made, naive = 0, 0
    for scope in SCOPES:
        rows = rows_at_once(model, tokens, scope, memory_budget)
        for row in range(samples):
            at = slice(row, row + 1)
            importance = [x[at] for x in maps[USUAL, scope].importance]
            arguments = (model, tokens.rows(at), targets.of(row), importance, fill, scope)
            score = partial(score_pairs, *arguments, pairs=sizes.pairs, draws=sizes.draws)
            found = timed("pairs", partial(score, seed=row, rows=rows))
            made, naive = made + found.terms.evaluations, naive + found.terms.naive
    one = tokens.rows(slice(0, 1))

    def alone() -> None:
        with torch.no_grad():
            for _ in range(NAIVE):
                model.outputs(SCOPES[0], one.latents, one.padding)

    timed("one at a time", alone)
    each = seconds.pop("one at a time") / NAIVE
    return {
        "samples": samples,
        "seconds": seconds,
        "pair_evaluations": made,
        "a_second": made / seconds["pairs"],
        "naive_evaluations": naive,
        "naive_seconds": naive * each,
    }


def described(found: dict[str, Any]) -> str:
    """Write what was measured as lines of text."""
    parts = "; ".join(f"{name} {value:.1f} s" for name, value in found["seconds"].items())
    return (
        f"{found['samples']} samples, processor time: {parts}.\n"
        f"Pairs took {found['pair_evaluations']:,} evaluations, {found['a_second']:,.0f} a "
        "second.\n"
        f"A loop over pairs and contexts makes {found['naive_evaluations']:,}, one at a time: "
        f"{found['naive_seconds']:,.0f} s."
    )


if __name__ == "__main__":
    print(described(measure(int(sys.argv[1]) if sys.argv[1:] else 4)))
