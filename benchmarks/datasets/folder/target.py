"""The target of a user's folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2moe_plugin.benchmarks.datasets.folder.description import Description
from i2moe_plugin.benchmarks.formats.reading import Rows
from i2moe_plugin.benchmarks.formats.tables import texts
from i2moe_plugin.errors import DatasetError
from i2moe_plugin.tasks import Classification, Multilabel, Regression, Task

METRICS = {"classification": "accuracy", "multilabel": "macro_f1", "regression": "mae"}


@dataclass(frozen=True)
class Target:
    """What is predicted.

    Attributes:
        values: [N] class numbers, or [N, C].
        task: the task.
        class_names: of the outputs, in order.
        metric: what the task is judged by, where nothing else is told.
    """

    values: Tensor
    task: Task
    class_names: Sequence[str]
    metric: str


def read_target(description: Description, array: Rows, where: str) -> Target:
    """The target of every row.

    Raises:
        DatasetError: values that do not fit the task or the classes.
    """
    values = np.asarray(array[:])
    if not len(values):
        raise DatasetError(f"{where}: has no rows.")
    metric = METRICS[description.task]
    if description.task == "classification":
        names, labels = _classes(values, where, description.classes)
        return Target(torch.tensor(labels), Classification(len(names)), names, metric)
    values = values.reshape(len(values), -1)
    if values.dtype.kind not in "fiub" or not np.isfinite(values).all():
        raise DatasetError(f"{where}: the target must be numbers, none missing.")
    width = values.shape[1]
    names = description.classes or [f"output {i + 1}" for i in range(width)]
    if len(names) != width:
        raise DatasetError(f"{where}: {len(names)} classes for {width} columns.")
    if description.task == "multilabel" and not np.isin(values, (0, 1)).all():
        raise DatasetError(f"{where}: a multilabel target holds 0 and 1 only.")
    task = (Multilabel if description.task == "multilabel" else Regression)(width)
    return Target(torch.from_numpy(values.astype(np.float32)), task, names, metric)


def _classes(
    values: NDArray[np.generic], where: str, classes: list[str] | None
) -> tuple[list[str], list[int]]:
    """The classes' names in order, and the number of each row's class."""
    values = values.reshape(-1) if values.size == len(values) else values
    if values.ndim != 1:
        raise DatasetError(f"{where}: a class is one cell a row; got {list(values.shape)}.")
    if values.dtype.kind == "f":
        if not np.isfinite(values).all() or (values % 1).any():
            raise DatasetError(f"{where}: classes are names or whole numbers, none missing.")
        values = values.astype(np.int64)
    words = texts(values)
    present = sorted(set(words), key=lambda w: (not w.lstrip("-").isdigit(), _number(w), w))
    names = classes or present
    if len(names) < 2:
        raise DatasetError(f"{where}: all rows have one class, {names[0]!r}.")
    if classes is None or set(words) <= set(names):
        place = {name: index for index, name in enumerate(names)}
        return list(names), [place[word] for word in words]
    # The column holds places in the list.
    if not all(w.isdigit() and int(w) < len(names) for w in set(words)):
        odd = sorted(set(words) - set(names))[:5]
        raise DatasetError(f"{where}: {odd} are none of the classes {', '.join(names)}.")
    return list(names), [int(word) for word in words]


def _number(word: str) -> int:
    return int(word) if word.lstrip("-").isdigit() else 0
