"""Arrays of a user's folder, whatever file they lie in."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.datasets.folder.description import ArrayPlace
from i2moe_plugin.benchmarks.formats.arrays import read_npy, read_npz
from i2moe_plugin.benchmarks.formats.cells import as_numbers
from i2moe_plugin.benchmarks.formats.hdf5 import H5Array, open_hdf5
from i2moe_plugin.benchmarks.formats.reading import Rows, is_file, reading
from i2moe_plugin.benchmarks.formats.tables import read_csv, read_parquet, separator_hint
from i2moe_plugin.errors import DatasetError, did_you_mean

TABLES = (".csv", ".parquet")


class FolderFiles:
    """The files of a folder; tables are read once.

    Args:
        folder: where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tables: dict[Path, dict[str, NDArray[Any]]] = {}

    def where(self, place: ArrayPlace) -> str:
        """Name the file and the array in it, for messages."""
        path, name = self.folder / place.file, place.column or place.key
        if path.suffix.lower() in TABLES:
            return f"{path}: column {name}" if name else str(path)
        return f"{path}: {name}" if name else str(path)

    def open(self, place: ArrayPlace) -> Rows:
        """Open the array: in memory, or read from disk by rows where the format allows it.

        A column of a table has its cells as they are written or stored; several are numbers.

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
        elif place.column is not None:
            return self._column(path, place.column)
        else:
            columns = [self._numbers(path, name) for name in self.columns(place)]
            return np.stack(columns, 1)
        if not array.shape:
            raise DatasetError(f"{self.where(place)} is one value; expected rows.")
        return array

    def has(self, place: ArrayPlace) -> bool:
        """Whether the file is there and holds the array; what is wrong with it shows on opening."""
        path = self.folder / place.file
        ending = path.suffix.lower()
        if not is_file(path):
            return False
        if ending == ".npy":
            return True
        if ending in TABLES:
            names = set(self._table(path))
        elif ending == ".npz":
            with reading(path, "npz file"), np.load(path, allow_pickle=False) as archive:
                names = set(archive.files)
        else:
            with open_hdf5(path) as file:
                return place.key in file
        wanted = [place.column] if place.column else place.columns or [str(place.key)]
        return (
            bool(fnmatch.filter(names, wanted)) if isinstance(wanted, str) else set(wanted) <= names
        )

    def beside(self, place: ArrayPlace, name: str) -> Rows:
        """Open the array of that name in the same file."""
        table = Path(place.file).suffix.lower() in TABLES
        return self.open(ArrayPlace(file=place.file, **{"column" if table else "key": name}))

    def columns(self, place: ArrayPlace) -> list[str]:
        """Name the several columns of a table that are one array; none for any other array.

        Raises:
            DatasetError: no column fits.
        """
        if not place.columns:
            return []
        path = self.folder / place.file
        table, wanted = self._table(path), place.columns
        names = fnmatch.filter(table, wanted) if isinstance(wanted, str) else list(wanted)
        if not names:
            raise DatasetError(f"{path}: no column matches {wanted!r}; it has {_some(table)}.")
        return names

    def _numbers(self, path: Path, name: str) -> NDArray[Any]:
        where = f"{path}: column {name}"
        values = np.asarray(as_numbers(where, self._column(path, name))[:])
        if values.ndim != 1:
            raise DatasetError(f"{where} holds lists; give it alone, with column.")
        return values

    def _column(self, path: Path, name: str) -> NDArray[Any]:
        table = self._table(path)
        if name not in table:
            raise DatasetError(
                f"{path}: lacks the column {name!r}.{did_you_mean(name, table)} It has "
                f"{_some(table)}.{separator_hint(list(table))}"
            )
        return table[name]

    def _table(self, path: Path) -> dict[str, NDArray[Any]]:
        if path not in self._tables:
            if path.suffix.lower() == ".csv":
                cells = read_csv(path).items()
                self._tables[path] = {name: np.array(column, object) for name, column in cells}
            else:
                self._tables[path] = read_parquet(path)
        return self._tables[path]


def _some(names: Mapping[str, Any]) -> str:
    return ", ".join(list(names)[:12]) or "nothing"
