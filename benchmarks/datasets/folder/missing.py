"""Which samples of a user's folder lack a modality."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.data.batches import IncompleteColumn
from i2moe_plugin.benchmarks.data.contents import Modality
from i2moe_plugin.benchmarks.data.splits import SPLITS, Splits
from i2moe_plugin.benchmarks.datasets.folder.arrays import FolderFiles
from i2moe_plugin.benchmarks.datasets.folder.description import ModalityEntry
from i2moe_plugin.benchmarks.datasets.folder.fitted import FittedModality, Given
from i2moe_plugin.benchmarks.formats.cells import as_numbers, as_texts
from i2moe_plugin.benchmarks.formats.reading import Rows
from i2moe_plugin.errors import DatasetError

BLOCK = 4096  # rows at once


def missing_rows(
    files: FolderFiles, entry: ModalityEntry, array: Rows, where: str, lengths: Rows | None
) -> NDArray[np.bool_] | None:
    """Return which rows lack a modality, [N]; None where its description says of none.

    Args:
        files: of the folder.
        entry: the description.
        array: its values.
        where: what messages call them.
        lengths: of sequences of varying length, [N].

    Raises:
        DatasetError: a column that holds other values than 0 and 1, or has other rows.
    """
    if not entry.missing:
        return None
    if entry.missing is True:
        return _empty(entry, array, where, lengths)
    named = f"{files.folder / entry.file}: {entry.missing}"
    told = np.asarray(as_numbers(named, files.beside(entry, str(entry.missing)))[:])
    told = told.reshape(len(told)) if told.size == len(told) else told
    if told.shape != (len(array),):
        raise DatasetError(f"{named} is {list(told.shape)}; expected one cell a row, [N].")
    odd = np.flatnonzero((told != 0) & (told != 1))
    if len(odd):
        raise DatasetError(
            f"{named}, row {odd[0] + 1}: {told[odd[0]]:g}; it says by 1 or true that a sample "
            "lacks the modality, and by 0 or false that it has it."
        )
    return np.asarray(told == 1)


def _empty(
    entry: ModalityEntry, array: Rows, where: str, lengths: Rows | None
) -> NDArray[np.bool_]:
    """Return the rows without any value; what lies behind a sequence's end is none."""
    if entry.kind == "text" or (entry.kind == "image" and np.dtype(array.dtype).kind in "OSU"):
        return np.array([not (cell or "").strip() for cell in as_texts(where, array)])
    values = as_numbers(where, array)
    ends = None if lengths is None else np.asarray(as_numbers(where, lengths)[:]).reshape(-1)
    if ends is None or len(ends) != len(values) or len(values.shape) != 3:  # refused later
        ends = None
    if ends is None and np.dtype(values.dtype).kind != "f":  # of whole numbers none is missing
        return np.zeros(len(values), bool)
    blocks = []
    for start in range(0, len(values), BLOCK):
        absent = np.isnan(np.asarray(values[start : start + BLOCK], float))
        if ends is not None:
            steps = np.arange(absent.shape[1])
            behind = steps >= np.nan_to_num(ends[start : start + BLOCK, None])
            absent = absent | behind[..., None]
        blocks.append(absent.reshape(len(absent), -1).all(1))
    return np.concatenate(blocks)


def lacking(name: str, given: Given, splits: Splits) -> Iterator[str]:
    """Say how many samples lack a modality, in one sentence, where some do.

    Args:
        name: the modality's.
        given: its values.
        splits: the rows of each split.
    """
    if given.missing is None or not given.missing.any():
        return
    counts = {split: (int(given.missing[splits[split]].sum()), splits[split]) for split in SPLITS}
    said = ", ".join(f"{count} of {len(rows)} {split}" for split, (count, rows) in counts.items())
    yield f"{name} is lacking in {said} samples; models are trained and tested without it there."


def modality_of(fitted: FittedModality, name: str, given: Given) -> Modality:
    """Read samples by what a modality learned; some may lack it.

    Raises:
        DatasetError: their shapes are not those of training.
    """
    found = fitted.modality(name, given)
    if given.missing is None or not given.missing.any():
        return found
    column = IncompleteColumn(found.column, given.missing)
    return replace(found, column=column, tabular=False)
