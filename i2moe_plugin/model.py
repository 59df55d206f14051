"""The two models that are compared: vanilla fusion, and I2MoE over the same backbone.

Both take a batch's inputs (x_1, ..., x_M) and return a :class:`ModelOutput`; both share the way
inputs are encoded, so that nothing but the method differs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from i2moe_plugin.backbones.wrapper import LatentSpec
from i2moe_plugin.errors import ConfigError, ShapeError
from i2moe_plugin.execution.bank import ExpertBank, ExpertInit
from i2moe_plugin.execution.rule import PlanReport
from i2moe_plugin.interactions.losses import (
    InteractionKind,
    check_kind,
    expert_names,
    interaction_losses,
)
from i2moe_plugin.interactions.masking import create_masking
from i2moe_plugin.reweighting import MLPReweighting
from i2moe_plugin.tasks import Task


class ModelOutput(NamedTuple):
    """What a model says of a batch.

    Attributes:
        prediction: [B, C].
        auxiliary: the backbone's own loss, a scalar.
        outputs: expert outputs [E, V, B, C] (V = 1 outside training), or None for vanilla.
        weights: [B, E], or None for vanilla.
        masked: the modality (0-based) that each view after the complete one masks.
        fused: what the experts' heads read, [E, V, B, D], where a variant asks for it.
    """

    prediction: Tensor
    auxiliary: Tensor
    outputs: Tensor | None = None
    weights: Tensor | None = None
    masked: tuple[int, ...] = ()
    fused: Tensor | None = None


class Losses(NamedTuple):
    """The terms of one step's loss; ``total`` is what is minimised.

    Attributes:
        total: task + interaction_weight * mean(interaction) + auxiliary_weight * auxiliary.
        task: of the prediction against the target.
        interaction: [E], each expert's; None for vanilla and where only the complete view was run.
        auxiliary: the backbone's own.
    """

    total: Tensor
    task: Tensor
    interaction: Tensor | None
    auxiliary: Tensor


class MultimodalModel(nn.Module):
    """Base of both models: encoders and what they agree on.

    Args:
        encoders: M modules; encoder m takes x_m (a tensor, or the items of a tuple) and returns a
            latent [B, D] or [B, T, D], or ``(latent, padding mask [B, T])``.
        latents: the shapes of the latents.
        task: what is predicted.
        auxiliary_weight: weight of the backbone's own loss.

    Raises:
        ConfigError: fewer than 2 modalities.
    """

    def __init__(
        self,
        encoders: Sequence[nn.Module],
        latents: Sequence[LatentSpec],
        task: Task,
        *,
        auxiliary_weight: float = 0.01,
    ) -> None:
        super().__init__()
        if len(encoders) < 2:
            raise ConfigError(
                f"a fusion needs at least 2 modalities; {len(encoders)} given. With one modality "
                "there is no interaction to find."
            )
        if len(encoders) != len(latents):
            raise ShapeError(f"{len(encoders)} encoders but {len(latents)} latent shapes.")
        self.encoders = nn.ModuleList(encoders)
        self.latents = tuple(latents)
        self.task = task
        self.auxiliary_weight = auxiliary_weight

    def encode(
        self, inputs: Sequence[Any], absent: Sequence[int] = ()
    ) -> tuple[list[Tensor], list[Tensor | None] | None]:
        """Latents and padding masks of a batch.

        Args:
            inputs: M batches, one a modality; what stands at an absent place is not looked at.
            absent: the modalities (0-based) that are absent from this batch.

        Raises:
            ShapeError: not M inputs, no modality left, or latents that differ from their specs.
        """
        if len(inputs) != len(self.encoders):
            raise ShapeError(f"{len(self.encoders)} modalities expected, {len(inputs)} given.")
        gone = set(absent)
        if gone and not (gone < set(range(len(self.encoders)))):
            raise ShapeError(
                f"absent modalities {sorted(gone)}: give some but not all of 0..{len(inputs) - 1}."
            )
        latents: list[Tensor | None] = []
        masks: list[Tensor | None] = []
        for index, (encoder, x) in enumerate(zip(self.encoders, inputs, strict=True)):
            if index in gone:
                latents.append(None)
                masks.append(None)
                continue
            latent, mask = encode_one(encoder, x)
            _check_latent(index, self.latents[index], latent, mask)
            latents.append(latent)
            masks.append(mask)
        sizes = [latent.shape[0] for latent in latents if latent is not None]
        if len(set(sizes)) > 1:
            raise ShapeError(f"the modalities' latents differ in batch size: {sizes}.")
        present = next(latent for latent in latents if latent is not None)
        filled = [
            latent
            if latent is not None
            else self._absent(
                present.new_zeros((present.shape[0], *self.latents[index].shape)), index
            )
            for index, latent in enumerate(latents)
        ]
        return filled, masks if any(mask is not None for mask in masks) else None

    def _absent(self, like: Tensor, modality: int) -> Tensor:
        """What stands for an absent modality's latent."""
        return like

    @property
    def plan(self) -> dict[str, Any] | None:
        """How the experts are run, once that has been settled; None for vanilla."""
        return None

    @plan.setter
    def plan(self, record: dict[str, Any] | None) -> None:
        """Settle it as before."""

    def set_epoch(self, epoch: int) -> None:
        """Told before each epoch of training, from 1; by default nothing depends on it."""

    def losses(self, output: ModelOutput, target: Tensor) -> Losses:
        """The loss terms of an output against the batch's target, at least in float32."""
        task = self.task.loss(_full(output.prediction), self.task.prepare(target))
        auxiliary = _full(output.auxiliary)
        return Losses(task + self.auxiliary_weight * auxiliary, task, None, auxiliary)


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
        """M inputs -> output."""
        latents, masks = self.encode(inputs, absent)
        prediction, auxiliary = self.backbone(latents, masks)
        return ModelOutput(prediction, auxiliary)


class I2MoE(MultimodalModel):
    """A mixture of interaction experts (Xin et al., ICML 2025, section 3).

    prediction = sum_e w_e(latents) * expert_e(latents); in training every expert also sees its
    masked views, from which the interaction losses are made.

    Args:
        encoders, latents, task, auxiliary_weight: see :class:`MultimodalModel`.
        factory: builds one backbone.
        interaction_weight: lambda of the mean interaction loss.
        interaction: kind of interaction loss; the task's own by default.
        masking: name of the masking strategy.
        expert_init: ``copies`` or ``independent``.
        reweighting_hidden, reweighting_layers, reweighting_dropout, temperature: of the MLP that
            weights the experts.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from i2moe_plugin import Classification, I2MoE, LatentSpec, create_backbone
        >>> latents = [LatentSpec(4), LatentSpec(6)]
        >>> model = I2MoE(
        ...     [nn.Linear(3, 4), nn.Linear(5, 6)],
        ...     latents,
        ...     lambda: create_backbone("concat", latents, num_outputs=2),
        ...     Classification(2),
        ... )
        >>> output = model([torch.randn(8, 3), torch.randn(8, 5)])
        >>> output.outputs.shape, output.weights.shape, output.prediction.shape
        (torch.Size([4, 3, 8, 2]), torch.Size([8, 4]), torch.Size([8, 2]))
    """

    def __init__(
        self,
        encoders: Sequence[nn.Module],
        latents: Sequence[LatentSpec],
        factory: Callable[[], nn.Module],
        task: Task,
        *,
        interaction_weight: float = 0.5,
        interaction: InteractionKind | None = None,
        masking: str = "random",
        expert_init: ExpertInit = "copies",
        reweighting_hidden: int = 128,
        reweighting_layers: int = 2,
        reweighting_dropout: float = 0.5,
        temperature: float = 1.0,
        auxiliary_weight: float = 0.01,
    ) -> None:
        super().__init__(encoders, latents, task, auxiliary_weight=auxiliary_weight)
        self.expert_names = self._experts(len(self.encoders))
        self.bank = ExpertBank(self._expert_factory(factory), len(self.expert_names), expert_init)
        self.reweighting = self._build_reweighting(
            hidden_dim=reweighting_hidden,
            num_layers=reweighting_layers,
            temperature=temperature,
            dropout=reweighting_dropout,
        )
        self.masking = create_masking(masking, self.latents)
        self.interaction_weight = interaction_weight
        self.interaction = interaction or task.interaction
        check_kind(self.interaction)

    def forward(self, inputs: Sequence[Any], absent: Sequence[int] = ()) -> ModelOutput:
        """M inputs -> output; all views in training mode, the complete one otherwise."""
        latents, masks = self.encode(inputs, absent)
        replacements: list[Tensor | None] | None = None
        masked = self._masked() if self.training else ()
        if masked:
            if not absent:  # what stands for an absent latent tells nothing about real ones
                self.masking.observe(latents, masks)
            drawn = self.masking(latents, len(self.expert_names), masks)
            replacements = [new if m in masked else None for m, new in enumerate(drawn)]
        outputs, auxiliary = self.bank(latents, replacements, masks)
        weights = self.reweighting(latents, masks)
        outputs, fused = self._split(outputs)
        # Not a matrix product: autocast would lower it, and the mixture stays in the weights' type.
        prediction = (outputs[:, 0] * weights.T.unsqueeze(-1)).sum(0)
        return ModelOutput(prediction, auxiliary, outputs, weights, masked, fused)

    def losses(self, output: ModelOutput, target: Tensor) -> Losses:
        plain = super().losses(output, target)
        if not output.masked or output.outputs is None:
            return plain
        interaction = self._interaction(output)
        # The mean over the M+2 experts of the method, also where a variant has fewer.
        mean = interaction.sum() / (len(self.encoders) + 2)
        return plain._replace(
            total=plain.total + self.interaction_weight * mean, interaction=interaction
        )

    # What variants change.

    def _experts(self, modalities: int) -> list[str]:
        """The experts' names."""
        return expert_names(modalities)

    def _expert_factory(self, factory: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
        """What builds an expert."""
        return factory

    def _build_reweighting(self, **settings: Any) -> nn.Module:
        """Latents -> weights [B, E]."""
        return MLPReweighting(
            [spec.dim for spec in self.latents], len(self.expert_names), **settings
        )

    def _masked(self) -> tuple[int, ...]:
        """The modalities masked at this step of training, each in a view of its own."""
        return tuple(range(len(self.encoders)))

    def _split(self, outputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Expert outputs [E, V, B, C], and what their heads read."""
        return outputs, None

    def _interaction(self, output: ModelOutput) -> Tensor:
        """The interaction loss of every expert, [E]."""
        assert output.outputs is not None
        return interaction_losses(
            _full(output.outputs), self.interaction, experts=self.expert_names, masked=output.masked
        )

    @property
    def plan(self) -> dict[str, Any] | None:
        return None if self.bank.report is None else asdict(self.bank.report)

    @plan.setter
    def plan(self, record: dict[str, Any] | None) -> None:
        self.bank.report = None if record is None else PlanReport(**record)

    def _absent(self, like: Tensor, modality: int) -> Tensor:
        with torch.no_grad():
            return self.masking.absent(like, modality)


def encode_one(encoder: nn.Module, x: Any) -> tuple[Tensor, Tensor | None]:
    """One modality's latent and padding mask (None where there is none)."""
    result = encoder(*x) if isinstance(x, (tuple, list)) else encoder(x)
    return result if isinstance(result, tuple) else (result, None)


def _check_latent(index: int, spec: LatentSpec, latent: Tensor, mask: Tensor | None) -> None:
    if spec.padded:
        same = latent.dim() == 3 and latent.shape[2] == spec.dim
    else:
        same = latent.shape[1:] == spec.shape
    if not same:
        tokens = ["T"] if spec.padded else list(spec.shape[:-1])
        raise ShapeError(
            f"encoder {index + 1} returned {list(latent.shape)}; expected "
            f"{['B', *tokens, spec.dim]}."
        )
    if mask is not None and (not spec.padded or mask.shape != latent.shape[:2]):
        expected = list(latent.shape[:2]) if spec.padded else "none, as its spec is not padded"
        raise ShapeError(
            f"encoder {index + 1} returned a padding mask {list(mask.shape)}; expected {expected}."
        )


def latent_specs(encoders: Sequence[nn.Module], inputs: Sequence[Any]) -> list[LatentSpec]:
    """The shapes of the latents, measured on one batch of inputs.

    Raises:
        ShapeError: an encoder's latent is neither [B, D] nor [B, T, D].
    """
    specs = []
    for index, (encoder, x) in enumerate(zip(encoders, inputs, strict=True)):
        training = encoder.training
        encoder.eval()
        with torch.no_grad():
            latent, mask = encode_one(encoder, x)
        encoder.train(training)
        if latent.dim() not in (2, 3):
            raise ShapeError(
                f"encoder {index + 1} returned {list(latent.shape)}; a latent is [B, D] or "
                "[B, T, D]."
            )
        tokens = latent.shape[1] if latent.dim() == 3 else None
        specs.append(LatentSpec(latent.shape[-1], tokens, padded=mask is not None))
    return specs


def _full(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
