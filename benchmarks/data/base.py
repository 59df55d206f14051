"""What a data set is here: one file that knows its format, splits, encoders, sample and source."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from i2moe_plugin.benchmarks.data.cards import Card
from i2moe_plugin.benchmarks.data.preview import Preview, preview_of
from i2moe_plugin.benchmarks.encoders import EncoderSettings
from i2moe_plugin.errors import DatasetError
from i2moe_plugin.seeding import derive_seed
from i2moe_plugin.tasks import Task

SplitName = Literal["train", "valid", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "valid", "test")


@dataclass(frozen=True)
class Status:
    """What of a data set is here.

    Attributes:
        ready: a run can start.
        where: the folder or file looked at.
        size: bytes of the files that are here.
        problems: what is missing or wrong, one sentence each.
    """

    ready: bool
    where: str
    size: int = 0
    problems: tuple[str, ...] = ()


class MultimodalDataset(ABC):
    """Base of the data sets. The constructor checks the files and reads what is small.

    Args:
        root: folder of the published files; None for packaged data.

    Further constructor arguments are the data set's settings (``--set data.NAME=VALUE``).

    Attributes:
        name: the registered name, set by :func:`register_dataset`.
        notes: sentences that must stand beside every result, for instance that features are random.
        cache: frozen features that are kept on disk are taken; False: they are computed again.
        metric: what methods are compared by.
        selection: what selects the epoch on validation data (``loss``: the task's); the metric,
            where empty.

    Raises:
        DatasetError: files that are missing, damaged or not in the published format; all problems.
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
    def task(self) -> Task:
        """What is predicted."""

    @property
    @abstractmethod
    def class_names(self) -> list[str]:
        """The names of the outputs, in order."""

    def prepare(self, device: torch.device | str = "cpu", progress: bool = False) -> None:  # noqa: B027
        """Do what a run needs once, before it asks for splits and encoders; by default nothing.

        A data set may compute frozen features here. Afterwards :meth:`split` gives, and
        :meth:`encoders` take, the features in place of what they were computed from.

        Args:
            device: where to compute.
            progress: show a progress bar on a terminal.

        Raises:
            DatasetError: files that turn out to be damaged when they are read.
        """

    @abstractmethod
    def split(self, name: SplitName) -> Dataset[Any]:
        """One split; its items are ``(x_1, ..., x_M, y)``."""

    @abstractmethod
    def sample_ids(self, name: SplitName) -> list[str]:
        """The samples' ids, in the split's order."""

    @abstractmethod
    def encoders(self, settings: EncoderSettings) -> list[nn.Module]:
        """One untrained encoder for each modality."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of the data and of everything the constructor was told: equal data, equal hash."""

    def split_hash(self) -> str:
        """A hash of the ids in each split, in order."""
        ids = [self.sample_ids(name) for name in SPLITS]
        return hashlib.sha256(json.dumps(ids).encode()).hexdigest()

    def show(self, name: SplitName, index: int) -> list[Preview]:
        """One sample's modalities for people, before :meth:`prepare`; by default by their shapes.

        A data set overrides it where a split's items are not what people would look at, such as
        word vectors in place of words.
        """
        *inputs, _ = self.split(name)[index]
        return [preview_of(*pair) for pair in zip(self.modalities, inputs, strict=True)]

    def features(self, name: SplitName) -> NDArray[Any] | None:
        """All modalities as one [N, F] matrix for a linear baseline, where all are features."""
        return None

    def labels(self, name: SplitName) -> NDArray[Any]:
        """The targets of a split, in order."""
        data = self.split(name)
        return np.stack([np.asarray(data[i][-1]) for i in range(len(data))])  # type: ignore[arg-type]

    @classmethod
    @abstractmethod
    def status(cls, root: Path | None) -> Status:
        """What is here; looks, and reads nothing large."""

    @classmethod
    def verify(cls, root: Path | None) -> list[str]:
        """How the files differ from the published ones, one sentence each; reads all of them."""
        try:
            cls(root)
        except DatasetError as error:
            return [str(error)]
        return []

    @classmethod
    def write_sample(cls, folder: Path, seed: int = 0) -> None:
        """Write a small drawn data set in the published format.

        Raises:
            DatasetError: there is none, since the data itself ships in the package.
        """
        raise DatasetError(
            f"{cls.name} ships in the package; no sample is needed: run --dataset {cls.name}."
        )

    def loader(
        self,
        name: SplitName,
        *,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = False,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> DataLoader[Any]:
        """Batches ``(x_1, ..., x_M, y)`` of a split.

        Args:
            name: the split.
            batch_size: samples a batch; the last one may be smaller.
            seed: the shuffling's; each epoch of a seed has its own order, whatever the workers.
            shuffle: draw the order anew each epoch.
            num_workers: processes that read ahead.
            pin_memory: in page-locked memory, from which a GPU copies without waiting.
        """
        data = self.split(name)
        return DataLoader(
            data,
            batch_size=batch_size,
            sampler=EpochShuffle(len(data), seed) if shuffle else None,  # type: ignore[arg-type]
            num_workers=num_workers,
            pin_memory=pin_memory,
            collate_fn=_as_is if isinstance(data, BatchSplit) else None,
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
    ) -> tuple[DataLoader[Any], DataLoader[Any], DataLoader[Any]]:
        """MultiBench's call: (train, valid, test) loaders with batches ``(x_1, ..., x_M, y)``.

        Args:
            root: folder of the files.
            batch_size, num_workers: of every loader.
            train_shuffle: shuffle the training split.
            seed: the shuffling's.
            **options: the data set's settings.

        Raises:
            DatasetError: see the class.
        """
        return cls(root, **options).loaders(batch_size, num_workers, train_shuffle, seed)

    def loaders(
        self, batch_size: int, num_workers: int = 0, train_shuffle: bool = True, seed: int = 0
    ) -> tuple[DataLoader[Any], DataLoader[Any], DataLoader[Any]]:
        """The (train, valid, test) loaders; see :meth:`get_dataloader`."""
        train, valid, test = (
            self.loader(
                name,
                batch_size=batch_size,
                seed=seed,
                shuffle=train_shuffle and name == "train",
                num_workers=num_workers,
            )
            for name in SPLITS
        )
        return train, valid, test


class BatchSplit(Dataset[Any], ABC):
    """A split that gives whole batches ``(x_1, ..., x_M, y)``, each modality stacked or padded."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitems__(self, indices: list[int]) -> tuple[Any, ...]:
        """The batch of these samples."""

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """One sample, without the batch's dimension."""
        return _first(self.__getitems__([index]))


class ArraySplit(BatchSplit):
    """A split held in memory; whole batches are cut out at once.

    Args:
        modalities: M tensors [N, ...].
        target: [N] or [N, C].
    """

    def __init__(self, modalities: Sequence[Tensor], target: Tensor) -> None:
        self.columns = (*modalities, target)

    def __len__(self) -> int:
        return len(self.columns[-1])

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, ...]:
        rows = torch.as_tensor(indices)
        return tuple(column[rows] for column in self.columns)


class EpochShuffle(Sampler[int]):
    """A new order each epoch, from the seed and the epoch's number alone."""

    def __init__(self, length: int, seed: int) -> None:
        self.length, self.seed, self.epoch = length, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next pass has."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "shuffle", self.epoch))
        self.epoch += 1  # loops that do not tell the epoch still get a new order each pass
        return iter(torch.randperm(self.length, generator=generator).tolist())


def _as_is(batch: Any) -> Any:
    return batch


def _first(columns: Any) -> Any:
    return tuple(_first(c) if isinstance(c, (tuple, list)) else c[0] for c in columns)
