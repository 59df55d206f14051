"""The parts that an I2MoE model is made of, built from a method's recipe and a user's settings."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypeVar, cast

from torch import nn

from i2moe_plugin.backbones.fused import WithFused
from i2moe_plugin.backbones.latents import LatentSpec, check_modalities
from i2moe_plugin.deprecation import deprecated
from i2moe_plugin.errors import ConfigError, did_you_mean
from i2moe_plugin.execution.bank import ExpertBank, ExpertInit
from i2moe_plugin.execution.rule import Plan
from i2moe_plugin.interactions.experts import Expert, interaction_experts
from i2moe_plugin.interactions.losses import find_objective
from i2moe_plugin.interactions.masking import create_masking
from i2moe_plugin.interactions.views import MaskedViews, one_masked
from i2moe_plugin.reweighting import (
    GlobalReweighting,
    MLPReweighting,
    TopTwoReweighting,
    UniformReweighting,
)
from i2moe_plugin.tasks import Task


@dataclass(frozen=True)
class ModelSettings:
    """What a user may choose of any method; a method without such a part ignores it.

    Attributes:
        interaction_weight: lambda of the mean interaction loss.
        interaction_loss: name of the objective; None: the one that fits the task.
        masking: name of what replaces a masked latent.
        expert_init: experts start as ``copies`` of one backbone, or ``independent``.
        reweighting_hidden, reweighting_layers, reweighting_dropout, temperature: of the MLP that
            weights the experts.
        auxiliary_weight: weight of the backbone's own loss.
        regularizer_weight: of the penalty of a ``rep-`` method; None: the penalty's own.
        evidence_joint, evidence_copies: joint experts and unimodal banks of ``evidence``.
        new_encoders: builds M further encoders, for a method with several sets of them; None:
            copies of the given ones, which start alike.
        plan, memory_budget: see :class:`~i2moe_plugin.execution.bank.ExpertBank`.
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
    evidence_joint: int = 2
    evidence_copies: int = 2
    new_encoders: Callable[[], Sequence[nn.Module]] | None = None
    plan: Plan = "auto"
    memory_budget: int | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> ModelSettings:
        """Make settings of what a user says.

        Raises:
            ConfigError: settings that there are not; all are named.
        """
        known = [each.name for each in fields(cls)]
        if unknown := [name for name in given if name not in known]:
            raise ConfigError(
                [
                    f"a model has no setting {name!r}.{did_you_mean(name, known)} It has: "
                    f"{', '.join(known)}."
                    for name in unknown
                ]
            )
        return cls(**given)


@dataclass(frozen=True)
class Recipe:
    """What a method chooses of the parts of I2MoE; the defaults are the paper's.

    Attributes:
        experts: the number of modalities -> the experts.
        masked: how many modalities are masked at a training step, each in a view of its own, drawn
            anew each time; None: all.
        reweighting: ``mlp``: each sample's own weights; ``unit``: so, of latents scaled to length
            1; ``top2``: so, for two experts a sample; ``global``: one learned weight an expert;
            ``uniform``: all the same, and nothing is learned.
        objective: what is changed in the objective, by the names of its attributes.
        expert_init: how experts must start, whatever the settings say.
        tokens: latents must be tokens.
    """

    experts: Callable[[int], Sequence[Expert]] = interaction_experts
    masked: int | None = None
    reweighting: Literal["mlp", "unit", "top2", "global", "uniform"] = "mlp"
    objective: Mapping[str, Any] = field(default_factory=dict)
    expert_init: ExpertInit | None = None
    tokens: bool = False

    def parts(
        self,
        latents: Sequence[LatentSpec],
        factory: Callable[[], nn.Module],
        task: Task,
        settings: ModelSettings,
    ) -> dict[str, Any]:
        """Build the arguments of :class:`~i2moe_plugin.model.I2MoE` but for the encoders.

        Initial weights are drawn in a fixed order: the experts', then the reweighting's.

        Args:
            latents: the shapes of the latents.
            factory: builds one backbone.
            task: what is predicted.
            settings: the user's.

        Raises:
            ConfigError: settings that cannot be used.
            BackboneError: a backbone that cannot become experts.
        """
        if self.tokens and any(latent.kind != "tokens" for latent in latents):
            raise ConfigError(
                "this method gives experts the tokens themselves, but latents here are vectors: "
                "choose a backbone that takes tokens, such as token-transformer."
            )
        modalities = len(latents)
        experts = self.experts(modalities)
        objective = replace(
            find_objective(settings.interaction_loss or task.objective),
            weight=settings.interaction_weight,
            **self.objective,
        )
        if objective.penalty is not None and settings.regularizer_weight is not None:
            penalty = replace(objective.penalty, weight=settings.regularizer_weight)
            objective = replace(objective, penalty=penalty)

        def backbone() -> nn.Module:
            built = factory()
            return WithFused(built, task.num_outputs) if objective.reads_fused else built

        init = self.expert_init or settings.expert_init
        bank = ExpertBank(backbone, len(experts), init, settings.plan, settings.memory_budget)
        return {
            "bank": bank,
            "reweighting": self._reweighting(latents, len(experts), settings),
            "masking": create_masking(settings.masking, latents),
            "task": task,
            "experts": experts,
            "views": MaskedViews(() if self.masked == 0 else one_masked(modalities), self.masked),
            "objective": objective,
            "auxiliary_weight": settings.auxiliary_weight,
        }

    def _reweighting(
        self, latents: Sequence[LatentSpec], experts: int, settings: ModelSettings
    ) -> nn.Module:
        if self.reweighting == "global":
            return GlobalReweighting(experts)
        if self.reweighting == "uniform":
            return UniformReweighting(experts)
        kind = TopTwoReweighting if self.reweighting == "top2" else MLPReweighting
        return kind(
            [latent.dim for latent in latents],
            experts,
            hidden_dim=settings.reweighting_hidden,
            num_layers=settings.reweighting_layers,
            temperature=settings.temperature,
            dropout=settings.reweighting_dropout,
            unit=self.reweighting == "unit",
        )


InitT = TypeVar("InitT", bound=Callable[..., None])


def takes_former_arguments(init: InitT) -> InitT:
    """Let ``I2MoE(encoders, latents, factory, task, **settings)`` of before go on working."""

    def parts(
        encoders: Sequence[nn.Module],
        latents: Sequence[LatentSpec],
        factory: Callable[[], nn.Module],
        task: Task,
        interaction: str | None = None,
        **settings: Any,
    ) -> dict[str, Any]:
        check_modalities(encoders, latents)
        chosen = ModelSettings.of({"interaction_loss": interaction, **settings})
        return {"encoders": encoders, **Recipe().parts(latents, factory, task, chosen)}

    @functools.wraps(init)
    def call(self: Any, /, *args: Any, **given: Any) -> None:
        positional = len(args) > 1 and not isinstance(args[1], ExpertBank)
        if positional or {"latents", "factory"} & given.keys():
            deprecated(
                "I2MoE(encoders, latents, factory, task, ...)",
                "create_model('i2moe', encoders, latents, factory, task, ...), or I2MoE(encoders, "
                "bank, masking, reweighting, task) with parts of your own",
            )
            args, given = (), parts(*args, **given)
        init(self, *args, **given)

    return cast(InitT, call)
