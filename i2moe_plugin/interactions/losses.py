"""Objectives: what experts are trained for beside the task, as losses that compare their views.

An objective is found by its name in :data:`OBJECTIVES`:

* ``classification`` (also multilabel; I2MoE section 3, ``imoe/InteractionMoE.py``): on raw logits,
  triplet margin loss for uniqueness, cosine similarity for synergy, its complement for redundancy;
* ``regression``: the same three terms with the squared difference as distance, each bounded below;
* ``regression-released``: what ``imoe/InteractionMoERegression.py`` computes, for reproducing the
  paper's table only: uniqueness is unbounded below, and synergy equals redundancy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from i2moe_plugin.errors import ConfigError, ShapeError, did_you_mean
from i2moe_plugin.interactions.experts import Expert, interaction_experts
from i2moe_plugin.interactions.regularizers import Penalty
from i2moe_plugin.interactions.views import COMPLETE, View, one_masked

MARGIN = 1.0


@dataclass(frozen=True)
class Objective:
    """A loss for each kind of expert, and how much it counts.

    The training loss is that of the task, plus ``weight`` times the sum of the experts' losses over
    M + 2, plus the penalty.

    Attributes:
        name: as users write it.
        distance: views [..., V, B, C] -> what uniqueness looks at, [..., V-1, B]: the distance of
            each masked view from the complete one.
        likeness: views [..., V, B, C] -> what synergy and redundancy look at, [..., V-1, B] for
            those of the method: cosines, or distances.
        synergy, redundancy: the likeness of one expert's views -> a scalar.
        margin: of uniqueness; None: without a margin, and so unbounded below.
        weight: lambda.
        on: what is compared: the experts' ``outputs``, or what their heads read (``fused``).
        detached: the losses have no gradient.
        in_full: the only expert's loss counts in full: it is not divided by M + 2, and uniqueness
            is a sum over the views that mask others, not their mean.
        penalty: on the similarity of what the experts' heads read.
    """

    name: str
    distance: Callable[[Tensor], Tensor]
    likeness: Callable[[Tensor], Tensor]
    synergy: Callable[[Tensor], Tensor]
    redundancy: Callable[[Tensor], Tensor]
    margin: float | None = MARGIN
    weight: float = 0.5
    on: Literal["outputs", "fused"] = "outputs"
    detached: bool = False
    in_full: bool = False
    penalty: Penalty | None = None

    @property
    def reads_fused(self) -> bool:
        """Whether experts must say what their heads read."""
        return self.on == "fused" or self.penalty is not None

    def losses(
        self,
        outputs: Tensor,
        experts: Sequence[Expert],
        views: Sequence[View],
        unmasked: Tensor | None = None,
    ) -> Tensor:
        """Compute the loss of every expert, [E], in their order.

        Args:
            outputs: [E, V, B, C].
            experts: the E experts. The uniqueness loss of a player that no view masks is 0.
            views: the V views, the complete one first.
            unmasked: which views mask what a sample has, [V-1, B]; None: all. A loss is the mean of
                its terms over those; uniqueness also needs that the sample has the expert's own
                player. 0 where there are none.

        Raises:
            ShapeError: outputs of another shape, or fewer than 2 masked views.
            ConfigError: an expert that no loss is for.
        """
        if len(views) < 3 or outputs.dim() != 4 or outputs.shape[:2] != (len(experts), len(views)):
            raise ShapeError(
                "interaction losses need outputs [M+2 experts, M+1 views, B, C] with M >= 2; "
                f"got {list(outputs.shape)}."
            )
        if self.detached:
            outputs = outputs.detach()
        modalities = len(views) - 1
        usual = (interaction_experts(modalities), (COMPLETE, *one_masked(modalities)))
        if (
            unmasked is None and (tuple(experts), tuple(views)) == usual
        ):  # all experts of a kind at once: as many operators for 8 modalities as for 2
            formulas = (self.distance, self.likeness, self.synergy, self.redundancy, self.margin)
            if formulas == _CLASSIFICATION:
                losses: Tensor = _Classification.apply(outputs)
                return losses
            distance = self.distance(outputs[:-2])  # [M, M, B]
            unique = self._uniqueness(distance, distance.diagonal().t().unsqueeze(1))
            synergy, redundancy = self.likeness(outputs[-2:])
            return torch.cat(
                [unique, torch.stack([self.synergy(synergy), self.redundancy(redundancy)])]
            )
        each = zip(experts, outputs, strict=True)
        return torch.stack([self._loss(expert, own, views, unmasked) for expert, own in each])

    def _loss(
        self, expert: Expert, outputs: Tensor, views: Sequence[View], unmasked: Tensor | None
    ) -> Tensor:
        """Compute one expert's loss on its views [V, B, C]."""
        positives = 1
        if expert.kind in ("synergy", "redundancy"):
            formula = self.synergy if expert.kind == "synergy" else self.redundancy
            likeness = self.likeness(outputs)
            if unmasked is None:
                loss = formula(likeness)
            else:  # both formulas are means of terms
                loss = _mean_of(torch.vmap(torch.vmap(formula))(likeness), unmasked)
        elif expert.player is None:
            raise ConfigError(f"the expert {expert.name} learns no interaction; it has no loss.")
        else:
            masks = [view.player for view in views[1:]]
            if expert.player not in masks:
                return outputs.new_zeros(())
            distance, place = self.distance(outputs), masks.index(expert.player)
            if unmasked is None:
                loss = self._uniqueness(distance, distance[place : place + 1])
            else:
                others = unmasked & unmasked[place]
                others[place] = False
                loss = _mean_of(self._gap(distance, distance[place : place + 1]), others)
            positives = len(views) - 2
        return loss * positives * (len(views) + 1) if self.in_full else loss

    def _uniqueness(self, distance: Tensor, own: Tensor) -> Tensor:
        """Compute the mean over the other views of max(0, their distance - the own one's + margin).

        Args:
            distance: [..., V-1, B].
            own: that of the view which masks the expert's own player, [..., 1, B].
        """
        gap, margin = self._gap(distance, own), self.margin or 0.0
        # Of the mean over all views, what the own one adds is known and carries no gradient.
        count = distance.shape[-2]
        return (gap.mean((-2, -1)) * count - margin) / (count - 1)

    def _gap(self, distance: Tensor, own: Tensor) -> Tensor:
        gap = distance - own
        return gap if self.margin is None else (gap + self.margin).clamp_min(0)


def interaction_losses(
    outputs: Tensor,
    objective: str = "classification",
    *,
    experts: Sequence[Expert] | None = None,
    views: Sequence[View] | None = None,
) -> Tensor:
    r"""Compute the interaction loss of every expert.

    With a the output on the complete view, n_i the output with modality i masked:

    * classification: uniqueness_i = mean_{j != i, b} max(0, |a - n_j| - |a - n_i| + 1);
      synergy = mean_{i, b} cos(a, n_i); redundancy = mean_{i, b} (1 - cos(a, n_i));
    * regression, d(x, y) = mean_C (x - y)^2: uniqueness_i = mean_{j != i, b} max(0, d(a, n_j) -
      d(a, n_i) + 1); synergy = mean_{i, b} max(0, 1 - d(a, n_i)); redundancy = mean_{i, b}
      d(a, n_i).

    Args:
        outputs: [E, V, B, C]; usually E = M+2 and V = M+1.
        objective: a name of :data:`OBJECTIVES`.
        experts: the E experts; by default those of the method.
        views: the V views, the complete one first; by default each of the others masks one
            modality. The uniqueness loss of a modality that no view masks is 0.

    Returns:
        [E], in the experts' order.

    Raises:
        ShapeError: not [E, V, B, C], or fewer than 2 masked views.
        ConfigError: an unknown objective, or an expert that learns no interaction.

    Example:
        >>> import torch
        >>> same = torch.tensor([1.0, 0.0]).expand(4, 3, 5, 2)  # masking changes nothing
        >>> interaction_losses(same)
        tensor([1., 1., 1., 0.])
    """
    masked = outputs.shape[1] - 1 if outputs.dim() == 4 else 0
    if views is None:
        views = (COMPLETE, *one_masked(masked))
    return find_objective(objective).losses(
        outputs, interaction_experts(masked) if experts is None else experts, views
    )


def find_objective(name: str) -> Objective:
    """Return the objective of that name.

    Raises:
        ConfigError: there is none; names close matches.
    """
    if name not in OBJECTIVES:
        raise ConfigError(
            f"unknown objective {name!r}.{did_you_mean(name, OBJECTIVES)} "
            f"Known: {', '.join(OBJECTIVES)}."
        )
    return OBJECTIVES[name]


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


def _mean_of(terms: Tensor, chosen: Tensor) -> Tensor:
    """Compute the mean of the chosen terms; 0 of none."""
    return terms.where(chosen, 0).sum() / chosen.sum().clamp_min(1)


def _euclidean(views: Tensor) -> Tensor:
    """Compute the distance of each masked view from the complete one."""
    anchor, others = _split(views)
    # The addend keeps the gradient finite where views are equal; as in the released code.
    return torch.linalg.vector_norm(anchor - others + 1e-7, dim=-1)


def _squared(views: Tensor) -> Tensor:
    """Compute the squared difference between masked views and the complete one, mean over C."""
    anchor, others = _split(views)
    return (anchor - others).square().mean(-1)


def _cosine(views: Tensor) -> Tensor:
    """Compute the cosine between masked views and the complete one."""
    anchor, others = _split(F.normalize(views, dim=-1))
    return (anchor * others).sum(-1)


def _split(views: Tensor) -> tuple[Tensor, Tensor]:
    """Split [..., V, B, C] into the complete view [..., 1, B, C] and the others."""
    anchor, others = views.split([1, views.shape[-3] - 1], -3)
    return anchor, others


def _complement(cosine: Tensor) -> Tensor:
    """Compute 1 - the mean cosine."""
    return 1 - cosine.mean()


def _near(distance: Tensor) -> Tensor:
    """Compute how far masked views stay within a margin of the complete one."""
    return (MARGIN - distance).clamp_min(0).mean()


#: The formulas whose gradient :class:`_Classification` knows.
_CLASSIFICATION = (_euclidean, _cosine, torch.mean, _complement, MARGIN)
OBJECTIVES = {
    objective.name: objective
    for objective in (
        Objective("classification", *_CLASSIFICATION),
        Objective("regression", _squared, _squared, _near, torch.mean),
        Objective("regression-released", _squared, _squared, torch.mean, torch.mean, margin=None),
    )
}
