"""Arrays of a user's folder, whatever file they lie in."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.datasets.folder.description import ArrayPlace
from i2moe_plugin.benchmarks.formats.arrays import read_npy, read_npz
from i2moe_plugin.benchmarks.formats.hdf5 import H5Array
from i2moe_plugin.benchmarks.formats.reading import Rows
from i2moe_plugin.benchmarks.formats.tables import numbers, read_csv, read_parquet
from i2moe_plugin.errors import DatasetError, did_you_mean


class FolderFiles:
    """The files of a folder; tables are read once.

    Args:
        folder: where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tables: dict[Path, dict[str, list[str]]] = {}

    def open(self, place: ArrayPlace) -> Rows:
        """The array: in memory, or read from disk by rows where the format allows it.

        Numbers of tables are floats, an empty cell NaN; a column that is no number is text.

        Raises:
            DatasetError: the file is missing, damaged, or lacks the array.
        """
        path = self.folder / place.file
        ending = path.suffix.lower()
        if ending == ".npy":
            array: Rows = read_npy(path)
        elif ending == ".npz":
            array = read_npz(path, (str(place.key),))[str(place.key)]
        elif ending in (".h5", ".hdf5"):
            array = H5Array(path, str(place.key))
        else:
            return self._from_table(path, place)
        if not array.shape:
            raise DatasetError(f"{path}: {place.key or 'the array'} is one number; expected rows.")
        return array

    def lengths(self, place: ArrayPlace, name: str) -> Rows:
        """The array of that name in the same file."""
        return self.open(ArrayPlace(file=place.file, key=name))

    def _from_table(self, path: Path, place: ArrayPlace) -> Rows:
        table = self._table(path)
        if place.column is not None:
            return _column(path, place.column, self._cells(path, table, place.column))
        wanted = place.columns or []
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
            read = read_csv if path.suffix.lower() == ".csv" else read_parquet
            self._tables[path] = read(path)
        return self._tables[path]


def _some(names: Sequence[str] | dict[str, Any]) -> str:
    return ", ".join(list(names)[:12]) or "nothing"


def _column(path: Path, name: str, cells: list[str]) -> NDArray[Any]:
    try:
        return np.asarray(numbers(path, name, cells, missing=np.nan))
    except DatasetError:
        return np.array(cells, dtype=object)
