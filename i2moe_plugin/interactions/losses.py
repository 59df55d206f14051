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
from typing import Literal, get_args

import torch
from torch import Tensor
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
    if whole:  # all uniqueness experts at once: as many operators for 8 modalities as for 2
        unique, shared = outputs.split([views - 1, 2])
        distance = _distance(unique, kind)  # [M, M, B]
        own = distance.diagonal().t().unsqueeze(1)  # [M, 1, B]
        synergy, redundancy = _likeness(shared, kind)
        rest = [_synergy(synergy, kind), _redundancy(redundancy, kind)]
        return torch.cat([_uniqueness(distance, own, kind), torch.stack(rest)])
    return torch.stack(
        [_loss_of(name, own, masked, kind) for name, own in zip(names, outputs, strict=True)]
    )


def _loss_of(name: str, views: Tensor, masked: list[int], kind: InteractionKind) -> Tensor:
    """One expert's loss on its views [V, B, C]."""
    if name == "synergy":
        return _synergy(_likeness(views, kind), kind)
    if name == "redundancy":
        return _redundancy(_likeness(views, kind), kind)
    prefix, _, number = name.partition("_")
    if prefix != "uniqueness" or not number.isdigit():
        raise ConfigError(f"unknown expert {name!r}: uniqueness_1, ..., synergy or redundancy.")
    modality = int(number) - 1
    if modality not in masked:
        return views.new_zeros(())
    place, distance = masked.index(modality), _distance(views, kind)
    return _uniqueness(distance, distance[place : place + 1], kind)


def _uniqueness(distance: Tensor, own: Tensor, kind: InteractionKind) -> Tensor:
    """Mean over the other views of max(0, their distance - the own view's + 1).

    Args:
        distance: from the complete view to each masked one, [..., V-1, B].
        own: the one whose modality is the expert's own, [..., 1, B].
        kind: the released regression loss has no hinge.
    """
    gap, margin = distance - own, 0.0
    if kind != "regression-released":
        gap, margin = (gap + MARGIN).clamp_min(0), MARGIN
    # Of the mean over all views, what the own one adds is known and carries no gradient.
    count = distance.shape[-2]
    return (gap.mean((-2, -1)) * count - margin) / (count - 1)


def _synergy(likeness: Tensor, kind: InteractionKind) -> Tensor:
    if kind == "regression":
        return (MARGIN - likeness).clamp_min(0).mean()
    return likeness.mean()


def _redundancy(likeness: Tensor, kind: InteractionKind) -> Tensor:
    return 1 - likeness.mean() if kind == "classification" else likeness.mean()


def _likeness(views: Tensor, kind: InteractionKind) -> Tensor:
    """What synergy and redundancy look at, [..., V, B, C] -> [..., V-1, B].

    The cosine between the complete view and each masked one, or their distance in regression.
    """
    if kind != "classification":
        return _distance(views, kind)
    anchor, others = F.normalize(views, dim=-1).split([1, views.shape[-3] - 1], -3)
    return (anchor * others).sum(-1)


def _distance(views: Tensor, kind: InteractionKind) -> Tensor:
    """From the complete view to each masked one: [..., V, B, C] -> [..., V-1, B]."""
    anchor, others = views.split([1, views.shape[-3] - 1], -3)
    if kind == "classification":
        # The addend keeps the gradient finite where views are equal; as in the released code.
        return torch.linalg.vector_norm(anchor - others + 1e-7, dim=-1)
    return (anchor - others).square().mean(-1)
