"""Modules of a checkout that is no installed package, imported without touching the caller's.

A checkout's top-level names (``datasets``, ``utils``, ...) are those of other packages too. So its
modules are imported under a private name, ``i2moe_multibench_<hash of the path>``, and their own
imports of each other, also those inside functions, are led there. The caller's ``sys.path`` and
modules stay as they are.

A class is pickled by that private name: another process must call :func:`open_checkout` on the same
folder before it unpickles. Imports by other means than the ``import`` statement are not led.
"""

from __future__ import annotations

import builtins
import hashlib
import importlib
import inspect
import sys
import types
import warnings
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from typing import Any

from torch import nn

from i2moe_plugin.errors import PluginError, did_you_mean


class Checkout:
    """The modules of one MultiBench checkout, under a private package name.

    Args:
        root: the folder that holds ``fusions``.

    Raises:
        PluginError: it is not a checkout.
    """

    def __init__(self, root: Path) -> None:
        if not (root / "fusions").is_dir():
            raise PluginError(f"{root} is not a MultiBench checkout: it holds no folder fusions.")
        self.root = root
        self.package = f"i2moe_multibench_{hashlib.sha256(str(root).encode()).hexdigest()[:12]}"
        self.top = {
            path.stem
            for path in root.iterdir()
            if (path.is_dir() or path.suffix == ".py") and self._is_ours(path.stem)
        }
        self.without: set[str] = set()
        package = types.ModuleType(self.package)
        package.__path__ = [str(root)]
        sys.modules[self.package] = package
        sys.meta_path.insert(0, _Finder(self))

    def load(self, path: str) -> type[nn.Module]:
        """Load the class at a dotted path, ``fusions.common_fusions.Concat``.

        Raises:
            PluginError: no such module or class, a missing package, or a failed import.
        """
        module_name, _, name = path.rpartition(".")
        if not module_name or not all(part.isidentifier() for part in path.split(".")):
            raise PluginError(
                f"{path!r} is not of the form MODULE.CLASS, such as fusions.common_fusions.Concat."
            )
        module = self.module(module_name)
        classes = {
            key: value
            for key, value in vars(module).items()
            if inspect.isclass(value) and issubclass(value, nn.Module)
        }
        if name not in classes:
            raise PluginError(
                f"{module_name} of {self.root} has no module class {name!r}."
                f"{did_you_mean(name, classes)} It has: {', '.join(classes) or 'none'}."
            )
        return classes[name]

    def module(self, name: str, without: Sequence[str] = ()) -> types.ModuleType:
        """Import a module by its name there, ``training_structures.Supervised_Learning``.

        Args:
            name: of the module.
            without: packages that may be missing; an empty module stands for them, for what is
                imported at the top of a file and used in parts of it that are not called.

        Raises:
            PluginError: no such module, a missing package, or a failed import.
        """
        search_path = list(sys.path)
        self.without.update(without)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of code that is not the user's
                return importlib.import_module(f"{self.package}.{name}")
        except ModuleNotFoundError as error:
            missing = error.name or ""
            if missing.startswith(f"{self.package}."):
                inside = missing.removeprefix(f"{self.package}.")
                raise PluginError(f"the checkout {self.root} has no module {inside}.") from error
            raise PluginError(
                f"{name} of {self.root} needs the package {missing.partition('.')[0]!r}, which is "
                "not installed here."
            ) from error
        except (Exception, SystemExit) as error:
            raise PluginError(
                f"{name} of {self.root} could not be imported: {type(error).__name__}: {error}"
            ) from error
        finally:
            sys.path[:] = search_path  # some modules append the working folder

    def _is_ours(self, name: str) -> bool:
        """Decide as Python does with the root first on its path: bare folders come last."""
        spec = PathFinder.find_spec(name, [str(self.root)])
        if spec is None or spec.origin is not None:
            return spec is not None
        installed = PathFinder.find_spec(name)
        return installed is None or installed.origin is None

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        """``__import__`` as the checkout's modules see it: their own names come first."""
        top = name.partition(".")[0]
        if top in self.without and not level and PathFinder.find_spec(top) is None:
            return types.ModuleType(top)
        if level or top not in self.top:
            return builtins.__import__(name, globals, locals, fromlist, level)
        if fromlist:
            return builtins.__import__(f"{self.package}.{name}", globals, locals, fromlist, 0)
        importlib.import_module(f"{self.package}.{name}")
        return sys.modules[f"{self.package}.{top}"]


def open_checkout(root: str | Path) -> Checkout:
    """Open the checkout in a folder; gives the same object each time.

    Raises:
        PluginError: it is not a checkout.
    """
    folder = Path(root).expanduser().resolve()
    if folder not in _CHECKOUTS:
        _CHECKOUTS[folder] = Checkout(folder)
    return _CHECKOUTS[folder]


_CHECKOUTS: dict[Path, Checkout] = {}


class _Finder(MetaPathFinder):
    """Finds a checkout's modules, and has them import each other by their own names."""

    def __init__(self, checkout: Checkout) -> None:
        self.checkout = checkout

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find the spec of one of the checkout's modules; None for any other."""
        if not fullname.startswith(f"{self.checkout.package}."):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(self.checkout, fullname, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    def __init__(self, checkout: Checkout, fullname: str, path: str) -> None:
        super().__init__(fullname, path)
        self.checkout = checkout

    def exec_module(self, module: types.ModuleType) -> None:
        """Run the module with an ``__import__`` of its own, which its functions keep."""
        own = {**vars(builtins), "__import__": self.checkout._import}
        module.__dict__["__builtins__"] = own
        super().exec_module(module)
