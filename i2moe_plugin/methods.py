"""The methods that are compared: vanilla, I2MoE, the paper's ablations, and dense controls.

Each is the same encoders and backbones with one thing changed. What the released ablations compute
(``src/ablation`` of the I2MoE code) and how this differs is in docs/deviations.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from i2moe_plugin.backbones.wrapper import LatentSpec
from i2moe_plugin.errors import BackboneError, ConfigError, did_you_mean
from i2moe_plugin.interactions.losses import expert_names, interaction_losses
from i2moe_plugin.interactions.regularizers import REGULARIZERS, WARMUP_EPOCHS, WEIGHTS
from i2moe_plugin.model import I2MoE, Losses, ModelOutput, MultimodalModel, Vanilla
from i2moe_plugin.reweighting import GlobalReweighting, UniformReweighting
from i2moe_plugin.tasks import Task


class NoInteraction(I2MoE):
    """The M+2 experts and their MLP weights, trained on the task loss alone."""

    def _masked(self) -> tuple[int, ...]:
        return ()


class SimpleWeight(I2MoE):
    """One learned weight an expert, the same for every sample; no temperature."""

    def _build_reweighting(self, **settings: Any) -> nn.Module:
        return GlobalReweighting(len(self.expert_names))


class LessForward(I2MoE):
    """Two of the M modalities are masked at each step, drawn anew; the rest of the method stays.

    With M = 2 these are both, and it is I2MoE.
    """

    def _masked(self) -> tuple[int, ...]:
        count = len(self.encoders)
        if count == 2:
            return (0, 1)
        return tuple(sorted(torch.randperm(count)[:2].tolist()))


class SynergyRedundancy(I2MoE):
    """The two experts that are no modality's own; their losses keep their weight of 1/(M+2)."""

    def _experts(self, modalities: int) -> list[str]:
        return ["synergy", "redundancy"]


class Ensemble(I2MoE):
    """A dense control: M+2 backbones of their own initial weights, no interaction loss, their mean.

    What remains of I2MoE's gain against this one is not that of averaging several models.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        # Copies would get the same gradient at every step, and stay one model.
        super().__init__(*args, **{**settings, "expert_init": "independent"})

    def _experts(self, modalities: int) -> list[str]:
        return [f"member_{number + 1}" for number in range(modalities + 2)]

    def _masked(self) -> tuple[int, ...]:
        return ()

    def _build_reweighting(self, **settings: Any) -> nn.Module:
        return UniformReweighting(len(self.expert_names))


class SingleExpert(I2MoE):
    """One expert alone, with its own interaction loss at full weight.

    Args:
        expert: its name. A uniqueness loss is the sum over positives, as in the released code.
    """

    def __init__(self, *args: Any, expert: str, **settings: Any) -> None:
        self._expert = expert
        super().__init__(*args, **settings)

    def _experts(self, modalities: int) -> list[str]:
        known = expert_names(modalities)
        if self._expert not in known:
            raise ConfigError(
                f"no expert is called {self._expert!r}.{did_you_mean(self._expert, known)} With "
                f"{modalities} modalities there are {', '.join(known)}."
            )
        return [self._expert]

    def _build_reweighting(self, **settings: Any) -> nn.Module:
        return UniformReweighting(1)

    def _interaction(self, output: ModelOutput) -> Tensor:
        count = len(self.encoders)
        scale = count - 1 if self._expert.startswith("uniqueness") else 1
        # losses() divides by M+2; here the one loss counts in full.
        return super()._interaction(output) * scale * (count + 2)


class _WithFused(I2MoE):
    """Experts that also say what their heads read."""

    def _expert_factory(self, factory: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
        return lambda: _ReadsHead(factory(), self.task.num_outputs)

    def _split(self, outputs: Tensor) -> tuple[Tensor, Tensor | None]:
        count = self.task.num_outputs
        return outputs[..., :count], outputs[..., count:]


class LatentContrastive(_WithFused):
    """The interaction losses on what the experts' heads read, in place of their outputs.

    Args:
        detached: as in the released code, whose losses have no gradient: it trains like
            ``no-interaction``, at the cost of all views.
    """

    def __init__(self, *args: Any, detached: bool = False, **settings: Any) -> None:
        self.detached = detached
        super().__init__(*args, **settings)

    def _interaction(self, output: ModelOutput) -> Tensor:
        assert output.fused is not None
        fused = output.fused.detach() if self.detached else output.fused
        return interaction_losses(
            fused.to(torch.promote_types(fused.dtype, torch.float32)),
            self.interaction,
            experts=self.expert_names,
            masked=output.masked,
        )


class Regularized(_WithFused):
    """I2MoE with experts kept apart: a penalty on the similarity of what their heads read.

    Args:
        regularizer: a name of :data:`~i2moe_plugin.interactions.regularizers.REGULARIZERS`.
        regularizer_weight: its weight; the follow-up work's where it has one.

    Source: the code of FL-I2MoE's follow-up (``src/imoe/regularizers.py``), arXiv 2606.29613.
    """

    def __init__(
        self, *args: Any, regularizer: str, regularizer_weight: float | None = None, **settings: Any
    ) -> None:
        self._penalty = REGULARIZERS[regularizer]
        self.regularizer_weight = (
            WEIGHTS[regularizer] if regularizer_weight is None else regularizer_weight
        )
        self._warmup, self._scale = WARMUP_EPOCHS.get(regularizer, 0), 1.0
        super().__init__(*args, **settings)

    def set_epoch(self, epoch: int) -> None:
        """The weight grows from 0 over the first epochs, where the regularizer says so."""
        if self._warmup > 1:
            self._scale = min(1.0, (epoch - 1) / (self._warmup - 1))

    def losses(self, output: ModelOutput, target: Tensor) -> Losses:
        plain = super().losses(output, target)
        if output.fused is None or not output.masked:
            return plain
        fused = output.fused[:, 0]
        penalty = self._penalty(fused.to(torch.promote_types(fused.dtype, torch.float32)))
        return plain._replace(total=plain.total + self.regularizer_weight * self._scale * penalty)


class _ReadsHead(nn.Module):
    """A backbone whose output [B, C] is followed by what its last layer read: [B, C + D]."""

    def __init__(self, backbone: nn.Module, num_outputs: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.entry = getattr(backbone, "entry", None)
        self._place = _head_of(backbone, num_outputs)

    def forward(
        self, latents: Sequence[Tensor], padding_masks: Sequence[Tensor | None] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Latents -> [B, C + D], auxiliary loss."""
        read: list[Tensor] = []
        head = self.backbone.get_submodule(self._place)
        hook = head.register_forward_pre_hook(lambda _module, inputs: read.append(inputs[0]))
        try:
            output, auxiliary = self.backbone(latents, padding_masks)
        finally:
            hook.remove()
        if len(read) != 1 or read[0].shape[0] != output.shape[0]:
            raise BackboneError(
                f"the last layer of the backbone ({self._place}) was called {len(read)} times; a "
                "method that looks at what it reads needs it to be called once, on [B, D]."
            )
        return torch.cat([output, read[0].flatten(1).to(output.dtype)], 1), auxiliary


def _head_of(backbone: nn.Module, num_outputs: int) -> str:
    """The head's place in a backbone: what is called ``head``, or the last layer of its width.

    Raises:
        BackboneError: there is neither.
    """
    for place in ("head", "fusion.head"):
        part: Any = backbone
        for name in place.split("."):
            part = getattr(part, name, None)
        if isinstance(part, nn.Module):
            return place
    layers = [
        name
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == num_outputs
    ]
    if not layers:
        raise BackboneError(
            "this method looks at what the backbone's head reads, but no head was found: call the "
            f"last layer 'head', or make it a Linear with {num_outputs} outputs."
        )
    return layers[-1]


@dataclass(frozen=True)
class Method:
    """One way to build a model from encoders and a backbone.

    Attributes:
        name: as users write it.
        description: what it changes.
        build: the model's class; None for ``wide``, which needs other encoders.
        options: arguments of the class beyond I2MoE's.
    """

    name: str
    description: str
    build: type[MultimodalModel] | None = field(repr=False)
    options: tuple[tuple[str, Any], ...] = ()


SINGLE = "single-expert"
METHODS = {
    method.name: method
    for method in (
        Method("vanilla", "the backbone alone", Vanilla),
        Method("i2moe", "the method (Xin et al., ICML 2025)", I2MoE),
        Method("no-interaction", "ablation 1: no interaction losses", NoInteraction),
        Method("latent-contrastive", "ablation 2: losses on fused latents", LatentContrastive),
        Method(
            "latent-contrastive-released",
            "ablation 2 as released: those losses have no gradient",
            LatentContrastive,
            (("detached", True),),
        ),
        Method("simple-weight", "ablation 3: one weight an expert for all samples", SimpleWeight),
        Method("less-forward", "ablation 4: two masked views a step", LessForward),
        Method(
            "synergy-redundancy",
            "ablation 5: the synergy and redundancy experts",
            SynergyRedundancy,
        ),
        Method(f"{SINGLE}:NAME", "one expert alone, such as single-expert:synergy", SingleExpert),
        *(
            Method(
                f"rep-{name}", f"I2MoE with a {name} penalty", Regularized, (("regularizer", name),)
            )
            for name in REGULARIZERS
        ),
        Method("ensemble", "control: M+2 backbones averaged, no interaction losses", Ensemble),
        Method("wide", "control: one backbone widened to as many parameters", None),
    )
}


def find_method(name: str) -> Method:
    """The method of that name; ``single-expert:synergy`` is one of one expert.

    Raises:
        ConfigError: no such method; names close matches.
    """
    prefix, colon, expert = name.partition(":")
    if prefix == SINGLE and expert:
        known = METHODS[f"{SINGLE}:NAME"]
        return Method(name, known.description, known.build, (("expert", expert),))
    if name not in METHODS or (colon and prefix == SINGLE):
        raise ConfigError(
            f"unknown method {name!r}.{did_you_mean(name, METHODS)} Known: {', '.join(METHODS)}."
        )
    return METHODS[name]


def create_model(
    name: str,
    encoders: Sequence[nn.Module],
    latents: Sequence[LatentSpec],
    factory: Callable[[], nn.Module],
    task: Task,
    *,
    auxiliary_weight: float = 0.01,
    regularizer_weight: float | None = None,
    **settings: Any,
) -> MultimodalModel:
    """The model of a method.

    Args:
        name: of the method; ``wide`` is ``vanilla`` on wider latents, for the caller to widen.
        encoders, latents, factory, task, auxiliary_weight: see :class:`I2MoE`.
        regularizer_weight: of a ``rep-`` method.
        settings: I2MoE's.

    Raises:
        ConfigError: no such method, or settings that cannot be used.
        BackboneError: a backbone that the method cannot take.
    """
    method = find_method(name)
    if method.build in (None, Vanilla):
        return Vanilla(encoders, latents, factory(), task, auxiliary_weight=auxiliary_weight)
    assert method.build is not None
    options: dict[str, Any] = dict(method.options)
    if method.build is Regularized:
        options["regularizer_weight"] = regularizer_weight
    build: Any = method.build
    model: MultimodalModel = build(
        encoders,
        latents,
        factory,
        task,
        auxiliary_weight=auxiliary_weight,
        **options,
        **settings,
    )
    return model
