"""The source of a component, with what it imports from its own folder: a part of a run's identity.

Imports are read from the text, not from what happens to be loaded, so that the answer is the same
whatever else a process has imported. A name that is put together while the code runs is not seen.
"""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

#: This package, which a run's identity knows by its version.
_OURS = "i2moe_plugin"
#: Folders whose files have nothing to do with each other.
_SHARED = {"site-packages", "dist-packages"}


def source_of(made: Callable[..., Any], module: str = "") -> str:
    """Return the text of the files that a component is made of.

    Args:
        made: the class or function, perhaps wrapped, or with arguments bound to it.
        module: the name of the module that registered it, where it may be another one.

    Returns:
        the texts of its file, of the registering module's, and of all modules of their folders or
        packages that these import, one after another; empty where there are none.
    """
    while isinstance(made, functools.partial):
        made = made.func
    made = inspect.unwrap(made)
    own = getattr(made, "__module__", None) or type(made).__module__
    texts: dict[Path, str] = {}
    shown = ""
    for name in dict.fromkeys([own, module]):
        path = _file_of(name)
        if path is not None:
            _follow(path, name, texts)
        elif name == own:
            shown = _as_typed(made)
    return "".join([shown, *texts.values()])


def _file_of(module: str) -> Path | None:
    file = getattr(sys.modules.get(module), "__file__", None)
    path = None if file is None else Path(file)
    return path if path is not None and path.suffix == ".py" and path.is_file() else None


def _as_typed(made: Any) -> str:
    """Return the text of a class or function that is in no file, as in a notebook."""
    try:
        linecache.checkcache()
        return inspect.getsource(made)
    except (OSError, TypeError):
        return ""


def _follow(path: Path, module: str, texts: dict[Path, str]) -> None:
    """Read a file, and the files that it imports, in the order of the imports."""
    depth = module.count(".") + (path.name == "__init__.py")
    # Where `import a` may mean a neighbour: the file's folder, and those of its packages.
    roots = list(path.resolve().parents[: max(depth, 1)])
    outside = path.resolve().parents[depth] if depth else None  # `import package.a`
    waiting = [path.resolve()]
    while waiting:
        one = waiting.pop(0)
        if one in texts:
            continue
        try:
            texts[one] = one.read_text(encoding="utf-8")
            tree = ast.parse(texts[one])
        except (OSError, SyntaxError, ValueError):
            texts.setdefault(one, "")
            continue
        for level, words in _imported(tree):
            if level:
                waiting += _found(one.parents[level - 1], words)
                continue
            if words[0] == _OURS:
                continue
            for root in roots:
                if root.name not in _SHARED:
                    waiting += _found(root, words)
            if outside is not None and words[0] == module.partition(".")[0]:
                waiting += _found(outside, words)


def _imported(tree: ast.AST) -> Iterator[tuple[int, list[str]]]:
    """Give the names that a file imports: how many folders up, and the words of the name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = node.module.split(".") if node.module else []
            yield from ((node.level, [*start, alias.name]) for alias in node.names)
        elif isinstance(node, ast.Call) and node.args:
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            first = node.args[0]
            if (
                called in ("import_module", "__import__")
                and isinstance(first, ast.Constant)
                and isinstance(first.value, str)
            ):
                name = first.value
                level = len(name) - len(name.lstrip("."))
                yield level, name.lstrip(".").split(".")


def _found(folder: Path, words: list[str]) -> Iterator[Path]:
    """Give the files of a dotted name below a folder, those of its packages first."""
    for place, word in enumerate(words):
        package, file = folder / word, folder / f"{word}.py"
        if (package / "__init__.py").is_file():
            yield package / "__init__.py"
        elif not package.is_dir():
            if file.is_file():
                yield file
            return
        elif file.is_file() and place == len(words) - 1:
            yield file
        folder = package
