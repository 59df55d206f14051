"""One sample: which words and patches each expert goes by, and which pairs of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from i2moe_plugin.attribution.features import MEMORY_BUDGET
from i2moe_plugin.attribution.maps import (
    Maps,
    explain_tokens,
    explainers_of,
    rows_at_once,
    usual_of,
)
from i2moe_plugin.attribution.names import MIXTURE
from i2moe_plugin.attribution.study import DRAWS, PAIRS, score_pairs
from i2moe_plugin.attribution.targets import Targets, choose_targets
from i2moe_plugin.attribution.tokens import TokenModel, Tokens
from i2moe_plugin.benchmarks.attribution.convergence import convergence, enough_draws, order_of
from i2moe_plugin.benchmarks.attribution.kept import kept
from i2moe_plugin.benchmarks.attribution.trained import TrainedRun
from i2moe_plugin.benchmarks.data.layouts import Layout
from i2moe_plugin.benchmarks.data.preview import Preview
from i2moe_plugin.benchmarks.data.thumbnails import thumbnail

#: Whose output is the game in which a score of pairs is looked at, where there are experts.
PROBES = {"interaction": "synergy", "redundancy_sub": "redundancy"}
TOP = 10


def explain_features(
    trained: TrainedRun,
    sample: str,
    *,
    explainer: str | None = None,
    pairs: int = PAIRS,
    draws: int = DRAWS,
    fill: str = "mean",
    memory_budget: int = MEMORY_BUDGET,
) -> dict[str, Any]:
    """Explain one test sample by its tokens; computed once, and kept beside the run.

    Args:
        trained: the run.
        sample: the id.
        explainer: one of :data:`~i2moe_plugin.attribution.names.EXPLAINERS`; None: the usual one,
            ``gradient-rollout``, or ``integrated-gradients`` where there is no attention over
            tokens.
        pairs: how many pairs of a word piece and a patch are probed; 0: none.
        draws: contexts of pairs.
        fill: what stands for an absent token, ``mean`` or ``zero``.
        memory_budget: bytes that a pass may keep; decides no number.

    Returns:
        a record for JSON: the target, for each modality what its tokens stand for, for each scope
        the importance of its tokens and words, and the scored pairs.

    Raises:
        ConfigError: no such sample or explainer.
        BackboneError: a backbone that the explainer cannot look into.
    """
    (row,) = trained.rows([sample])
    if explainer is None:

        def look() -> dict[str, Any]:
            return {"usual": usual_of(explainers_of(trained.model, trained.tokens([row])))}

        explainer = str(kept(trained.run, "explainer", {}, look)["usual"])
    key = {"sample": sample, "explainer": explainer, "pairs": pairs, "draws": draws, "fill": fill}

    def compute() -> dict[str, Any]:
        model = trained.model
        asked: dict[str, Any] = {"pairs": pairs, "draws": draws}
        asked["fill"] = trained.filled_by(fill)
        tokens = trained.tokens([row]).rows(slice(0, 1))
        outputs = model.outputs(MIXTURE, tokens.latents, tokens.padding).detach()
        targets = choose_targets(model.task, outputs)
        layouts = trained.layouts(row)
        names = trained.data.class_names
        weights = model.weights(tokens.latents, tokens.padding)[0].tolist()
        has_pairs = pairs and len(tokens.latents) == 2 and all(x.any() for x in tokens.candidates)
        maps: dict[str, Maps] = {}
        scopes = []
        for number, scope in enumerate(model.scopes):
            maps[scope] = explain_tokens(
                explainer, model, tokens, targets, scope, memory_budget=memory_budget
            )
            said = model.outputs(scope, tokens.latents, tokens.padding).detach()
            scopes.append(
                {
                    "scope": scope,
                    "weight": weights[number - 1] if number else None,
                    "score": float(targets.score(said)),
                    "probability": float(targets.support(said)),
                    **_importance(maps[scope], layouts),
                }
            )
        return {
            "sample": sample,
            "target": [
                name for name, own in zip(names, targets.chosen[0].tolist(), strict=True) if own
            ],
            "explainer": explainer,
            "modalities": [
                _described(*parts)
                for parts in zip(
                    trained.data.modalities, layouts, trained.data.preview("test", row), strict=True
                )
            ],
            "scopes": scopes,
            "pairs": [
                _pairs(trained, tokens, targets, maps, layouts, score, memory_budget, **asked)
                for score in PROBES
            ]
            if has_pairs
            else [],
        }

    return kept(trained.run, "sample", key, compute)


def probe_of(model: TokenModel, score: str) -> str:
    """The scope in which a score of pairs is looked at: its expert, or the mixture without any."""
    return PROBES[score] if PROBES[score] in model.scopes else MIXTURE


def _importance(maps: Maps, layouts: Sequence[Layout | None]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "importance": [_short(values[0]) for values in maps.importance],
        "words": [
            word_importance(values[0], layout)
            for values, layout in zip(maps.importance, layouts, strict=True)
        ],
    }
    if maps.completeness is not None:
        found["completeness_error"] = float(maps.completeness[0])
    return found


def word_importance(importance: Tensor, layout: Layout | None) -> list[float | None] | None:
    """The importance of each word of a text: the largest of its tokens'; None where it has none.

    The largest, not the sum, so that a word is not important for being cut into many pieces.
    """
    if layout is None or layout.text is None:
        return None
    return [
        max(float(importance[token]) for token in word.tokens) if word.tokens else None
        for word in layout.text.words
    ]


def _described(name: str, layout: Layout | None, shown: Preview) -> dict[str, Any]:
    """What a modality's tokens stand for."""
    if layout is None:
        return {"name": name, "kind": "tokens"}
    if layout.text is None:
        picture = thumbnail(shown.value) if shown.kind == "image" else ""
        grid = list(layout.grid or ())
        return {"name": name, "kind": "image", "grid": grid, "picture": picture}
    words = [{"text": word.text, "tokens": list(word.tokens)} for word in layout.text.words]
    return {
        "name": name,
        "kind": "text",
        "text": layout.text.text,
        "words": words,
        "left_out": layout.text.left_out,
    }


def _pairs(
    trained: TrainedRun,
    tokens: Tokens,
    targets: Targets,
    maps: dict[str, Maps],
    layouts: Sequence[Layout | None],
    score: str,
    memory_budget: int,
    *,
    pairs: int,
    draws: int,
    fill: Sequence[Tensor],
) -> dict[str, Any]:
    """The pairs of one score, the highest first."""
    scope = probe_of(trained.model, score)
    found = score_pairs(
        trained.model,
        tokens,
        targets,
        maps[scope].importance,
        fill,
        scope,
        pairs=pairs,
        draws=draws,
        rows=rows_at_once(trained.model, tokens, scope, memory_budget),
    )
    estimate = found.terms.estimate(score)
    order = order_of(estimate.mean)
    places, steps = found.places(), convergence(found.terms, score, order)
    return {
        "scope": scope,
        "score": score,
        "draws": draws,
        "evaluations": found.terms.evaluations,
        "naive_evaluations": found.terms.naive,
        "pairs": [
            {
                "tokens": list(places[one]),
                "names": [token_name(*pair) for pair in zip(layouts, places[one], strict=True)],
                "importance": float(found.importance[one]),
                "mean": float(estimate.mean[one]),
                "standard_error": float(estimate.standard_error[one]),
            }
            for one in order.tolist()
        ],
        "convergence": steps,
        "enough": enough_draws(steps, found.rounding),
        "rounding": found.rounding,
    }


def token_name(layout: Layout | None, token: int) -> str:
    """What a token is called: its word, and its piece of it; a patch by its place.

    A word that stands in the text several times has its number: ``heat [2]``.
    """
    if layout is None:
        return f"token {token + 1}"
    if layout.text is None:
        _, columns = layout.grid or (1, 1)
        return f"row {token // columns + 1}, column {token % columns + 1}"
    start, end = layout.text.spans[token]
    piece = layout.text.text[start:end]
    seen: Counter[str] = Counter()
    for word in layout.text.words:
        seen[word.text] += 1
        if token in word.tokens:
            name = word.text if seen[word.text] == 1 else f"{word.text} [{seen[word.text]}]"
            return name if len(word.tokens) == 1 else f"{name} ({piece})"
    return piece or f"token {token + 1}"


def _short(values: Tensor) -> list[float]:
    return [round(value, 5) for value in values.tolist()]


def top_pairs(record: dict[str, Any], score: str, count: int = TOP) -> list[dict[str, Any]]:
    """The highest pairs of a score in a record of :func:`explain_features`."""
    return [
        pair for probe in record["pairs"] if probe["score"] == score for pair in probe["pairs"]
    ][:count]


def seeded_rows(total: int, count: int) -> list[int]:
    """So many of the first ``total`` numbers, drawn by a fixed seed, in order; all if fewer."""
    if total <= count:
        return list(range(total))
    order = torch.randperm(total, generator=torch.Generator().manual_seed(0))
    return sorted(order[:count].tolist())
