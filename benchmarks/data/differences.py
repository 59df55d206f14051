"""How files differ from the published format that a card states."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from i2moe_plugin.benchmarks.data.cache import digest
from i2moe_plugin.benchmarks.data.cards import Card, File
from i2moe_plugin.benchmarks.formats.inspection import ArrayFacts, inspect_file
from i2moe_plugin.errors import DatasetError


def differences(card: Card, folder: Path, sample: bool = False) -> list[str]:
    """Say how the files differ from the published format; all problems, one sentence each.

    Names, keys, shapes and types are compared; and, unless it is a drawn sample, the published
    sizes and checksums.
    """
    problems = card.missing_files(folder)
    if not folder.is_dir():
        return problems
    published = {} if sample else dict(card.sizes)
    sizes = {word: (size, "as published") for word, size in published.items()}
    for file in card.files:
        paths = file.found(folder)
        problems += [
            f"{path.relative_to(folder)} is empty" for path in paths if not path.stat().st_size
        ]
        if not paths or file.pattern:
            continue
        if file.keys:
            try:
                contents = inspect_file(paths[0])
            except DatasetError as error:
                problems.append(str(error))
                continue
            problems += _compare(file, contents, sizes)
        if file.sha256 and not sample and digest(paths[0]) != file.sha256:
            problems.append(
                f"{file.path}: its sha256 is not the published one: another version, or damage"
            )
    return problems


def _compare(
    file: File, contents: Mapping[str, ArrayFacts], sizes: dict[str, tuple[int, str]]
) -> Iterator[str]:
    if whose := file.whose(contents):
        yield f"{file.path}: {whose}"
        return
    for key in file.keys:
        where = f"{file.path}: {key.name}" if key.name else file.path
        found = contents.get(key.name)
        if found is None:
            if not key.optional:
                names = ", ".join(list(contents)[:12])
                yield f"{where} is missing; the file has {names or 'nothing'}"
            continue
        if key.dtype and not matches(found.dtype, key.dtype):
            yield f"{where} has type {found.dtype}; expected {key.dtype}"
        if key.shape is None:
            continue
        expected = "[" + ", ".join(map(str, key.shape)) + "]"
        if len(found.shape) != len(key.shape):
            yield f"{where} has shape {list(found.shape)}; expected {expected}"
            continue
        for size, wanted in zip(found.shape, key.shape, strict=True):
            if isinstance(wanted, int):
                if size != wanted:
                    yield f"{where} has shape {list(found.shape)}; expected {expected}"
                    break
                continue
            known, by = sizes.setdefault(wanted, (size, f"in {where}"))
            if size != known:
                yield f"{where}: {wanted} is {size}, but {known} {by}"


def matches(dtype: str, wanted: str) -> bool:
    """Whether a numpy type's name (``float32``, ``int64``, ``text``) is of the wanted kind.

    >>> matches("float32", "f4"), matches("uint8", "i"), matches("text", "number")
    (True, True, False)
    """
    if dtype == "text" or wanted == "text":
        return dtype == wanted
    kind: Any = np.dtype(dtype).kind
    if wanted == "number":
        return kind in "fiub"
    if wanted in ("f", "i"):
        return kind in {"f": "f", "i": "iu"}[wanted]
    return np.dtype(dtype) == np.dtype(wanted)
