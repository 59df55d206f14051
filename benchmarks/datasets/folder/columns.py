"""Arrays of a user's folder, whatever file they lie in; and what a modality makes of them."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2moe_plugin.benchmarks.data.images import ImageFiles
from i2moe_plugin.benchmarks.data.packaged import read_npz
from i2moe_plugin.benchmarks.datasets.folder.spec import Source
from i2moe_plugin.benchmarks.formats.readers import (
    H5Array,
    Rows,
    numbers,
    read_csv,
    read_npy,
    reading,
)
from i2moe_plugin.errors import DatasetError, did_you_mean

BLOCK = 4096  # rows at once, where all training rows are gone through


class Files:
    """The files of a folder; tables are read once.

    Args:
        folder: where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tables: dict[Path, dict[str, list[str]]] = {}

    def open(self, source: Source) -> Rows:
        """The array: in memory, or read from disk by rows where the format allows it.

        Numbers of tables are floats, an empty cell NaN; a column that is no number is text.

        Raises:
            DatasetError: see :mod:`readers`.
        """
        path = self.folder / source.file
        ending = path.suffix.lower()
        if ending == ".npy":
            array: Rows = read_npy(path)
        elif ending == ".npz":
            array = read_npz(path, (str(source.key),))[str(source.key)]
        elif ending in (".h5", ".hdf5"):
            array = H5Array(path, str(source.key))
        else:
            return self._from_table(path, source)
        if not array.shape:
            raise DatasetError(f"{path}: {source.key or 'the array'} is one number; expected rows.")
        return array

    def lengths(self, source: Source, name: str) -> Rows:
        """The array of that name in the same file."""
        return self.open(Source(file=source.file, key=name))

    def _from_table(self, path: Path, source: Source) -> Rows:
        table = self._table(path)
        if source.column is not None:
            return _column(path, source.column, self._cells(path, table, source.column))
        wanted = source.columns or []
        names = fnmatch.filter(table, wanted) if isinstance(wanted, str) else list(wanted)
        if not names:
            raise DatasetError(f"{path}: no column matches {wanted!r}; it has {_some(table)}.")
        columns = [numbers(path, n, self._cells(path, table, n), missing=np.nan) for n in names]
        return np.stack(columns, 1)

    def _cells(self, path: Path, table: dict[str, list[str]], name: str) -> list[str]:
        if name not in table:
            raise DatasetError(
                f"{path}: lacks the column {name!r}.{did_you_mean(name, table)} It has "
                f"{_some(table)}."
            )
        return table[name]

    def _table(self, path: Path) -> dict[str, list[str]]:
        if path not in self._tables:
            read = read_csv if path.suffix.lower() == ".csv" else _read_parquet
            self._tables[path] = read(path)
        return self._tables[path]


def _some(names: Sequence[str] | dict[str, Any]) -> str:
    return ", ".join(list(names)[:12]) or "nothing"


def _column(path: Path, name: str, cells: list[str]) -> NDArray[Any]:
    try:
        return np.asarray(numbers(path, name, cells, missing=np.nan))
    except DatasetError:
        return np.array(cells, dtype=object)


def _read_parquet(path: Path) -> dict[str, list[str]]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise DatasetError(
            f"{path}: parquet files need pyarrow: pip install 'i2moe-plugin[parquet]'"
        ) from error
    with reading(path, "parquet file"):
        table = parquet.read_table(path)
        columns = {
            name: ["" if value is None else str(value) for value in table.column(name).to_pylist()]
            for name in table.column_names
        }
    return columns


class Standardised:
    """Numbers with mean 0 and deviation 1 over the training rows, feature by feature.

    A missing value (NaN) becomes the mean; for features [N, F], columns that miss values in
    training also give an indicator, since that a value is missing is information too.

    Args:
        name: for messages.
        array: [N, F] or [N, T, F]; read by rows.
        train: the training rows.
        lengths: [N], for [N, T, F]: later steps are padding, and count for nothing.
        scale: subtract and divide; else only fill what is missing.

    Raises:
        DatasetError: not numbers, infinite values, or no training value in a column.
    """

    def __init__(
        self,
        name: str,
        array: Rows,
        train: NDArray[Any],
        lengths: NDArray[Any] | None = None,
        scale: bool = True,
    ) -> None:
        if np.dtype(array.dtype).kind not in "fiub":
            raise DatasetError(f"{name}: expected numbers; the array is of type {array.dtype}.")
        self.name, self.array, self.lengths = name, array, lengths
        width = array.shape[-1]
        count, total, squares = (np.zeros(width) for _ in range(3))
        shift: NDArray[Any] | None = None  # of the first block: squares of large numbers cancel
        for start in range(0, len(train), BLOCK):
            values, real = self._real(train[start : start + BLOCK])
            values = values.reshape(-1, width)[real.reshape(-1)]
            there = ~np.isnan(values)
            if shift is None:
                shift = np.nan_to_num(np.where(there, values, 0).sum(0) / there.sum(0).clip(1))
            values = np.where(there, values - shift, 0)
            count += there.sum(0)
            total += values.sum(0)
            squares += (values**2).sum(0)
        assert shift is not None
        if (count == 0).any():
            bad = np.flatnonzero(count == 0)[:5].tolist()
            raise DatasetError(f"{name}: columns {bad} have no value in any training row.")
        mean = total / count
        deviation = np.sqrt((squares / count - mean**2).clip(0))
        self.mean = (shift + mean) if scale else np.zeros(width)
        self.fill = shift + mean
        self.deviation = np.where(deviation > 0, deviation, 1) if scale else np.ones(width)
        gaps = count < (count.max() if array.shape[1:-1] else len(train))
        self.indicators = np.flatnonzero(gaps) if len(array.shape) == 2 else np.array([], int)

    @property
    def width(self) -> int:
        """Columns given: the array's and the indicators."""
        return int(self.array.shape[-1]) + len(self.indicators)

    def __getitem__(self, rows: NDArray[Any]) -> NDArray[Any]:
        values, real = self._real(rows)
        missing = np.isnan(values)
        values = (np.where(missing, self.fill, values) - self.mean) / self.deviation
        values = np.where(real[..., None], values, 0)
        if len(self.indicators):
            values = np.concatenate([values, missing[:, self.indicators]], 1)
        return values.astype(np.float32)

    def _real(self, rows: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Rows as float64, and which steps are not padding."""
        values = np.asarray(self.array[rows], dtype=np.float64)
        real = np.ones(values.shape[:-1], dtype=bool)
        if self.lengths is not None:
            real = np.arange(values.shape[1]) < self.lengths[rows][:, None]
        if np.isinf(values[real]).any():
            raise DatasetError(f"{self.name}: holds infinite values.")
        return values, real


class TfIdf:
    """Texts as TF-IDF of the training rows' commonest words; one row becomes dense when asked for.

    Args:
        name: for messages.
        texts: N strings.
        train: the training rows.
        words: how many words.

    Raises:
        DatasetError: no word in any training text.
    """

    def __init__(self, name: str, texts: Sequence[str], train: NDArray[Any], words: int) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self.texts = list(texts)
        vectorizer = TfidfVectorizer(max_features=words, sublinear_tf=True, dtype=np.float32)
        try:
            vectorizer.fit([self.texts[row] for row in train])
        except ValueError as error:
            raise DatasetError(f"{name}: no word in any training text ({error}).") from error
        self.matrix = vectorizer.transform(self.texts)

    @property
    def width(self) -> int:
        """Words."""
        return int(self.matrix.shape[1])

    def __getitem__(self, rows: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(self.matrix[rows].toarray())


class Pictures:
    """Images from files, or pixels as they are: a batch [B, 3, H, W].

    Args:
        name: for messages.
        array: file names [N], or pixels [N, H, W, 3] or [N, 3, H, W], uint8 or floats in [0, 1].
        folder: where the files are.
        size: that files are resized to.

    Raises:
        DatasetError: neither; or a file outside the folder.
    """

    def __init__(self, name: str, array: Rows, folder: Path, size: tuple[int, int]) -> None:
        self.array: Rows | None = None
        self.files: ImageFiles | None = None
        shape = array.shape
        if np.dtype(array.dtype).kind in "OSU":
            names = text(array)
            outside = [n for n in names if Path(n).is_absolute() or ".." in Path(n).parts]
            if outside:
                raise DatasetError(f"{name}: {outside[0]!r} does not lie inside the folder.")
            missing = [n for n in names if not (folder / n).is_file()]
            if missing:
                raise DatasetError(
                    f"{name}: {len(missing)} of {len(names)} image files are missing, such as "
                    f"{missing[0]!r}."
                )
            self.files = ImageFiles([folder / n for n in names], size)
        elif len(shape) == 4 and 3 in (shape[1], shape[3]):
            self.array, self.last = array, shape[3] == 3
        else:
            raise DatasetError(
                f"{name}: images are file names or pixels [N, H, W, 3]; got {list(shape)} of "
                f"{array.dtype}."
            )
        self.name = name

    def __getitem__(self, rows: NDArray[Any]) -> Tensor:
        if self.files is not None:
            return torch.stack([self.files[int(row)] for row in rows])
        assert self.array is not None
        values = np.asarray(self.array[rows])
        values = values.transpose(0, 3, 1, 2) if self.last else values
        if values.dtype != np.uint8:
            values = values.astype(np.float32)
            if not ((values >= 0) & (values <= 1)).all():
                raise DatasetError(f"{self.name}: pixels are uint8, or floats from 0 to 1.")
        return torch.from_numpy(np.ascontiguousarray(values))


def text(array: Rows) -> list[str]:
    """All rows as strings.

    Raises:
        DatasetError: bytes that are not UTF-8.
    """
    values = np.asarray(array[:]).reshape(-1)
    try:
        return [v.decode() if isinstance(v, bytes) else str(v) for v in values]
    except UnicodeDecodeError as error:
        raise DatasetError(f"a text is not UTF-8 ({error}).") from error
