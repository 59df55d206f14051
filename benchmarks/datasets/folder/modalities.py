"""The modalities of a user's folder, by their kinds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2moe_plugin.benchmarks.data.batches import Values, as_is
from i2moe_plugin.benchmarks.data.contents import Modality
from i2moe_plugin.benchmarks.data.preprocessing import (
    Standardiser,
    check_values,
    fit_standardiser,
)
from i2moe_plugin.benchmarks.data.source import DataFolder
from i2moe_plugin.benchmarks.data.splits import Splits
from i2moe_plugin.benchmarks.data.words import fit_tf_idf
from i2moe_plugin.benchmarks.datasets.folder.arrays import FolderFiles
from i2moe_plugin.benchmarks.datasets.folder.description import ModalityEntry
from i2moe_plugin.benchmarks.encoders import feature_encoder, picture_encoder, recurrent_encoder
from i2moe_plugin.benchmarks.encoders.sequences import TokenEncoder
from i2moe_plugin.benchmarks.formats.cells import as_numbers, as_texts
from i2moe_plugin.benchmarks.formats.pictures import (
    OWN_FORMATS,
    Bounds,
    ImageFiles,
    depth_bounds,
    fit_bounds,
    spread,
)
from i2moe_plugin.benchmarks.formats.reading import Rows, is_file
from i2moe_plugin.errors import DatasetError

CHANNELS = 16
ENCODERS: dict[str, Callable[..., Any]] = {
    "features": feature_encoder,
    "series": recurrent_encoder,
    "tokens": TokenEncoder,
}
KNOWN = 0.5  # share of texts with a known word below which a note says so
LOOKED_AT = 256  # training rows that tell the range of pixels


@dataclass
class ModalityReader:
    """Reads the modalities of a folder.

    Attributes:
        folder, files: where they lie.
        splits: the rows of each split.
        scale: standardise features, series and tokens.
        notes: what must stand beside results, of those read so far.
        pictures: the picture files of those read so far.
    """

    folder: DataFolder
    files: FolderFiles
    splits: Splits
    scale: bool
    notes: list[str] = field(default_factory=list)
    pictures: list[Path] = field(default_factory=list)

    def __call__(self, name: str, entry: ModalityEntry, array: Rows) -> Modality:
        """Read one.

        Raises:
            DatasetError: values or shapes that do not fit the kind.
        """
        where = f"{self.files.where(entry)}"
        if entry.kind == "text":
            return self._text(name, where, array, entry)
        if entry.kind == "image":
            column = self._image(where, array, entry)
            return Modality(name, column, partial(picture_encoder, CHANNELS))
        return self._numbers(name, where, array, entry)

    def _numbers(self, name: str, where: str, array: Rows, entry: ModalityEntry) -> Modality:
        """Features [N, F], tokens or series [N, T, F]."""
        array = as_numbers(where, array)
        if len(array.shape) == 1 and entry.kind == "features":
            array = np.asarray(array[:]).reshape(-1, 1)
        shape = "N, F" if entry.kind == "features" else "N, T, F"
        if len(array.shape) != len(shape.split()) or 0 in array.shape:
            raise DatasetError(f"{where}: {entry.kind} are [{shape}]; got {list(array.shape)}.")
        lengths = self._lengths(name, entry, array) if entry.lengths else None
        for split in ("valid", "test"):
            check_values(where, array, self.splits[split], lengths)
        fitted = fit_standardiser(where, array, self.splits["train"], lengths, self.scale)
        self._note_constant(name, fitted, entry)
        column = Values(array, fitted) if lengths is None else Padded(array, lengths, fitted)
        encoder = partial(ENCODERS[entry.kind], fitted.width)
        return Modality(name, column, encoder, tabular=entry.kind == "features")

    def _note_constant(self, name: str, fitted: Standardiser, entry: ModalityEntry) -> None:
        columns = self.files.columns(entry)
        named = [columns[i] if columns else str(i + 1) for i in fitted.constant[:5]]
        more = len(fitted.constant) - len(named)
        if named:
            self.notes.append(
                f"{name}: {len(fitted.constant)} of {len(fitted.fill)} columns hold one value in "
                f"all training rows and are given as 0: {', '.join(named)}"
                f"{f' and {more} more' if more else ''}."
            )

    def _lengths(self, name: str, entry: ModalityEntry, array: Rows) -> NDArray[np.int64]:
        place = self.files.lengths(entry, str(entry.lengths))
        where = f"{self.folder / entry.file}: lengths of {name}"
        values = np.asarray(as_numbers(where, place)[:])
        values = values.reshape(len(values)) if values.size == len(values) else values
        if values.shape != (len(array),) or not (np.floor(values) == values).all():
            raise DatasetError(f"{where} must be integers [N].")
        if (values < 1).any() or (values > array.shape[1]).any():
            raise DatasetError(f"{where} must lie from 1 to {array.shape[1]}.")
        return values.astype(np.int64)

    def _text(self, name: str, where: str, array: Rows, entry: ModalityEntry) -> Modality:
        """A column of strings, as TF-IDF of the training rows' commonest words."""
        cells = [cell or "" for cell in as_texts(where, array)]
        fitted = fit_tf_idf(where, [cells[row] for row in self.splits["train"]], entry.words)
        rows = fitted.rows(cells)
        for split in ("valid", "test"):
            part = self.splits[split]
            known = int((np.diff(rows.matrix[part].indptr) > 0).sum())
            if known < KNOWN * len(part):
                self.notes.append(
                    f"{name}: {known} of {len(part)} {split} texts hold a word that the training "
                    "texts taught; the others are given as 0."
                )
        column = Values(cells, fitted, held=rows)
        encoder = partial(feature_encoder, fitted.width)
        return Modality(name, column, encoder, preview=cells.__getitem__)

    def _image(self, where: str, array: Rows, entry: ModalityEntry) -> Values:
        """File names [N], or pixels [N, H, W, 3] or [N, 3, H, W], as batches [B, 3, H, W]."""
        train = self.splits["train"]
        if np.dtype(array.dtype).kind in "OSU":
            paths = self._picture_files(where, array)
            self.pictures += paths
            bounds = fit_bounds([paths[row] for row in train], OWN_FORMATS)
            return Values(ImageFiles(paths, entry.size, bounds=bounds, formats=OWN_FORMATS), as_is)
        shape = array.shape
        if (
            len(shape) != 4
            or 3 not in (shape[1], shape[3])
            or np.dtype(array.dtype).kind not in "fiub"
        ):
            raise DatasetError(
                f"{where}: images are file names or pixels [N, H, W, 3]; got {list(shape)} of "
                f"{array.dtype}."
            )
        bounds = None
        if array.dtype != np.uint8:
            rows = train[spread(len(train), LOOKED_AT)]
            values = np.asarray(array[rows])
            _check_pixels(where, values)
            bounds = depth_bounds(values, DEPTHS)
        return Values(array, partial(_pixels, where, shape[3] == 3, bounds))

    def _picture_files(self, where: str, array: Rows) -> list[Path]:
        names = [name or "" for name in as_texts(where, array)]
        outside = [n for n in names if Path(n).is_absolute() or ".." in Path(n).parts]
        if outside:
            raise DatasetError(f"{where}: {outside[0]!r} does not lie inside the folder.")
        missing = [n for n in names if not is_file(self.folder / n)]
        if missing:
            raise DatasetError(
                f"{where}: {len(missing)} of {len(names)} image files are missing, such as "
                f"{missing[0]!r}."
            )
        return [self.folder / n for n in names]


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


#: What pixels that are no uint8 are divided by, if they all fit below it.
DEPTHS = (1, 255, 1023, 4095, 16383, 65535)


def _pixels(
    where: str, channels_last: bool, bounds: Bounds | None, values: NDArray[Any]
) -> NDArray[Any]:
    """Pixels as [B, 3, H, W], uint8, or floats whose training values lie in [0, 1]."""
    values = values.transpose(0, 3, 1, 2) if channels_last else values
    if bounds is not None:
        _check_pixels(where, values)
        low, high = bounds
        values = ((values.astype(np.float64) - low) / (high - low)).astype(np.float32)
    return np.ascontiguousarray(values)


def _check_pixels(where: str, values: NDArray[Any]) -> None:
    if not np.isfinite(values).all():
        raise DatasetError(f"{where}: holds pixels that are NaN or infinite.")
