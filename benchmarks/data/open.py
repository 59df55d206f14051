"""The one door for data: everything in the package that opens a data set does so here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from numpy.typing import NDArray
from torch import nn

from i2moe_plugin.benchmarks.data.base import SPLITS, MultimodalDataset, SplitName
from i2moe_plugin.benchmarks.data.cards import Card
from i2moe_plugin.benchmarks.data.classes import prepared_copy
from i2moe_plugin.benchmarks.data.frozen import cache_dir
from i2moe_plugin.benchmarks.data.multibench import NOTE, checkout_loader
from i2moe_plugin.benchmarks.data.preview import Preview
from i2moe_plugin.benchmarks.data.registry import (
    DatasetEntry,
    datasets,
    find_dataset,
    option_problems,
)
from i2moe_plugin.benchmarks.encoders import EncoderSettings
from i2moe_plugin.errors import ConfigError
from i2moe_plugin.tasks import Task


@dataclass(frozen=True)
class PreparedDataset:
    """A data set as a model reads it: batches of each split, and encoders that fit them.

    It is what :meth:`OpenedDataset.prepare` gives.
    """

    _loader: Callable[..., Any] = field(repr=False)
    _encoders: Callable[[EncoderSettings], list[nn.Module]] = field(repr=False)

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
        """
        return self._loader(
            split,
            batch_size=batch_size,
            seed=seed,
            shuffle=shuffle,
            num_workers=num_workers,
            pin_memory=pin_memory,
        )

    def encoders(self, settings: EncoderSettings) -> list[nn.Module]:
        """One untrained encoder for each modality, for the batches of :meth:`loader`."""
        return self._encoders(settings)


@dataclass(frozen=True)
class OpenedDataset:
    """A data set whose files have been checked and opened; it never changes.

    Attributes:
        name: the registered name.
        root: the folder of the files; None where the data ships in the package.
        card: the published format, the licence and how to get the files.
        modalities: their names, in order.
        task: what is predicted.
        class_names: the names of the outputs, in order.
        metric: what methods are compared by.
        selection: what selects the epoch on validation data; the metric, where empty.
        notes: sentences that must stand beside every result.
        is_sample: the files are a drawn sample, so figures are not comparable with published ones.
        loader: who makes the batches, ``own`` or ``multibench``.
        settings: the data set's settings, as they were told.
    """

    name: str
    root: Path | None
    card: Card = field(repr=False)
    modalities: tuple[str, ...]
    task: Task
    class_names: tuple[str, ...]
    metric: str
    selection: str
    notes: tuple[str, ...]
    is_sample: bool
    loader: str
    settings: Mapping[str, Any]
    _data: MultimodalDataset = field(repr=False)
    _memo: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def sample_ids(self, split: SplitName) -> list[str]:
        """The samples' ids, in the split's order."""
        return self._data.sample_ids(split)

    def labels(self, split: SplitName) -> NDArray[Any]:
        """The targets of a split, [N] or [N, ...], in its order."""
        return self._data.labels(split)

    def features(self, split: SplitName) -> NDArray[Any] | None:
        """All modalities side by side, [N, F], for a linear baseline; None where some are more."""
        return self._data.features(split)

    def preview(self, split: SplitName, index: int) -> list[Preview]:
        """One sample's modalities for people: text and pictures themselves, not their features.

        Raises:
            DatasetError: the sample cannot be read.
        """
        return self._data.show(split, index)

    def fingerprint(self) -> str:
        """A hash of the data and of every setting that changes it: equal data, equal hash."""
        return self._once("fingerprint", self._fingerprint)

    def split_hash(self) -> str:
        """A hash of the ids in each split, in order."""
        return self._once("splits", self._split_hash)

    def prepare(
        self, device: torch.device | str = "cpu", progress: bool = False, *, frozen: bool = True
    ) -> PreparedDataset:
        """Compute what a run reads, or take it from the cache; done once for each kind of device.

        Args:
            device: where features of frozen networks are computed.
            progress: show a progress bar on a terminal.
            frozen: put the features of frozen networks in the place of what they read; otherwise
                batches hold what the files hold, and the encoders hold the networks.

        Raises:
            DatasetError: files that turn out to be damaged when they are read.
        """
        kind = torch.device(device).type
        return self._once(("prepared", kind, frozen), lambda: self._prepare(kind, progress, frozen))

    def _prepare(self, device: str, progress: bool, frozen: bool) -> PreparedDataset:
        data = prepared_copy(self._data, device, progress) if frozen else self._data
        if self.loader == "multibench":
            return PreparedDataset(checkout_loader(data), data.encoders)
        return PreparedDataset(data.loader, data.encoders)

    def _fingerprint(self) -> str:
        ours = self._data.fingerprint()
        if self.loader == "own":
            return ours
        return hashlib.sha256(f"{ours} {self.loader}".encode()).hexdigest()

    def _split_hash(self) -> str:
        ids = [self.sample_ids(split) for split in SPLITS]
        return hashlib.sha256(json.dumps(ids).encode()).hexdigest()

    def _once(self, key: Any, compute: Callable[[], Any]) -> Any:
        if key not in self._memo:
            self._memo[key] = compute()
        return self._memo[key]


def open_dataset(
    name: str,
    root: str | Path | None = None,
    *,
    loader: Literal["own", "multibench"] = "own",
    cache: bool = True,
    sample: bool = False,
    **options: Any,
) -> OpenedDataset:
    """Check a data set's files and open it.

    Args:
        name: a registered name, or a folder with a ``dataset.yaml``.
        root: the folder of the files; ``data/NAME`` by default.
        loader: ``multibench``: batches come from the loader of the checkout in
            ``$MULTIBENCH_ROOT``, everything else stays ours.
        cache: take what was computed and kept before; otherwise compute and keep it anew.
        sample: where ``root`` is not told and the files are not here, draw a sample and open that.
        **options: the data set's settings.

    Raises:
        UnknownNameError: no such data set.
        ConfigError: options it does not have, or no checkout.
        DatasetError: its files are missing or damaged; or MultiBench's loader cannot be used.
        PluginError: the checkout is none.
    """
    name, place = find_dataset(name, root)
    entry = datasets.get(name)
    problems = option_problems(entry, options)
    if problems:
        raise ConfigError(problems)
    if sample and place is None:
        place = _drawn(entry)
    data = entry.build(place, **options)
    data.cache = cache
    notes = tuple(data.notes)
    if loader == "multibench":
        checkout_loader(data)
        notes += (NOTE,)
    return OpenedDataset(
        name=name,
        root=data.root,
        card=data.card,
        modalities=tuple(data.modalities),
        task=data.task,
        class_names=tuple(data.class_names),
        metric=data.metric,
        selection=data.selection,
        notes=notes,
        is_sample=getattr(data, "is_sample", False),
        loader=loader,
        settings=options,
        _data=data,
    )


def _drawn(entry: DatasetEntry) -> Path | None:
    """The folder of a drawn sample, where the data set's own files are not here."""
    if entry.card.embedded or entry.status().ready:
        return None
    folder = cache_dir() / "samples" / entry.name
    if not entry.status(folder).ready:
        entry.write_sample(folder)
    return folder
