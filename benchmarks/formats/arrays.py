"""Arrays of numpy's and torch's files, and rows of arrays."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.formats.reading import Rows, check_array, finite_single, reading
from i2moe_plugin.errors import DatasetError

FREELY_UNPACKED = 1 << 30  # bytes of an archive
MOST_UNPACKED = 100  # times an archive's size, beyond that


def read_npy(path: Path) -> NDArray[Any]:
    """An npy file, memory-mapped; never unpickles.

    Raises:
        DatasetError: missing, cut short, damaged, or of objects.
    """
    with reading(path, "npy file"), _refusing_objects(path, "the array"):
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def read_npz(path: Path, keys: tuple[str, ...] | None = None) -> dict[str, NDArray[Any]]:
    """Read arrays of an npz file, all by default, without unpickling anything."""
    with (
        reading(path, "npz file"),
        # An open handle: numpy leaks the one it opens itself when the archive is damaged.
        path.open("rb") as handle,
        np.load(handle, allow_pickle=False) as archive,
    ):
        if not isinstance(archive, NpzFile):
            raise DatasetError(f"{path}: holds one array; expected an npz file, of several.")
        assert archive.zip is not None  # open as long as the block
        check_unpacked(path, archive.zip)
        wanted = archive.files if keys is None else keys
        missing = [key for key in wanted if key not in archive.files]
        if missing:
            raise DatasetError(
                f"{path}: lacks {', '.join(missing)}; it holds {', '.join(archive.files)}."
            )
        arrays = {}
        for key in wanted:
            with _refusing_objects(path, key):
                arrays[key] = archive[key]
    return arrays


@contextmanager
def _refusing_objects(path: Path, key: str) -> Iterator[None]:
    """Say what to do where an array is one of Python objects, which numpy would unpickle."""
    try:
        yield
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise DatasetError(
            f"{path}: {key} holds Python objects, which are not read since reading them can run "
            "code. Save numbers as numbers, and text with array.astype(str)."
        ) from error


def check_unpacked(path: Path, packed: zipfile.ZipFile) -> None:
    """Raise DatasetError where an archive unpacks to far more than data does."""
    size, stored = sum(item.file_size for item in packed.infolist()), path.stat().st_size
    if size > max(FREELY_UNPACKED, MOST_UNPACKED * stored):
        raise DatasetError(
            f"{path}: {stored} bytes that unpack to {size}; refused. If they are yours, keep the "
            "arrays unpacked: as npy files, or by numpy.savez."
        )


def read_tensor(path: Path) -> NDArray[Any]:
    """Return the one tensor of a ``torch.save`` file, read without unpickling code."""
    import torch

    with reading(path, "torch file"):
        if not zipfile.is_zipfile(path):  # older ones are read by a slower, less careful way
            raise DatasetError(f"{path}: not written by torch 1.6 or newer; save it anew.")
        with zipfile.ZipFile(path) as packed:
            check_unpacked(path, packed)
        value = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(value, torch.Tensor) or value.layout != torch.strided:
            raise DatasetError(f"{path}: holds {type(value).__name__}; expected one dense tensor.")
        array: NDArray[Any] = value.detach().numpy()
    return array


class NpyArray:
    """The numbers of an npy file, memory-mapped; mapped anew in each process that is given it."""

    def __init__(self, path: Path, shape: tuple[int, ...] = ()) -> None:
        self.path = path
        self._map: NDArray[Any] | None = read_npy(path)
        self.shape, self.dtype = self._map.shape, self._map.dtype
        check_array(str(path), self._map, ("N", *shape))

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


class Section:
    """Rows of an array [N, ...], by their numbers, as an array of their own."""

    def __init__(self, array: Rows, numbers: NDArray[np.int64]) -> None:
        self.array, self.numbers = array, numbers
        self.shape, self.dtype = (len(numbers), *array.shape[1:]), array.dtype

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, rows: Any) -> Any:
        return self.array[self.numbers[rows]]


class Joined:
    """Arrays one after the other, as one array of all their rows."""

    def __init__(self, *arrays: Rows) -> None:
        self.arrays = arrays
        self.ends = np.cumsum([len(array) for array in arrays])
        self.shape, self.dtype = (len(self), *arrays[0].shape[1:]), arrays[0].dtype

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, rows: NDArray[np.int64]) -> Any:
        """The rows of these numbers."""
        part = np.searchsorted(self.ends, rows, side="right")
        inside = rows - np.concatenate([[0], self.ends[:-1]])[part]
        places = [np.flatnonzero(part == number) for number in np.unique(part)]
        found = [self.arrays[part[place[0]]][inside[place]] for place in places]
        if len(found) == 1:
            return found[0]
        return np.concatenate(found)[np.argsort(np.concatenate(places))]


class SparseRows:
    """The rows of a sparse matrix [N, F], made dense when asked for."""

    def __init__(self, matrix: Any) -> None:
        self.matrix = matrix.tocsr()
        self.shape: tuple[int, ...] = self.matrix.shape
        self.dtype = self.matrix.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        found: NDArray[Any] = self.matrix[rows].toarray()
        return found

    def columns(self, start: int, stop: int) -> NDArray[Any]:
        """Read the columns from ``start`` to ``stop`` of all rows, [N, stop - start]."""
        found: NDArray[Any] = self.matrix[:, start:stop].toarray()
        return found
