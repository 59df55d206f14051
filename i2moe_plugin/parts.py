"""The parts that an I2MoE model is made of, built from a method's recipe and a user's settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from torch import nn

from i2moe_plugin.backbones.fused import WithFused
from i2moe_plugin.backbones.latents import LatentSpec
from i2moe_plugin.errors import ConfigError, ShapeError, did_you_mean
from i2moe_plugin.execution.bank import ExpertBank, ExpertInit
from i2moe_plugin.execution.rule import Plan
from i2moe_plugin.interactions.experts import Expert, interaction_experts
from i2moe_plugin.interactions.losses import Objective, find_objective
from i2moe_plugin.interactions.masking import create_masking
from i2moe_plugin.interactions.regularizers import Penalty
from i2moe_plugin.interactions.views import MaskedViews, one_masked
from i2moe_plugin.reweighting import GlobalReweighting, MLPReweighting, UniformReweighting
from i2moe_plugin.tasks import Task


@dataclass(frozen=True)
class ModelSettings:
    """What a user may choose of any method; a method that has no such part ignores it.

    Attributes:
        interaction_weight: lambda of the mean interaction loss.
        interaction_loss: name of the objective; None: the one that fits the task.
        masking: name of what replaces a masked latent.
        expert_init: experts start as ``copies`` of one backbone, or ``independent``.
        reweighting_hidden, reweighting_layers, reweighting_dropout, temperature: of the MLP that
            weights the experts.
        auxiliary_weight: weight of the backbone's own loss.
        regularizer_weight: of the penalty of a ``rep-`` method; None: the penalty's own.
        plan, memory_budget: how the expert bank runs, see
            :class:`~i2moe_plugin.execution.bank.ExpertBank`; the budget in bytes.
    """

    interaction_weight: float = 0.5
    interaction_loss: str | None = None
    masking: str = "random"
    expert_init: ExpertInit = "copies"
    reweighting_hidden: int = 128
    reweighting_layers: int = 2
    reweighting_dropout: float = 0.5
    temperature: float = 1.0
    auxiliary_weight: float = 0.01
    regularizer_weight: float | None = None
    plan: Plan = "auto"
    memory_budget: int | None = None

    @classmethod
    def of(cls, given: dict[str, Any]) -> ModelSettings:
        """Make settings of what a user says.

        Raises:
            ConfigError: settings that there are not; all are named.
        """
        known = [field.name for field in fields(cls)]
        problems = [
            f"a model has no setting {name!r}.{did_you_mean(name, known)} "
            f"It has: {', '.join(known)}."
            for name in given
            if name not in known
        ]
        if problems:
            raise ConfigError(problems)
        return cls(**given)


@dataclass(frozen=True)
class Ingredients:
    """What every method makes its model of.

    Attributes:
        encoders: M modules, see :class:`~i2moe_plugin.model.MultimodalModel`.
        latents: the shapes of the latents.
        factory: builds one backbone, latents -> ([B, C], auxiliary loss).
        task: what is predicted.
        settings: the user's.

    Raises:
        ConfigError, ShapeError: see :func:`check_modalities`.
    """

    encoders: Sequence[nn.Module]
    latents: Sequence[LatentSpec]
    factory: Callable[[], nn.Module]
    task: Task
    settings: ModelSettings

    def __post_init__(self) -> None:
        check_modalities(self.encoders, self.latents)


def check_modalities(encoders: Sequence[nn.Module], latents: Sequence[LatentSpec]) -> None:
    """Refuse a single modality, and encoders that are not as many as latents.

    Raises:
        ConfigError: fewer than 2 modalities.
        ShapeError: not as many encoders as latents.
    """
    if len(encoders) < 2:
        raise ConfigError(
            f"a fusion needs at least 2 modalities; {len(encoders)} given. With one modality there "
            "is no interaction to find."
        )
    if len(encoders) != len(latents):
        raise ShapeError(f"{len(encoders)} encoders but {len(latents)} latent shapes.")


@dataclass(frozen=True)
class MixtureRecipe:
    """What a method chooses of the parts of I2MoE; the defaults are the paper's.

    Attributes:
        experts: the number of modalities -> the experts.
        masked: how many modalities are masked at a training step, each in a view of its own, drawn
            anew each time; None: all.
        reweighting: ``mlp``: each sample's own weights; ``global``: one learned weight an expert;
            ``uniform``: all the same, and nothing is learned.
        on: what the interaction losses compare: the experts' ``outputs``, or what their heads read
            (``fused``).
        detached: the interaction losses have no gradient.
        in_full: see :class:`Objective`.
        penalty: keeps what the experts' heads read apart.
        expert_init: how experts must start, whatever the settings say.
    """

    experts: Callable[[int], Sequence[Expert]] = interaction_experts
    masked: int | None = None
    reweighting: Literal["mlp", "global", "uniform"] = "mlp"
    on: Literal["outputs", "fused"] = "outputs"
    detached: bool = False
    in_full: bool = False
    penalty: Penalty | None = None
    expert_init: ExpertInit | None = None

    def parts(self, given: Ingredients) -> dict[str, Any]:
        """Build the arguments of :class:`~i2moe_plugin.model.I2MoE`.

        Initial weights are drawn in a fixed order: the experts', then the reweighting's.

        Raises:
            ConfigError: settings that cannot be used.
            BackboneError: a backbone that cannot become experts.
        """
        settings, task, modalities = given.settings, given.task, len(given.latents)
        experts = self.experts(modalities)

        def with_fused() -> nn.Module:
            return WithFused(given.factory(), task.num_outputs)

        reads_fused = self.on == "fused" or self.penalty is not None
        bank = ExpertBank(
            with_fused if reads_fused else given.factory,
            len(experts),
            self.expert_init or settings.expert_init,
            settings.plan,
            settings.memory_budget,
        )
        return {
            "encoders": given.encoders,
            "bank": bank,
            "reweighting": self._reweighting(given.latents, len(experts), settings),
            "masking": create_masking(settings.masking, given.latents),
            "task": task,
            "experts": experts,
            "views": MaskedViews(() if self.masked == 0 else one_masked(modalities), self.masked),
            "objective": self._objective(task, settings),
            "auxiliary_weight": settings.auxiliary_weight,
        }

    def _reweighting(
        self, latents: Sequence[LatentSpec], experts: int, settings: ModelSettings
    ) -> nn.Module:
        if self.reweighting == "global":
            return GlobalReweighting(experts)
        if self.reweighting == "uniform":
            return UniformReweighting(experts)
        return MLPReweighting(
            [latent.dim for latent in latents],
            experts,
            hidden_dim=settings.reweighting_hidden,
            num_layers=settings.reweighting_layers,
            temperature=settings.temperature,
            dropout=settings.reweighting_dropout,
        )

    def _objective(self, task: Task, settings: ModelSettings) -> Objective:
        penalty = self.penalty
        if penalty is not None and settings.regularizer_weight is not None:
            penalty = replace(penalty, weight=settings.regularizer_weight)
        return replace(
            find_objective(settings.interaction_loss or task.objective),
            weight=settings.interaction_weight,
            on=self.on,
            detached=self.detached,
            in_full=self.in_full,
            penalty=penalty,
        )
