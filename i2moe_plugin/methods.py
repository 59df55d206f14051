"""The methods that are compared: vanilla, I2MoE, evidence, ablations, and dense controls.

Each is the same encoders and backbones with one thing changed. What the released ablations compute
(``src/ablation`` of the I2MoE code) and how this differs is in docs/deviations.md.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor, nn

from i2moe_plugin.backbones.latents import (
    LatentSpec,
    check_modalities,
    encode_one,
    pool_tokens,
)
from i2moe_plugin.errors import ConfigError, did_you_mean
from i2moe_plugin.evidence import Evidence
from i2moe_plugin.interactions.experts import Expert, interaction_experts
from i2moe_plugin.interactions.regularizers import PENALTIES
from i2moe_plugin.model import I2MoE, Vanilla
from i2moe_plugin.multimodal import MultimodalModel
from i2moe_plugin.parts import ModelSettings, Recipe
from i2moe_plugin.tasks import Task

#: Settings of what experts learn from, and of the MLP that weights them.
OF_INTERACTIONS = frozenset({"interaction_weight", "interaction_loss", "masking"})
OF_REWEIGHTING = frozenset(
    {"temperature", "reweighting_hidden", "reweighting_layers", "reweighting_dropout"}
)
#: The usual backbone of methods on tokens.
FOR_TOKENS = "token-transformer"


@dataclass(frozen=True)
class Method:
    """One way to build a model from encoders and a backbone.

    Attributes:
        name: as users write it.
        description: what it changes.
        build: (encoders, latents, factory, task, settings) -> the model, see :func:`create_model`.
        pooled: the caller gives each modality as one token, the mean of what the encoder gives;
            see :class:`PooledTokens`.
        tokens: it is FL-I2MoE or a control of it, made for encoders' tokens.
        incomplete: it can be trained on samples that lack modalities.
    """

    name: str
    description: str
    build: Callable[..., MultimodalModel] = field(repr=False)
    pooled: bool = False
    tokens: bool = False
    incomplete: bool = True

    @property
    def fusion(self) -> str:
        """The backbone that a command takes where none is told; empty: the command's own."""
        return FOR_TOKENS if self.tokens else ""

    @property
    def ignored(self) -> frozenset[str]:
        """Names of the interaction and reweighting settings that change nothing in this method."""
        if not isinstance(self.build, Mixture):
            # They decide how large I2MoE is, which `wide` is made as large as.
            sizes = {"reweighting_hidden", "reweighting_layers"} if self.name == "wide" else set()
            return (OF_INTERACTIONS | OF_REWEIGHTING) - sizes
        interactions = OF_INTERACTIONS if self.build.masked == 0 else frozenset()
        fixed = self.build.reweighting in ("global", "uniform")
        return interactions | (OF_REWEIGHTING if fixed else frozenset())


class PooledTokens(nn.Module):
    """An encoder whose tokens are made one, their mean: a latent [B, 1, D] without padding.

    Args:
        encoder: gives a latent [B, D] or [B, T, D], or ``(latent, padding mask [B, T])``.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, *inputs: Tensor) -> Tensor:
        """Encode one modality: [B, 1, D]."""
        latent, mask = encode_one(self.encoder, inputs)
        return pool_tokens(latent, mask)[:, None]


class Mixture(Recipe):
    """A recipe that builds I2MoE of its parts."""

    def __call__(self, encoders: Sequence[nn.Module], *given: Any) -> I2MoE:
        """Build the model."""
        return I2MoE(encoders, **self.parts(*given))


def _vanilla(
    encoders: Sequence[nn.Module],
    latents: Sequence[LatentSpec],
    factory: Callable[[], nn.Module],
    task: Task,
    settings: ModelSettings,
) -> Vanilla:
    auxiliary_weight = settings.auxiliary_weight
    return Vanilla(encoders, latents, factory(), task, auxiliary_weight=auxiliary_weight)


def _evidence(
    encoders: Sequence[nn.Module],
    latents: Sequence[LatentSpec],
    factory: Callable[..., nn.Module],
    task: Task,
    settings: ModelSettings,
) -> Evidence:
    return Evidence(
        encoders,
        latents,
        factory,
        task,
        new_encoders=settings.new_encoders or (lambda: copy.deepcopy(list(encoders))),
        copies=settings.evidence_copies,
        joint=settings.evidence_joint,
        auxiliary_weight=settings.auxiliary_weight,
        plan=settings.plan,
        memory_budget=settings.memory_budget,
    )


def _joint(modalities: int) -> Sequence[Expert]:
    return interaction_experts(modalities)[-2:]


def _members(modalities: int) -> Sequence[Expert]:
    return [Expert("member", number=number + 1) for number in range(modalities + 2)]


def _only(name: str, modalities: int) -> Sequence[Expert]:
    known = {expert.name: expert for expert in interaction_experts(modalities)}
    if name not in known:
        raise ConfigError(
            f"no expert is called {name!r}.{did_you_mean(name, known)} With {modalities} "
            f"modalities there are {', '.join(known)}."
        )
    return [known[name]]


def _single(name: str) -> Mixture:
    return Mixture(partial(_only, name), reweighting="uniform", objective={"in_full": True})


SINGLE = "single-expert"
_ON_FUSED = Mixture(objective={"on": "fused"})
_ON_FUSED_RELEASED = Mixture(objective={"on": "fused", "detached": True})
_ONE_WEIGHT = Mixture(reweighting="global")
# Copies would get the same gradient at every step, and stay one model.
_MEAN = Mixture(_members, masked=0, reweighting="uniform", expert_init="independent")
_TOKENS = Mixture(reweighting="unit", objective={"on": "fused"}, tokens=True)
_SPARSE = Mixture(_members, masked=0, reweighting="top2", expert_init="independent")
METHODS = {
    method.name: method
    for method in (
        Method("vanilla", "the backbone alone", _vanilla),
        Method("i2moe", "the method (Xin et al., ICML 2025)", Mixture()),
        Method(
            "evidence",
            "ours: parts of each prediction in bits that sum up",
            _evidence,
            incomplete=False,
        ),
        Method("no-interaction", "ablation 1: no interaction losses", Mixture(masked=0)),
        Method("latent-contrastive", "ablation 2: losses on fused latents", _ON_FUSED),
        Method(
            "latent-contrastive-released",
            "ablation 2 as released: those losses have no gradient",
            _ON_FUSED_RELEASED,
        ),
        Method("simple-weight", "ablation 3: one weight an expert for all samples", _ONE_WEIGHT),
        Method("less-forward", "ablation 4: two masked views a step", Mixture(masked=2)),
        Method(
            "synergy-redundancy", "ablation 5: the synergy and redundancy experts", Mixture(_joint)
        ),
        Method(
            f"{SINGLE}:NAME", "one expert alone, such as single-expert:synergy", _single("NAME")
        ),
        *(
            Method(f"rep-{name}", f"I2MoE with a {name} penalty", Mixture(objective={"penalty": p}))
            for name, p in PENALTIES.items()
        ),
        Method("ensemble", "control: M+2 backbones averaged, no interaction losses", _MEAN),
        Method(
            "fl-i2moe",
            "experts on tokens and patches themselves (Kim et al., arXiv 2603.13326)",
            _TOKENS,
            tokens=True,
        ),
        Method(
            "dense",
            "control: the backbone alone, on one pooled token a modality",
            _vanilla,
            pooled=True,
            tokens=True,
        ),
        Method(
            "i2moe-pooled",
            "control: I2MoE on one pooled token a modality",
            Mixture(),
            pooled=True,
            tokens=True,
        ),
        Method(
            "sparse-gate",
            "control: M+2 backbones, two a sample by a sparse gate (GShard), no interaction losses",
            _SPARSE,
            tokens=True,
        ),
        # The caller makes the latents wider.
        Method("wide", "control: one backbone widened to as many parameters", _vanilla),
    )
}


def find_method(name: str) -> Method:
    """Return the method of that name; ``single-expert:synergy`` is one of one expert.

    Raises:
        ConfigError: no such method; names close matches.
    """
    prefix, colon, expert = name.partition(":")
    if prefix == SINGLE and expert:
        return Method(name, METHODS[f"{SINGLE}:NAME"].description, _single(expert))
    if name not in METHODS or (colon and prefix == SINGLE):
        raise ConfigError(
            f"unknown method {name!r}.{did_you_mean(name, METHODS)} Known: {', '.join(METHODS)}."
        )
    return METHODS[name]


def create_model(
    name: str,
    encoders: Sequence[nn.Module],
    latents: Sequence[LatentSpec],
    factory: Callable[..., nn.Module],
    task: Task,
    **settings: Any,
) -> MultimodalModel:
    """Build the model of a method.

    Args:
        name: of the method; ``wide`` is ``vanilla`` on wider latents, for the caller to widen.
        encoders: M modules, see :class:`~i2moe_plugin.multimodal.MultimodalModel`.
        latents: the shapes of the latents.
        factory: builds one backbone, latents -> ([B, C], auxiliary loss); ``evidence`` tells it
            ``num_outputs``, C or a multiple of it.
        task: what is predicted.
        **settings: see :class:`~i2moe_plugin.parts.ModelSettings`.

    Raises:
        ConfigError: no such method, fewer than 2 modalities, or settings that cannot be used.
        BackboneError: a backbone that the method cannot take.
    """
    check_modalities(encoders, latents)
    chosen = ModelSettings.of(settings)
    return find_method(name).build(encoders, latents, factory, task, chosen)
