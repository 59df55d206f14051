"""The untrained model of a run: built from its settings and seed, and put into its trainer."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_fabric import Fabric
from torch import nn

from i2moe_plugin.backbones.create import create_backbone
from i2moe_plugin.backbones.entry import backbones
from i2moe_plugin.backbones.latents import LatentSpec, latent_specs
from i2moe_plugin.benchmarks.data.open import OpenedDataset, PreparedDataset
from i2moe_plugin.benchmarks.encoders import EncoderSettings
from i2moe_plugin.benchmarks.run.environment import cpu_threads, resolve_device
from i2moe_plugin.benchmarks.run.settings import RunSettings
from i2moe_plugin.execution.layers import quicken
from i2moe_plugin.methods import PooledTokens, create_model, find_method
from i2moe_plugin.model import MultimodalModel
from i2moe_plugin.seeding import seeded
from i2moe_plugin.training import Trainer, count_parameters


def create_trainer(settings: RunSettings, data: OpenedDataset, fabric: Fabric) -> Trainer:
    """Build the model of a run and put it into the trainer that trains it.

    Args:
        settings: of the run.
        data: the opened data set.
        fabric: the device and precision to train on.

    Raises:
        ConfigError, BackboneError, ShapeError: see :func:`build_model`.
    """
    model = build_model(settings, data)
    quicken(model)
    return Trainer(
        model,
        metric=settings.metric or data.selection or data.metric,
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        clip_grad_norm=settings.clip_grad_norm,
        seed=settings.seed,
        fabric=fabric,
        compile=settings.compile,
    )


# Threads do not survive a fork: a process forked from one that has used them waits for ever where
# it needs some. Models are built before runs are handed to processes, and in them.
@cpu_threads(1)
def build_model(settings: RunSettings, data: OpenedDataset) -> MultimodalModel:
    """Build the model of a run, with initial weights from its seed.

    All methods of one seed start from the same encoders and the same backbone.

    Raises:
        ConfigError, BackboneError, ShapeError: the backbone does not fit the data.
    """
    if settings.method == "wide":
        return _widened(settings, data)
    entry = backbones.get(settings.fusion)
    encoder_settings = EncoderSettings(
        latents="tokens" if entry.latents == "tokens" else "vector",
        dim=settings.latent_dim,
        hidden=settings.encoder_hidden,
        dropout=settings.encoder_dropout,
        input_dropout=settings.input_dropout,
        patches=settings.patches,
    )
    prepared = data.prepare(resolve_device(settings.device))
    with seeded(settings.seed, "init", "encoders"):
        encoders = prepared.encoders(encoder_settings)
    if find_method(settings.method).pooled:
        encoders = [PooledTokens(encoder) for encoder in encoders]
    latents = _measure(encoders, prepared)
    task = data.task
    built = 0

    def backbone() -> nn.Module:
        nonlocal built
        with seeded(settings.seed, "init", "backbone", built):
            built += 1
            return create_backbone(
                settings.fusion, latents, task.num_outputs, **settings.fusion_settings
            )

    with seeded(settings.seed, "init", "reweighting"):
        return create_model(
            settings.method,
            encoders,
            latents,
            backbone,
            task,
            interaction_weight=settings.interaction_weight,
            interaction_loss=settings.interaction_loss,
            masking=settings.masking,
            expert_init=settings.expert_init,
            reweighting_hidden=settings.reweighting_hidden,
            reweighting_layers=settings.reweighting_layers,
            reweighting_dropout=settings.reweighting_dropout,
            temperature=settings.temperature,
            auxiliary_weight=settings.auxiliary_weight,
            regularizer_weight=settings.regularizer_weight,
            plan=settings.plan,
            memory_budget=settings.memory_budget and settings.memory_budget * 1_000_000,
        )


def _widened(settings: RunSettings, data: OpenedDataset) -> MultimodalModel:
    """Build the vanilla model on latents so wide that it has about as many parameters as I2MoE.

    The width is the multiple of the settings' eighth (so that attention heads still divide it)
    whose number of parameters comes closest.
    """

    def model(method: str, latent_dim: int) -> MultimodalModel:
        changed = {"method": method, "latent_dim": latent_dim}
        return build_model(settings.model_copy(update=changed), data)

    goal = count_parameters(model("i2moe", settings.latent_dim))
    step = max(settings.latent_dim // 8, 1)
    low, high = settings.latent_dim, 2 * settings.latent_dim
    while count_parameters(model("vanilla", high)) < goal:
        low, high = high, 2 * high
    while high - low > step:
        middle = low + (high - low) // step // 2 * step
        if count_parameters(model("vanilla", middle)) < goal:
            low = middle
        else:
            high = middle
    return min(
        (model("vanilla", width) for width in (low, high)),
        key=lambda one: abs(count_parameters(one) - goal),
    )


def _measure(encoders: Sequence[nn.Module], data: PreparedDataset) -> list[LatentSpec]:
    *inputs, _ = next(iter(data.loader("train", batch_size=2)))
    return latent_specs(encoders, inputs)
