"""Arrays that stay on disk: npy files by memory map, and a few open ones among many HDF5 files."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.formats.readers import (
    Rows,
    check_storage,
    finite_single,
    h5_dataset,
    h5_name,
    read_npy,
    reading,
)
from i2moe_plugin.errors import DatasetError


class NpyArray:
    """The numbers of an npy file, memory-mapped; mapped anew in each process that is given it.

    Args:
        path: the file.
        shape: of one row; -1 where any size will do.

    Attributes:
        shape, dtype: of the array.

    Raises:
        DatasetError: missing, damaged, not of numbers, of another shape; also when rows that are
            read hold NaN or infinite values.
    """

    def __init__(self, path: Path, shape: tuple[int, ...] = ()) -> None:
        self.path = path
        self._map: NDArray[Any] | None = read_npy(path)
        self.shape, self.dtype = self._map.shape, self._map.dtype
        if self.dtype.kind not in "fiub":
            raise DatasetError(f"{path}: holds {self.dtype}; expected numbers.")
        fits = len(self.shape) == 1 + len(shape) and all(
            wanted in (-1, size) for wanted, size in zip(shape, self.shape[1:], strict=True)
        )
        if not fits or not len(self):
            expected = ", ".join(["N", *("?" if size == -1 else str(size) for size in shape)])
            raise DatasetError(f"{path}: has shape {list(self.shape)}; expected [{expected}].")

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        """A copy of rows, floats as float32: a slice, a number, or an array of row numbers."""
        if self._map is None:
            self._map = read_npy(self.path)
        values = np.array(self._map[rows])
        return finite_single(str(self.path), values) if self.dtype.kind == "f" else values

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_map": None}  # pickled, the map would be a copy of the file


class H5Files:
    """Arrays of any number of HDF5 files, of which a few are open at a time, in any process.

    Args:
        limit: how many.
    """

    def __init__(self, limit: int = 8) -> None:
        self.limit = limit
        self._open: OrderedDict[Path, Any] = OrderedDict()
        self._owner = os.getpid()

    def names(self, path: Path) -> list[str]:
        """What lies at the top of a file.

        Raises:
            DatasetError: missing or damaged.
        """
        with self._file(path) as file:
            names = [h5_name(name) for name in file]
        return names

    def check(self, path: Path, rows: Mapping[str, tuple[int, ...]]) -> int:
        """The number of rows, which these arrays have in common.

        Args:
            path: the file.
            rows: key -> the shape of a row.

        Raises:
            DatasetError: an array that is missing, damaged, not of numbers, or of another shape.
        """
        counts = {}
        with self._file(path) as file:
            for key, shape in rows.items():
                array = h5_dataset(path, file, key)
                if array.dtype.kind not in "fiub":
                    raise DatasetError(f"{path}: {key} holds {array.dtype}; expected numbers.")
                if not array.shape or array.shape[1:] != shape:
                    expected = ", ".join(["N", *map(str, shape)])
                    raise DatasetError(
                        f"{path}: {key} has shape {list(array.shape or ())}; expected [{expected}]."
                    )
                check_storage(path, key, array)
                counts[key] = len(array)
        if len(set(counts.values())) > 1:
            said = ", ".join(f"{key} {count}" for key, count in counts.items())
            raise DatasetError(f"{path}: the arrays differ in their number of rows: {said}.")
        return next(iter(counts.values()))

    def read(self, path: Path, key: str, rows: Any = slice(None)) -> NDArray[Any]:
        """Rows of one array, as float32: a slice, or a number.

        Raises:
            DatasetError: missing, damaged, or NaN or infinite values.
        """
        with self._file(path) as file:
            values = np.asarray(h5_dataset(path, file, key)[rows])
        return finite_single(f"{path}: {key}", values)

    def __getstate__(self) -> dict[str, Any]:
        return {"limit": self.limit, "_open": OrderedDict(), "_owner": -1}

    @contextmanager
    def _file(self, path: Path) -> Iterator[Any]:
        import h5py

        with reading(path, "HDF5 file"):
            if self._owner != os.getpid():  # handles do not survive a fork
                self._open, self._owner = OrderedDict(), os.getpid()
            if path not in self._open:
                while len(self._open) >= self.limit:
                    self._open.popitem(last=False)[1].close()
                self._open[path] = h5py.File(path, "r")
            self._open.move_to_end(path)
            yield self._open[path]


class Section:
    """Rows ``start`` to ``stop`` of an array, read when asked for.

    Args:
        array: [N, ...].
        start, stop: 0 <= start <= stop <= N.
    """

    def __init__(self, array: Rows, start: int, stop: int) -> None:
        self.array, self.start, self.stop = array, start, stop
        self.shape, self.dtype = (stop - start, *array.shape[1:]), array.dtype

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, rows: Any) -> Any:
        return self.array[np.arange(self.start, self.stop)[rows]]
