"""The target of a user's folder."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2moe_plugin.benchmarks.datasets.folder.description import Description
from i2moe_plugin.benchmarks.formats.cells import (
    LARGEST,
    NUMBER,
    as_numbers,
    as_texts,
    is_missing,
    listed_rows,
    read_number,
)
from i2moe_plugin.benchmarks.formats.reading import Rows
from i2moe_plugin.errors import DatasetError
from i2moe_plugin.tasks import Classification, Multilabel, Regression, Task

METRICS = {"classification": "accuracy", "multilabel": "macro_f1", "regression": "mae"}
DISTINCT = 0.9  # share of distinct targets that must stay so in single precision
WHOLE = re.compile(r"-?[0-9]{1,18}")


@dataclass(frozen=True)
class Target:
    """What is predicted.

    Attributes:
        values: [N] class numbers, or [N, C]; 0 where a row has no label.
        task: the task.
        class_names: of the outputs, in order.
        metric: what the task is judged by, where nothing else is told.
        unlabelled: the rows without label.
        notes: what must stand beside results.
    """

    values: Tensor
    task: Task
    class_names: Sequence[str]
    metric: str
    unlabelled: NDArray[np.int64]
    notes: tuple[str, ...] = ()


def read_target(description: Description, array: Rows, where: str) -> Target:
    """Read the target of every row.

    Args:
        description: says the task, the classes, and whether rows may lack a label.
        array: [N], or [N, C].
        where: the file and the array, for messages.

    Raises:
        DatasetError: values that do not fit the task or the classes, or rows without label.
    """
    if not len(array):
        raise DatasetError(f"{where}: has no rows.")
    if description.task == "classification":
        target = _read_classes(array, where, description.classes)
    else:
        target = _read_numbers(description, array, where)
    missing = target.unlabelled
    if len(missing) == len(array):
        raise DatasetError(f"{where}: no row has a label.")
    if not len(missing):
        return target
    said = f"{len(missing)} of {len(array)} rows have no label ({listed_rows(missing)})"
    if not description.drop_unlabelled:
        raise DatasetError(
            f"{where}: {said}. Give them labels, leave them out with drop_unlabelled: true, or, "
            "where such a word is a class, name it in classes."
        )
    return replace(target, notes=(*target.notes, f"{said} and are left out."))


def _read_numbers(description: Description, array: Rows, where: str) -> Target:
    """Numbers of a regression, or 0 and 1 for each of several labels."""
    values = np.asarray(as_numbers(where, array)[:], dtype=np.float64)
    if values.ndim > 2:
        raise DatasetError(f"{where}: the target is [N] or [N, C]; got {list(values.shape)}.")
    values = values.reshape(len(values), -1)
    missing = np.asarray(np.isnan(values).any(axis=1))
    several = description.task == "multilabel"
    fits = np.isin(values, (0, 1)) if several else np.abs(values) <= LARGEST
    wrong = np.logical_not(fits) & ~missing[:, None]
    if wrong.any():
        row, column = np.argwhere(wrong)[0].tolist()
        expected = "0 and 1 only" if several else "no infinite numbers, and none above 3.4e38"
        raise DatasetError(
            f"{where}, row {row + 1}, column {column + 1}: {values[row, column]:g}; "
            f"a {description.task} target holds {expected}."
        )
    width = values.shape[1]
    names = description.classes or [f"output {i + 1}" for i in range(width)]
    if len(names) != width:
        raise DatasetError(f"{where}: {len(names)} classes for {width} columns.")
    values = np.where(missing[:, None], 0, values)
    single = values.astype(np.float32)
    if ((values != 0) & (single == 0)).any():
        raise DatasetError(
            f"{where}: holds numbers so small (below 1e-45) that they would be 0 in single "
            "precision; give them in another unit."
        )
    before, after = len(np.unique(values)), len(np.unique(single))
    notes: tuple[str, ...] = ()
    if after < DISTINCT * before:
        notes = (f"the {before} values of the target are {after} in single precision.",)
    return Target(
        torch.from_numpy(single),
        (Multilabel if several else Regression)(width),
        names,
        METRICS[description.task],
        np.flatnonzero(missing),
        notes,
    )


def _read_classes(array: Rows, where: str, classes: list[str] | None) -> Target:
    """The classes' names in order, and the number of each row's class."""
    if np.dtype(array.dtype).kind == "f":
        values = np.asarray(array[:], dtype=np.float64)
        if (np.isinf(values) | (np.floor(values) != values) & ~np.isnan(values)).any():
            raise DatasetError(
                f"{where}: classes are names or whole numbers; for other numbers the task is "
                "regression."
            )
    words = as_texts(where, array)
    present = [word for word in words if word is not None and not is_missing(word, classes or ())]
    found = sorted(set(present), key=_by_number)
    names = classes or found
    if found and len(names) < 2:
        missing = [row for row, word in enumerate(words) if is_missing(word, classes or ())]
        others = f", but for {listed_rows(missing)}, which have no label" if missing else ""
        raise DatasetError(f"{where}: all rows have one class, {names[0]!r}{others}.")
    notes = _alike(found)
    places = {name: place for place, name in enumerate(names)}
    if not set(found) <= set(names):
        places = {word: _place(word, len(names)) for word in found}
        odd = [word for word in found if places[word] < 0]
        if odd:
            raise DatasetError(f"{where}: {odd[:5]} are none of the classes {', '.join(names)}.")
    elif classes and any(_place(word, len(names)) not in (-1, places[word]) for word in found):
        notes = (*notes, f"the target's {', '.join(found[:3])} are read as names of classes.")
    absent = np.array([is_missing(word, classes or ()) for word in words])
    numbers = [0 if none else places[str(word)] for word, none in zip(words, absent, strict=True)]
    return Target(
        torch.tensor(numbers),
        Classification(max(len(names), 2)),
        names,
        METRICS["classification"],
        np.flatnonzero(absent),
        notes,
    )


def _place(word: str, count: int) -> int:
    """The place in the list of classes that a word tells; -1 if none."""
    try:
        value = read_number(word)
    except ValueError:
        return -1
    return int(value) if value in range(count) else -1


def _by_number(word: str) -> tuple[bool, int, str]:
    whole = WHOLE.fullmatch(word) is not None
    return (not whole, int(word) if whole else 0, word)


def _alike(names: Sequence[str]) -> tuple[str, ...]:
    """A note on classes that may be one, written in different ways."""
    groups: dict[object, list[str]] = {}
    for name in names:
        key: object = unicodedata.normalize("NFKC", name).strip().casefold()
        if NUMBER.fullmatch(name.strip()):
            key = Decimal(name.strip())
        groups.setdefault(key, []).append(name)
    alike = [" and ".join(map(repr, group)) for group in groups.values() if len(group) > 1]
    if not alike:
        return ()
    more = f" and {len(alike) - 3} more" if len(alike) > 3 else ""
    return (f"classes are kept apart as they are written: {', '.join(alike[:3])}{more}.",)
