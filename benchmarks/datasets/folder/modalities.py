"""The modalities of a user's folder: their values, checked to have the shape of their kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.data.batches import IncompleteColumn
from i2moe_plugin.benchmarks.data.contents import Modality
from i2moe_plugin.benchmarks.data.splits import SplitName, Splits
from i2moe_plugin.benchmarks.datasets.folder.arrays import FolderFiles
from i2moe_plugin.benchmarks.datasets.folder.description import ModalityEntry
from i2moe_plugin.benchmarks.datasets.folder.fitted import (
    FittedModality,
    FittedNumbers,
    FittedText,
    Given,
    check_rows,
    fit,
    pictures_of,
)
from i2moe_plugin.benchmarks.datasets.folder.missing import lacking, missing_rows, modality_of
from i2moe_plugin.benchmarks.formats.cells import as_numbers, as_texts
from i2moe_plugin.benchmarks.formats.reading import Rows, is_file
from i2moe_plugin.errors import DatasetError

OTHERS: tuple[SplitName, ...] = ("valid", "test")
KNOWN = 0.5  # share of texts with a known word below which a note says so


def given(
    files: FolderFiles,
    name: str,
    entry: ModalityEntry,
    array: Rows,
    where: str = "",
    lengths: Any = None,
) -> Given:
    """Check that values have the shape of their kind.

    Args:
        files: of the folder that picture files, and lengths, lie in.
        name: the modality's.
        entry: its description.
        array: its values.
        where: what messages call them; the file and the array by default.
        lengths: of sequences of varying length; those of the description by default.

    Raises:
        DatasetError: values or shapes that do not fit the kind.
    """
    told = f"lengths of {name}" if where else f"{files.folder / entry.file}: lengths of {name}"
    where = where or files.where(entry)
    if entry.lengths and lengths is None:
        lengths = files.beside(entry, entry.lengths)
    missing = missing_rows(files, entry, array, where, lengths)
    if entry.kind == "text":
        texts = [cell or "" for cell in as_texts(where, array)]
        return Given(where, texts, missing=missing)
    if entry.kind == "image":
        if np.dtype(array.dtype).kind in "OSU":
            paths = _picture_files(files.folder, where, array, missing)
            return Given(where, paths, missing=missing)
        return Given(where, _check_images(where, array), missing=missing)
    array = as_numbers(where, array)
    if len(array.shape) == 1 and entry.kind == "features":
        array = np.asarray(array[:]).reshape(-1, 1)
    shape = "N, F" if entry.kind == "features" else "N, T, F"
    if len(array.shape) != len(shape.split()) or 0 in array.shape:
        raise DatasetError(f"{where}: {entry.kind} are [{shape}]; got {list(array.shape)}.")
    ends = _lengths(told, lengths, array, missing) if entry.lengths else None
    return Given(where, array, ends, missing)


@dataclass(frozen=True)
class ReadModalities:
    """The modalities of a folder, and what they learned from its training rows.

    Attributes:
        modalities: in order.
        fitted: what each learned.
        notes: what must stand beside results.
        pictures: the picture files.
    """

    modalities: Sequence[Modality]
    fitted: Mapping[str, FittedModality]
    notes: Sequence[str]
    pictures: Sequence[Path]


def read_modalities(
    files: FolderFiles,
    entries: Mapping[str, ModalityEntry],
    arrays: Mapping[str, Rows],
    splits: Splits,
    scale: bool,
) -> ReadModalities:
    """Read the modalities of a folder, and fit what they need on training rows.

    Args:
        files: of the folder.
        entries: their descriptions.
        arrays: their values.
        splits: the rows of each split.
        scale: give features, series and tokens mean 0 and deviation 1.

    Raises:
        DatasetError: values or shapes that do not fit the kind.
    """
    modalities, fitted = [], {}
    notes: list[str] = []
    pictures: list[Path] = []
    for name, entry in entries.items():
        values = given(files, name, entry, arrays[name])
        for split in OTHERS:
            check_rows(entry, values, splits[split])
        if not len(values.present(splits["train"])):
            raise DatasetError(
                f"{values.where}: no training sample has it; leave {name} out of dataset.yaml, or "
                "divide the samples otherwise."
            )
        fitted[name] = fit(entry, values, splits["train"], scale)
        modalities.append(modality_of(fitted[name], name, values))
        notes += lacking(name, values, splits)
        notes += _constant(name, fitted[name], files.columns(entry))
        for split in OTHERS:
            rows = values.present(splits[split])
            notes += unknown_words(name, fitted[name], modalities[-1], rows, f"{split} ")
        pictures += pictures_of(values)
    return ReadModalities(modalities, fitted, notes, pictures)


def _constant(name: str, fitted: FittedModality, columns: Sequence[str]) -> list[str]:
    """Say which columns hold one value in all training rows."""
    if not isinstance(fitted, FittedNumbers) or not len(fitted.scaler.constant):
        return []
    constant = fitted.scaler.constant
    named = [columns[i] if columns else str(i + 1) for i in constant[:5]]
    more = len(constant) - len(named)
    return [
        f"{name}: {len(constant)} of {len(fitted.scaler.fill)} columns hold one value in "
        f"all training rows and are given as 0: {', '.join(named)}"
        f"{f' and {more} more' if more else ''}."
    ]


def unknown_words(
    name: str, fitted: FittedModality, modality: Modality, rows: NDArray[np.int64], which: str
) -> list[str]:
    """Say that most texts hold no word that training taught, where that is so.

    Args:
        name: the modality's.
        fitted: what it learned.
        modality: its samples.
        rows: the numbers of those looked at.
        which: what they are called, such as ``test``, and a blank.
    """
    if not isinstance(fitted, FittedText):
        return []
    column: Any = modality.column
    inner: Any = column.column if isinstance(column, IncompleteColumn) else column
    held = inner.held
    known = int((np.diff(held.matrix[rows].indptr) > 0).sum())
    if known >= KNOWN * len(rows):
        return []
    return [
        f"{name}: {known} of {len(rows)} {which}texts hold a word that the training texts taught; "
        "the others are given as 0."
    ]


def _lengths(
    where: str, lengths: Any, array: Rows, missing: NDArray[np.bool_] | None
) -> NDArray[np.int64]:
    values = np.asarray(as_numbers(where, lengths)[:])
    if missing is not None and len(values) == len(missing):  # how long is it?
        values = np.where(missing.reshape(-1, *[1] * (values.ndim - 1)), 1, values)
    return _check_lengths(where, values, array)


def _check_lengths(where: str, lengths: Any, array: Rows) -> NDArray[np.int64]:
    """Return the lengths of sequences [N, T, F] as integers.

    Raises:
        DatasetError: they are not N whole numbers from 1 to T.
    """
    values = np.asarray(lengths)
    values = values.reshape(len(values)) if values.size == len(values) else values
    if values.shape != (len(array),) or not (np.floor(values) == values).all():
        raise DatasetError(f"{where} must be integers [N].")
    if (values < 1).any() or (values > array.shape[1]).any():
        raise DatasetError(f"{where} must lie from 1 to {array.shape[1]}.")
    return values.astype(np.int64)


def _check_images(where: str, array: Rows) -> Rows:
    shape = array.shape
    if len(shape) != 4 or 3 not in (shape[1], shape[3]) or np.dtype(array.dtype).kind not in "fiub":
        raise DatasetError(
            f"{where}: images are file names or pixels [N, H, W, 3]; got {list(shape)} of "
            f"{array.dtype}."
        )
    return array


def _picture_files(
    folder: Path, where: str, array: Rows, lacking: NDArray[np.bool_] | None
) -> list[Path]:
    every = [name or "" for name in as_texts(where, array)]
    there = np.ones(len(every), bool) if lacking is None else ~lacking
    names = [every[row] for row in np.flatnonzero(there)]
    outside = [n for n in names if Path(n).is_absolute() or ".." in Path(n).parts]
    if outside:
        raise DatasetError(f"{where}: {outside[0]!r} does not lie inside the folder.")
    missing = [n for n in names if not is_file(folder / n)]
    if missing:
        raise DatasetError(
            f"{where}: {len(missing)} of {len(names)} image files are missing, such as "
            f"{missing[0]!r}."
        )
    return [folder / name for name in every]
