"""Bring your own: a folder with ``dataset.yaml`` is a data set without code."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np

from i2moe_plugin.benchmarks.data.cards import Card, File, Key
from i2moe_plugin.benchmarks.data.contents import Contents, check_some_there
from i2moe_plugin.benchmarks.data.packaged import check_trained
from i2moe_plugin.benchmarks.data.registry import SELF_DESCRIBED, DatasetEntry
from i2moe_plugin.benchmarks.data.source import DataFolder
from i2moe_plugin.benchmarks.data.splits import Splits
from i2moe_plugin.benchmarks.datasets.folder.arrays import FolderFiles
from i2moe_plugin.benchmarks.datasets.folder.description import (
    Description,
    Fractions,
    ModalityEntry,
    read_description,
)
from i2moe_plugin.benchmarks.datasets.folder.modalities import read_modalities
from i2moe_plugin.benchmarks.datasets.folder.samples import kept, reread
from i2moe_plugin.benchmarks.datasets.folder.splits import read_groups, read_ids, split_rows
from i2moe_plugin.benchmarks.datasets.folder.target import Target, read_target
from i2moe_plugin.benchmarks.formats.reading import Rows
from i2moe_plugin.errors import DatasetError, did_you_mean

CARD = Card(
    title="a folder of your own",
    source="dataset.yaml in the folder",
    licence="as the folder's dataset.yaml says",
    files=(File(SELF_DESCRIBED, "names the files, the modalities, the target and the split"),),
    how_to_get="docs/adding_a_dataset.md shows how to write one.",
    access="yours",
)


def resolve(name: str) -> DatasetEntry:
    """Return the entry of ``folder:NAME``; the folder itself is the data set's root."""
    return DatasetEntry(name, CARD, (), read, locate=locate, ready=problems, reread=reread)


def locate(root: Path | None, _: Card) -> tuple[Path, Card]:
    """The folder told, with what it says of itself.

    Raises:
        DatasetError: none was told, or it does not describe itself.
    """
    if root is None:
        raise DatasetError(f"give the folder that holds {SELF_DESCRIBED}: --dataset FOLDER.")
    return root, described(read_description(root))


def problems(folder: DataFolder) -> Iterable[str]:
    """Return what is wrong with the folder, beyond files that are missing."""
    if not folder.missing():
        try:
            read(folder)
        except DatasetError as error:
            yield str(error)


def described(description: Description) -> Card:
    """Return the card of a folder."""
    keys: dict[str, list[Key]] = {SELF_DESCRIBED: []}
    for what, place in description.places.items():
        columns = place.columns if isinstance(place.columns, str) else None
        name = place.key or place.column or columns or ", ".join(place.columns or ())
        kind = f"{place.kind}: " if isinstance(place, ModalityEntry) else ""
        keys.setdefault(place.file, []).append(Key(name, what=f"{kind}{what}"))
    split = description.split
    return Card(
        title=description.title or description.name,
        source=description.source or "your own",
        licence=description.licence or "not told",
        citation=description.citation,
        access="yours",
        files=tuple(File(file, "", tuple(found)) for file, found in keys.items()),
        splits=f"{split.train:.0%} / {split.valid:.0%} / {split.test:.0%}, seed {split.seed}"
        if isinstance(split, Fractions)
        else f"{split.file}: {split.column or split.key}",
    )


def read(folder: DataFolder) -> Contents:
    """The user's own data, as its ``dataset.yaml`` describes it (docs/adding_a_dataset.md).

    Args:
        folder: with the files that it names.

    Raises:
        DatasetError: files that are damaged, arrays that do not fit each other, a class without
            training sample.
    """
    description = read_description(folder.path)
    files = FolderFiles(folder.path)
    opened = {what: files.open(place) for what, place in description.places.items()}
    count = len(opened["target"])
    for what, array in opened.items():
        if len(array) != count:
            raise DatasetError(
                f"{folder / SELF_DESCRIBED}: {what} has {len(array)} rows, the target has {count}."
            )
    target = read_target(description, opened["target"], files.where(description.target))
    metric = _metric(folder, description, target)
    splits = _read_splits(folder, description, files, opened, target)
    if description.task == "classification":
        labels = target.values.numpy()[splits["train"]]
        check_trained(str(folder), labels, tuple(target.class_names))
    found = read_modalities(files, description.modalities, opened, splits, description.standardise)
    check_some_there(found.modalities)
    return Contents(
        splits=splits,
        modalities=found.modalities,
        target=target.values,
        task=target.task,
        class_names=target.class_names,
        notes=(*target.notes, *splits.crossing(), *found.notes),
        metric=metric,
        beside=found.pictures,
        learned=partial(kept, description, files, found.fitted),
    )


def _metric(folder: DataFolder, description: Description, target: Target) -> str:
    metric, known = description.metric or target.metric, target.task.metric_names
    if metric not in known:
        raise DatasetError(
            f"{folder / SELF_DESCRIBED}: metric {metric!r} is none of {', '.join(known)}."
            f"{did_you_mean(metric, known)}"
        )
    return metric


def _read_splits(
    folder: DataFolder,
    description: Description,
    files: FolderFiles,
    opened: dict[str, Rows],
    target: Target,
) -> Splits:
    """The rows of each split that have a label, and every row's id."""
    count = len(opened["target"])
    ids = [str(row) for row in range(count)]
    if description.ids is not None:
        ids = read_ids(files, description.ids, opened["ids"])
    groups = None
    if description.groups is not None:
        groups = read_groups(files, description.groups, opened["groups"])
    rows = split_rows(files, description.split, opened.get("split"), count, groups)
    labelled = {name: np.setdiff1d(part, target.unlabelled) for name, part in rows.items()}
    classes = None if description.task == "regression" else target.values.numpy()
    return folder.split(labelled, ids, classes=classes, groups=groups)
