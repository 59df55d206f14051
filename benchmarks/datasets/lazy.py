"""Arrays that stay on disk: npy files by memory map, and a few open ones among many HDF5 files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.datasets.readers import check_finite, read_npy
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
        """A copy of rows: a slice, a number, or an array of row numbers."""
        if self._map is None:
            self._map = read_npy(self.path)
        values = np.array(self._map[rows])
        if self.dtype.kind == "f":
            check_finite(str(self.path), values)
        return values

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_map": None}  # pickled, the map would be a copy of the file
