"""Deprecations: what was called otherwise goes on working for a version, and warns.

Every deprecation of the package goes through this module, so that one search finds what is to be
removed when :data:`REMOVED_IN` is released.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

#: The version in which everything that warns here is gone.
REMOVED_IN = "0.3"


def deprecated(what: str, instead: str, *, stacklevel: int = 3) -> str:
    """Warn that something is going, once for each place that uses it.

    Args:
        what: the old thing, as its user wrote it.
        instead: what to write now.
        stacklevel: as :func:`warnings.warn` counts; 3 is the caller of the function that calls.

    Returns:
        the sentence, for a command line to print.
    """
    sentence = f"{what} is deprecated and goes in version {REMOVED_IN}; use {instead}."
    warnings.warn(sentence, DeprecationWarning, stacklevel=stacklevel)
    return sentence


def moved(modules: Mapping[str, str]) -> None:
    """Keep the import paths of modules that have moved inside the package.

    Args:
        modules: old dotted name -> the modules that now hold what it held, with a space between
            several; all names without ``i2moe_plugin.``.
    """
    _FINDER.modules |= {
        f"i2moe_plugin.{old}": tuple(f"i2moe_plugin.{name}" for name in new.split())
        for old, new in modules.items()
    }
    if _FINDER not in sys.meta_path:
        sys.meta_path.append(_FINDER)  # last: asked only for what is nowhere else


def held_now_by(name: str, places: Sequence[str]) -> Callable[[str], Any]:
    """Make the ``__getattr__`` of a module for what it held before; who uses it is warned.

    Args:
        name: the module's.
        places: the modules that hold it now, looked through in order.
    """

    def lookup(attribute: str) -> Any:
        place, value = _find(name, places, attribute)
        deprecated(f"{name}.{attribute}", f"{place}.{attribute}")
        return value

    return lookup


def _find(name: str, places: Sequence[str], attribute: str) -> tuple[str, Any]:
    """Look through modules for what a module of that name held; gives the place, too."""
    if not attribute.startswith("__"):
        for place in places:
            module = importlib.import_module(place)
            if hasattr(module, attribute):
                return place, getattr(module, attribute)
    raise AttributeError(f"{name} has no {attribute!r}; see {', '.join(places)}.")


class _Moved(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules under their old names; what they held is looked up where it is now."""

    def __init__(self) -> None:
        self.modules: dict[str, tuple[str, ...]] = {}

    def find_spec(
        self, fullname: str, path: Any = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Make a spec for a name of before; None for any other."""
        if fullname not in self.modules:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def exec_module(self, module: ModuleType) -> None:
        """Warn, and have the module answer with what it held."""
        name = module.__name__
        places = self.modules[name]
        deprecated(f"the module {name}", " or ".join(places))
        vars(module)["__getattr__"] = lambda attribute: _find(name, places, attribute)[1]


_FINDER = _Moved()
