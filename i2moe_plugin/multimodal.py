"""What all models are: encoders, an output, and the losses made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from i2moe_plugin.backbones.latents import (
    LatentSpec,
    check_latent,
    check_modalities,
    encode_one,
    lengthen,
)
from i2moe_plugin.errors import ShapeError
from i2moe_plugin.incomplete import Incomplete
from i2moe_plugin.interactions.masking import Masking
from i2moe_plugin.interactions.views import View
from i2moe_plugin.tasks import Task


class ModelOutput(NamedTuple):
    """What a model says of a batch.

    Attributes:
        prediction: [B, C].
        auxiliary: the backbone's own loss, a scalar.
        outputs: expert outputs [E, V, B, C] (V = 1 outside training), or None for vanilla.
        weights: [B, E], or None for vanilla.
        views: the V views, the complete one first; none for vanilla.
        fused: what the experts' heads read, [E, V, B, D], where the experts say it.
        unmasked: which of the V - 1 masked views mask a modality that the sample has, [V-1, B];
            None: all. Of the others nothing is learned.
    """

    prediction: Tensor
    auxiliary: Tensor
    outputs: Tensor | None = None
    weights: Tensor | None = None
    views: tuple[View, ...] = ()
    fused: Tensor | None = None
    unmasked: Tensor | None = None


class Losses(NamedTuple):
    """The terms of one step's loss; ``total`` is what is minimised.

    Attributes:
        total: task + objective.weight * sum(interaction) / (M + 2) + auxiliary_weight * auxiliary,
            and the objective's penalty.
        task: of the prediction against the target.
        interaction: [E], each expert's; None for vanilla and where only the complete view was run.
        auxiliary: the backbone's own.
    """

    total: Tensor
    task: Tensor
    interaction: Tensor | None
    auxiliary: Tensor


class Encoded(NamedTuple):
    """The encoded inputs of a batch.

    Attributes:
        latents: M tensors [B, D] or [B, T, D].
        padding_masks: for each modality None or [B, T], True where a token is padding; None where
            no modality is padded.
    """

    latents: list[Tensor]
    padding_masks: list[Tensor | None] | None

    def of_rows(self, rows: Sequence[Tensor | None]) -> Encoded:
        """Take of each modality these samples alone; all of them where there is None.

        Args:
            rows: M tensors of places in the batch, as :func:`~i2moe_plugin.incomplete.rows_with`
                gives of those that have the modality.
        """

        def take(values: Tensor | None, places: Tensor | None) -> Tensor | None:
            if values is None or places is None:
                return values
            return values.index_select(0, places.to(values.device))

        latents = [take(latent, places) for latent, places in zip(self.latents, rows, strict=True)]
        masks = self.padding_masks
        if masks is not None:
            masks = [take(mask, places) for mask, places in zip(masks, rows, strict=True)]
        return Encoded([latent for latent in latents if latent is not None], masks)


class MultimodalModel(nn.Module):
    """The base of all models: encoders, and what is done with a prediction.

    Args:
        encoders: M modules; encoder m takes x_m (a tensor, or the items of a tuple) and returns a
            latent [B, D] or [B, T, D], or ``(latent, padding mask [B, T])``.
        latents: the shapes of the latents.
        task: what is predicted.
        auxiliary_weight: weight of the backbone's own loss.

    Raises:
        ConfigError: fewer than 2 modalities.
        ShapeError: not as many encoders as latents.
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
        check_modalities(encoders, latents)
        self.encoders = nn.ModuleList(encoders)
        self.latents = tuple(latents)
        self.task = task
        self.auxiliary_weight = auxiliary_weight
        self._absence: tuple[Masking, ...] = ()  # no part of the state

    def fill_absent_by(self, masking: Masking | None) -> None:
        """Choose what stands for the latent of an absent modality.

        Args:
            masking: makes it, for latents of these shapes; None: the model's own way, as in
                training.

        Raises:
            ConfigError: a model that is trained to do without modalities, and fills none.
        """
        self._absence = () if masking is None else (masking,)

    @property
    def expert_names(self) -> list[str]:
        """The names of the experts that an output has, in order; none for vanilla."""
        return []

    @property
    def every_encoder(self) -> Sequence[nn.Module]:
        """All modules that encode; models with several sets of encoders have more."""
        return [self.encoders]

    def present(self, inputs: Sequence[Any], absent: Sequence[int]) -> list[int]:
        """List the modalities (0-based) of a batch that are there.

        Raises:
            ShapeError: not M inputs, or no modality left.
        """
        if len(inputs) != len(self.encoders):
            raise ShapeError(f"{len(self.encoders)} modalities expected, {len(inputs)} given.")
        gone = set(absent)
        if gone and not (gone < set(range(len(self.encoders)))):
            raise ShapeError(
                f"absent modalities {sorted(gone)}: give some but not all of 0..{len(inputs) - 1}."
            )
        return [index for index in range(len(inputs)) if index not in gone]

    def encode_modality(
        self, encoder: nn.Module, index: int, x: Any
    ) -> tuple[Tensor, Tensor | None]:
        """Encode one modality: its latent, and its padding mask (None where there is none).

        Args:
            encoder: its encoder.
            index: which modality it is, from 0.
            x: its batch, all of whose samples have it.

        Raises:
            ShapeError: a latent that differs from its spec.
        """
        latent, mask = encode_one(encoder, x)
        check_latent(index, self.latents[index], latent, mask)
        return latent, mask

    def encode(
        self,
        inputs: Sequence[Any],
        absent: Sequence[int] = (),
        encoders: nn.ModuleList | None = None,
    ) -> Encoded:
        """Encode the inputs of a batch.

        Args:
            inputs: M batches, one a modality; what stands at an absent place is not looked at. One
                that some samples lack is :class:`~i2moe_plugin.incomplete.Incomplete`; what stands
                for its latent there is what stands for that of an absent modality.
            absent: the modalities (0-based) that are absent from this batch.
            encoders: M modules; the model's own by default.

        Raises:
            ShapeError: not M inputs, no modality left, or latents that differ from their specs.
        """
        chosen = self.encoders if encoders is None else encoders
        there = self.present(inputs, absent)
        latents: list[Tensor | None] = []
        masks: list[Tensor | None] = []
        for index, x in enumerate(inputs):
            latent, mask = None, None
            given = x.x if isinstance(x, Incomplete) else x
            if index in there and given is not None:
                latent, mask = self.encode_modality(chosen[index], index, given)
            latents.append(latent)
            masks.append(mask)
        # Also of a batch whose samples have none of the modalities that are there.
        sizes = [x.size for x in inputs if isinstance(x, Incomplete)]
        sizes += [
            len(latent)
            for x, latent in zip(inputs, latents, strict=True)
            if latent is not None and not isinstance(x, Incomplete)
        ]
        if len(set(sizes)) > 1:
            raise ShapeError(f"the modalities' latents differ in batch size: {sizes}.")
        known = [latent for latent in latents if latent is not None]
        like = known[0] if known else next(self.parameters())
        stand_in = self._absence[0].absent if self._absence else self._stand_in
        filled = []
        for index, (x, latent) in enumerate(zip(inputs, latents, strict=True)):
            if latent is None:
                shape = (sizes[0], *self.latents[index].shape)
                # A copy: masking's statistics are updated in place, by what other ranks see too.
                filled.append(stand_in(like.new_zeros(shape), index).clone())
            elif isinstance(x, Incomplete):
                mask, tokens = masks[index], self.latents[index].tokens or 0
                if mask is not None:
                    # What stands for a sequence is as long as its spec, whoever else is there.
                    latent, mask = lengthen(latent, mask, tokens)
                    own = torch.arange(mask.shape[1], device=mask.device) >= tokens
                    others_mask = own.expand(x.size, -1)
                    masks[index] = others_mask.index_copy(0, x.rows, mask)
                others = stand_in(latent.new_zeros((x.size, *latent.shape[1:])), index)
                filled.append(others.to(latent.dtype).index_copy(0, x.rows, latent))
            else:
                filled.append(latent)
        return Encoded(filled, masks if any(mask is not None for mask in masks) else None)

    def _stand_in(self, like: Tensor, modality: int) -> Tensor:
        """Make what stands for an absent modality's latent, a tensor of zeros like it."""
        return like

    @property
    def plan(self) -> dict[str, Any] | None:
        """How the experts are run, once that has been settled; None for vanilla.

        A training that goes on from a saved state sets it, since another plan would not go on with
        the same digits.
        """
        return None

    @plan.setter
    def plan(self, record: dict[str, Any] | None) -> None: ...

    def set_epoch(self, epoch: int) -> None:
        """Tell the model which epoch of training begins, from 1."""

    @property
    def separate_parts(self) -> Mapping[str, tuple[str, ...]]:
        """The parts whose best epoch is chosen apart, and how their parameters' names begin.

        The last of them takes all other parameters. None: the model is kept as a whole, at its best
        epoch by the trainer's metric.
        """
        return {}

    def separate_losses(self, outputs: Any, target: Any) -> dict[str, float]:
        """Compute the validation loss of each of :attr:`separate_parts`.

        Args:
            outputs: of the experts on the complete view, [N, E, C].
            target: [N] or [N, C].
        """
        return {}

    def conclude(self, outputs: Any, target: Any) -> None:
        """Fit what is fitted to validation data once the best weights are in place.

        Args:
            outputs, target: see :meth:`separate_losses`.
        """

    def conclude_training(self, outputs: Any, target: Any) -> None:
        """Take note of what the best weights say of training data, after :meth:`conclude`.

        Args:
            outputs, target: see :meth:`separate_losses`; of training samples.
        """

    def losses(self, output: ModelOutput, target: Tensor) -> Losses:
        """Compute the loss terms of an output against the batch's target, at least in float32."""
        task = self.task.loss(in_full(output.prediction), self.task.prepare(target))
        auxiliary = in_full(output.auxiliary)
        return Losses(task + self.auxiliary_weight * auxiliary, task, None, auxiliary)


def in_full(tensor: Tensor) -> Tensor:
    """Raise half precision to float32."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
