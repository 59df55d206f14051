"""The format of the affect pickles, and one split of such a file in batches.

Each split (train, valid, test) has vision, audio and text [N, T, F], labels and ids. Sequences
stand at the end of their T steps, behind zeros. What is read of them is what MultiBench reads
(``datasets/affect/get_data.py``): samples whose text sums to 0 are left out, and a sequence starts
at its first step of text that is not zero. Values that are no number or infinite count as 0, in
every modality: MultiBench does so with the audio's -inf alone; I2MoE's code makes them as large as
numbers go.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2moe_plugin.benchmarks.data.base import SPLITS, BatchSplit
from i2moe_plugin.benchmarks.data.cards import File, Key
from i2moe_plugin.benchmarks.formats.readers import (
    H5Array,
    Rows,
    check_finite,
    reading,
    same_length,
)
from i2moe_plugin.errors import DatasetError

MODALITIES = ("vision", "audio", "text")
IN_MEMORY = 1 << 27  # bytes; an array that takes less is held, a larger one read when asked for
BLOCK = 256  # samples looked at together


def pickle_of(path: str, widths: tuple[int, int, int], label: str, id_: str) -> File:
    """The published format: a pickle of three mappings of arrays.

    Args:
        path: its name.
        widths: F of vision, audio and text.
        label, id_: what they are.
    """
    keys = []
    for split in SPLITS:
        for name, width, what in zip(
            MODALITIES,
            widths,
            ("face features, a step a word", "voice features; -inf counts as 0", "GloVe vectors"),
            strict=True,
        ):
            keys.append(Key(f"{split}/{name}", (split, "T", width), "f", what))
        keys.append(Key(f"{split}/labels", None, "number", label))
        keys.append(Key(f"{split}/id", None, "", id_, optional=True))
    return File(path, "mappings train, valid and test of arrays", tuple(keys))


class AffectPart:
    """One split of the file.

    Attributes:
        arrays: of the modalities, [N, T, F].
        rows: of the samples that are kept.
        scores, names: of those.
    """

    def __init__(self, path: Path, split: str, aligned: bool) -> None:
        arrays = {name: H5Array(path, f"{split}/{name}") for name in MODALITIES}
        labels = H5Array(path, f"{split}/labels")
        same_length(path, {f"{split}/{n}": a for n, a in {**arrays, "labels": labels}.items()})
        for name, array in arrays.items():
            if array.dtype.kind not in "fiu" or len(array.shape) != 3 or 0 in array.shape:
                raise DatasetError(
                    f"{path}: {split}/{name} is {array.dtype} {list(array.shape)}; expected "
                    "numbers [N, T, F]."
                )
        if aligned and len({array.shape[1] for array in arrays.values()}) > 1:
            said = ", ".join(f"{name} {array.shape[1]}" for name, array in arrays.items())
            raise DatasetError(
                f"{path}: the modalities of {split} differ in their steps ({said}), so they are "
                "not aligned: --set data.aligned=false."
            )
        self.arrays: list[Rows] = [_held(array) for array in arrays.values()]
        self.rows = _with_text(self.arrays[2])
        if not len(self.rows):
            raise DatasetError(f"{path}: no sample of {split} has any text.")
        self.scores = _scores(path, split, labels)[self.rows]
        self.names = _names(path, split, len(labels), self.rows)


def _held(array: H5Array) -> Rows:
    size = float(np.prod(array.shape, dtype=float)) * array.dtype.itemsize
    return array[:] if size < IN_MEMORY else array


def _with_text(text: Rows) -> NDArray[Any]:
    """The rows whose text does not sum to 0."""
    kept = []
    for start in range(0, len(text), BLOCK):
        block = np.asarray(text[start : start + BLOCK])
        kept.append(start + np.flatnonzero(block.sum((1, 2)) != 0))
    return np.concatenate(kept)


def _scores(path: Path, split: str, labels: H5Array) -> NDArray[Any]:
    """The first label of each sample, [N]."""
    if labels.dtype.kind not in "biuf":
        raise DatasetError(f"{path}: {split}/labels are {labels.dtype}; expected numbers.")
    scores = labels[:].reshape(len(labels), -1)
    if not scores.shape[1]:
        raise DatasetError(f"{path}: {split}/labels are empty.")
    check_finite(f"{path}: {split}/labels", scores[:, :1].astype(np.float64))
    return scores[:, 0].astype(np.float64)


def _names(path: Path, split: str, count: int, rows: NDArray[Any]) -> list[str]:
    """The ids; a clip's start and end belong to it. Rows' numbers where there are none."""
    import h5py

    with reading(path, "HDF5 file"), h5py.File(path, "r") as file:
        there = f"{split}/id" in file
    if not there:
        return [f"{split}-{row}" for row in rows]
    ids = H5Array(path, f"{split}/id")
    if len(ids) != count:
        raise DatasetError(f"{path}: {split}/id has {len(ids)} rows, but there are {count}.")
    table = ids[:].reshape(count, -1)[rows].tolist()
    names = ["_".join(map(_text, cells)) for cells in table]
    return [name or f"{split}-{row}" for name, row in zip(names, rows, strict=True)]


def _text(cell: Any) -> str:
    return cell.decode("utf-8", "replace") if isinstance(cell, bytes) else str(cell)


class AffectSplit(BatchSplit):
    """A split's sequences, cut and padded: the settings are those of :class:`Affect`."""

    def __init__(
        self,
        part: AffectPart,
        target: Tensor,
        *,
        max_seq_len: int,
        max_pad: bool,
        z_norm: bool,
        aligned: bool,
    ) -> None:
        self.part, self.target = part, target
        self.max_seq_len, self.max_pad = max_seq_len, max_pad
        self.z_norm, self.aligned = z_norm, aligned

    def __len__(self) -> int:
        return len(self.part.rows)

    def __getitems__(self, indices: list[int]) -> tuple[Any, ...]:
        inputs: list[Any] = self.sequences(indices)
        if self.max_pad:
            inputs = [values for values, _ in inputs]
        return (*inputs, self.target[torch.as_tensor(indices)])

    def sequences(self, indices: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """Each modality as (values [B, T, F], lengths [B])."""
        rows = self.part.rows[list(indices)]
        found = [_numbers(array[rows]) for array in self.part.arrays]
        starts = [_starts(found[2] if self.aligned else values) for values in found]
        return [self._cut(values, start) for values, start in zip(found, starts, strict=True)]

    def _cut(self, values: NDArray[Any], starts: NDArray[Any]) -> tuple[Tensor, Tensor]:
        ends = np.minimum(starts + self.max_seq_len, values.shape[1])
        lengths = ends - starts
        steps = self.max_seq_len if self.max_pad else int(lengths.max())
        padded = np.zeros((len(values), steps, values.shape[2]), dtype=np.float32)
        for row, (start, length) in enumerate(zip(starts, lengths, strict=True)):
            whole = values[row, start:]
            padded[row, :length] = (_standard(whole) if self.z_norm else whole)[:length]
        return torch.from_numpy(padded), torch.from_numpy(lengths)


def _numbers(values: NDArray[Any]) -> NDArray[Any]:
    """Float32, of its own; NaN and infinite values as 0."""
    with np.errstate(over="ignore", invalid="ignore"):
        single = np.array(values, dtype=np.float32)
    single[~np.isfinite(single)] = 0
    return single


def _starts(values: NDArray[Any]) -> NDArray[Any]:
    """[B, T, F] -> the first step that is not all zero; 0 where there is none."""
    starts: NDArray[Any] = (values != 0).any(2).argmax(1)
    return starts


def _standard(steps: NDArray[Any]) -> NDArray[Any]:
    """[T, F] -> mean 0 and deviation 1 over time; 0 where nothing changes."""
    if len(steps) < 2:
        return np.zeros_like(steps)
    wide = steps.astype(np.float64)
    deviation = wide.std(0, ddof=1)
    changes = deviation > 0
    return np.where(changes, (wide - wide.mean(0)) / np.where(changes, deviation, 1), 0)
