"""Bring your own: a folder with ``dataset.yaml`` is a data set without code."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2moe_plugin.benchmarks.data.batches import Values, as_is
from i2moe_plugin.benchmarks.data.cards import Card, File, Key
from i2moe_plugin.benchmarks.data.contents import Contents, Modality
from i2moe_plugin.benchmarks.data.packaged import check_trained
from i2moe_plugin.benchmarks.data.preprocessing import (
    Standardiser,
    fit_standardiser,
    fit_tf_idf,
)
from i2moe_plugin.benchmarks.data.registry import SELF_DESCRIBED, DatasetEntry
from i2moe_plugin.benchmarks.data.source import DataFolder
from i2moe_plugin.benchmarks.data.splits import SPLITS, SplitName, SplitRows
from i2moe_plugin.benchmarks.datasets.folder.arrays import FolderFiles
from i2moe_plugin.benchmarks.datasets.folder.description import (
    Description,
    Fractions,
    ModalityEntry,
    read_description,
)
from i2moe_plugin.benchmarks.datasets.folder.target import Target, read_target
from i2moe_plugin.benchmarks.encoders import feature_encoder, picture_encoder, recurrent_encoder
from i2moe_plugin.benchmarks.encoders.tokens import TokenEncoder
from i2moe_plugin.benchmarks.formats.pictures import ImageFiles
from i2moe_plugin.benchmarks.formats.reading import Rows
from i2moe_plugin.benchmarks.formats.tables import texts
from i2moe_plugin.errors import DatasetError, did_you_mean
from i2moe_plugin.seeding import derive_seed

CHANNELS = 16
SPLIT_WORDS: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "test": "test",
    "testing": "test",
}

CARD = Card(
    title="a folder of your own",
    source="dataset.yaml in the folder",
    licence="as the folder's dataset.yaml says",
    files=(File(SELF_DESCRIBED, "names the files, the modalities, the target and the split"),),
    how_to_get="docs/adding_a_dataset.md shows how to write one.",
    access="yours",
)


def resolve(name: str) -> DatasetEntry:
    """The entry of ``folder:NAME``; the folder itself is the data set's root."""
    return DatasetEntry(name, CARD, (), read, locate=locate, ready=problems)


def locate(root: Path | None, _: Card) -> tuple[Path, Card]:
    """The folder told, with what it says of itself.

    Raises:
        DatasetError: none was told, or it does not describe itself.
    """
    if root is None:
        raise DatasetError(f"give the folder that holds {SELF_DESCRIBED}: --dataset FOLDER.")
    return root, described(read_description(root))


def problems(folder: DataFolder) -> Iterable[str]:
    """What is wrong with the folder, beyond files that are missing."""
    if not folder.missing():
        try:
            read(folder)
        except DatasetError as error:
            yield str(error)


def described(description: Description) -> Card:
    """The card of a folder."""
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
    target = read_target(description, opened["target"], str(folder / description.target.file))
    metric = _metric(folder, description, target)
    ids = texts(opened["ids"]) if description.ids else [str(row) for row in range(count)]
    splits = folder.split(_split_rows(folder, description, opened, count), ids)
    if description.task == "classification":
        labels = target.values.numpy()[splits["train"]]
        check_trained(str(folder), labels, tuple(target.class_names))
    pictures: list[Path] = []
    modalities = []
    for name, entry in description.modalities.items():
        array, where = opened[name], f"{folder / entry.file}: {name}"
        lengths = _read_lengths(folder, files, name, entry, array) if entry.lengths else None
        if entry.kind == "text":
            modalities.append(_text(name, where, array, splits["train"], entry))
        elif entry.kind == "image":
            column = _pictures(where, array, folder, entry.size)
            if isinstance(column.values, ImageFiles):
                pictures += column.values.paths
            modalities.append(Modality(name, column, partial(picture_encoder, CHANNELS)))
        else:
            scale = description.standardise
            modalities.append(_numbers(name, where, entry, array, splits["train"], lengths, scale))
    return Contents(
        splits=splits,
        modalities=modalities,
        target=target.values,
        task=target.task,
        class_names=target.class_names,
        metric=metric,
        beside=pictures,
    )


def _metric(folder: DataFolder, description: Description, target: Target) -> str:
    metric, known = description.metric or target.metric, target.task.metric_names
    if metric not in known:
        raise DatasetError(
            f"{folder / SELF_DESCRIBED}: metric {metric!r} is none of {', '.join(known)}."
            f"{did_you_mean(metric, known)}"
        )
    return metric


def _split_rows(
    folder: DataFolder, description: Description, opened: dict[str, Rows], count: int
) -> SplitRows:
    split = description.split
    if isinstance(split, Fractions):
        order = np.random.default_rng(derive_seed(split.seed, "split")).permutation(count)
        first = round(count * split.train)
        second = round(count * (split.train + split.valid))
        parts = (order[:first], order[first:second], order[second:])
        return {name: np.sort(part) for name, part in zip(SPLITS, parts, strict=True)}
    words = [word.strip().lower() for word in texts(opened["split"])]
    unknown = sorted({word for word in words if word not in SPLIT_WORDS})
    if unknown:
        raise DatasetError(
            f"{folder / split.file}: the split holds {unknown[:5]}; expected train, valid and test."
        )
    names = np.array([SPLIT_WORDS[word] for word in words])
    return {name: np.flatnonzero(names == name) for name in SPLITS}


def _read_lengths(
    folder: DataFolder, files: FolderFiles, name: str, entry: ModalityEntry, array: Rows
) -> NDArray[np.int64]:
    values = np.asarray(files.lengths(entry, str(entry.lengths))[:])
    steps = array.shape[1] if len(array.shape) > 1 else 0
    where = f"{folder / entry.file}: lengths of {name}"
    if values.shape != (len(array),) or values.dtype.kind not in "iu":
        raise DatasetError(f"{where} must be integers [N].")
    if (values < 1).any() or (values > steps).any():
        raise DatasetError(f"{where} must lie from 1 to {steps}.")
    return values.astype(np.int64)


@dataclass(frozen=True)
class Padded:
    """A column of sequences of varying length: values [B, T, F], and lengths [B]."""

    values: Rows
    lengths: NDArray[np.int64]
    transform: Standardiser

    def __getitem__(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        lengths = self.lengths[rows]
        values = self.transform(self.values[rows], lengths)
        return torch.from_numpy(values), torch.from_numpy(lengths)


def _numbers(
    name: str,
    where: str,
    entry: ModalityEntry,
    array: Rows,
    train: NDArray[np.int64],
    lengths: NDArray[np.int64] | None,
    scale: bool,
) -> Modality:
    """Features [N, F], tokens or series [N, T, F]."""
    if len(array.shape) == 1 and entry.kind == "features":
        array = np.asarray(array[:]).reshape(-1, 1)
    shape = "N, F" if entry.kind == "features" else "N, T, F"
    if len(array.shape) != len(shape.split()) or 0 in array.shape:
        raise DatasetError(f"{where}: {entry.kind} are [{shape}]; got {list(array.shape)}.")
    if np.dtype(array.dtype).kind not in "fiub":
        raise DatasetError(f"{where}: expected numbers; the array is of type {array.dtype}.")
    fitted = fit_standardiser(where, array, train, lengths, scale)
    column = Values(array, fitted) if lengths is None else Padded(array, lengths, fitted)
    encoders = {
        "features": feature_encoder,
        "series": recurrent_encoder,
        "tokens": TokenEncoder,
    }
    encoder = partial(encoders[entry.kind], fitted.width)
    return Modality(name, column, encoder, tabular=entry.kind == "features")


def _text(
    name: str, where: str, array: Rows, train: NDArray[np.int64], entry: ModalityEntry
) -> Modality:
    """A column of strings, as TF-IDF of the training rows' commonest words."""
    if np.dtype(array.dtype).kind not in "OSU":
        raise DatasetError(f"{where}: text must be strings, not {array.dtype}.")
    cells = texts(array)
    fitted = fit_tf_idf(where, [cells[row] for row in train], entry.words)
    column = Values(cells, fitted, held=fitted.rows(cells))
    encoder = partial(feature_encoder, fitted.width)
    return Modality(name, column, encoder, preview=cells.__getitem__)


def _pictures(where: str, array: Rows, folder: DataFolder, size: tuple[int, int]) -> Values:
    """File names [N], or pixels [N, H, W, 3] or [N, 3, H, W], as batches [B, 3, H, W]."""
    if np.dtype(array.dtype).kind in "OSU":
        names = texts(array)
        outside = [n for n in names if Path(n).is_absolute() or ".." in Path(n).parts]
        if outside:
            raise DatasetError(f"{where}: {outside[0]!r} does not lie inside the folder.")
        missing = [n for n in names if not (folder / n).is_file()]
        if missing:
            raise DatasetError(
                f"{where}: {len(missing)} of {len(names)} image files are missing, such as "
                f"{missing[0]!r}."
            )
        return Values(ImageFiles([folder / n for n in names], size), as_is)
    shape = array.shape
    if len(shape) != 4 or 3 not in (shape[1], shape[3]):
        raise DatasetError(
            f"{where}: images are file names or pixels [N, H, W, 3]; got {list(shape)} of "
            f"{array.dtype}."
        )
    return Values(array, partial(_pixels, where, shape[3] == 3))


def _pixels(where: str, channels_last: bool, values: NDArray[Any]) -> NDArray[Any]:
    """Pixels as [B, 3, H, W], uint8 or floats in [0, 1]."""
    values = values.transpose(0, 3, 1, 2) if channels_last else values
    if values.dtype != np.uint8:
        values = values.astype(np.float32)
        if not ((values >= 0) & (values <= 1)).all():
            raise DatasetError(f"{where}: pixels are uint8, or floats from 0 to 1.")
    return np.ascontiguousarray(values)
