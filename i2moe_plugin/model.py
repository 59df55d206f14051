"""The models that are compared: vanilla fusion, and I2MoE over the same backbone.

Both take a batch's inputs (x_1, ..., x_M) and return a :class:`ModelOutput`; both share the way
inputs are encoded, so that nothing but the method differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from i2moe_plugin.backbones.fused import WithFused
from i2moe_plugin.backbones.latents import (
    LatentSpec,
)
from i2moe_plugin.deprecation import held_now_by
from i2moe_plugin.errors import ConfigError, ShapeError
from i2moe_plugin.execution.bank import ExpertBank
from i2moe_plugin.execution.rule import PlanReport
from i2moe_plugin.incomplete import has_modality, rows_with
from i2moe_plugin.interactions.experts import Expert, interaction_experts
from i2moe_plugin.interactions.losses import Objective, find_objective
from i2moe_plugin.interactions.masking import Masking
from i2moe_plugin.interactions.views import COMPLETE, MaskedViews, View, one_masked
from i2moe_plugin.multimodal import Encoded, Losses, ModelOutput, MultimodalModel, in_full
from i2moe_plugin.parts import takes_former_arguments
from i2moe_plugin.tasks import Task

if not TYPE_CHECKING:
    __getattr__ = held_now_by(
        __name__, ["i2moe_plugin.backbones.latents", "i2moe_plugin.multimodal"]
    )


class Vanilla(MultimodalModel):
    """The same encoders and one backbone, without I2MoE.

    Args:
        backbone: latents -> ([B, C], auxiliary loss).

    See :class:`MultimodalModel` for the rest. An absent modality's latent is zero.
    """

    def __init__(
        self,
        encoders: Sequence[nn.Module],
        latents: Sequence[LatentSpec],
        backbone: nn.Module,
        task: Task,
        *,
        auxiliary_weight: float = 0.01,
    ) -> None:
        super().__init__(encoders, latents, task, auxiliary_weight=auxiliary_weight)
        self.backbone = backbone

    def forward(self, inputs: Sequence[Any], absent: Sequence[int] = ()) -> ModelOutput:
        """Compute the output of M inputs."""
        encoded = self.encode(inputs, absent)
        prediction, auxiliary = self.backbone(encoded.latents, encoded.padding_masks)
        return ModelOutput(prediction, auxiliary)


class I2MoE(MultimodalModel):
    """A mixture of interaction experts (Xin et al., ICML 2025, section 3).

    prediction = sum_e w_e(latents) * expert_e(latents); in training every expert also sees its
    masked views, from which the interaction losses are made.
    :func:`~i2moe_plugin.methods.create_model` builds one from settings, with all parts.

    Args:
        encoders: M modules, see :class:`MultimodalModel`.
        bank: the E experts, latents -> outputs [E, V, B, C]; with what their heads read behind
            them where the experts are :class:`~i2moe_plugin.backbones.fused.WithFused`.
        masking: makes what stands for a masked or absent latent; knows the latents' shapes.
        reweighting: latents -> weights [B, E].
        task: what is predicted.
        experts: what each expert is there for; by default the M + 2 of the method.
        views: the masked views of a training step; by default each masks one modality.
        objective: what experts are trained for beside the task; by default the one that fits the
            task.
        auxiliary_weight: weight of the backbone's own loss.

    Raises:
        ConfigError: fewer than 2 modalities, players that there are not, or an objective that looks
            at what the experts' heads read, which they do not say.
        ShapeError: parts that differ in the number of modalities or experts.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from i2moe_plugin import (
        ...     Classification, ExpertBank, I2MoE, LatentSpec, MLPReweighting, create_backbone,
        ...     create_masking,
        ... )
        >>> latents = [LatentSpec(4), LatentSpec(6)]
        >>> model = I2MoE(
        ...     encoders=[nn.Linear(3, 4), nn.Linear(5, 6)],
        ...     bank=ExpertBank(lambda: create_backbone("concat", latents, num_outputs=2), 4),
        ...     masking=create_masking("random", latents),
        ...     reweighting=MLPReweighting([4, 6], num_experts=4),
        ...     task=Classification(2),
        ... )
        >>> output = model([torch.randn(8, 3), torch.randn(8, 5)])
        >>> output.outputs.shape, output.weights.shape, output.prediction.shape
        (torch.Size([4, 3, 8, 2]), torch.Size([8, 4]), torch.Size([8, 2]))
    """

    @takes_former_arguments
    def __init__(
        self,
        encoders: Sequence[nn.Module],
        bank: ExpertBank,
        masking: Masking,
        reweighting: nn.Module,
        task: Task,
        *,
        experts: Sequence[Expert] | None = None,
        views: MaskedViews | None = None,
        objective: Objective | None = None,
        auxiliary_weight: float = 0.01,
    ) -> None:
        super().__init__(encoders, masking.specs, task, auxiliary_weight=auxiliary_weight)
        modalities = len(encoders)
        self.experts = tuple(interaction_experts(modalities) if experts is None else experts)
        if len(bank.experts) != len(self.experts):
            raise ShapeError(
                f"the bank has {len(bank.experts)} experts, and {len(self.experts)} are expected: "
                f"{', '.join(self.expert_names)}."
            )
        self.bank = bank
        self.reweighting = reweighting
        self.masking = masking
        self.views = MaskedViews(one_masked(modalities)) if views is None else views
        players = [*(e.player for e in self.experts), *(v.player for v in self.views.views)]
        for player in players:
            if player is not None:
                player.check(self.latents)
        self.objective = find_objective(task.objective) if objective is None else objective
        self._with_fused = all(isinstance(expert, WithFused) for expert in bank.experts)
        if self.objective.reads_fused and not self._with_fused:
            raise ConfigError(
                f"the objective {self.objective.name!r} looks at what the experts' heads read; "
                "build the bank of backbones in WithFused."
            )
        self._epoch: int | None = None

    @property
    def expert_names(self) -> list[str]:
        return [expert.name for expert in self.experts]

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def forward(self, inputs: Sequence[Any], absent: Sequence[int] = ()) -> ModelOutput:
        """Compute the output of M inputs; all views in training mode, the complete one otherwise.

        Args:
            inputs: M batches.
            absent: the modalities (0-based) that are absent from this batch.
        """
        encoded = self.encode(inputs, absent)
        latents, masks = encoded.latents, encoded.padding_masks
        masked = self.views.draw() if self.training else ()
        replacements: list[Tensor | None] | None = None
        unmasked = None
        if self.training:
            present = rows_with(inputs, absent)
            known = encoded.of_rows(present)
            if not absent:  # what stands for an absent latent tells nothing about real ones
                self.masking.observe(*known)
        if masked:
            replacements = self._replacements(latents, masked, present, known)
            if any(rows is not None for rows in present):
                has = has_modality(present, len(latents[0]), latents[0].device)
                players = [view.player for view in masked]
                unmasked = torch.stack([has[one.modality] for one in players if one is not None])
        outputs, auxiliary = self.bank(latents, replacements, masks)
        weights = self.reweighting(latents, masks)
        balance: Tensor | None = getattr(self.reweighting, "balance", None)
        if balance is not None:  # of a sparse gate, in training
            auxiliary = auxiliary + balance
        fused, width = None, self.task.num_outputs
        if self._with_fused:
            outputs, fused = outputs[..., :width], outputs[..., width:]
        if outputs.shape[-1] != width:
            raise ShapeError(f"experts return {outputs.shape[-1]} outputs; the task has {width}.")
        # Not a matrix product: autocast would lower it, and the mixture stays in the weights' type.
        prediction = (outputs[:, 0] * weights.T.unsqueeze(-1)).sum(0)
        views = (COMPLETE, *masked)
        return ModelOutput(prediction, auxiliary, outputs, weights, views, fused, unmasked)

    def losses(self, output: ModelOutput, target: Tensor) -> Losses:
        plain = super().losses(output, target)
        objective = self.objective
        compared = output.outputs if objective.on == "outputs" else output.fused
        if compared is None or len(output.views) < 2:  # the complete view alone
            return plain
        interaction = objective.losses(
            in_full(compared), self.experts, output.views, output.unmasked
        )
        # The mean over the M + 2 experts of the method, also where there are fewer.
        mean = interaction.sum() / (len(self.encoders) + 2)
        total = plain.total + objective.weight * mean
        if objective.penalty is not None and output.fused is not None:
            total = total + objective.penalty(in_full(output.fused[:, 0]), self._epoch)
        return plain._replace(total=total, interaction=interaction)

    @property
    def plan(self) -> dict[str, Any] | None:
        return None if self.bank.report is None else asdict(self.bank.report)

    @plan.setter
    def plan(self, record: dict[str, Any] | None) -> None:
        self.bank.report = None if record is None else PlanReport(**record)

    def _replacements(
        self,
        latents: list[Tensor],
        views: Sequence[View],
        present: Sequence[Tensor | None],
        known: Encoded,
    ) -> list[Tensor | None]:
        """Make what each masked modality is replaced with, [E, B, ...]; None for the others.

        Where a sample lacks the modality, what stands for it stays: nothing is compared there.
        """
        copies = len(self.experts)
        drawn = self.masking(known.latents, copies, known.padding_masks)
        for place, rows in enumerate(present):
            if rows is not None:
                kept = latents[place].detach().expand(copies, *latents[place].shape)
                drawn[place] = kept.index_copy(1, rows.to(kept.device), drawn[place])
        replacements: list[Tensor | None] = [None] * len(latents)
        for view in views:
            if view.player is not None:
                place = view.player.modality
                replacements[place] = view.player.replace(latents[place], drawn[place])
        return replacements

    def _stand_in(self, like: Tensor, modality: int) -> Tensor:
        with torch.no_grad():
            return self.masking.absent(like, modality)
