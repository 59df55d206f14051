"""Reading the data sets that ship in the package: checked npz files with fixed splits."""

from __future__ import annotations

import hashlib
import zipfile
from abc import abstractmethod
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from i2moe_plugin.benchmarks.data.base import (
    SPLITS,
    ArraySplit,
    MultimodalDataset,
    SplitName,
    Status,
)
from i2moe_plugin.benchmarks.encoders import EncoderSettings, feature_encoder
from i2moe_plugin.errors import DatasetError
from i2moe_plugin.tasks import Classification

Arrays = Mapping[str, NDArray[Any]]


def read_npz(path: Path, keys: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """The named arrays of an npz file, without unpickling anything.

    Raises:
        DatasetError: the file is missing, damaged, lacks a key, or holds objects.
    """
    if not path.is_file():
        raise DatasetError(f"{path}: no such file.")
    try:
        # An open handle: numpy leaks the one it opens itself when the archive is damaged.
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as archive:
            missing = [key for key in keys if key not in archive.files]
            if missing:
                raise DatasetError(
                    f"{path}: lacks {', '.join(missing)}; it holds {', '.join(archive.files)}."
                )
            return {key: archive[key] for key in keys}
    except DatasetError:
        raise
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, MemoryError) as error:
        raise DatasetError(f"{path}: not a readable npz file ({error}).") from error
    except Exception as error:  # zlib.error, struct.error, SyntaxError of a damaged header
        raise DatasetError(
            f"{path}: damaged npz file ({type(error).__name__}: {error})."
        ) from error


class PackagedDataset(MultimodalDataset):
    """A classification data set in one npz file: arrays, ``label``, ``class_names``, ``split``.

    Args:
        root: folder with a file of the same name and format to read in place of the packaged one.

    Raises:
        DatasetError: see :func:`read_npz`; also arrays of unequal length, labels outside the
            classes, an unknown split code, or a class without training sample.
    """

    file: str
    arrays: tuple[str, ...]

    def __init__(self, root: str | Path | None = None) -> None:
        super().__init__(root)
        self.path = self._path(self.root)
        data = read_npz(self.path, (*self.arrays, "label", "class_names", "split"))
        self._names = [str(name) for name in data["class_names"]]
        self._labels = self._checked_labels(data)
        self._rows = {name: np.flatnonzero(data["split"] == i) for i, name in enumerate(SPLITS)}
        self._check_splits(data["split"])
        self._columns = [torch.as_tensor(column) for column in self._prepare(data)]
        for name, column in zip(self.modalities, self._columns, strict=True):
            if len(column) != len(self._labels):
                raise DatasetError(
                    f"{self.path}: {name} has {len(column)} samples, label has {len(self._labels)}."
                )
            if column.is_floating_point() and not torch.isfinite(column).all():
                raise DatasetError(f"{self.path}: {name} holds NaN or infinite values.")

    @abstractmethod
    def _prepare(self, data: Arrays) -> list[NDArray[Any]]:
        """One array [N, ...] for each modality; anything fitted is fitted on training rows."""

    @property
    def task(self) -> Classification:
        """One of the classes."""
        return Classification(len(self._names))

    @property
    def class_names(self) -> list[str]:
        return self._names

    def split(self, name: SplitName) -> ArraySplit:
        rows = torch.as_tensor(self._rows[name])
        return ArraySplit(
            [column[rows] for column in self._columns], torch.as_tensor(self._labels)[rows]
        )

    def labels(self, name: SplitName) -> NDArray[Any]:
        return self._labels[self._rows[name]]

    def sample_ids(self, name: SplitName) -> list[str]:
        return [f"{self.name}-{row}" for row in self._rows[name]]

    def fingerprint(self) -> str:
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    @classmethod
    def status(cls, root: Path | None) -> Status:
        path = cls._path(root)
        if not path.is_file():
            return Status(False, str(path), problems=(f"{path}: no such file.",))
        return Status(
            True, str(path) if root is not None else "in the package", path.stat().st_size
        )

    @classmethod
    def _path(cls, root: Path | None) -> Path:
        if root is not None:
            return root / cls.file
        folder = resources.files("i2moe_plugin.benchmarks.datasets.embedded")
        return Path(str(folder.joinpath(cls.file)))

    def _checked_labels(self, data: Arrays) -> NDArray[Any]:
        labels = data["label"]
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise DatasetError(f"{self.path}: label must be integers [N], not {labels.dtype}.")
        labels = labels.astype(np.int64)
        outside = np.unique(labels[(labels < 0) | (labels >= len(self._names))])
        if len(outside):
            raise DatasetError(
                f"{self.path}: labels {outside[:5].tolist()} lie outside the "
                f"{len(self._names)} classes."
            )
        return labels

    def _check_splits(self, split: NDArray[Any]) -> None:
        if split.shape != self._labels.shape or not np.isin(split, (0, 1, 2)).all():
            raise DatasetError(
                f"{self.path}: split must hold 0 (train), 1 (valid) or 2 (test) for each of the "
                f"{len(self._labels)} samples."
            )
        for name, rows in self._rows.items():
            if not len(rows):
                raise DatasetError(f"{self.path}: the {name} split is empty.")
        trained = np.unique(self._labels[self._rows["train"]])
        absent = sorted(set(range(len(self._names))) - set(trained.tolist()))
        if absent:
            names = ", ".join(self._names[i] for i in absent)
            raise DatasetError(f"{self.path}: no training sample of {names}: it cannot be learned.")


class FeatureDataset(PackagedDataset):
    """Every modality is a matrix of features; imputed and standardised on training rows."""

    def _prepare(self, data: Arrays) -> list[NDArray[Any]]:
        return [self._standardise(name, data[name]) for name in self.modalities]

    def _standardise(
        self, name: str, values: NDArray[Any], *, impute: bool = False
    ) -> NDArray[Any]:
        from sklearn.impute import SimpleImputer
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        if values.ndim != 2 or values.dtype.kind != "f":
            raise DatasetError(
                f"{self.path}: {name} must be floats [N, F], not {values.dtype} "
                f"{list(values.shape)}."
            )
        if len(values) != len(self._labels):
            raise DatasetError(
                f"{self.path}: {name} has {len(values)} samples, label has {len(self._labels)}."
            )
        bad = ~np.isfinite(values) & ~(np.isnan(values) & impute)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise DatasetError(
                f"{self.path}: {name} holds {int(bad.sum())} NaN or infinite values, the first in "
                f"row {row}, column {column}."
            )
        steps = [StandardScaler()]
        if impute:
            # A missing value is information too: an indicator column for each that has any.
            steps.insert(0, SimpleImputer(strategy="median", add_indicator=True))
        pipeline = make_pipeline(*steps)
        pipeline.fit(values[self._rows["train"]].astype(np.float64))
        return np.asarray(pipeline.transform(values.astype(np.float64)), dtype=np.float32)

    def features(self, name: SplitName) -> NDArray[Any]:
        return np.concatenate([column[self._rows[name]].numpy() for column in self._columns], 1)

    def encoders(self, settings: EncoderSettings) -> list[nn.Module]:
        return [feature_encoder(column.shape[1], settings) for column in self._columns]
