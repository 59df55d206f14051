"""Importance of each token for a scope of a model: one expert, or all together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from i2moe_plugin.attribution.features import (
    MEMORY_BUDGET,
    STEPS,
    WORKING_SET,
    attention_rollout,
    bytes_of_a_row,
    gradient_rollout,
    integrated_gradients,
    normalised,
)
from i2moe_plugin.attribution.names import EXPLAINERS, MIXTURE, USUAL
from i2moe_plugin.attribution.targets import Targets
from i2moe_plugin.attribution.tokens import TokenModel, Tokens
from i2moe_plugin.errors import ConfigError, did_you_mean
from i2moe_plugin.seeding import derive_seed


@dataclass(frozen=True, eq=False)
class Maps:
    """How much each token matters.

    Attributes:
        importance: M tensors [B, T_m], between 0 and 1 within each sample and modality; 0 for what
            is no candidate.
        raw: the same before it was scaled.
        completeness: of integrated gradients, [B]: the sum of all attributions less the change of
            the score that it should equal; None for the others.
    """

    importance: tuple[Tensor, ...]
    raw: tuple[Tensor, ...]
    completeness: Tensor | None = None


def explain_tokens(
    explainer: str,
    model: TokenModel,
    tokens: Tokens,
    targets: Targets,
    scope: str = MIXTURE,
    *,
    seed: int = 0,
    steps: int = STEPS,
    memory_budget: int = MEMORY_BUDGET,
) -> Maps:
    """Say how much each token matters to what a scope says of the targets.

    Of the mixture, rollout is the sum over experts of weight x map; gradient-rollout takes the
    gradient of the mixture's score in each expert's attention and sums the maps; integrated
    gradients are of the mixture's score.

    Args:
        explainer: one of :data:`~i2moe_plugin.attribution.names.EXPLAINERS`.
        model: the model.
        tokens: a batch.
        targets: what is explained, chosen from the complete input.
        scope: one of the model's.
        seed: of the control.
        steps: of integrated gradients.
        memory_budget: bytes that a backward pass may keep; samples are done in groups.

    Raises:
        ConfigError: no such explainer or scope.
        BackboneError: a backbone that shows no attention.
    """
    if explainer not in EXPLAINERS:
        raise ConfigError(
            f"{explainer!r} is no explainer.{did_you_mean(explainer, EXPLAINERS)} Known: "
            f"{', '.join(EXPLAINERS)}."
        )
    if scope != MIXTURE:
        model.place(scope)
    completeness: Tensor | None = None
    if explainer == "random":
        generator = torch.Generator().manual_seed(derive_seed(seed, "importance at random", scope))
        raw = tuple(
            torch.rand(there.shape, generator=generator).to(there.device)
            for there in tokens.candidates
        )
    elif explainer == "integrated-gradients":
        found = _integrated(model, tokens, targets, scope, steps, memory_budget)
        raw, completeness = found
    else:
        rows = rows_at_once(model, tokens, scope, memory_budget)
        parts = [
            _rolled(explainer, model, part, targets.rows(at), scope)
            for at, part in tokens.chunks(rows)
        ]
        raw = torch.cat(parts).split(tokens.sizes, 1)
    scaled = tuple(map(normalised, raw, tokens.candidates))
    return Maps(scaled, tuple(raw), completeness)


def explainers_of(model: TokenModel, tokens: Tokens) -> list[str]:
    """The explainers that can look into a model: rollouts need attention over all tokens."""
    rolled = model.can_roll_out(tokens)
    return [name for name in EXPLAINERS if rolled or not name.endswith("rollout")]


def usual_of(explainers: Sequence[str]) -> str:
    """The explainer that is taken unless another is asked for, of those that can be had."""
    return USUAL if USUAL in explainers else explainers[-1]


def rows_at_once(model: TokenModel, tokens: Tokens, scope: str, memory_budget: int) -> int:
    """How many samples, or masked versions of one, a pass may take at once.

    What a backward pass would keep of them stays within the budget; passes without one, which keep
    less, are bounded alike. At least one is taken.
    """
    count = len(tokens.latents)
    first = [x[:1] for x in (*tokens.latents, *tokens.padding)]

    def score(*columns: Tensor) -> Tensor:
        return model.outputs(scope, columns[:count], columns[count:]).sum(1)

    return max(
        1, _bytes_allowed(model, scope, memory_budget) // bytes_of_a_row(score, first, count)
    )


def _bytes_allowed(model: TokenModel, scope: str, memory_budget: int) -> int:
    return min(memory_budget, WORKING_SET * (model.experts if scope == MIXTURE else 1))


def _rolled(
    explainer: str, model: TokenModel, tokens: Tokens, targets: Targets, scope: str
) -> Tensor:
    """Rollout over the joined tokens, [B, N]."""
    padding = torch.cat(tokens.padding, 1)
    experts = range(model.experts) if scope == MIXTURE else [model.place(scope)]
    if explainer == "rollout":
        with torch.no_grad():
            weights = model.weights(tokens.latents, tokens.padding)
            maps = []
            for e in experts:
                _, layers = model.expert_with_attention(e, tokens.latents, tokens.padding)
                map_ = attention_rollout(layers, padding)
                maps.append(map_ * weights[:, e, None] if scope == MIXTURE else map_)
            return torch.stack(maps).sum(0)
    with torch.enable_grad():
        latents = [x.detach().requires_grad_() for x in tokens.latents]
        said = [model.expert_with_attention(e, latents, tokens.padding) for e in experts]
        if scope == MIXTURE:
            weights = model.weights(latents, tokens.padding)
            outputs = torch.stack([output for output, _ in said])
            score = targets.score((outputs * weights.T[..., None]).sum(0))
        else:
            score = targets.score(said[0][0])
        return torch.stack([gradient_rollout(score, layers, padding) for _, layers in said]).sum(0)


def _integrated(
    model: TokenModel,
    tokens: Tokens,
    targets: Targets,
    scope: str,
    steps: int,
    memory_budget: int,
) -> tuple[tuple[Tensor, ...], Tensor]:
    count = len(tokens.latents)

    def score(latents: Sequence[Tensor], *others: Tensor) -> Tensor:
        outputs = model.outputs(scope, latents, others[:count])
        chosen = others[count]
        return (outputs * chosen).sum(1) / chosen.sum(1)

    found = integrated_gradients(
        score,
        tokens.latents,
        (*tokens.padding, targets.chosen),
        steps=steps,
        memory_budget=_bytes_allowed(model, scope, memory_budget),
    )
    return found.importance, found.completeness_error
