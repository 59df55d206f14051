"""Fusions of a MultiBench checkout as backbones, by name.

``multibench:fusions.common_fusions.LowRankTensorFusion`` is that class of the checkout that
``MULTIBENCH_ROOT`` names. Arguments of its constructor that follow from the latents are supplied;
the others are settings. A class that cannot be a backbone is refused with the reason.
"""

from __future__ import annotations

import inspect
import math
import os
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

from i2moe_plugin.adapters.checkout import open_checkout
from i2moe_plugin.adapters.concat import Concat
from i2moe_plugin.adapters.early_late import ConcatEarly
from i2moe_plugin.backbones.entry import BackboneEntry
from i2moe_plugin.backbones.latents import LatentSpec
from i2moe_plugin.errors import BackboneError, PluginError

PREFIX = "multibench:"
ROOT = "MULTIBENCH_ROOT"
#: The default of a setting that is computed from the latents unless it is told.
AUTO = "auto"
MOST_FUSED = 100_000  # columns of a fused tensor, as of our own tensor fusion
Latents = Sequence[LatentSpec]
Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Facts:
    """What must be known of a class of MultiBench.

    Attributes:
        refused: why it cannot be a backbone; empty where it can.
        latents, min_modalities, max_modalities: as in :class:`BackboneEntry`.
        supplied: constructor arguments computed from the latents and the user's settings. One that
            has a default there stays a setting, :data:`AUTO` where it is not told; what the user
            gives wins.
        fixed: constructor arguments that only work one way, or not at all.
        front: what makes one tensor of the latents, for a class that takes one.
        misfit: says why these latents and settings cannot be built; nothing where they can.
        head: the setting that holds the number of outputs, of a class with a head of its own.
    """

    refused: str = ""
    latents: Literal["vector", "tokens", "any"] = "any"
    min_modalities: int = 2
    max_modalities: int | None = None
    supplied: Mapping[str, Callable[[Latents, Settings], Any]] = field(default_factory=dict)
    fixed: Settings = field(default_factory=dict)
    front: Callable[[], nn.Module] | None = None
    misfit: Callable[[Latents, Settings], str] = lambda latents, settings: ""
    head: str = ""


def _size(latent: LatentSpec) -> int:
    return latent.dim * (latent.tokens or 1)


def _sizes(latents: Latents, _: Settings) -> list[int]:
    if any(latent.padded for latent in latents):
        raise ValueError("it flattens tokens, and their number varies; use vector latents")
    return [_size(latent) for latent in latents]


def _widths(latents: Latents, _: Settings) -> list[int]:
    return [latent.dim for latent in latents]


def _total_width(latents: Latents, _: Settings) -> int:
    return sum(latent.dim for latent in latents)


def _count(latents: Latents, _: Settings) -> int:
    return len(latents)


def _too_wide(latents: Latents, _: Settings) -> str:
    tokens = latents[0].tokens or 1  # each step of all modalities is fused by itself
    width = tokens * math.prod(latent.dim + 1 for latent in latents)
    if width <= MOST_FUSED:
        return ""
    return (
        f"tensor fusion of latents of widths {[latent.dim for latent in latents]} is {width:,} "
        f"wide; at most {MOST_FUSED:,} is built. Choose a smaller latent_dim, or the backbone "
        "tensor with fusion.project_dim"
    )


def _not_two_widths(_: Latents, settings: Settings) -> str:
    width = settings.get("output_dim", _DEFAULTS["output_dim"])
    if settings.get("output") != "matrix3D" or (
        isinstance(width, (list, tuple)) and len(width) == 2
    ):
        return ""
    return f"output=matrix3D takes output_dim as two widths, such as [8, 8], not {width!r}"


def _linear(modality: int, *factors: str) -> Callable[[Latents, Settings], Any]:
    """Give the widths of a linear layer: of a modality, and the product of two settings."""

    def pair(latents: Latents, settings: Settings) -> tuple[int, int]:
        first, second = (settings[name] for name in factors)
        return latents[modality].dim, first * second

    return pair


#: Where a class not listed below names its arguments as these do.
_BY_NAME = {"input_dims": _sizes, "input_dim": _total_width, "n_modalities": _count}
#: For arguments that their classes leave to the caller: what our own low-rank fusion takes.
_DEFAULTS = {"output_dim": 64, "rank": 32}
_COMMON = "fusions.common_fusions."
_NOT_A_FUSION = "it does not take a list of latents and return a fused tensor: "
_BROKEN_SENSORS = (
    "its constructors hand arguments on in the wrong places, and its sampling uses a name that is "
    "never imported"
)
FACTS: dict[str, Facts] = {
    f"{_COMMON}ConcatEarly": Facts(latents="tokens"),
    f"{_COMMON}ConcatWithLinear": Facts(
        supplied={
            "input_dim": _total_width,
            "concat_dim": lambda latents, _: 1 if latents[0].tokens is None else 2,
        }
    ),
    f"{_COMMON}MultiplicativeInteractions2Modal": Facts(
        max_modalities=2,
        misfit=_not_two_widths,
        supplied={
            "input_dims": _sizes,
            "flatten": lambda latents, _: any(latent.tokens for latent in latents),
        },
        # Hooks on parameters are lost where a module is copied; clip_grad_norm does the same.
        fixed={"grad_clip": None},
    ),
    f"{_COMMON}TensorFusion": Facts(misfit=_too_wide),
    f"{_COMMON}MultiplicativeInteractions3Modal": Facts(
        latents="vector",
        min_modalities=3,
        max_modalities=3,
        supplied={"input_dims": _sizes},
        # Without it, each sample is multiplied with every other one: [B, B, output_dim].
        fixed={"task": "affect"},
    ),
    f"{_COMMON}NLgate": Facts(
        latents="vector",
        max_modalities=2,
        supplied={
            "q_linear": _linear(0, "thw_dim", "c_dim"),
            "k_linear": _linear(1, "c_dim", "tf_dim"),
            "v_linear": _linear(1, "tf_dim", "c_dim"),
        },
    ),
    f"{_COMMON}EarlyFusionTransformer": Facts(
        latents="tokens", supplied={"n_features": _total_width}, front=ConcatEarly
    ),
    f"{_COMMON}LateFusionTransformer": Facts(front=Concat),
    "fusions.mult.MULTModel": Facts(
        latents="tokens",
        supplied={"n_modalities": _count, "n_features": _widths},
        fixed={"all_steps": False},  # [B, T, output_dim] would be no prediction
        head="output_dim",
    ),
    "fusions.MVAE.ProductOfExperts": Facts(
        refused="its forward takes the means and the log variances as two arguments"
    ),
    "fusions.MVAE.ProductOfExperts_Zipped": Facts(
        refused="it fuses pairs (mean, log variance); a latent here is one tensor"
    ),
    "fusions.sensor_fusion.SensorFusion": Facts(refused=_BROKEN_SENSORS),
    "fusions.sensor_fusion.SensorFusionSelfSupervised": Facts(refused=_BROKEN_SENSORS),
    "fusions.sensor_fusion.roboticsConcat": Facts(
        refused="it takes nested latents of five given sensors, and squeezes a batch of one away"
    ),
    "fusions.MCTN.MCTN": Facts(refused=f"{_NOT_A_FUSION}it translates modalities into each other"),
    "fusions.MCTN.L2_MCTN": Facts(
        refused=f"{_NOT_A_FUSION}it translates modalities into each other"
    ),
    "fusions.MCTN.Seq2Seq": Facts(refused=f"{_NOT_A_FUSION}it is a translation model"),
    "fusions.searchable.Searchable": Facts(
        refused=f"{_NOT_A_FUSION}it is a search space over layers of given encoders"
    ),
}


def resolve(name: str) -> BackboneEntry:
    """Make the backbone ``multibench:MODULE.CLASS`` of the checkout in ``MULTIBENCH_ROOT``.

    Raises:
        PluginError: there is no checkout, the class cannot be imported, or it cannot be a backbone.
    """
    root = os.environ.get(ROOT)
    if not root:
        raise PluginError(
            f"backbone {name!r} needs a MultiBench checkout: --multibench PATH, or {ROOT}=PATH."
        )
    path = name.removeprefix(PREFIX)
    facts = FACTS.get(path, Facts())
    if facts.refused:
        raise PluginError(f"backbone {name!r} cannot be used: {facts.refused}.")
    cls = open_checkout(root).load(path)
    _check_forward(name, cls)
    return BackboneEntry(
        name=name,
        build=Builder(cls, path),
        latents=facts.latents,
        min_modalities=facts.min_modalities,
        max_modalities=facts.max_modalities,
        upstream=f"MultiBench {path.rpartition('.')[0].replace('.', '/')}.py: {cls.__name__}",
        description=(inspect.getdoc(cls) or "").split("\n", 1)[0],
    )


class Builder:
    """Builds a class of a checkout for given latents; its signature shows the settings.

    Arguments of the class that :data:`FACTS` computes or fixes are no settings; an argument whose
    default is a class of hyper-parameters becomes one setting for each of them.

    Args:
        cls: the class.
        path: its dotted path in the checkout.
    """

    def __init__(self, cls: type[nn.Module], path: str) -> None:
        self.cls, self.path = cls, path

    @property
    def __wrapped__(self) -> type[nn.Module]:
        """The class, for those who look for the source."""
        return self.cls

    @property
    def __signature__(self) -> inspect.Signature:
        facts = self._facts
        ours = ["latents", *(["num_outputs"] if facts.head else [])]
        named = [inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY) for key in ours]
        hidden = {*facts.fixed, facts.head}
        settings = []
        for key, parameter in self._arguments.items():
            supplied = key in facts.supplied
            if key in hidden or (supplied and parameter.default is parameter.empty):
                continue
            if supplied:
                parameter = parameter.replace(default=AUTO)
            hyper = _hyper_parameters(parameter.default)
            settings += [
                inspect.Parameter(one, inspect.Parameter.KEYWORD_ONLY, default=default)
                for one, default in ({key: _default(parameter)} if hyper is None else hyper).items()
                if one not in hidden
            ]
        return inspect.Signature([*named, *settings])

    def __call__(self, latents: Latents, num_outputs: int = 0, **settings: Any) -> nn.Module:
        """Build the module for these latents, with what it needs in front."""
        facts = self._facts
        if reason := facts.misfit(latents, settings):
            raise BackboneError(f"backbone {PREFIX + self.path!r}: {reason}.")
        computed = {k for k in facts.supplied if isinstance(settings.get(k), str)}
        settings = {k: v for k, v in settings.items() if k not in computed or v != AUTO}
        given = {**settings, **facts.fixed, **({facts.head: num_outputs} if facts.head else {})}
        arguments: dict[str, Any] = {}
        for key, parameter in self._arguments.items():
            hyper = _hyper_parameters(parameter.default)
            if hyper is not None:
                chosen = {one: given.get(one, default) for one, default in hyper.items()}
                arguments[key] = types.SimpleNamespace(**chosen)
            elif key in given:
                arguments[key] = given[key]
            elif key in facts.supplied:
                arguments[key] = facts.supplied[key](latents, settings)
            elif parameter.default is parameter.empty and key in _DEFAULTS:
                arguments[key] = _DEFAULTS[key]
        with warnings.catch_warnings():
            # What the user cannot mend: deprecated initialisers, layouts of torch's encoder.
            warnings.filterwarnings("ignore", r".*is now deprecated in favor", FutureWarning)
            warnings.filterwarnings("ignore", "enable_nested_tensor is True", UserWarning)
            module = self.cls(**arguments)
        return module if facts.front is None else nn.Sequential(facts.front(), module)

    @property
    def _facts(self) -> Facts:
        known = FACTS.get(self.path, Facts())
        if known.supplied:
            return known
        by_name = {key: value for key, value in _BY_NAME.items() if key in self._arguments}
        return Facts(**{**vars(known), "supplied": by_name})

    @property
    def _arguments(self) -> Mapping[str, inspect.Parameter]:
        if self.cls.__init__ is nn.Module.__init__:
            return {}
        return inspect.signature(self.cls).parameters


def _default(parameter: inspect.Parameter) -> Any:
    if parameter.default is parameter.empty:
        return _DEFAULTS.get(parameter.name, parameter.empty)
    return parameter.default


def _check_forward(name: str, cls: type[nn.Module]) -> None:
    """Refuse a class whose forward does not take one argument."""
    parameters = list(inspect.signature(cls.forward).parameters.values())[1:]
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = [p.name for p in parameters if p.default is p.empty and p in positional]
    variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    if len(needed) > 1 or not (positional or variadic):
        raise PluginError(
            f"backbone {name!r} cannot be used: its forward takes ({', '.join(needed)}); one list "
            "of latents is expected."
        )


def _hyper_parameters(default: Any) -> dict[str, Any] | None:
    """List the public attributes of a class of hyper-parameters; None for any other default."""
    if not inspect.isclass(default) or default is inspect.Parameter.empty:
        return None
    return {key: value for key, value in vars(default).items() if not key.startswith("_")}
