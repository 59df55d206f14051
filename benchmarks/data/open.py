"""The one door for data: everything in the package that opens a data set does so here."""

from __future__ import annotations

import hashlib
import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.data.batches import Loaders, PreparedDataset
from i2moe_plugin.benchmarks.data.cache import cache_dir
from i2moe_plugin.benchmarks.data.cards import Card
from i2moe_plugin.benchmarks.data.classes import ClassContents
from i2moe_plugin.benchmarks.data.contents import Contents, Learned, Preparation
from i2moe_plugin.benchmarks.data.layouts import Layout
from i2moe_plugin.benchmarks.data.multibench import NOTE, CheckoutLoader
from i2moe_plugin.benchmarks.data.observed import observe
from i2moe_plugin.benchmarks.data.preview import Preview
from i2moe_plugin.benchmarks.data.redraw import Redraw
from i2moe_plugin.benchmarks.data.registry import (
    MODALITIES,
    DatasetEntry,
    datasets,
    find_dataset,
)
from i2moe_plugin.benchmarks.data.rereading import empty_samples, open_samples
from i2moe_plugin.benchmarks.data.samples import Part, Samples
from i2moe_plugin.benchmarks.data.source import DataFolder
from i2moe_plugin.benchmarks.data.splits import (
    OWN_SPLIT,
    SPLITS,
    SplitName,
    check_given,
    split_hash,
)
from i2moe_plugin.errors import ConfigError, DatasetError
from i2moe_plugin.tasks import Task

__all__ = [
    "OpenedDataset",
    "PreparedDataset",
    "dataloader_of",
    "empty_samples",
    "open_dataset",
    "open_samples",
]


@dataclass(frozen=True)
class OpenedDataset:
    """A data set whose files have been checked and opened; it never changes.

    Attributes:
        name: the registered name.
        root: where the files are, as it was told or by default; None: in the package.
        card: the published format, the licence and how to get the files.
        modalities: their names, in order.
        task: what is predicted.
        class_names: the names of the outputs, in order.
        metric: what methods are compared by.
        selection: what selects the epoch on validation data; the metric, where empty.
        notes: sentences that must stand beside every result.
        is_sample: the files are a drawn sample, so figures are not comparable with published ones.
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
    settings: Mapping[str, Any]
    _folder: DataFolder = field(repr=False)
    _contents: Contents | ClassContents = field(repr=False)
    _checkout: Callable[..., Any] | None = field(repr=False)
    _open: tuple[SplitName, ...] = field(default=SPLITS, repr=False)
    _memo: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def without_test(self) -> OpenedDataset:
        """Return the same data set, which refuses to give anything of its test split.

        Hashes are those of all of it.
        """
        return replace(self, _open=SPLITS[:2])

    def sample_ids(self, split: SplitName) -> list[str]:
        """Return the samples' ids, in the split's order."""
        return self._contents.sample_ids(self._given(split))

    def _repr_html_(self) -> str:
        """Return what it is, for a notebook."""
        facts = {
            "modalities": ", ".join(self.modalities),
            "task": self.task.name,
            "classes or outputs": ", ".join(self.class_names),
            "samples": ", ".join(f"{len(self.sample_ids(split))} {split}" for split in SPLITS),
            "licence": self.card.licence,
        }
        rows = "".join(
            f"<tr><td>{name}</td><td>{html.escape(fact)}</td></tr>" for name, fact in facts.items()
        )
        return f"<b>{html.escape(self.card.title)}</b><table>{rows}</table>"

    def groups(self, split: SplitName) -> NDArray[Any] | None:
        """Return the samples' groups, [N], in the split's order; None where there are none."""
        give = getattr(self._contents, "groups", None)
        return None if give is None else give(self._given(split))

    def labels(self, split: SplitName) -> NDArray[Any]:
        """Return the targets of a split, [N] or [N, ...], in its order."""
        return self._contents.labels(self._given(split))

    def features(self, split: SplitName) -> NDArray[Any] | None:
        """All modalities side by side, [N, F], for a linear baseline; None where some are more."""
        return self._contents.features(self._given(split))

    def preview(self, split: SplitName, index: int) -> list[Preview]:
        """One sample's modalities for people: text and pictures themselves, not their features.

        Raises:
            DatasetError: the sample cannot be read.
        """
        return self._contents.preview(self._given(split), index)

    @property
    def incomplete(self) -> tuple[str, ...]:
        """The modalities that some samples lack, in order."""
        found: tuple[str, ...] = getattr(self._contents, "incomplete", ())
        return found

    @property
    def carried_by(self) -> str:
        """The expert that ought to carry the label by the data's construction; else empty."""
        return self._contents.carried_by

    def layouts(self, split: SplitName, index: int) -> list[Layout | None]:
        """What the tokens of each of a sample's modalities stand for, where it has any."""
        return self._contents.layouts(self._given(split), index)

    def fingerprint(self) -> str:
        """Return a hash of the data and of every setting that changes it: equal data, equal hash.

        Raises:
            DatasetError: a file cannot be read.
        """
        return self._once("fingerprint", self._fingerprint)

    def observations(self) -> tuple[str, ...]:
        """Modalities that hardly vary between samples, one sentence each; reads a few samples.

        They stand beside every result, after ``notes``.

        Raises:
            DatasetError: a sample cannot be read.
        """
        contents = self._contents
        if isinstance(contents, ClassContents):
            return ()
        return self._once("observations", lambda: observe(contents))

    def content_hash(self) -> str:
        """A hash of the data, whoever reads them for a run: of ours and of MultiBench's loader.

        Raises:
            DatasetError: a file cannot be read.
        """
        return self._once("content", lambda: self._contents.fingerprint(self._folder))

    def split_hash(self) -> str:
        """Return a hash of the ids in each split, in order."""
        return self._once("splits", lambda: split_hash(self._contents.sample_ids))

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

    def learned(self) -> Learned | None:
        """Return what was learned from training rows, where new samples can be read by it."""
        learned = getattr(self._contents, "learned", None)
        return None if learned is None or self._checkout is not None else learned()

    def samples(self, part: Part, device: torch.device | str = "cpu") -> Samples:
        """Return one split, or all of them one after the other, for a trained model.

        Args:
            part: which.
            device: where features of frozen networks are computed.

        Raises:
            DatasetError: see :meth:`prepare`.
        """
        prepared = self.prepare(device)
        splits = SPLITS if part == "all" else (part,)

        def batches(batch_size: int) -> Iterable[Any]:
            return chain.from_iterable(
                prepared.loader(split, batch_size=batch_size) for split in splits
            )

        return Samples(
            ids=[name for split in splits for name in self.sample_ids(split)],
            batches=batches,
            encoders=prepared.encoders,
            example=prepared.example,
            target=np.concatenate([self.labels(split) for split in splits]),
            notes=self.notes,
        )

    def _prepare(self, device: str, progress: bool, frozen: bool) -> PreparedDataset:
        ours = self._contents.prepare(Preparation(device, progress, frozen))
        if self._checkout is not None:
            ours = PreparedDataset(self._checkout, ours.encoders)
        return ours if self._open == SPLITS else replace(ours, splits=self._open)

    def _given(self, split: SplitName) -> SplitName:
        """Return the split.

        Raises:
            DatasetError: it is kept out of reach.
        """
        check_given(split, self._open)
        return split

    def _fingerprint(self) -> str:
        ours = self.content_hash()
        if self._checkout is None:
            return ours
        return hashlib.sha256(f"{ours} multibench".encode()).hexdigest()

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
    modalities: Sequence[str] | None = None,
    split: str = OWN_SPLIT,
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
        modalities: the names of those that are taken, in any order; all by default.
        split: ``own``; or a number from 1, or a fold such as ``2of5``: train, valid and test are
            drawn anew from all samples, and what is fitted on training samples is fitted anew.
        **options: the data set's settings.

    Raises:
        UnknownNameError: no such data set.
        ConfigError: options or modalities it does not have, no checkout, or a split that cannot be
            drawn.
        DatasetError: its files are missing or damaged; or MultiBench's loader cannot be used.
        PluginError: the checkout is none.
    """
    name, place = find_dataset(name, root)
    entry = datasets.get(name)
    if sample and place is None:
        place = _drawn(entry)
    folder = replace(entry.folder(place, cache), redraw=Redraw.of(split))
    if folder.redraw is not None and loader == "multibench":
        raise ConfigError("MultiBench's loaders have splits of their own; draw none with them.")
    if MODALITIES in entry.settings and modalities is not None:  # its own, such as how many
        options, modalities = {**options, MODALITIES: modalities}, None
    contents = entry.open(folder, options)
    if modalities is not None:
        contents = contents.choose(modalities, loader)
        options = {**options, MODALITIES: list(modalities)}
    notes = (*folder.notes, *contents.notes)
    if folder.redraw is not None:
        if not isinstance(contents, Contents) or contents.splits.own is None:
            raise ConfigError(f"{name}: its reader does not make its splits by folder.split().")
        notes += (contents.splits.note,)
    checkout = None
    if loader == "multibench":
        defaults = {key: parameter.default for key, parameter in entry.settings.items()}
        checkout = _checkout_loader(entry).batches(folder, {**defaults, **options})
        notes += (NOTE,)
    return OpenedDataset(
        name=name,
        root=folder.path if place is None and not entry.card.embedded else place,
        card=folder.card,
        modalities=contents.modality_names,
        task=contents.task,
        class_names=tuple(contents.class_names),
        metric=contents.metric or entry.metric,
        selection=entry.selection,
        notes=notes,
        is_sample=folder.is_sample,
        settings=options,
        _folder=folder,
        _contents=contents,
        _checkout=checkout,
    )


def dataloader_of(name: str, **defaults: Any) -> Callable[..., Loaders]:
    """MultiBench's ``get_dataloader`` for a data set: (train, valid, test) loaders.

    Args:
        name: the data set's.
        **defaults: settings that this call takes otherwise than a run.
    """

    def get_dataloader(
        root: str | Path | None = None,
        batch_size: int = 32,
        num_workers: int = 0,
        train_shuffle: bool = True,
        seed: int = 0,
        **options: Any,
    ) -> Loaders:
        """MultiBench's call: (train, valid, test) loaders with batches ``(x_1, ..., x_M, y)``.

        Args:
            root: folder of the files.
            batch_size, num_workers: of every loader.
            train_shuffle: shuffle the training split.
            seed: the shuffling's.
            **options: the data set's settings.

        Raises:
            DatasetError: missing or damaged files.
            ConfigError: settings it does not have.
        """
        data = open_dataset(name, root, **{**defaults, **options})
        return data.prepare(frozen=False).loaders(batch_size, num_workers, train_shuffle, seed)

    return get_dataloader


def _checkout_loader(entry: DatasetEntry) -> CheckoutLoader:
    if isinstance(entry.checkout, CheckoutLoader):
        return entry.checkout
    if entry.checkout:
        raise DatasetError(f"MultiBench's loader of {entry.name} cannot be used: {entry.checkout}.")
    have = ", ".join(other.name for other in datasets if other.checkout)
    raise DatasetError(f"MultiBench has no loader of {entry.name}; it has {have}.")


def _drawn(entry: DatasetEntry) -> Path | None:
    """Return the folder of a drawn sample, where the data set's own files are not here."""
    if entry.draw is None or entry.status().ready:
        return None
    folder = cache_dir() / "samples" / entry.name
    if not entry.status(folder).ready:
        entry.write_sample(folder)
    return folder
