"""Registries of named things, and the registry of backbones.

An entry is a frozen dataclass that carries its facts. Our own backbones come in through the same
door as everybody else's: the :func:`register_backbone` decorator in a module that the entry point
group ``i2moe_plugin.backbones`` names.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

from i2moe_plugin.errors import (
    BackboneError,
    ConfigError,
    PluginError,
    RegistrationError,
    UnknownNameError,
    did_you_mean,
)

if TYPE_CHECKING:
    from i2moe_plugin.backbones.wrapper import Backbone, LatentSpec

_NAME = re.compile(r"[a-z0-9][a-z0-9_.:+-]*", re.IGNORECASE)


class Named(Protocol):
    """Anything with a name."""

    @property
    def name(self) -> str:
        """The registered name."""
        ...


EntryT = TypeVar("EntryT", bound=Named)


class Registry(Generic[EntryT]):
    """Entries by name; those of installed packages are loaded when they are first asked for.

    Args:
        kind: what the entries are, for messages ("backbone").
        group: entry point group; an entry point's name is the entry's, and importing its object
            registers it. An entry point of the group ``<group>.sources`` makes the entries of all
            names that begin with its own name and a colon: it is a function, name -> entry.
        hint: what to do about an unknown name.
    """

    def __init__(self, kind: str, group: str, hint: str = "") -> None:
        self.kind, self.group, self.hint = kind, group, hint
        self.broken: dict[str, str] = {}
        self._entries: dict[str, EntryT] = {}

    def add(self, entry: EntryT) -> None:
        """Register an entry.

        Raises:
            RegistrationError: the name is taken or malformed.
        """
        if not _NAME.fullmatch(entry.name):
            raise RegistrationError(
                f"{self.kind} name {entry.name!r} must be letters, digits and any of '-_.:+', "
                "and start with a letter or digit."
            )
        if entry.name in self._entries:
            raise RegistrationError(
                f"{self.kind} {entry.name!r} is already registered: {self._entries[entry.name]}. "
                "Choose another name."
            )
        self._entries[entry.name] = entry

    def get(self, name: str) -> EntryT:
        """The entry of that name.

        Raises:
            UnknownNameError: no such entry; names close matches.
            PluginError: an installed package offers the name, but cannot be imported, or its source
                refuses it.
        """
        if name not in self._entries:
            self._load(only=name)
        if name not in self._entries:
            self._ask_source(name)
        if name not in self._entries:
            if name in self.broken:
                raise PluginError(f"{self.kind} {name!r} cannot be loaded: {self.broken[name]}")
            raise UnknownNameError(self.kind, name, self.names(), self.hint)
        return self._entries[name]

    def names(self) -> list[str]:
        """All names, sorted; loads every entry point of the group."""
        self._load()
        return sorted(self._entries)

    def __iter__(self) -> Iterator[EntryT]:
        return iter([self._entries[name] for name in self.names()])

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self.names()

    def _ask_source(self, name: str) -> None:
        prefix, colon, _ = name.partition(":")
        if colon:
            group = f"{self.group}.sources"
            for point in importlib.metadata.entry_points(group=group, name=prefix):
                self.add(point.load()(name))

    def _load(self, only: str | None = None) -> None:
        for point in importlib.metadata.entry_points(group=self.group):
            if point.name in self._entries or (only is not None and point.name != only):
                continue
            try:
                point.load()
            # A broken third-party package must not take ours down.
            except (Exception, SystemExit) as error:
                self.broken[point.name] = f"{point.value}: {type(error).__name__}: {error}"
                continue
            if point.name not in self._entries:
                self.broken[point.name] = (
                    f"importing {point.value} did not register {self.kind} {point.name!r}"
                )


@dataclass(frozen=True)
class BackboneEntry:
    """A registered way to build fusion + head, with its facts.

    Attributes:
        name: the name on the command line.
        build: the class or factory. Arguments named ``input_dims`` (list of latent widths),
            ``latents`` (list of :class:`~i2moe_plugin.backbones.wrapper.LatentSpec`) and
            ``num_outputs`` are supplied by us; every other argument is a setting. With
            ``num_outputs`` the module brings its own head; without it an MLP head is put behind
            the fused tensor.
        latents: what it takes: ``vector`` [B, D], ``tokens`` [B, T, D], or ``any``.
        min_modalities, max_modalities: how many modalities it fuses (no upper limit: None).
        padding: its forward takes ``padding_masks`` as second argument; where it does not, padded
            tokens reach it as zeros.
        auxiliary: its forward returns ``(output, auxiliary loss)``.
        paper, upstream: where it comes from.
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

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The arguments of ``build``; none where a module class has no constructor of its own."""
        if getattr(self.build, "__init__", None) is _module_init():
            return {}
        return dict(inspect.signature(self.build).parameters)

    @property
    def settings(self) -> dict[str, inspect.Parameter]:
        """The settings a user may give, by name."""
        return {name: p for name, p in self.parameters.items() if name not in _SUPPLIED}


def _module_init() -> Any:
    from torch import nn

    return nn.Module.__init__


_SUPPLIED = ("input_dims", "latents", "num_outputs")
#: Settings of the head that is added behind a fusion without one.
HEAD_SETTINGS = ("head_hidden", "head_dropout")

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
    """Decorator that registers a fusion module class, or a factory of one, under a name.

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
        doc = inspect.getdoc(build) or ""
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
                description=doc.split("\n", 1)[0],
            )
        )
        return build

    return decorate


def unregister_backbone(name: str) -> None:
    """Forget a backbone, for instance to register a corrected one in a notebook."""
    backbones._entries.pop(name, None)


def list_backbones() -> list[BackboneEntry]:
    """Every backbone there is, by name; imports what installed packages offer."""
    return list(backbones)


def create_backbone(
    name: str,
    latents: Sequence[LatentSpec],
    num_outputs: int,
    **settings: Any,
) -> Backbone:
    """Build a registered backbone for latents of these shapes.

    Args:
        name: a registered name.
        latents: one spec for each modality, in order.
        num_outputs: C, the width of the output.
        **settings: arguments of the registered constructor; where it brings no head of its own
            also ``head_hidden`` (128), hidden width of the head we add (0: one linear layer), and
            ``head_dropout`` (0.0).

    Returns:
        A module: list of M latents -> ``([B, C] output, scalar auxiliary loss)``.

    Raises:
        UnknownNameError: no such backbone.
        ConfigError: settings the constructor does not have or needs; all are listed.
        BackboneError: the modalities do not fit, or the constructor or a dry run failed.
    """
    from i2moe_plugin.backbones.wrapper import Backbone

    entry = backbones.get(name)
    _check_modalities(entry, latents)
    problems = setting_problems(entry, settings)
    if problems:
        raise ConfigError(problems)
    own_head = "num_outputs" in entry.parameters
    head = {} if own_head else {key: settings.pop(key) for key in HEAD_SETTINGS if key in settings}
    supplied = {
        "input_dims": [latent.dim for latent in latents],
        "latents": list(latents),
        "num_outputs": num_outputs,
    }
    parameters = entry.parameters
    arguments = {key: value for key, value in supplied.items() if key in parameters}
    try:
        fusion = entry.build(**arguments, **settings)
    except Exception as error:
        given = ", ".join(f"{k}={v!r}" for k, v in {**arguments, **settings}.items())
        raise BackboneError(
            f"backbone {name!r} could not be built with ({given}): {type(error).__name__}: {error}"
        ) from error
    return Backbone(
        entry,
        fusion,
        latents,
        num_outputs,
        own_head=own_head,
        **head,
    )


def setting_problems(entry: BackboneEntry, settings: dict[str, Any]) -> list[str]:
    """What is wrong with these settings for that backbone, one sentence each."""
    known = entry.settings
    kinds = {parameter.kind for parameter in known.values()}
    names = [n for n, p in known.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    own_head = "num_outputs" in entry.parameters
    allowed = names if own_head else [*names, *HEAD_SETTINGS]
    problems = []
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        for key in settings:
            if key not in allowed:
                problems.append(
                    f"backbone {entry.name!r} has no setting {key!r}."
                    f"{did_you_mean(key, allowed)} It has: {', '.join(allowed) or 'none'}."
                )
    for key in names:
        if known[key].default is inspect.Parameter.empty and key not in settings:
            problems.append(
                f"backbone {entry.name!r} needs the setting {key!r}, which has no default."
            )
    return problems


def _check_modalities(entry: BackboneEntry, latents: Sequence[LatentSpec]) -> None:
    count, most = len(latents), entry.max_modalities
    if count < entry.min_modalities or (most is not None and count > most):
        limits = (
            f"at least {entry.min_modalities}"
            if most is None
            else f"{entry.min_modalities} to {most}"
        )
        raise BackboneError(
            f"backbone {entry.name!r} fuses {limits} modalities; the data set has {count}."
        )
    for index, latent in enumerate(latents):
        kind = "vector" if latent.tokens is None else "tokens"
        if entry.latents not in ("any", kind):
            raise BackboneError(
                f"backbone {entry.name!r} takes {entry.latents} latents; modality {index + 1} "
                f"comes as {kind} ({latent})."
            )


def load_plugin(target: str | Path) -> None:
    """Import a user's file (``my_fusion.py``) or dotted module, so that its decorators run.

    Loading the same file twice does nothing the second time.

    Raises:
        PluginError: it is missing, or its import failed.
    """
    text = str(target)
    path = Path(text).expanduser()
    try:
        if path.suffix == ".py" or path.is_file():
            if not path.is_file():
                raise PluginError(f"plugin file {text} does not exist.")
            resolved = path.resolve()
            name = f"i2moe_user_plugin_{hashlib.sha256(str(resolved).encode()).hexdigest()[:12]}"
            if name in sys.modules:
                return
            if path.suffix != ".py":
                raise PluginError(f"plugin file {text}: its name must end in .py.")
            spec = importlib.util.spec_from_file_location(name, resolved)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            # The file's neighbours are importable, as they are when python runs the file itself.
            folder = str(resolved.parent)
            if folder not in sys.path:
                sys.path.append(folder)
            try:
                spec.loader.exec_module(module)
            except BaseException:
                del sys.modules[name]
                raise
        else:
            importlib.import_module(text)
    except PluginError:
        raise
    except RegistrationError as error:
        raise PluginError(f"plugin {text}: {error}") from error
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"plugin {text} could not be imported: {type(error).__name__}: {error}"
        ) from error
