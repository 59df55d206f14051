"""Data sets in one npz file: arrays, ``label``, ``class_names`` and ``split``; ours ship so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.data.batches import Values
from i2moe_plugin.benchmarks.data.cards import Card, File, Key
from i2moe_plugin.benchmarks.data.contents import Contents, Modality
from i2moe_plugin.benchmarks.data.preprocessing import silence_constant
from i2moe_plugin.benchmarks.data.source import DataFolder
from i2moe_plugin.benchmarks.data.splits import SPLITS, Splits, coded
from i2moe_plugin.benchmarks.encoders import feature_encoder
from i2moe_plugin.benchmarks.formats.arrays import read_npz
from i2moe_plugin.benchmarks.formats.reading import check_array, same_length
from i2moe_plugin.errors import DatasetError, enumerated
from i2moe_plugin.tasks import Classification

Locate = Callable[[Path | None, Card], tuple[Path, Card]]


@dataclass(frozen=True)
class Packaged:
    """The checked arrays of such a file; labels are int64 [N], splits as ``split`` codes them."""

    path: Path
    arrays: Mapping[str, NDArray[Any]]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    splits: Splits

    @property
    def train(self) -> NDArray[np.int64]:
        """The training rows."""
        return self.splits["train"]

    def contents(self, *modalities: Modality, **more: Any) -> Contents:
        """Return the data set of these modalities."""
        return Contents(
            splits=self.splits,
            modalities=modalities,
            target=torch.from_numpy(self.labels),
            task=Classification(len(self.class_names)),
            class_names=self.class_names,
            **more,
        )


def located(folder: Path, file: str, keys: tuple[str, ...]) -> Locate:
    """Find the file in the package, or under the same name in a folder that the user names."""
    arrays = (Key(key) for key in (*keys, "label", "class_names", "split"))
    files = (File(file, "arrays, labels, class names and split codes", tuple(arrays)),)
    return lambda root, card: (root or folder, replace(card, files=files))


def read_packaged(folder: DataFolder) -> Packaged:
    """Return the arrays that the folder's card names."""
    (file,) = folder.card.files
    path = folder / file.path
    arrays = read_npz(path, tuple(key.name for key in file.keys))
    names = tuple(str(name) for name in arrays.pop("class_names"))
    labels, codes = arrays.pop("label"), arrays.pop("split")
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DatasetError(f"{path}: label must be integers [N], not {labels.dtype}.")
    same_length(path, {"label": labels, "split": codes})
    if codes.ndim != 1 or not np.isin(codes, range(len(SPLITS))).all():
        raise DatasetError(f"{path}: split must hold 0 (train), 1 (valid) or 2 (test) alone.")
    labels = labels.astype(np.int64)
    outside = np.unique(labels[(labels < 0) | (labels >= len(names))])
    if len(outside):
        raise DatasetError(
            f"{path}: labels {outside[:5].tolist()} lie outside the {len(names)} classes."
        )
    ids = [f"{folder.name}-{row}" for row in range(len(labels))]
    splits = folder.split(coded(codes), ids, classes=labels)
    check_trained(str(path), labels[splits["train"]], names)
    return Packaged(path, arrays, labels, names, splits)


def check_trained(where: str, labels: NDArray[np.int64], names: tuple[str, ...]) -> None:
    """Check that training rows show every class."""
    present = set(labels.tolist())
    absent = [name for label, name in enumerate(names) if label not in present]
    if absent:
        raise DatasetError(
            f"{where}: no training sample of {enumerated(absent, 5)}: it cannot be learned."
        )


def feature_modality(data: Packaged, name: str, *, impute: bool = False) -> Modality:
    """Make a modality of a matrix of features [N, F], standardised on training rows.

    Where ``impute``, missing values become training rows' medians, and each feature that misses
    any there gets an indicator column.
    """
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    values = data.arrays[name]
    check_array(f"{data.path}: {name}", values, ("N", "F"), kinds="f")
    same_length(data.path, {name: values, "label": data.labels})
    bad = ~np.isfinite(values) & ~(np.isnan(values) & impute)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise DatasetError(
            f"{data.path}: {name} holds {int(bad.sum())} NaN or infinite values, the first in "
            f"row {row}, column {column}."
        )
    # A missing value is information too: an indicator column for each that has any.
    steps = [SimpleImputer(strategy="median", add_indicator=True)] if impute else []
    pipeline = make_pipeline(*steps, StandardScaler())
    pipeline.fit(values[data.train].astype(np.float64))
    silence_constant(pipeline[-1])
    column = Values.in_memory(values, partial(_transformed, pipeline))
    width = column.held.shape[1]
    return Modality(name, column, partial(feature_encoder, width), tabular=True)


def _transformed(pipeline: Any, values: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(pipeline.transform(values.astype(np.float64)), dtype=np.float32)
