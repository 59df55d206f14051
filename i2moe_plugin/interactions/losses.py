"""Interaction losses: each expert's outputs on its views decide what kind of interaction it learns.

All take the expert outputs ``[E, V, B, C]`` with E = M+2 experts (uniqueness_1..M, synergy,
redundancy) and V = M+1 views (complete, then modality i masked). Three kinds:

* ``classification`` (also multilabel; I2MoE section 3, ``imoe/InteractionMoE.py``): on raw logits,
  triplet margin loss for uniqueness, cosine similarity for synergy, its complement for redundancy;
* ``regression``: the same three terms with the squared difference as distance, each bounded below;
* ``regression-released``: what ``imoe/InteractionMoERegression.py`` computes, for reproducing the
  paper's table only: uniqueness is unbounded below, and synergy equals redundancy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from i2moe_plugin.errors import ConfigError, ShapeError, did_you_mean

InteractionKind = Literal["classification", "regression", "regression-released"]
MARGIN = 1.0


def expert_names(modalities: int) -> list[str]:
    """The experts' names in order.

    >>> expert_names(2)
    ['uniqueness_1', 'uniqueness_2', 'synergy', 'redundancy']
    """
    return [*(f"uniqueness_{i + 1}" for i in range(modalities)), "synergy", "redundancy"]


def check_kind(kind: str) -> None:
    """Refuse a kind that is none.

    Raises:
        ConfigError: an unknown kind.
    """
    known = get_args(InteractionKind)
    if kind not in known:
        raise ConfigError(
            f"unknown interaction loss {kind!r}.{did_you_mean(kind, known)} "
            f"Known: {', '.join(known)}."
        )


def interaction_losses(
    outputs: Tensor,
    kind: InteractionKind = "classification",
    *,
    experts: Sequence[str] | None = None,
    masked: Sequence[int] | None = None,
) -> Tensor:
    r"""The interaction loss of every expert.

    With a the output on the complete view, n_i the output with modality i masked:

    * classification: uniqueness_i = mean_{j != i, b} max(0, |a - n_j| - |a - n_i| + 1);
      synergy = mean_{i, b} cos(a, n_i); redundancy = mean_{i, b} (1 - cos(a, n_i));
    * regression, d(x, y) = mean_C (x - y)^2: uniqueness_i = mean_{j != i, b} max(0, d(a, n_j) -
      d(a, n_i) + 1); synergy = mean_{i, b} max(0, 1 - d(a, n_i)); redundancy = mean_{i, b}
      d(a, n_i).

    Args:
        outputs: [E, V, B, C]; usually E = M+2 and V = M+1.
        kind: see the module's text.
        experts: the E experts' names; all of :func:`expert_names` by default.
        masked: the modalities (0-based) that views 1 to V-1 mask; all of them by default. The
            uniqueness loss of a modality that no view masks is 0.

    Returns:
        [E], in the experts' order.

    Raises:
        ShapeError: not [E, V, B, C], or fewer than 2 masked views.
        ConfigError: an unknown kind or expert.

    Example:
        >>> import torch
        >>> same = torch.tensor([1.0, 0.0]).expand(4, 3, 5, 2)  # masking changes nothing
        >>> interaction_losses(same)
        tensor([1., 1., 1., 0.])
    """
    views = outputs.shape[1] if outputs.dim() == 4 else 0
    masked = list(range(views - 1)) if masked is None else list(masked)
    names = expert_names(views - 1) if experts is None else list(experts)
    if views < 3 or views != len(masked) + 1 or outputs.shape[0] != len(names):
        raise ShapeError(
            "interaction losses need outputs [M+2 experts, M+1 views, B, C] with M >= 2; "
            f"got {list(outputs.shape)}."
        )
    check_kind(kind)
    whole = masked == list(range(views - 1)) and names == expert_names(views - 1)
    if whole and kind == "classification":
        losses: Tensor = _Classification.apply(outputs)
        return losses
    if whole:
        synergy, redundancy = _synergy(outputs[-2], kind), _redundancy(outputs[-1], kind)
        return torch.cat([_all_uniqueness(outputs[:-2], kind), torch.stack([synergy, redundancy])])
    return torch.stack(
        [_loss_of(name, own, masked, kind) for name, own in zip(names, outputs, strict=True)]
    )


def _loss_of(name: str, views: Tensor, masked: list[int], kind: InteractionKind) -> Tensor:
    """One expert's loss on its views [V, B, C]."""
    if name == "synergy":
        return _synergy(views, kind)
    if name == "redundancy":
        return _redundancy(views, kind)
    prefix, _, number = name.partition("_")
    if prefix != "uniqueness" or not number.isdigit():
        raise ConfigError(f"unknown expert {name!r}: uniqueness_1, ..., synergy or redundancy.")
    modality = int(number) - 1
    if modality not in masked:
        return views.new_zeros(())
    return _uniqueness(views, masked.index(modality), kind)


def _uniqueness(views: Tensor, modality: int, kind: InteractionKind) -> Tensor:
    anchor, negative = views[0], views[modality + 1]
    positives = torch.cat([views[1 : modality + 1], views[modality + 2 :]])  # [M-1, B, C]
    if kind == "classification":
        # eps as in the released code; torch adds it inside the distance.
        return F.triplet_margin_loss(
            anchor.expand_as(positives), positives, negative.expand_as(positives), MARGIN, eps=1e-7
        )
    gap = _squared(anchor, positives) - _squared(anchor, negative)
    return gap.mean() if kind == "regression-released" else (gap + MARGIN).clamp_min(0).mean()


class _Classification(torch.autograd.Function):
    """The method's losses for classification, [M+2, M+1, B, C] -> [M+2], with their gradient.

    Each loss is a mean over samples of a few distances or cosines, whose gradients are known in
    closed form. Built up by autograd from the formulas they take twice as many operators, more
    than a small fusion itself. A second derivative is refused.
    """

    @staticmethod
    def forward(ctx: Any, outputs: Tensor) -> Tensor:
        modalities, batch = outputs.shape[1] - 1, outputs.shape[2]
        # Uniqueness: hinges on differences of distances.
        gaps = outputs[:-2, :1] - outputs[:-2, 1:] + 1e-7  # [M, M, B, C]
        distance = torch.linalg.vector_norm(gaps, dim=-1, keepdim=True)
        own = distance.diagonal().movedim(-1, 0).unsqueeze(1)  # [M, 1, B, 1], where j = i
        hinge = (distance - own + MARGIN).clamp_min(0)
        # j = i has the known value of the margin, and its slopes cancel.
        pairs = (modalities - 1) * batch
        uniqueness = (hinge.sum((1, 2, 3)) - MARGIN * batch) / pairs
        slope = (hinge > 0).to(gaps.dtype) / pairs
        slope.diagonal().sub_(slope.sum(1).movedim(0, -1))
        toward = gaps * (slope / distance.clamp_min(1e-30))  # no direction at distance 0
        # Synergy and redundancy: cosines.
        rows = outputs[-2:]
        scale = torch.linalg.vector_norm(rows, dim=-1, keepdim=True).clamp_min(1e-12)
        unit = rows / scale
        anchor, others = unit[:, :1], unit[:, 1:]
        cosine = (anchor * others).sum(-1, keepdim=True)  # [2, M, B, 1]
        mean = cosine.mean((1, 2, 3))
        both = torch.cat(
            [(others - cosine * anchor).sum(1, keepdim=True), anchor - cosine * others], 1
        )
        turn = both / (scale * (modalities * batch))
        turn[1].neg_()
        gradient = torch.cat(
            [torch.cat([toward.sum(1, keepdim=True), -toward], 1), turn]
        )  # [M+2, M+1, B, C]
        ctx.save_for_backward(gradient)
        return torch.cat([uniqueness, mean[:1], 1 - mean[1:]])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, losses: Tensor) -> Tensor:
        (gradient,) = ctx.saved_tensors
        scaled: Tensor = gradient * losses[:, None, None, None]
        return scaled


def _all_uniqueness(outputs: Tensor, kind: InteractionKind) -> Tensor:
    """The M uniqueness losses [M] from the outputs [M, M+1, B, C] of their experts (regression)."""
    distance = _squared(outputs[:, :1], outputs[:, 1:])
    gap = distance - distance.diagonal().t().unsqueeze(1)  # [M, M, B]; 0 where j = i
    modalities, margin = len(outputs), 0.0
    if kind != "regression-released":
        gap, margin = (gap + MARGIN).clamp_min(0), MARGIN
    # Of the mean over all j, what j = i adds is known and carries no gradient.
    return (gap.mean((1, 2)) * modalities - margin) / (modalities - 1)


def _synergy(views: Tensor, kind: InteractionKind) -> Tensor:
    if kind == "classification":
        return _cosine(views).mean()
    distance = _squared(views[0], views[1:])
    if kind == "regression-released":
        return distance.mean()
    return (MARGIN - distance).clamp_min(0).mean()


def _redundancy(views: Tensor, kind: InteractionKind) -> Tensor:
    if kind == "classification":
        return (1 - _cosine(views)).mean()
    return _squared(views[0], views[1:]).mean()


def _cosine(views: Tensor) -> Tensor:
    """Cosine between the complete view and each other, [M, B]."""
    unit = F.normalize(views, dim=-1)
    return (unit[0] * unit[1:]).sum(-1)


def _squared(anchor: Tensor, others: Tensor) -> Tensor:
    """Squared difference, mean over outputs: [..., B]."""
    return (anchor - others).square().mean(-1)
