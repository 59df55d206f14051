"""Registries of named things, filled by decorators, entry points and plugin files."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from i2moe_plugin.deprecation import held_now_by
from i2moe_plugin.errors import PluginError, RegistrationError, UnknownNameError

if not TYPE_CHECKING:
    __getattr__ = held_now_by(
        __name__, ["i2moe_plugin.backbones.entry", "i2moe_plugin.backbones.create"]
    )

_loaded: dict[str, None] = {}
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

    An entry is a frozen dataclass that carries its facts.

    Args:
        kind: what the entries are, for messages ("backbone").
        group: entry point group; an entry point's name is the entry's, and importing its object
            registers it. An entry point of the group ``<group>.sources`` makes the entries of all
            names that begin with its own name and a colon: it is a function, name -> entry.
        hint: what to do about an unknown name.

    Attributes:
        broken: the names that an installed package offers and cannot load, with the reason.
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
        """Return the entry of that name.

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

    def remove(self, name: str) -> None:
        """Forget an entry, if it is there."""
        self._entries.pop(name, None)

    def names(self) -> list[str]:
        """Return all names, sorted; loads every entry point of the group."""
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


def loaded_plugins() -> list[str]:
    """Return what :func:`load_plugin` has loaded, in order: files' absolute paths, and modules."""
    return list(_loaded)


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
            _loaded[str(resolved)] = None
        else:
            importlib.import_module(text)
            _loaded[text] = None
    except PluginError:
        raise
    except RegistrationError as error:
        raise PluginError(f"plugin {text}: {error}") from error
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"plugin {text} could not be imported: {type(error).__name__}: {error}"
        ) from error
