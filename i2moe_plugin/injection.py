"""Our models in MultiBench's own training loop.

MultiBench's ``train(encoders, fusion, head, ..., objective=, objective_args_dict=)`` makes a model
of the three, calls the objective with prediction, truth and a dictionary of what the model computed
on the way, and saves the whole module. :func:`inject` makes an :class:`~i2moe_plugin.model.I2MoE`
of a triple, and :class:`Injection` these arguments of a model: the whole of it is the "fusion";
encoders and head only pass values on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from i2moe_plugin.backbones.create import create_backbone
from i2moe_plugin.backbones.entry import BackboneEntry
from i2moe_plugin.backbones.latents import LatentSpec, latent_specs
from i2moe_plugin.backbones.wrapper import Backbone
from i2moe_plugin.errors import ConfigError, ShapeError
from i2moe_plugin.methods import create_model
from i2moe_plugin.multimodal import MultimodalModel
from i2moe_plugin.tasks import Task


class Injection:
    """A model of ours as MultiBench's ``train`` takes it.

    Args:
        model: any of ours.
        is_packed: batches are MultiBench's packed ones.

    Attributes:
        model: the native model that is trained; use it, or the ``.fuse.model`` of what MultiBench
            saved, with everything else of this package.
        encoders, fusion, head, objective, objective_args_dict, is_packed: arguments of ``train``.
    """

    def __init__(self, model: MultimodalModel, is_packed: bool = False) -> None:
        self.model, self.is_packed = model, is_packed
        self.encoders = [PassOn() for _ in model.encoders]
        self.fusion = InjectedFusion(model)
        self.head = PredictionOf()
        self.objective = InjectedObjective(model)
        self.objective_args_dict: dict[str, Any] = {}

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments by name, and the name of the task: ``train(**injection.arguments)``."""
        arguments = {name: value for name, value in vars(self).items() if name != "model"}
        return {**arguments, "task": self.model.task.name}


def inject(
    encoders: Sequence[nn.Module],
    fusion: nn.Module | str,
    head: nn.Module | None = None,
    *,
    task: Task,
    batch: Sequence[Any] | None = None,
    latents: Sequence[LatentSpec] | None = None,
    is_packed: bool = False,
    fusion_settings: dict[str, Any] | None = None,
    **settings: Any,
) -> Injection:
    """Make I2MoE of a MultiBench triple, to be trained by MultiBench's unmodified ``train``.

    In training every expert sees its masked views, and the loss is the native one: task +
    ``interaction_weight`` * mean interaction loss + ``auxiliary_weight`` * the backbone's own. In
    validation and test only the complete view is computed, and the loss is the task's.

    Args:
        encoders: one a modality, x_m -> [B, D] or [B, T, D]; trained in place.
        fusion: a module, list of latents -> fused tensor, or the name of a backbone. A module
            becomes the first expert, trained in place; the others start as its copies.
        head: fused tensor -> [B, C]. Without one, a module gets an MLP head; a named backbone
            brings its own.
        task: what is predicted, for instance ``Classification(7)``.
        batch: one batch of the training loader, to measure the latents on.
        latents: the shapes of the latents, in place of ``batch``.
        is_packed: batches are MultiBench's packed ones, and encoders take ``[x, lengths]``.
        fusion_settings: of a named backbone.
        **settings: of the model: interaction_weight, masking, ..., see
            :class:`~i2moe_plugin.parts.ModelSettings`.

    Raises:
        ConfigError: neither or both of ``batch`` and ``latents``, a head beside a named backbone,
            fewer than 2 modalities, or settings that do not fit.
        ShapeError: the batch does not fit the encoders, or an encoder's output is no latent.
        BackboneError: fusion and head do not fit the latents or the task.
    """
    problems = []
    if (batch is None) == (latents is None):
        problems.append("give one of batch (one batch of the loader) and latents (their shapes).")
    if isinstance(fusion, str):
        if head is not None:
            problems.append(f"backbone {fusion!r} brings its own head; leave head out.")
    else:
        if fusion_settings:
            problems.append("fusion_settings are those of a named backbone, not of a module.")
        if settings.get("expert_init", "copies") != "copies":
            problems.append(
                "experts of a given module can only start as its copies; independent ones need a "
                "named backbone."
            )
    if problems:
        raise ConfigError(problems)
    ours = [PackedEncoder(encoder) if is_packed else encoder for encoder in encoders]
    if latents is None:
        assert batch is not None
        latents = _measure(ours, batch, is_packed)
    specs = list(latents)

    def backbone() -> nn.Module:
        if isinstance(fusion, str):
            return create_backbone(fusion, specs, task.num_outputs, **(fusion_settings or {}))
        parts = [fusion] if head is None else [fusion, head]
        name = " + ".join(type(part).__name__ for part in parts)
        entry = BackboneEntry(name=name, build=type(fusion))
        whole = fusion if head is None else FusionWithHead(fusion, head)
        return Backbone(entry, whole, specs, task.num_outputs, own_head=head is not None)

    model = create_model("i2moe", ours, specs, backbone, task, **settings)
    return Injection(model, is_packed)


class Passing:
    """A value on its way through MultiBench's model, which keeps it after the step.

    It vanishes from copies and from saved files of that model: a graph cannot be copied, and a
    batch has no business in a checkpoint.
    """

    def __init__(self, value: Any = None) -> None:
        self.value = value

    def __getitem__(self, index: int) -> Passing:
        """Itself: MultiBench takes the first item of a packed encoder's output."""
        return self

    def __reduce__(self) -> tuple[type[Passing], tuple[()]]:
        return Passing, ()


class PassOn(nn.Module):
    """Stands where MultiBench has an encoder; the native model encodes."""

    def forward(self, x: Any) -> Passing:
        """An input, or ``[input, lengths]`` of a packed batch, as it is."""
        return Passing(x)


class InjectedFusion(nn.Module):
    """Stands where MultiBench has the fusion: the whole native model."""

    def __init__(self, model: MultimodalModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Sequence[Passing]) -> Passing:
        """Compute the :class:`~i2moe_plugin.multimodal.ModelOutput` of M inputs."""
        return Passing(self.model([item.value for item in inputs]))

    def __getstate__(self) -> dict[str, Any]:
        # A head that remembers its last output would make the model impossible to copy.
        for module in self.modules():
            for key, value in vars(module).items():
                if key not in ("_parameters", "_buffers", "_modules"):
                    vars(module)[key] = _without_graph(value)
        return dict(vars(self))


class PredictionOf(nn.Module):
    """Takes the prediction out, where MultiBench has the head."""

    def forward(self, fused: Passing | list[Any]) -> Tensor:
        """Take [B, C] out of what the fusion gave (beside lengths, in a packed batch)."""
        output = fused[0] if isinstance(fused, list) else fused
        prediction: Tensor = output.value.prediction
        return prediction


class InjectedObjective:
    """The native loss, as MultiBench calls an objective of its user's."""

    def __init__(self, model: MultimodalModel) -> None:
        self.model = model

    def __call__(
        self, prediction: Tensor, truth: Tensor, arguments: dict[str, Any] | None
    ) -> Tensor:
        """Compute all terms of the loss in training, the task's alone in validation; a scalar.

        Raises:
            ConfigError: ``objective_args_dict`` was not handed to ``train``.
        """
        if arguments is None or "fused" not in arguments:
            raise ConfigError("train needs the objective_args_dict that inject returned.")
        truth = truth.to(prediction.device)
        if arguments["training"]:
            return self.model.losses(arguments["fused"].value, truth).total
        return self.model.task.loss(prediction, self.model.task.prepare(truth))


class FusionWithHead(nn.Module):
    """A MultiBench fusion and head as one module, list of latents -> [B, C]."""

    def __init__(self, fusion: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.fusion, self.head = fusion, head

    def forward(self, latents: Sequence[Tensor]) -> Tensor:
        """Apply the head to the fused tensor, the first item where the fusion returns a tuple."""
        fused = self.fusion(latents)
        return self.head(fused[0] if isinstance(fused, tuple) else fused)


class PackedEncoder(nn.Module):
    """An encoder that takes MultiBench's ``[x, lengths]``, as the native model calls encoders.

    Args:
        encoder: ``[x [B, T, F], lengths [B]]`` -> a latent, or a list or tuple that begins with it.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Compute the latent, with its padding mask where it has tokens as the input has."""
        latent = self.encoder([x, lengths])
        if not isinstance(latent, Tensor):
            latent = latent[0]
        if latent.dim() == 3 and latent.shape[1] in (x.shape[1], int(lengths.max())):
            steps = torch.arange(latent.shape[1], device=latent.device)
            return latent, steps >= lengths.to(latent.device).unsqueeze(1)
        return latent


class MultiBenchBatches:
    """MultiBench's batches as the native loop takes them: inputs in float32, packed ones unpacked.

    Args:
        loader: MultiBench's; batches (x_1, ..., x_M, y), or packed ([x_1, ..., x_M],
            [lengths_1, ..., lengths_M], ..., y).
        is_packed: which of both.
    """

    def __init__(self, loader: Iterable[Sequence[Any]], is_packed: bool = False) -> None:
        self.loader, self.is_packed = loader, is_packed

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for batch in self.loader:
            yield (*native_inputs(batch, self.is_packed), batch[-1])


def native_inputs(batch: Sequence[Any], is_packed: bool = False) -> list[Any]:
    """Take the inputs out of one of MultiBench's batches, for the native model."""
    if not is_packed:
        return [x.float() for x in batch[:-1]]
    return [(x.float(), lengths) for x, lengths in zip(batch[0], batch[1], strict=True)]


def _measure(encoders: list[nn.Module], batch: Sequence[Any], is_packed: bool) -> list[LatentSpec]:
    inputs = native_inputs(batch, is_packed)
    if len(inputs) != len(encoders):
        raise ShapeError(f"the batch has {len(inputs)} modalities, for {len(encoders)} encoders.")
    moved = []
    for encoder, x in zip(encoders, inputs, strict=True):
        device = next((p.device for p in encoder.parameters()), torch.device("cpu"))
        # Lengths stay where they are, as in MultiBench's loop.
        moved.append((x[0].to(device), x[1]) if is_packed else x.to(device))
    return latent_specs(encoders, moved)


def _without_graph(value: Any) -> Any:
    """Give a value back with the tensors in it cut off from their graph."""
    if isinstance(value, Tensor):
        return value if value.grad_fn is None else value.detach()
    if type(value) in (list, tuple):
        return type(value)(map(_without_graph, value))
    if type(value) is dict:
        return {key: _without_graph(item) for key, item in value.items()}
    return value
