"""The registry of backbones: what is known of each before any is built.

Our own backbones come in through the same door as everybody else's: the :func:`register_backbone`
decorator in a module that the entry point group ``i2moe_plugin.backbones`` names.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from i2moe_plugin.errors import RegistrationError
from i2moe_plugin.registry import Registry

#: The arguments of a backbone's constructor that are supplied, and are no settings.
SUPPLIED = ("input_dims", "latents", "num_outputs")
#: The settings of the head that is added behind a fusion without one.
HEAD_SETTINGS = ("head_hidden", "head_dropout")


@dataclass(frozen=True)
class BackboneEntry:
    """A registered way to build fusion + head, with its facts.

    Attributes:
        name: the name on the command line.
        build: the class or factory. Arguments named ``input_dims`` (list of latent widths),
            ``latents`` (list of :class:`~i2moe_plugin.backbones.latents.LatentSpec`) and
            ``num_outputs`` are supplied by us; every other argument is a setting. With
            ``num_outputs`` the module brings its own head; without it an MLP head is put behind
            the fused tensor.
        latents: what it takes: ``vector`` [B, D], ``tokens`` [B, T, D], or ``any``.
        min_modalities, max_modalities: how many modalities it fuses (no upper limit: None).
        padding: its forward takes ``padding_masks`` as second argument; where it does not, padded
            tokens reach it as zeros.
        auxiliary: its forward returns ``(output, auxiliary loss)``.
        paper, upstream: where it comes from.
        description: the first line of the docstring of ``build``.
        module: the name of the module that registered it.
    """

    name: str
    build: Callable[..., Any]
    latents: Literal["vector", "tokens", "any"] = "any"
    min_modalities: int = 2
    max_modalities: int | None = None
    padding: bool = False
    auxiliary: bool = False
    paper: str = ""
    upstream: str = ""
    description: str = field(default="", repr=False)
    module: str = field(default="", repr=False)

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The arguments of ``build``; none where a module class has no constructor of its own."""
        from torch import nn

        if getattr(self.build, "__init__", None) is nn.Module.__init__:
            return {}
        return dict(inspect.signature(self.build).parameters)

    @property
    def own_head(self) -> bool:
        """Whether the module brings its own head, and so returns [B, C]."""
        return "num_outputs" in self.parameters

    @property
    def settings(self) -> dict[str, inspect.Parameter]:
        """The settings of ``build`` that a user may give, by name."""
        return {name: p for name, p in self.parameters.items() if name not in SUPPLIED}


#: Every backbone there is.
backbones: Registry[BackboneEntry] = Registry(
    "backbone",
    "i2moe_plugin.backbones",
    hint="A file of yours is imported with load_plugin; a class of a MultiBench checkout is "
    "multibench:MODULE.CLASS.",
)

BuildT = TypeVar("BuildT", bound=Callable[..., Any])


def register_backbone(
    name: str,
    *,
    latents: Literal["vector", "tokens", "any"] = "any",
    min_modalities: int = 2,
    max_modalities: int | None = None,
    padding: bool = False,
    auxiliary: bool = False,
    paper: str = "",
    upstream: str = "",
) -> Callable[[BuildT], BuildT]:
    """Register the decorated fusion module class, or factory of one, under a name.

    The object is returned unchanged. See :class:`BackboneEntry` for the arguments.

    Raises:
        RegistrationError: the name is taken or malformed, or the object cannot be called.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> @register_backbone("doctest-mean")
        ... class MeanFusion(nn.Module):
        ...     def forward(self, latents):
        ...         return torch.stack(latents).mean(0)
        >>> backbones.get("doctest-mean").build is MeanFusion
        True
        >>> unregister_backbone("doctest-mean")
    """
    module = str(sys._getframe(1).f_globals.get("__name__", ""))

    def decorate(build: BuildT) -> BuildT:
        if not callable(build):
            raise RegistrationError(
                f"backbone {name!r} must be an nn.Module class or a function that returns a "
                f"module, not {type(build).__name__}."
            )
        if inspect.isclass(build):
            from torch import nn

            if not issubclass(build, nn.Module):
                raise RegistrationError(
                    f"backbone {name!r}: class {build.__name__} must derive from torch.nn.Module."
                )
        backbones.add(
            BackboneEntry(
                name=name,
                build=build,
                latents=latents,
                min_modalities=min_modalities,
                max_modalities=max_modalities,
                padding=padding,
                auxiliary=auxiliary,
                paper=paper,
                upstream=upstream,
                description=(inspect.getdoc(build) or "").split("\n", 1)[0],
                module=module,
            )
        )
        return build

    return decorate


def unregister_backbone(name: str) -> None:
    """Forget a backbone, for instance to register a corrected one in a notebook."""
    backbones.remove(name)


def list_backbones() -> list[BackboneEntry]:
    """List every backbone there is, by name; imports what installed packages offer."""
    return list(backbones)
