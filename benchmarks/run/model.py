"""The untrained model of a run: built from its settings and seed, and put into its trainer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities import move_data_to_device
from torch import nn

from i2moe_plugin.backbones.create import create_backbone
from i2moe_plugin.backbones.entry import backbones
from i2moe_plugin.backbones.latents import latent_specs
from i2moe_plugin.backbones.soundness import NORM_OF_ONE, unsound
from i2moe_plugin.backbones.wrapper import Backbone
from i2moe_plugin.benchmarks.data.open import OpenedDataset
from i2moe_plugin.benchmarks.encoders import EncoderSettings
from i2moe_plugin.benchmarks.run.environment import cpu_threads, resolve_device
from i2moe_plugin.benchmarks.run.settings import RunSettings
from i2moe_plugin.errors import BackboneError, ConfigError
from i2moe_plugin.execution.layers import quicken
from i2moe_plugin.incomplete import Incomplete
from i2moe_plugin.interactions.masking import Masking
from i2moe_plugin.methods import PooledTokens, create_model, find_method
from i2moe_plugin.multimodal import MultimodalModel
from i2moe_plugin.parts import ModelSettings
from i2moe_plugin.seeding import seeded
from i2moe_plugin.target_scale import TargetScale
from i2moe_plugin.tasks import Regression, Task
from i2moe_plugin.training import Trainer, count_parameters


def create_trainer(settings: RunSettings, data: OpenedDataset, fabric: Fabric) -> Trainer:
    """Build the model of a run and put it into the trainer that trains it.

    Raises:
        ConfigError: the settings ask for other devices than this process trains on.
    """
    if settings.devices != fabric.world_size:
        raise ConfigError(
            f"devices={settings.devices}: runs alone are trained on several devices, by "
            "i2moe-bench run or suite."
        )
    model = build_model(settings, data)
    quicken(model)
    return Trainer(
        model,
        metric=settings.metric or data.selection or data.metric,
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        clip_grad_norm=settings.clip_grad_norm,
        seed=settings.seed,
        patience=settings.patience,
        schedule=settings.schedule,
        target_scale=target_scale(settings, data),
        fabric=fabric,
    )


def target_scale(settings: RunSettings, data: OpenedDataset) -> TargetScale | None:
    """How a run standardises its targets, from training rows; None for other tasks than regression.

    Args:
        settings: of the run.
        data: the opened data set.
    """
    if not settings.standardise_target or not isinstance(data.task, Regression):
        return None
    return TargetScale.fit(data.labels("train"), data.task.num_outputs)


def sharing_notes(settings: RunSettings, model: MultimodalModel) -> list[str]:
    """Say what differs between several devices that train together and one; none of one."""
    if settings.devices == 1:
        return []
    drawn = "masking noise and dropout"
    if settings.masking == "marginal":
        drawn += ", and the other samples of marginal masking,"
    notes = [
        f"Trained on {settings.devices} devices, each with its share of every batch: {drawn} are "
        "drawn by each for its share. Losses are those of the joined batch."
    ]
    if any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in model.modules()):
        notes.append(
            "BatchNorm took its statistics from each device's share of a batch, as from smaller "
            "batches; in tests it used those of the first device."
        )
    if backbones.get(settings.fusion).auxiliary:
        notes.append(
            "The backbone's own loss was the mean of those of the devices' shares, not that of the "
            "joined batch."
        )
    return notes


def backbone_notes(model: MultimodalModel) -> list[str]:
    """Say what makes the figures of a model's backbone doubtful; see :func:`unsound`."""
    backbone = next((part for part in model.modules() if isinstance(part, Backbone)), None)
    return [] if backbone is None else unsound(backbone, backbone.latents)


def absence_notes(incomplete: Sequence[str], model: MultimodalModel) -> list[str]:
    """Say where noise stands for what samples lack.

    Args:
        incomplete: the modalities that some samples lack.
        model: of the run.
    """
    masking = getattr(model, "masking", None)
    if not incomplete or not isinstance(masking, Masking) or not masking.absence_is_drawn:
        return []
    return [
        f"Noise stands for what a sample lacks ({', '.join(incomplete)}): what such samples "
        "are predicted as depends on the batch size and on the order of the samples. With "
        "--masking mean or zero it does not."
    ]


def check_last_batch(settings: RunSettings, data: OpenedDataset, model: MultimodalModel) -> None:
    """Try one training sample where a batch may hold no more, or no more with some modality.

    Raises:
        BackboneError: the model cannot be trained on it; names a batch size that leaves none.
    """
    count, size, devices = len(data.labels("train")), settings.batch_size, settings.devices
    device = next(model.parameters()).device
    prepared = data.prepare(device)
    if smallest_share(count, size, devices) == 1:
        *inputs, _ = next(iter(prepared.loader("train", batch_size=1)))
        larger = range(size + 1, count)
        other = next((b for b in larger if smallest_share(count, b, devices) > 1), count)
        place = "a last batch of one sample" if devices == 1 else "a device a single sample"
        _try(
            settings,
            model,
            inputs,
            f"{count} training samples in batches of {size} leave {place}, on "
            f"which BatchNorm cannot be trained: choose another batch size (--batch-size {other}), "
            "or take LayerNorm.",
        )
    if data.incomplete:
        inputs = [
            Incomplete(_first_of(x), torch.tensor([0]), 2) if name in data.incomplete else x
            for name, x in zip(data.modalities, prepared.example(), strict=True)
        ]
        _try(
            settings,
            model,
            inputs,
            f"some samples lack {', '.join(data.incomplete)}, so that a batch may hold one sample "
            "that has it, on which BatchNorm cannot be trained: take LayerNorm, or larger pictures "
            "where it is theirs.",
        )


def check_shares(settings: RunSettings, data: OpenedDataset) -> None:
    """Refuse a batch size that leaves a device without a sample.

    Raises:
        ConfigError: it does; names a batch size that does not.
    """
    count, devices = len(data.labels("train")), settings.devices
    if smallest_share(count, settings.batch_size, devices) < 1:
        sizes = sorted(range(1, count + 1), key=lambda size: abs(size - settings.batch_size))
        other = next((size for size in sizes if smallest_share(count, size, devices)), None)
        advice = "Take fewer devices." if other is None else f"Give --batch-size {other}."
        raise ConfigError(
            f"{count} training samples in batches of {settings.batch_size} leave one of {devices} "
            f"devices without a sample in some batch. {advice}"
        )


def smallest_share(count: int, size: int, devices: int) -> int:
    """Return how many samples of the smallest batch the device with the fewest of them has.

    Args:
        count: training samples.
        size: of a batch.
        devices: that share each batch.

    >>> smallest_share(10, 4, 2), smallest_share(9, 4, 2)
    (1, 0)
    """
    return min(min(size, count), count % size or size) // devices


def _try(settings: RunSettings, model: MultimodalModel, inputs: Any, problem: str) -> None:
    device = next(model.parameters()).device
    tried = copy.deepcopy(model).train()
    try:
        with torch.no_grad(), seeded(settings.seed, "last batch"):
            tried(move_data_to_device(inputs, device))
    except ValueError as error:
        if NORM_OF_ONE not in str(error):
            raise
        raise BackboneError(problem) from error


def _first_of(x: Any) -> Any:
    """Return the batch of a modality's first sample alone."""
    return tuple(map(_first_of, x)) if isinstance(x, (tuple, list)) else x[:1]


# Threads do not survive a fork: a process forked from one that has used them waits for ever where
# it needs some. Models are built before runs are handed to processes, and in them.
def build_model(settings: RunSettings, data: OpenedDataset) -> MultimodalModel:
    """Build the model of a run, with initial weights from its seed.

    All methods of one seed start from the same encoders and the same backbone.
    """
    with cpu_threads(1):
        prepared = data.prepare(resolve_device(settings.device))
        return assemble(settings, prepared.encoders, prepared.example(), data.task)


#: Of I2MoE's parameters, the least that ``wide`` has where its backbone has a largest width.
SMALLEST_WIDE = 0.9


def assemble(
    settings: RunSettings,
    new_encoders: Callable[[EncoderSettings], list[nn.Module]],
    example: Sequence[Any],
    task: Task,
) -> MultimodalModel:
    """Build the model of a run from what it needs to know of the data.

    Args:
        settings: of the run.
        new_encoders: gives one untrained encoder for each modality.
        example: two samples as a batch, ``(x_1, ..., x_M)``.
        task: what is predicted.
    """
    if settings.method == "wide":
        return _widened(settings, new_encoders, example, task)
    entry = backbones.get(settings.fusion)
    encoder_settings = EncoderSettings(
        latents="tokens" if entry.latents == "tokens" else "vector",
        dim=settings.latent_dim,
        hidden=settings.encoder_hidden,
        dropout=settings.encoder_dropout,
        input_dropout=settings.input_dropout,
        patches=settings.patches,
    )
    pooled = find_method(settings.method).pooled
    sets = 0

    def next_encoders() -> list[nn.Module]:
        nonlocal sets
        sets += 1
        with seeded(settings.seed, "init", "encoders", *([sets] if sets > 1 else [])):
            built = new_encoders(encoder_settings)
        return [PooledTokens(encoder) for encoder in built] if pooled else built

    encoders = next_encoders()
    latents = latent_specs(encoders, example)
    evidence = settings.evidence_settings
    own = {
        "evidence_joint": evidence.joint,
        "evidence_copies": evidence.copies,
        "new_encoders": next_encoders,
        "memory_budget": settings.memory_budget and settings.memory_budget * 1_000_000,
    }
    names = [field.name for field in fields(ModelSettings) if field.name not in own]
    chosen = {name: getattr(settings, name) for name in names} | own
    built = 0

    def backbone(num_outputs: int = task.num_outputs) -> nn.Module:
        nonlocal built
        with seeded(settings.seed, "init", "backbone", built):
            built += 1
            return create_backbone(
                settings.fusion, latents, num_outputs, **settings.fusion_settings
            )

    with seeded(settings.seed, "init", "reweighting"):
        return create_model(settings.method, encoders, latents, backbone, task, **chosen)


def _widened(settings: RunSettings, *parts: Any) -> MultimodalModel:
    """Build the vanilla model on latents so wide that it has about as many parameters as I2MoE.

    Of the multiples of the smallest step that the backbone can be built with (attention heads must
    divide a width; an eighth of the settings' width, or more) it is the one whose number of
    parameters comes closest.

    Raises:
        ConfigError: the backbone has a largest width, at which it is not large enough, or its size
            does not depend on the width.
    """
    sizes: dict[int, int | None] = {}

    def model(method: str, latent_dim: int) -> MultimodalModel:
        changed = {"method": method, "latent_dim": latent_dim}
        return assemble(settings.model_copy(update=changed), *parts)

    def size(width: int) -> int | None:
        """The number of parameters; None where the backbone cannot be so wide."""
        if width not in sizes:
            try:
                sizes[width] = count_parameters(model("vanilla", width))
            except (ConfigError, BackboneError):
                sizes[width] = None
        return sizes[width]

    def enough(width: int) -> bool:
        found = size(width)
        return found is None or found >= goal

    start = settings.latent_dim
    goal = count_parameters(model("i2moe", start))
    own = count_parameters(model("vanilla", start))
    low, high = start, 2 * start
    while not enough(high):
        if size(high) == size(low):
            raise ConfigError(
                f"{settings.fusion} does not grow with the latents: at width {start} and at "
                f"{high} it has {own:,} parameters, so there is no method wide."
            )
        low, high = high, 2 * high
    steps = range(max(start // 8, 1), start + 1)
    step = next((step for step in steps if size(start + step) is not None), start)
    while high - low > step:
        middle = low + (high - low) // step // 2 * step
        low, high = (low, middle) if enough(middle) else (middle, high)
    known = {width: found for width, found in sizes.items() if found is not None} | {start: own}
    best = min(known, key=lambda width: (abs(known[width] - goal), width))
    if known[best] < SMALLEST_WIDE * goal and size(high) is None:
        raise ConfigError(
            f"the method wide is to have {goal:,} parameters, as many as I2MoE, and "
            f"{settings.fusion} cannot be built wide enough: at width {best} it has "
            f"{known[best]:,}. Set a smaller latent_dim."
        )
    return model("vanilla", best)
