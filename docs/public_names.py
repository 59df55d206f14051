"""The public names: what packages export, what the guides import, and the types these mention.

The site's reference documents these, and a test finds each of them there.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
#: The pages of the reference: each exports what its packages' ``__all__`` name, or define.
PAGES = {
    "i2moe_plugin": ["i2moe_plugin"],
    "interpretation": ["i2moe_plugin.interpretation", "i2moe_plugin.interpretation.figures"],
    "testing": ["i2moe_plugin.testing"],
}
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def exported(package: str) -> dict[str, Any]:
    """What a package exports, by name, without its submodules and its version."""
    module = importlib.import_module(package)
    names = getattr(module, "__all__", None) or [
        name
        for name, thing in vars(module).items()
        if not name.startswith("_") and getattr(thing, "__module__", "") == package
    ]
    found = {name: getattr(module, name) for name in names if name != "__version__"}
    return {name: thing for name, thing in found.items() if not inspect.ismodule(thing)}


def imported_by_guides() -> dict[str, Any]:
    """What README and guides import from our modules, by its full name."""
    found = {}
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for block in BLOCK.findall(path.read_text(encoding="utf-8")):
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.ImportFrom) and str(node.module).startswith("i2moe_plugin"):
                    module = importlib.import_module(str(node.module))
                    found |= {
                        f"{module.__name__}.{alias.name}": getattr(module, alias.name)
                        for alias in node.names
                    }
    return {name: thing for name, thing in found.items() if not inspect.ismodule(thing)}


def mentioned(thing: Any) -> Iterator[type]:
    """The classes of ours that a signature, a public attribute or a base class names."""
    if inspect.isclass(thing):
        yield from (base for base in thing.__mro__[1:] if is_ours(base))
        public = [value for name, value in vars(thing).items() if not name.startswith("_")]
        for part in [*public, vars(thing).get("__init__")]:
            part = part.fget if isinstance(part, property) else part
            if inspect.isfunction(getattr(part, "__func__", part)):
                yield from mentioned(getattr(part, "__func__", part))
    try:
        hints = list(typing.get_type_hints(thing).values())
    except (NameError, TypeError):  # imported for type checkers alone; or not annotated
        return
    while hints:
        hint = hints.pop()
        hints += typing.get_args(hint)
        if inspect.isclass(hint) and is_ours(hint):
            yield hint


def is_ours(thing: type) -> bool:
    """Whether a class is defined in this project, under a public name."""
    return thing.__module__.split(".")[0] == "i2moe_plugin" and not thing.__name__.startswith("_")


def public_names() -> dict[str, dict[str, list[str]]]:
    """Page -> the module that defines them -> full names, each thing once."""
    pages: dict[str, dict[str, list[str]]] = {}
    seen: set[int] = set()

    def add(page: str, name: str, thing: Any) -> None:
        if id(thing) not in seen:
            seen.add(id(thing))
            home = getattr(thing, "__module__", None) or name.rpartition(".")[0]
            pages.setdefault(page, {}).setdefault(home, []).append(name)
            things.append((page, thing))

    things: list[tuple[str, Any]] = []
    for page, packages in PAGES.items():
        for package in packages:
            for name, thing in exported(package).items():
                add(page, f"{package}.{name}", thing)
    for name, thing in imported_by_guides().items():
        add(page_of(name), name, thing)
    for _, thing in things:  # grows on the way
        for other in mentioned(thing):
            name = f"{other.__module__}.{other.__qualname__}"
            add(page_of(name), name, other)
    return pages


def page_of(name: str) -> str:
    """The page for what no package exports."""
    part = name.split(".")[1]
    return part if part in {"adapters", "benchmarks", *PAGES} else "i2moe_plugin"
