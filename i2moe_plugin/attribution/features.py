"""Importance of single features: attention rollout, its gradient-weighted kin, path integrals.

A feature is a token: a word piece or a picture patch. Every function takes and gives plain tensors
of a batch, and knows neither the model nor what a token stands for. An importance is a tensor
[B, T] of numbers that only compare within a sample and modality, until :func:`normalised` is
called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from i2moe_plugin.errors import BackboneError, ConfigError, ShapeError

SMALLEST = 1e-12  # of a row's sum, by which the row is divided
STEPS = 16
MEMORY_BUDGET = 1 << 30
#: Bytes that a pass through one expert may keep where more are allowed: a larger batch no longer
#: fits the processor's caches. On icons 64 rows at once were twice as fast as 256.
WORKING_SET = 1 << 26

#: Tokens of each modality, M tensors [R, T_m, D], and further arguments [R, ...] -> scores, [R].
Score = Callable[..., Tensor]


def attention_rollout(attentions: Sequence[Tensor], padding: Tensor | None = None) -> Tensor:
    r"""How much of each input token reaches the output tokens through a stack of attention layers.

    ``A'_l = rownorm(mean_h A_l + I)``, ``R = A'_L ... A'_1``; the importance of token j is the
    mean of ``R[q, j]`` over the queries q that are not
    padding (Abnar and Zuidema, ACL 2020).

    Args:
        attentions: L tensors [B, heads, T, T], from the first layer to the last; a row is a query,
            and sums to 1 over what it attends to.
        padding: [B, T], True where a token is padding.

    Returns:
        [B, T], with sum 1 in each sample; 0 where there is padding.

    Raises:
        ShapeError: no layers, or tensors that do not fit one another.

    >>> even = torch.full((1, 1, 2, 2), 0.5)
    >>> attention_rollout([even])
    tensor([[0.5000, 0.5000]])
    """
    _check_attentions(attentions, padding)
    return _rollout([layer.mean(1) for layer in attentions], padding)


def gradient_rollout(
    score: Tensor, attentions: Sequence[Tensor], padding: Tensor | None = None
) -> Tensor:
    r"""Attention rollout in which a head counts as far as it raises the score.

    As :func:`attention_rollout`, with ``mean_h [relu(A_l) * relu(ds / dA_l)]`` in place of
    the mean of heads.

    Args:
        score: [B], one number for each sample, computed from the attentions.
        attentions: L tensors [B, heads, T, T] in the graph of ``score``: probabilities before
            dropout.
        padding: [B, T], True where a token is padding.

    Returns:
        [B, T], with sum 1 in each sample; 0 where there is padding.

    Raises:
        ShapeError: no layers, or tensors that do not fit one another.
        BackboneError: an attention that the score was not computed from.
    """
    _check_attentions(attentions, padding)
    if score.shape != attentions[0].shape[:1]:
        raise ShapeError(
            f"a score must be [{len(attentions[0])}], one a sample, not {list(score.shape)}."
        )
    outside = [
        number
        for number, layer in enumerate(attentions, 1)
        if not (layer.requires_grad and score.requires_grad)
    ]
    found: Sequence[Tensor | None] = ()
    if not outside:
        found = torch.autograd.grad(
            score.sum(), list(attentions), retain_graph=True, allow_unused=True
        )
        outside = [number for number, gradient in enumerate(found, 1) if gradient is None]
    if outside:
        layers = ", ".join(map(str, outside))
        raise BackboneError(
            f"the score was not computed from the attention of layer {layers}: keep the "
            "probabilities that multiply the values, with their gradient."
        )
    weighted = [
        (layer.detach().relu() * gradient.relu()).mean(1)
        for layer, gradient in zip(attentions, found, strict=True)
        if gradient is not None
    ]
    return _rollout(weighted, padding)


def _rollout(layers: Sequence[Tensor], padding: Tensor | None) -> Tensor:
    """Rollout of layers [B, T, T] whose heads have been joined."""
    with torch.no_grad():
        eye = torch.eye(layers[0].shape[-1], dtype=layers[0].dtype, device=layers[0].device)
        flow = eye
        for layer in layers:
            mixed = layer + eye
            flow = (mixed / mixed.sum(-1, keepdim=True).clamp_min(SMALLEST)) @ flow
        if padding is None:
            return flow.mean(1)
        queries = (~padding).to(flow.dtype)
        total = queries.sum(1, keepdim=True).clamp_min(1)
        reached = (queries[:, None] @ flow)[:, 0] / total
        return reached.masked_fill(padding, 0)


@dataclass(frozen=True, eq=False)
class PathIntegral:
    """Integrated gradients of each token.

    Attributes:
        importance: M tensors [B, T_m], the mean over a token's numbers of their absolute
            attributions.
        completeness_error: [B], the sum of all signed attributions less the change of the score
            from the baseline to the input, which it would equal with infinitely many steps.
        change: [B], that change.
    """

    importance: tuple[Tensor, ...]
    completeness_error: Tensor
    change: Tensor


def integrated_gradients(
    score: Score,
    tokens: Sequence[Tensor],
    arguments: Sequence[Tensor] = (),
    baselines: Sequence[Tensor] | None = None,
    *,
    steps: int = STEPS,
    rule: Literal["riemann_right", "gausslegendre"] = "riemann_right",
    memory_budget: int = MEMORY_BUDGET,
) -> PathIntegral:
    """Integrated gradients (Sundararajan et al., ICML 2017) of tokens, by captum.

    Args:
        score: the number of each row that is attributed; rows must not depend on one another.
        tokens: M tensors [B, T_m, D].
        arguments: what else belongs to a sample, such as padding masks and classes: tensors
            [B, ...], given to ``score`` after the tokens, without gradient.
        baselines: M tensors that broadcast to the tokens; zeros, if not given.
        steps: points on the way.
        rule: how points lie and count; ``riemann_right`` is that of the authors' code,
            ``gausslegendre`` has the smaller error for smooth scores.
        memory_budget: bytes that what a backward pass keeps may take; at least one row is done at
            a time.

    Raises:
        ConfigError: captum is not installed, or no steps or memory.
        ShapeError: a score of the wrong shape.
        BackboneError: attributions that are not finite.
    """
    try:
        from captum.attr import IntegratedGradients
    except ImportError as error:
        raise ConfigError(
            "integrated gradients need captum: pip install 'i2moe-plugin[features]'."
        ) from error
    problems = [
        f"{name} must be at least 1, not {number}."
        for name, number in (("steps", steps), ("memory_budget", memory_budget))
        if number < 1
    ]
    if problems:
        raise ConfigError(problems)
    inputs = tuple(modality.detach() for modality in tokens)
    starts = tuple(
        torch.zeros_like(modality) if baselines is None else baselines[m].expand_as(modality)
        for m, modality in enumerate(inputs)
    )

    def forward(*columns: Tensor) -> Tensor:
        got = score(columns[: len(inputs)], *columns[len(inputs) :])
        if got.shape != (len(columns[0]),):
            raise ShapeError(
                f"a score must be [{len(columns[0])}] for as many rows, not {list(got.shape)}."
            )
        # A modality that the score does not use has no gradient, which captum takes for an error.
        return got + sum(0.0 * x.flatten(1).sum(1) for x in columns[: len(inputs)])

    first = [column[:1] for column in (*inputs, *arguments)]
    rows = max(1, memory_budget // bytes_of_a_row(forward, first, len(inputs)))
    pieces: list[tuple[Tensor, ...]] = []
    errors = []
    for at in torch.arange(len(inputs[0])).split(rows):  # captum cuts steps, never samples
        piece, missed = IntegratedGradients(forward).attribute(
            tuple(x[at] for x in inputs),
            baselines=tuple(x[at] for x in starts),
            additional_forward_args=tuple(x[at] for x in arguments) or None,
            n_steps=steps,
            method=rule,
            internal_batch_size=max(rows, len(at)),
            return_convergence_delta=True,
        )
        pieces.append(tuple(part.detach() for part in piece))
        errors.append(missed.detach())
    parts = [torch.cat(modality) for modality in zip(*pieces, strict=True)]
    missing = torch.cat(errors)
    total = torch.stack([part.flatten(1).sum(1) for part in parts]).sum(0)
    if not (total.isfinite() & missing.isfinite()).all():
        raise BackboneError(
            "integrated gradients are NaN or infinite: the model cannot cope with tokens on the "
            "way from the baseline."
        )
    importance = tuple(part.abs().mean(-1) for part in parts)
    return PathIntegral(importance, missing, (total - missing).to(missing.dtype))


def bytes_of_a_row(score: Callable[..., Tensor], row: Sequence[Tensor], differentiable: int) -> int:
    """The bytes that a backward pass keeps for each further row like this one."""

    def kept(count: int) -> int:
        storages: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
            return tensor.detach()  # an output that its own graph holds would never be freed

        columns = [x.detach().repeat(count, *[1] * (x.ndim - 1)) for x in row]
        leaves = [x.requires_grad_() for x in columns[:differentiable]]
        hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
        with torch.enable_grad(), hooks:
            score(*columns)
        return sum(storages.values()) + 2 * sum(x.nbytes for x in leaves)

    return max(1, kept(2) - kept(1))


def normalised(importance: Tensor, candidates: Tensor) -> Tensor:
    """Importance between 0 and 1 within each sample of one modality.

    The least important candidate gets 0, the most important 1; where all are the same, as of a
    single candidate, all get 0. What is no candidate (padding, special tokens) gets 0.

    Args:
        importance: [B, T].
        candidates: [B, T], True where a token may be chosen.

    >>> normalised(torch.tensor([[9.0, 1.0, 3.0, 2.0]]), torch.tensor([[False, True, True, True]]))
    tensor([[0.0000, 0.0000, 1.0000, 0.5000]])
    """
    _check_candidates(importance, candidates)
    low = importance.masked_fill(~candidates, torch.inf).amin(1, keepdim=True)
    high = importance.masked_fill(~candidates, -torch.inf).amax(1, keepdim=True)
    span = (high - low).masked_fill(high <= low, torch.inf)
    return torch.where(candidates, (importance - low) / span, 0.0).nan_to_num(0.0)


def concentration(importance: Tensor, candidates: Tensor, share: float = 0.1) -> dict[str, Tensor]:
    """How few candidates hold how much of a map's mass; the formulas are ours.

    Args:
        importance: [B, T], not negative.
        candidates: [B, T], True where a token counts.
        share: of the candidates whose part of the mass ``top_mass`` is.

    Returns:
        [B] each: ``entropy`` divided by that of an even map (1: even, 0: all on one), ``gini``
        (0: even, near 1: all on one), ``top_mass``. NaN where a map has no mass, and of the
        entropy also where there is only one candidate.

    Raises:
        ConfigError: importance below 0.
    """
    from i2moe_plugin.attribution.faithfulness import counts, top

    _check_candidates(importance, candidates)
    mass = torch.where(candidates, importance, 0.0).double()
    if (mass < 0).any():
        raise ConfigError("concentration is of importance that is not negative.")
    part = mass / mass.sum(1, keepdim=True)
    number = candidates.sum(1)
    entropy = -torch.special.xlogy(part, part).sum(1) / number.double().log()
    order = part.masked_fill(~candidates, torch.inf).sort(1).values
    rank = torch.arange(1, part.shape[1] + 1, device=part.device)
    inside = rank <= number[:, None]
    weight = (2 * rank - number[:, None] - 1) / number[:, None]
    gini = torch.where(inside, order * weight, 0.0).sum(1)
    chosen = top(importance, candidates, counts(candidates, share))
    return {"entropy": entropy, "gini": gini, "top_mass": (part * chosen).sum(1)}


def _check_candidates(importance: Tensor, candidates: Tensor) -> None:
    if importance.ndim != 2 or candidates.shape != importance.shape:
        raise ShapeError(
            f"importance and candidates must both be [B, T], not {list(importance.shape)} and "
            f"{list(candidates.shape)}."
        )
    if candidates.dtype != torch.bool:
        raise ShapeError(f"candidates must be true or false, not {candidates.dtype}.")


def _check_attentions(attentions: Sequence[Tensor], padding: Tensor | None) -> None:
    if not attentions:
        raise ShapeError("a rollout needs the attention of at least one layer.")
    shape = attentions[0].shape
    if len(shape) != 4 or shape[2] != shape[3]:
        raise ShapeError(f"an attention must be [B, heads, T, T], not {list(shape)}.")
    for layer in attentions:
        if layer.ndim != 4 or (len(layer), *layer.shape[2:]) != (shape[0], shape[2], shape[3]):
            raise ShapeError(
                f"attentions must agree in B and T: {list(shape)}, {list(layer.shape)}."
            )
    if padding is not None and padding.shape != (shape[0], shape[2]):
        raise ShapeError(f"padding must be {[shape[0], shape[2]]}, not {list(padding.shape)}.")
