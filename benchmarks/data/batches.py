"""From columns and rows to the batches that a model reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from i2moe_plugin.benchmarks.data.splits import SPLITS, SplitName, check_given
from i2moe_plugin.benchmarks.encoders import EncoderSettings
from i2moe_plugin.benchmarks.formats.reading import single
from i2moe_plugin.incomplete import Incomplete
from i2moe_plugin.seeding import derive_seed

#: An image [3, H, W] and a seed -> the image, changed as that seed draws it.
Augment = Callable[[Tensor, int], Tensor]
Loaders = tuple[Any, Any, Any]


class Column(Protocol):
    """One modality of all samples: row numbers [B] -> a batch [B, ...], or a batch and lengths."""

    def __getitem__(self, rows: NDArray[np.int64], /) -> Any: ...


@dataclass(frozen=True)
class Values:
    """A column of values as the files hold them, and what a model reads in their place.

    Attributes:
        values: [N, ...] by row, in memory or on disk.
        transform: rows of values -> a batch. What it knows of the data, such as means, it was
            fitted with on training rows, so it takes rows of other files too.
        held: what ``transform`` gives for all rows, where that stays in memory.
    """

    values: Any
    transform: Callable[[Any], Any] = single
    held: Any = None

    @classmethod
    def in_memory(cls, values: Any, transform: Callable[[Any], Any] = single) -> Values:
        """Transform all rows now, and hold them."""
        return cls(values, transform, torch.as_tensor(transform(values)))

    def of(self, row: int) -> Tensor:
        """Return the one row of that number."""
        return self[np.array([row])][0]

    def __getstate__(self) -> dict[str, Any]:
        """Return what a process that reads batches needs."""
        if self.held is None:
            return self.__dict__
        return {"values": None, "transform": None, "held": self.held}

    def __getitem__(self, rows: NDArray[np.int64]) -> Tensor:
        if isinstance(self.held, Tensor):
            return self.held[torch.from_numpy(rows)]
        found = self.transform(self.values[rows]) if self.held is None else self.held[rows]
        return torch.as_tensor(found)


@dataclass(frozen=True)
class IncompleteColumn:
    """A column of a modality that some samples lack; of those nothing is read.

    Attributes:
        column: of all rows; what it holds of those that lack the modality means nothing.
        missing: which rows lack it, [N].
    """

    column: Column
    missing: NDArray[np.bool_]

    def present(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those of these rows that have the modality."""
        return rows[~self.missing[rows]]

    def __getitem__(self, rows: NDArray[np.int64]) -> Any:
        there = np.flatnonzero(~self.missing[rows])
        if len(there) == len(rows):
            return self.column[rows]
        found = self.column[rows[there]] if len(there) else None
        return Incomplete(found, torch.from_numpy(there), len(rows))


class SplitDataset(Dataset[Any]):
    """A split; whole batches ``(x_1, ..., x_M, y)`` are read at once.

    Args:
        columns: of the M modalities, of all samples.
        target: [N, ...] of all samples.
        rows: this split's.
        augment: for each modality what changes it in training, if anything does.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        target: Tensor,
        rows: NDArray[np.int64],
        augment: Sequence[Augment | None] = (),
    ) -> None:
        self.columns, self.target, self.rows = columns, target, np.asarray(rows)
        self.augment = augment or [None] * len(columns)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indices: Sequence[Any]) -> tuple[Any, ...]:
        """The batch of these samples; one given as (number, seed) is augmented by that seed."""
        seeds: list[int] = []
        if indices and isinstance(indices[0], tuple):
            indices, seeds = map(list, zip(*indices, strict=True))
        rows = self.rows[list(indices)]
        columns = [column[rows] for column in self.columns]
        if seeds:  # each modality draws its own, as in the paper's code
            for place, change in enumerate(self.augment):
                if change is not None and not isinstance(columns[place], Incomplete):
                    own = [derive_seed(seed, place) for seed in seeds]
                    columns[place] = torch.stack(list(map(change, columns[place], own)))
        return (*columns, self.target[torch.from_numpy(rows)])

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """One sample, without the batch's dimension."""
        return first_of(self.__getitems__([index]))

    def loader(
        self,
        *,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = False,
        training: bool = False,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> DataLoader[Any]:
        """Make a loader; see :meth:`PreparedDataset.loader`. ``training`` augments."""
        augment = training and any(self.augment)
        order = EpochShuffle(len(self), seed, shuffle, augment) if shuffle or augment else None
        return DataLoader(
            self,
            batch_size=batch_size,
            sampler=order,
            num_workers=num_workers,
            pin_memory=pin_memory,
            collate_fn=as_is,
        )


class EpochShuffle(Sampler[Any]):
    """The order of an epoch's rows, from the seed and the epoch's number alone.

    Where ``augment``, each row comes with the seed of its augmentation in that epoch: the seed
    travels with the row, so that the processes that read need not know the epoch.
    """

    def __init__(self, length: int, seed: int, shuffle: bool = True, augment: bool = False) -> None:
        self.length, self.seed, self.shuffle, self.augment = length, seed, shuffle, augment
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next pass has."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Any]:
        epoch, rows = self.epoch, list(range(self.length))
        self.epoch += 1  # loops that do not tell the epoch still get a new order each pass
        if self.shuffle:
            generator = torch.Generator().manual_seed(derive_seed(self.seed, "shuffle", epoch))
            rows = torch.randperm(self.length, generator=generator).tolist()
        if self.augment:
            return iter([(row, derive_seed(self.seed, "augment", epoch, row)) for row in rows])
        return iter(rows)


@dataclass(frozen=True)
class PreparedDataset:
    """A data set as a model reads it: batches of each split, and encoders that fit them.

    Attributes:
        splits: those that may be read; another is refused.
    """

    _loader: Callable[..., Any] = field(repr=False)
    _encoders: Callable[[EncoderSettings], list[nn.Module]] = field(repr=False)
    _known: Mapping[int, int] = field(default_factory=dict, repr=False)
    splits: tuple[SplitName, ...] = SPLITS
    _memo: dict[int, int] = field(default_factory=dict, init=False, repr=False, compare=False)

    def loader(
        self,
        split: SplitName,
        *,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = False,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> Any:
        """Batches ``(x_1, ..., x_M, y)`` of a split.

        Args:
            split: the split.
            batch_size: samples a batch; the last one may be smaller.
            seed: decides the order; each epoch of a seed has its own, whatever the workers.
            shuffle: draw the order anew each epoch.
            num_workers: processes that read ahead.
            pin_memory: give tensors in page-locked memory, from which a GPU copies without waiting.

        Returns:
            an iterable with a length; a ``DataLoader``, unless the batches are a checkout's.

        Raises:
            DatasetError: a split that may not be read.
        """
        check_given(split, self.splits)
        return self._loader(
            split,
            batch_size=batch_size,
            seed=seed,
            shuffle=shuffle,
            num_workers=num_workers,
            pin_memory=pin_memory,
        )

    def loaders(
        self, batch_size: int, num_workers: int = 0, train_shuffle: bool = True, seed: int = 0
    ) -> Loaders:
        """Return the (train, valid, test) loaders, of which the first may shuffle."""
        train, valid, test = (
            self.loader(
                split,
                batch_size=batch_size,
                seed=seed,
                shuffle=train_shuffle and split == "train",
                num_workers=num_workers,
            )
            for split in SPLITS
        )
        return train, valid, test

    def features(self) -> list[dict[SplitName, NDArray[np.float64]] | None]:
        """Return each modality's splits as matrices [N, F]; None where it is no plain features."""
        datasets = {split: self.loader(split, batch_size=1).dataset for split in SPLITS}
        if not all(isinstance(one, SplitDataset) for one in datasets.values()):
            return []
        found: list[dict[SplitName, NDArray[np.float64]] | None] = []
        for place in range(len(datasets["train"].columns)):
            column = datasets["train"].columns[place]
            if isinstance(column, IncompleteColumn):
                found.append(None)
                continue
            one = column[datasets["train"].rows[:1]]
            plain = isinstance(one, Tensor) and one.dim() == 2 and one.is_floating_point()
            found.append(
                {split: column[data.rows].double().numpy() for split, data in datasets.items()}
                if plain
                else None
            )
        return found

    def example(self) -> list[Any]:
        """Two training samples as a batch, each modality as long as its longest sample anywhere.

        A batch is padded to its own longest one, so others may be longer than the first. Where a
        column does not say how long its longest is (``longest``), all batches are read once.
        """
        loader = self.loader("train", batch_size=2)
        *inputs, _ = next(iter(loader))
        for place, column in enumerate(getattr(getattr(loader, "dataset", None), "columns", ())):
            if isinstance(column, IncompleteColumn):
                inputs[place] = column.column[column.present(loader.dataset.rows)[:2]]
        varying = [m for m, x in enumerate(inputs) if _with_lengths(x)]
        self._memo.update(self._known)
        if not all(m in self._memo for m in varying):
            found = dict.fromkeys(varying, 1)
            for split in self.splits:
                for *batch, _ in self.loader(split, batch_size=256):
                    given = [x.x if isinstance(x, Incomplete) else x for x in batch]
                    found = {
                        m: most if given[m] is None else max(most, given[m][0].shape[1])
                        for m, most in found.items()
                    }
            self._memo.update({**found, **self._known})
        return [_padded(x, self._memo[m]) if m in varying else x for m, x in enumerate(inputs)]

    def encoders(self, settings: EncoderSettings) -> list[nn.Module]:
        """Return one untrained encoder for each modality, for the batches of :meth:`loader`."""
        return self._encoders(settings)


def _with_lengths(x: Any) -> bool:
    """Whether a modality's batch is sequences [B, T, ...] with their lengths [B]."""
    if not isinstance(x, (tuple, list)) or len(x) != 2 or not all(isinstance(i, Tensor) for i in x):
        return False
    values, lengths = x
    return (
        values.dim() > 1 and lengths.shape == values.shape[:1] and not lengths.is_floating_point()
    )


def _padded(x: Sequence[Tensor], steps: int) -> tuple[Tensor, Tensor]:
    """Sequences [B, T, ...] with zeros behind them up to so many steps, and their lengths."""
    values, lengths = x
    missing = steps - values.shape[1]
    if missing <= 0:
        return values, lengths
    return torch.cat(
        [values, values.new_zeros(len(values), missing, *values.shape[2:])], 1
    ), lengths


def remade_loaders(
    data: PreparedDataset,
    make: Callable[[SplitDataset], Dataset[Any]],
    batch_size: int,
    num_workers: int = 0,
    train_shuffle: bool = True,
    seed: int = 0,
) -> Loaders:
    """Make (train, valid, test) loaders of the batches that ``make`` gives of a split of ours."""
    train, valid, test = (
        DataLoader(
            made := make(loader.dataset),
            batch_size=batch_size,
            sampler=EpochShuffle(len(made), seed) if number == 0 and train_shuffle else None,  # type: ignore[arg-type]
            num_workers=num_workers,
            collate_fn=as_is,
        )
        for number, loader in enumerate(data.loaders(batch_size))
    )
    return train, valid, test


def as_is(batch: Any) -> Any:
    """Return a batch that needs no collating."""
    return batch


def first_of(columns: Any) -> Any:
    """Return the first sample of a batch, without the batch's dimension; None of what it lacks."""
    return tuple(_first(column) for column in columns)


def _first(column: Any) -> Any:
    if isinstance(column, Incomplete):
        return None
    return first_of(column) if isinstance(column, (tuple, list)) else column[0]
