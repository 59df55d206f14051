"""What a data set's files hold, put together from small parts; its author gives it to the door."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from i2moe_plugin.benchmarks.data.batches import (
    Augment,
    Column,
    IncompleteColumn,
    PreparedDataset,
    SplitDataset,
    first_of,
)
from i2moe_plugin.benchmarks.data.layouts import Layout
from i2moe_plugin.benchmarks.data.preview import Preview, preview_of
from i2moe_plugin.benchmarks.data.source import DataFolder
from i2moe_plugin.benchmarks.data.splits import SplitName, Splits, split_hash
from i2moe_plugin.benchmarks.encoders import EncoderSettings
from i2moe_plugin.errors import ConfigError, DatasetError, did_you_mean
from i2moe_plugin.tasks import Task

NOT_CHOSEN = (
    "modalities are chosen of our own loader's batches, and of data sets that are functions: leave "
    "--modalities (data.modalities) or the other loader out."
)


@dataclass(frozen=True)
class Preparation:
    """How to compute what a run reads.

    Attributes:
        device: the kind of device that frozen networks run on.
        progress: show a progress bar on a terminal.
        frozen: put the features of frozen networks in the place of what they read.
    """

    device: str = "cpu"
    progress: bool = False
    frozen: bool = True


@dataclass(frozen=True)
class Modality:
    """One input stream of a data set.

    Attributes:
        name: its name.
        column: its batches, by row numbers.
        encoder: builds an untrained encoder of those batches.
        names: of the columns of features or series, for people.
        preview: a row's number -> what people look at: a text, an array, or a :class:`Preview`;
            the column's own row by default.
        tabular: a row is plain features, which a linear model can read.
        augment: changes a training image as a seed draws it, anew each epoch.
        prepare: computes what takes long before batches are read, and may give the modality that a
            model reads in this one's place.
        layout: a row's number -> what its tokens stand for, where a model reads tokens.
    """

    name: str
    column: Column
    encoder: Callable[[EncoderSettings], nn.Module]
    names: tuple[str, ...] = ()
    preview: Callable[[int], Any] | None = None
    tabular: bool = False
    augment: Augment | None = None
    prepare: Callable[[Preparation], Modality | None] | None = None
    layout: Callable[[int], Layout] | None = None

    def show(self, row: int) -> Preview:
        """Return the sample of that row for people.

        Raises:
            DatasetError: it cannot be read.
        """
        if isinstance(self.column, IncompleteColumn) and self.column.missing[row]:
            return Preview(self.name, "text", "(this sample lacks it)")
        if self.preview is not None:
            found = self.preview(row)
        else:
            (found,) = first_of([self.column[np.array([row])]])
        return found if isinstance(found, Preview) else preview_of(self.name, found, self.names)


@dataclass(frozen=True)
class Learned:
    """What a data set learned from its training rows, by which it reads samples of other files.

    Attributes:
        facts: what JSON can hold.
        arrays: by name.
    """

    facts: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a data set's files hold.

    Attributes:
        splits: the rows of each split, and every row's id; see :meth:`DataFolder.split`.
        modalities: at least two, in order.
        target: [N], [N, C] or any [N, ...] that the task takes, of all rows.
        task: what is predicted.
        class_names: of the outputs, in order.
        notes: sentences that must stand beside every result.
        metric: what methods are compared by, where the settings decide it.
        carried_by: the expert that ought to carry the label, such as ``synergy``, where the data is
            made so; empty where that is not known.
        decisive: gives what, beside files and splits, decides the data: settings, weights.
        beside: the files that the card's files name, such as pictures of a table.
        problems: gives what is wrong with the data beyond what opening it finds; for ``verify``.
        learned: gives what was learned from training rows, where new samples can be read by it; of
            the modalities that it is called with, or of all.
    """

    splits: Splits
    modalities: Sequence[Modality]
    target: Tensor
    task: Task
    class_names: Sequence[str]
    notes: tuple[str, ...] = ()
    metric: str = ""
    carried_by: str = ""
    decisive: Callable[[], Mapping[str, Any]] = dict
    beside: Sequence[Path] | None = None
    problems: Callable[[], Iterable[str]] = tuple
    learned: Callable[..., Learned] | None = None

    @property
    def modality_names(self) -> tuple[str, ...]:
        """The modalities' names, in order."""
        return tuple(modality.name for modality in self.modalities)

    def choose(self, names: Sequence[str], loader: str = "own") -> Contents:
        """Return the contents with these modalities alone, in the data set's order.

        Raises:
            ConfigError: a modality that there is not, fewer than two, or another loader than ours.
        """
        if not are_names(names):
            raise ConfigError(f"modalities are a list of names, not {names!r}.")
        if loader != "own":
            raise ConfigError(NOT_CHOSEN)
        known = self.modality_names
        problems = [
            f"there is no modality {name!r}.{did_you_mean(name, known)} It has: {', '.join(known)}."
            for name in names
            if name not in known
        ]
        if len(set(names)) < 2:
            problems.append(
                "choose at least two modalities: of one alone there is no interaction to find, and "
                "a table has a row for each modality alone."
            )
        if problems:
            raise ConfigError(problems)
        kept = [modality for modality in self.modalities if modality.name in names]
        if len(kept) == len(known):
            return self
        check_some_there(kept, chosen=True)
        chosen = [modality.name for modality in kept]
        return replace(
            self,
            modalities=kept,
            carried_by="",  # by all of them together
            decisive=lambda: {**self.decisive(), "modalities": chosen},
            learned=self.learned and partial(self.learned, chosen),
        )

    @property
    def incomplete(self) -> tuple[str, ...]:
        """The modalities that some samples lack, in order."""
        return lacking(self.modalities)

    def sample_ids(self, split: SplitName) -> list[str]:
        """Return the samples' ids, in the split's order."""
        return self.splits.sample_ids(split)

    def groups(self, split: SplitName) -> NDArray[Any] | None:
        """Return the samples' groups, in the split's order; None where there are none."""
        groups = self.splits.groups
        return None if groups is None else groups[self.splits[split]]

    def labels(self, split: SplitName) -> NDArray[Any]:
        """Return the targets of a split, in its order."""
        found: NDArray[Any] = self.target.numpy()[self.splits[split]]
        return found

    def features(self, split: SplitName) -> NDArray[Any] | None:
        """Return all modalities side by side, [N, F]; None where one is no plain features."""
        if not all(modality.tabular for modality in self.modalities):
            return None
        rows = self.splits[split]
        columns = [modality.column[rows].numpy() for modality in self.modalities]
        return np.concatenate([column.reshape(len(rows), -1) for column in columns], 1)

    def preview(self, split: SplitName, index: int) -> list[Preview]:
        """Return one sample's modalities for people."""
        row = int(self.splits[split][index])
        return [modality.show(row) for modality in self.modalities]

    def layouts(self, split: SplitName, index: int) -> list[Layout | None]:
        """What the tokens of each of a sample's modalities stand for, where it has any."""
        row = int(self.splits[split][index])
        return [modality.layout and modality.layout(row) for modality in self.modalities]

    def prepare(self, preparation: Preparation) -> PreparedDataset:
        """Return what a model reads."""
        modalities = [
            (modality.prepare and modality.prepare(preparation)) or modality
            for modality in self.modalities
        ]
        columns = [modality.column for modality in modalities]
        augment = [modality.augment for modality in modalities]

        def loader(split: SplitName, **options: Any) -> Any:
            data = SplitDataset(columns, self.target, self.splits[split], augment)
            return data.loader(training=split == "train", **options)

        def encoders(settings: EncoderSettings) -> list[nn.Module]:
            return [modality.encoder(settings) for modality in modalities]

        within = [c.column if isinstance(c, IncompleteColumn) else c for c in columns]
        longest = {m: getattr(column, "longest", 0) for m, column in enumerate(within)}
        return PreparedDataset(loader, encoders, {m: most for m, most in longest.items() if most})

    def fingerprint(self, folder: DataFolder) -> str:
        """Return a hash of the files, of the own splits and of what else decides the data."""
        decisive = self.decisive()
        if folder.card.embedded:
            return "-".join([*folder.digests().values(), *map(str, decisive.values())])
        facts = [sorted(folder.digests().items()), split_hash(self.splits.own_ids), decisive]
        found = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        if self.beside is not None:
            found = hashlib.sha256(found.hexdigest().encode())
            for value in folder.digests(self.beside).values():
                found.update(bytes.fromhex(value))
        return found.hexdigest()


def are_names(value: Any) -> bool:
    """Whether a value is a list of names."""
    return isinstance(value, (list, tuple)) and all(isinstance(name, str) for name in value)


def lacking(modalities: Sequence[Modality]) -> tuple[str, ...]:
    """Return the names of those that some samples lack, in order."""
    return tuple(m.name for m in modalities if isinstance(m.column, IncompleteColumn))


def check_some_there(modalities: Sequence[Modality], chosen: bool = False) -> None:
    """Refuse samples that lack every one of these modalities.

    Args:
        modalities: those that are read.
        chosen: they are some of the data set's.

    Raises:
        DatasetError: there are some; names the first.
    """
    columns = [modality.column for modality in modalities]
    missing = [column.missing for column in columns if isinstance(column, IncompleteColumn)]
    if missing and len(missing) == len(columns):
        bare = np.flatnonzero(np.logical_and.reduce(missing))
        if len(bare):
            names = ", ".join(modality.name for modality in modalities)
            such = f"({len(bare)}), such as that of row {bare[0] + 1}"
            raise DatasetError(
                f"samples that have none of the chosen modalities, {names} {such}: choose some of "
                "which each sample has one, or leave those samples out of the files."
                if chosen
                else f"samples that lack every modality {such}: leave them out of the files."
            )


class Later:
    """An array [N, ...], or a fitted transform, that is made when it is first used."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    @cached_property
    def value(self) -> Any:
        """What is made."""
        return self._make()

    def prepare(self, _: Any) -> None:
        """Make it now, before other processes would each make it."""
        _ = self.value

    def __getstate__(self) -> dict[str, Any]:
        return {"value": self.value}

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, rows: Any) -> Any:
        return self.value[rows]

    def __call__(self, values: Any) -> Any:
        return self.value(values)
