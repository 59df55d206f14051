"""The format of the affect pickles, and the sequences of such a file.

Each split (train, valid, test) has vision, audio and text [N, T, F], labels and ids. Sequences
stand at the end of their T steps, behind zeros. What is read of them is what MultiBench reads
(``datasets/affect/get_data.py``): samples whose text sums to 0 are left out, and a sequence starts
at its first step of text that is not zero. Values that are no number or infinite count as 0, in
every modality: MultiBench does so with the audio's -inf alone; I2MoE's code makes them as large as
numbers go.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2moe_plugin.benchmarks.data.cards import File, Key
from i2moe_plugin.benchmarks.data.splits import SPLITS
from i2moe_plugin.benchmarks.formats.arrays import Joined, Section
from i2moe_plugin.benchmarks.formats.hdf5 import H5Array, open_hdf5
from i2moe_plugin.benchmarks.formats.reading import (
    Rows,
    check_array,
    check_finite,
    same_length,
    single,
)
from i2moe_plugin.errors import DatasetError

MODALITIES = ("vision", "audio", "text")
IN_MEMORY = 1 << 27  # bytes; an array that takes less is held, a larger one read when asked for
BLOCK = 256  # samples looked at together
MMSA = (
    "this is MMSA's file of the data set (https://github.com/thuiar/MMSA, with regression_labels "
    "and text_bert), not MultiBench's, which has vision, audio, text, labels and id in each split"
)


def pickle_of(path: str, widths: tuple[int, int, int], label: str, id_: str) -> File:
    """Return the published format of a pickle; ``widths`` are F of vision, audio and text."""
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
    return File(
        path,
        "mappings train, valid and test of arrays",
        tuple(keys),
        foreign=tuple((f"train/{name}", MMSA) for name in ("regression_labels", "text_bert")),
    )


@dataclass(frozen=True)
class AffectPart:
    """One split of the file, without the samples that have no text.

    Attributes:
        left_out: how many samples have no text.
        arrays: of the modalities, [N, T, F].
        starts: where each sample's text starts.
        scores, names: of each sample.
        videos: what each sample was cut from, where its id tells; else empty.
    """

    left_out: int
    arrays: list[Section]
    starts: NDArray[np.int64]
    scores: NDArray[np.float64]
    names: list[str]
    videos: list[str]


def read_part(path: Path, split: str, aligned: bool) -> AffectPart:
    """Read one split of the HDF5 file; where ``aligned``, the modalities share their steps."""
    arrays = {name: H5Array(path, f"{split}/{name}") for name in MODALITIES}
    labels = H5Array(path, f"{split}/labels")
    same_length(path, {f"{split}/{n}": a for n, a in {**arrays, "labels": labels}.items()})
    for name, array in arrays.items():
        check_array(f"{path}: {split}/{name}", array, ("N", "T", "F"), kinds="fiu")
    if aligned and len({array.shape[1] for array in arrays.values()}) > 1:
        said = ", ".join(f"{name} {array.shape[1]}" for name, array in arrays.items())
        raise DatasetError(
            f"{path}: the modalities of {split} differ in their steps ({said}), so they are "
            "not aligned: --set data.aligned=false."
        )
    held = [_held(array) for array in arrays.values()]
    rows, starts = _with_text(held[2])
    if not len(rows):
        raise DatasetError(f"{path}: no sample of {split} has any text.")
    return AffectPart(
        len(labels) - len(rows),
        [Section(array, rows) for array in held],
        starts,
        _scores(path, split, labels)[rows],
        *_names(path, split, len(labels), rows),
    )


def _held(array: H5Array) -> Rows:
    size = float(np.prod(array.shape, dtype=float)) * array.dtype.itemsize
    return array[:] if size < IN_MEMORY else array


def _with_text(text: Rows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows whose text does not sum to 0, and where their texts start."""
    rows, starts = [], []
    for first in range(0, len(text), BLOCK):
        block = np.asarray(text[first : first + BLOCK])
        kept = np.flatnonzero(block.sum((1, 2)) != 0)
        rows.append(first + kept)
        starts.append(_starts(_numbers(block[kept])))
    return np.concatenate(rows), np.concatenate(starts)


def _scores(path: Path, split: str, labels: H5Array) -> NDArray[np.float64]:
    """Return the first label of each sample, [N]."""
    if labels.dtype.kind not in "biuf":
        raise DatasetError(f"{path}: {split}/labels are {labels.dtype}; expected numbers.")
    scores = labels[:].reshape(len(labels), -1)
    if not scores.shape[1]:
        raise DatasetError(f"{path}: {split}/labels are empty.")
    check_finite(f"{path}: {split}/labels", scores[:, :1].astype(np.float64))
    return scores[:, 0].astype(np.float64)


def _names(
    path: Path, split: str, count: int, rows: NDArray[np.int64]
) -> tuple[list[str], list[str]]:
    """Return the ids, and the video of each: where an id has several cells, the first is it.

    A clip's start and end belong to its id. Rows' numbers where there are none.
    """
    with open_hdf5(path) as file:
        there = f"{split}/id" in file
    if not there:
        return [f"{split}-{row}" for row in rows], [""] * len(rows)
    ids = H5Array(path, f"{split}/id")
    if len(ids) != count:
        raise DatasetError(f"{path}: {split}/id has {len(ids)} rows, but there are {count}.")
    table = ids[:].reshape(count, -1)[rows].tolist()
    names = ["_".join(map(_text, cells)) for cells in table]
    videos = [_text(cells[0]) if len(cells) > 1 else "" for cells in table]
    return [name or f"{split}-{row}" for name, row in zip(names, rows, strict=True)], videos


def _text(cell: Any) -> str:
    return cell.decode("utf-8", "replace") if isinstance(cell, bytes) else str(cell)


@dataclass(frozen=True)
class Sequences:
    """A column of sequences, cut and padded.

    Attributes:
        parts: [N, T, F], of all splits one after the other.
        starts: where each row starts; None: at its own first step that is not zero.
        max_seq_len: steps kept of a sequence, the first ones.
        max_pad: give sequences of that length, padded with zeros; else of the batch's longest, with
            each one's length.
        z_norm: standardise each feature of each sequence over its steps.
    """

    parts: Joined
    starts: NDArray[np.int64] | None
    max_seq_len: int
    max_pad: bool
    z_norm: bool

    @property
    def longest(self) -> int:
        """How many steps a sequence has at most."""
        return min(self.max_seq_len, self.parts.shape[1])

    def __getitem__(self, rows: NDArray[np.int64]) -> Tensor | tuple[Tensor, Tensor]:
        values, lengths = self.cut(rows)
        return values if self.max_pad else (values, lengths)

    def cut(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return the sequences of these rows as (values [B, T, F], lengths [B])."""
        values = _numbers(self.parts[rows])
        starts = _starts(values) if self.starts is None else self.starts[rows]
        ends = np.minimum(starts + self.max_seq_len, values.shape[1])
        lengths = ends - starts
        steps = self.max_seq_len if self.max_pad else int(lengths.max())
        padded = np.zeros((len(values), steps, values.shape[2]), dtype=np.float32)
        for row, (start, length) in enumerate(zip(starts, lengths, strict=True)):
            whole = values[row, start:]
            padded[row, :length] = (_standard(whole) if self.z_norm else whole)[:length]
        return torch.from_numpy(padded), torch.from_numpy(lengths)


def _numbers(values: NDArray[Any]) -> NDArray[np.float32]:
    """Float32, of its own; NaN and infinite values as 0."""
    found = single(values)
    found[~np.isfinite(found)] = 0
    return found


def _starts(values: NDArray[Any]) -> NDArray[np.int64]:
    """[B, T, F] -> the first step that is not all zero; 0 where there is none."""
    starts: NDArray[np.int64] = (values != 0).any(2).argmax(1)
    return starts


def _standard(steps: NDArray[Any]) -> NDArray[Any]:
    """[T, F] -> mean 0 and deviation 1 over time; 0 where nothing changes."""
    if len(steps) < 2:
        return np.zeros_like(steps)
    wide = steps.astype(np.float64)
    deviation = wide.std(0, ddof=1)
    changes = deviation > 0
    return np.where(changes, (wide - wide.mean(0)) / np.where(changes, deviation, 1), 0)
