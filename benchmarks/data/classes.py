"""Data sets written as classes, the way of before: they work until the next version.

A function that gives :class:`~i2moe_plugin.benchmarks.data.contents.Contents` is the way now; see
docs/adding_a_dataset.md.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from i2moe_plugin.benchmarks.data.batches import (
    EpochShuffle,
    Loaders,
    PreparedDataset,
    SplitDataset,
    Values,
    as_is,
    first_of,
)
from i2moe_plugin.benchmarks.data.cards import Card
from i2moe_plugin.benchmarks.data.contents import NOT_CHOSEN, Contents, Preparation
from i2moe_plugin.benchmarks.data.layouts import Layout
from i2moe_plugin.benchmarks.data.preview import Preview, preview_of
from i2moe_plugin.benchmarks.data.source import DataFolder
from i2moe_plugin.benchmarks.data.splits import SplitName, Splits, split_hash
from i2moe_plugin.benchmarks.encoders import EncoderSettings
from i2moe_plugin.benchmarks.formats.reading import Rows, single
from i2moe_plugin.errors import ConfigError
from i2moe_plugin.tasks import Task


class MultimodalDataset(ABC):
    """Base of data sets that are classes.

    ``split`` gives items ``(x_1, ..., x_M, y)``, and ``encoders`` fit them; after ``prepare``, both
    are those of a run.
    """

    name: str = ""
    card: Card
    modalities: tuple[str, ...]
    metric: str = "accuracy"
    selection: str = ""

    def __init__(self, root: str | Path | None = None) -> None:
        self.root = Path(root).expanduser() if root is not None else None
        self.notes: list[str] = []
        self.cache = True

    @property
    @abstractmethod
    def task(self) -> Task: ...

    @property
    @abstractmethod
    def class_names(self) -> list[str]: ...

    @abstractmethod
    def split(self, name: SplitName) -> Dataset[Any]: ...

    @abstractmethod
    def sample_ids(self, name: SplitName) -> list[str]: ...

    @abstractmethod
    def encoders(self, settings: EncoderSettings) -> list[nn.Module]: ...

    @abstractmethod
    def fingerprint(self) -> str: ...

    def prepare(self, device: torch.device | str = "cpu", progress: bool = False) -> None:  # noqa: B027
        pass

    def split_hash(self) -> str:
        return split_hash(self.sample_ids)

    def show(self, name: SplitName, index: int) -> list[Preview]:
        *inputs, _ = self.split(name)[index]
        return [preview_of(*pair) for pair in zip(self.modalities, inputs, strict=True)]

    def features(self, name: SplitName) -> NDArray[Any] | None:
        return None

    def labels(self, name: SplitName) -> NDArray[Any]:
        data = self.split(name)
        return np.stack([np.asarray(data[i][-1]) for i in range(len(data))])  # type: ignore[arg-type]

    def loader(
        self, name: SplitName, *, batch_size: int, seed: int = 0, shuffle: bool = False, **more: Any
    ) -> DataLoader[Any]:
        data = self.split(name)
        return DataLoader(
            data,
            batch_size=batch_size,
            sampler=EpochShuffle(len(data), seed) if shuffle else None,  # type: ignore[arg-type]
            collate_fn=as_is if isinstance(data, BatchSplit) else None,
            **more,
        )

    @classmethod
    def get_dataloader(
        cls,
        root: str | Path | None = None,
        batch_size: int = 32,
        num_workers: int = 0,
        train_shuffle: bool = True,
        seed: int = 0,
        **options: Any,
    ) -> Loaders:
        data = cls(root, **options)
        prepared = PreparedDataset(data.loader, data.encoders)
        return prepared.loaders(batch_size, num_workers, train_shuffle, seed)

    @classmethod
    def write_sample(cls, folder: Path, seed: int = 0) -> None:
        raise NotImplementedError


class FileDataset(MultimodalDataset):
    """Base of classes that read published files in a folder; ``data/NAME`` if none is told."""

    def __init__(self, root: str | Path | None = None) -> None:
        super().__init__(Path("data", self.name) if root is None else root)
        assert self.root is not None
        self.folder = self.root
        self.is_sample = self._in_folder.is_sample
        self._rows: dict[SplitName, NDArray[Any]] = {}
        self._ids: Sequence[str] = ()

    @property
    def _in_folder(self) -> DataFolder:
        return DataFolder(self.folder, self.card, self.name)

    def _set_splits(self, rows: dict[SplitName, NDArray[Any]], ids: Sequence[str]) -> None:
        splits = self._in_folder.split(rows, ids)
        self._rows, self._ids = dict(splits.rows), splits.ids

    def sample_ids(self, name: SplitName) -> list[str]:
        return Splits(self._rows, self._ids).sample_ids(name)

    def fingerprint(self) -> str:
        facts = [sorted(self._in_folder.digests().items()), self.split_hash(), self._told()]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def _told(self) -> dict[str, Any]:
        return {}


class BatchSplit(Dataset[Any], ABC):
    """A split that gives whole batches ``(x_1, ..., x_M, y)``, each modality stacked or padded."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitems__(self, indices: list[int]) -> tuple[Any, ...]: ...

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return first_of(self.__getitems__([index]))


class ArraySplit(BatchSplit):
    """A split held in memory: M tensors [N, ...] and a target [N] or [N, C]."""

    def __init__(self, modalities: Sequence[Tensor], target: Tensor) -> None:
        self.columns = (*modalities, target)

    def __len__(self) -> int:
        return len(self.columns[-1])

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, ...]:
        return tuple(column[torch.as_tensor(indices)] for column in self.columns)


class LazySplit(BatchSplit):
    """A split whose rows are read from arrays of all samples, a batch at a time."""

    def __init__(
        self,
        modalities: Sequence[Rows],
        target: Tensor,
        rows: NDArray[Any],
        prepare: Sequence[Callable[[NDArray[Any]], Any]] | None = None,
    ) -> None:
        makes = prepare or [single] * len(modalities)
        columns = [Values(*pair) for pair in zip(modalities, makes, strict=True)]
        self._split = SplitDataset(columns, target, rows)

    def __len__(self) -> int:
        return len(self._split)

    def __getitems__(self, indices: list[int]) -> tuple[Any, ...]:
        return self._split.__getitems__(indices)


class ClassContents:
    """An opened class as the door takes it; it offers what ``Contents`` does."""

    carried_by = ""

    def __init__(self, data: MultimodalDataset) -> None:
        self.data = data
        self.task, self.class_names, self.metric = data.task, data.class_names, data.metric
        self.notes, self.modality_names = tuple(data.notes), tuple(data.modalities)
        self.sample_ids, self.labels = data.sample_ids, data.labels
        self.features, self.preview = data.features, data.show

    def choose(self, names: Sequence[str], loader: str = "own") -> Contents:
        """Refuse: a class gives all of its modalities.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(NOT_CHOSEN)

    def layouts(self, split: SplitName, index: int) -> list[Layout | None]:
        """Give none: classes do not say what tokens stand for."""
        return [None] * len(self.modality_names)

    def fingerprint(self, folder: DataFolder) -> str:
        """Give the fingerprint that the class computes."""
        return self.data.fingerprint()

    def problems(self) -> Sequence[str]:
        """Give none: opening the files finds all."""
        return ()

    def prepare(self, preparation: Preparation) -> PreparedDataset:
        """Return what a model reads, of a copy that is prepared; the data set stays as it is."""
        data = self.data
        if preparation.frozen:
            data = copy.copy(data)
            data.prepare(preparation.device, preparation.progress)
        return PreparedDataset(data.loader, data.encoders)


def facts_of(name: str, cls: type[MultimodalDataset]) -> dict[str, Any]:
    """Return what :class:`DatasetEntry` holds of a class, which is told its name."""
    cls.name = name
    in_folder = issubclass(cls, FileDataset)

    def read(folder: DataFolder, **settings: Any) -> ClassContents:
        data = cls(folder.path if in_folder or folder.path != Path() else None, **settings)
        data.cache = folder.cache
        return ClassContents(data)

    read.__signature__ = inspect.signature(cls)  # type: ignore[attr-defined]
    drawn = cls.write_sample.__func__ is not MultimodalDataset.write_sample.__func__  # type: ignore[attr-defined]
    return {
        "card": cls.card,
        "modalities": tuple(cls.modalities),
        "read": read,
        "metric": cls.metric,
        "selection": cls.selection,
        "draw": cls.write_sample if drawn else None,
        "locate": None if in_folder else (lambda root, card: (root or Path(), card)),
    }
