"""HDF5 files, opened in one place, and arrays of them that stay on disk."""

from __future__ import annotations

import os
import sys
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.formats.reading import (
    check_array,
    finite_single,
    reading,
    same_length,
)
from i2moe_plugin.errors import DatasetError

MOST_UNWRITTEN = 1 << 28  # bytes


@contextmanager
def open_hdf5(path: Path, kind: str = "HDF5 file", *, locking: bool | None = None) -> Iterator[Any]:
    """Open a file for the time of the block; what goes wrong in it is a DatasetError.

    Args:
        path: the file.
        kind: what it is expected to be, for messages.
        locking: of the file, while it is read; None: as HDF5 does by default.
    """
    with reading(path, kind), _open(path, locking) as file:
        yield file


def _open(path: Path, locking: bool | None = None) -> Any:
    """Open an HDF5 file from outside; nothing else in the package does."""
    import h5py

    file = h5py.File(path, "r", locking=locking)
    try:
        _check_links(path, file)
    except BaseException:
        file.close()
        raise
    return file


def _check_links(path: Path, file: Any) -> None:
    """Raise DatasetError where a link leads out of the file; HDF5 would follow it on its own."""
    import h5py

    inside = (h5py.h5l.TYPE_HARD, h5py.h5l.TYPE_SOFT)

    def leads_out(name: bytes, link: Any) -> bytes | None:
        return None if link.type in inside else name

    if found := file.id.links.visit(leads_out, info=True):
        raise DatasetError(f"{path}: {h5_name(found)} points to another file; that is not read.")


class H5Array:
    """One array of an HDF5 file; rows are read from disk when asked for, in any process.

    Numbers that lie in one piece, uncompressed, as numpy lays them out, are read at their place in
    the file, past HDF5: several times faster than through it, and unlike a memory map it leaves
    nothing in the process's memory and survives a file that is cut short meanwhile.

    Numbers that are packed by netCDF's conventions (attributes ``scale_factor``, ``add_offset``,
    ``_FillValue``, ``missing_value``) are given unpacked, as floats with NaN where one is missing.

    Args:
        path: the file.
        key: the array's path in it.

    Attributes:
        shape, dtype: of the array.
        scattered: rows lie in pieces of many rows, each of which is read for one of them.

    Raises:
        DatasetError: no such file or key, damage, or a group in the array's place; also when rows
            turn out to be damaged on reading.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = Path(path), key
        self._file: Any = None
        self._owner = -1
        self._descriptor: int | None = None
        with reading(self.path, "HDF5 file"):
            array = self._array()
            self.shape: tuple[int, ...] = tuple(array.shape or ())
            self.packing = read_packing(array)
            self.dtype = array.dtype if self.packing is None else np.dtype(np.float64)
            self._stored = array.dtype
            check_storage(self.path, key, array)
            self.scattered = array.chunks is not None and array.chunks[0] > 1
            self._start = _start(array)
            if self._start is not None:
                array.file.close()
                self._file = None

    def __len__(self) -> int:
        return self.shape[0] if self.shape else 0

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        """Rows: a slice, a number, or an array of row numbers in any order, repeats allowed."""
        with reading(self.path, "HDF5 file"):
            if isinstance(rows, (int, np.integer)):
                found = self._rows(np.array([rows]))[0]
            elif isinstance(rows, slice) and self._start is None:
                found = np.asarray(self._array()[rows])
            elif isinstance(rows, slice):
                found = self._rows(np.arange(len(self))[rows])
            else:
                found = self._rows(np.asarray(rows, dtype=np.int64))
        return found if self.packing is None else self.packing(found)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None, "_owner": -1, "_descriptor": None}

    def _rows(self, rows: NDArray[Any]) -> NDArray[Any]:
        if len(rows) and not -len(self) <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"row {rows.min()} or {rows.max()} of {len(self)}")
        rows = rows % max(len(self), 1)
        if self._start is not None:
            return self._read_in_place(rows)
        # Each row once, in order, one by one: by far faster than HDF5's own selection of many.
        unique, place = np.unique(rows, return_inverse=True)
        values = np.empty((len(unique), *self.shape[1:]), self._stored)
        array = self._array()
        for number, row in enumerate(unique.tolist()):
            values[number] = array[row]
        return values[place]

    def _read_in_place(self, rows: NDArray[Any]) -> NDArray[Any]:
        if sys.platform == "win32":
            raise AssertionError("it has no os.preadv")
        assert self._start is not None
        values = np.empty((len(rows), *self.shape[1:]), self._stored)
        if not values.nbytes:
            return values
        if self._descriptor is None:  # has no position of its own, so processes may share it
            self._descriptor = os.open(self.path, os.O_RDONLY)
            weakref.finalize(self, os.close, self._descriptor)
        size = values.nbytes // len(rows)
        buffer = values.reshape(-1).view(np.uint8).data
        starts = np.flatnonzero(np.diff(rows, prepend=rows[0] - 2) != 1)  # of runs of rows
        for first, last in zip(starts.tolist(), [*starts[1:].tolist(), len(rows)], strict=True):
            place, done, end = self._start + int(rows[first]) * size, first * size, last * size
            while done < end:
                count = os.preadv(self._descriptor, [buffer[done:end]], place)
                if not count:
                    raise EOFError(f"{self.key} is cut short")
                place, done = place + count, done + count
        return values

    def _array(self) -> Any:
        if self._file is None or self._owner != os.getpid():  # handles do not survive a fork
            self._file, self._owner = _open(self.path), os.getpid()
        return h5_dataset(self.path, self._file, self.key)


class H5Files:
    """Arrays of any number of HDF5 files, of which a few are open at a time, in any process."""

    def __init__(self, limit: int = 8) -> None:
        self.limit = limit
        self._open: OrderedDict[Path, Any] = OrderedDict()
        self._owner = os.getpid()

    def names(self, path: Path) -> list[str]:
        """List the names of the groups and arrays at the top of a file."""
        with self._file(path) as file:
            names = [h5_name(name) for name in file]
        return names

    def check(self, path: Path, rows: Mapping[str, tuple[int, ...]]) -> int:
        """Check arrays (key -> the shape of a row), and return the number of rows they all have."""
        with self._file(path) as file:
            arrays = {key: h5_dataset(path, file, key) for key in rows}
            for key, array in arrays.items():
                check_array(f"{path}: {key}", array, ("N", *rows[key]))
                check_storage(path, key, array)
            count = same_length(path, arrays)
        return count

    def read(self, path: Path, key: str, rows: Any = slice(None)) -> NDArray[np.float32]:
        """Rows of one array, as float32: a slice, or a number."""
        with self._file(path) as file:
            values = np.asarray(h5_dataset(path, file, key)[rows])
        return finite_single(f"{path}: {key}", values)

    def __getstate__(self) -> dict[str, Any]:
        return {"limit": self.limit, "_open": OrderedDict(), "_owner": -1}

    @contextmanager
    def _file(self, path: Path) -> Iterator[Any]:
        with reading(path, "HDF5 file"):
            if self._owner != os.getpid():  # handles do not survive a fork
                self._open, self._owner = OrderedDict(), os.getpid()
            if path not in self._open:
                while len(self._open) >= self.limit:
                    self._open.popitem(last=False)[1].close()
                self._open[path] = _open(path)
            self._open.move_to_end(path)
            yield self._open[path]


class H5Rows:
    """Rows by (file, key, number or slice), as one array of many files: float32 [N, ...]."""

    def __init__(self, files: H5Files, places: Sequence[tuple[Path, str, Any]]) -> None:
        self.files, self.places = files, places

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.stack([self.files.read(*self.places[row]) for row in rows])


def h5_dataset(path: Path, file: Any, key: str) -> Any:
    """Return the array of that key in an open HDF5 file, or in a group of one.

    Raises:
        DatasetError: there is none, or its values lie in other files.
    """
    import h5py

    array = file.get(key)
    if isinstance(array, h5py.Group):
        held = ", ".join(f"{key.rstrip('/')}/{h5_name(name)}" for name in list(array)[:12])
        raise DatasetError(f"{path}: {key} is a group; it holds {held or 'nothing'}.")
    if not isinstance(array, h5py.Dataset):
        held = ", ".join(map(h5_name, list(file)[:12]))
        raise DatasetError(f"{path}: lacks the array {key!r}; it holds {held or 'nothing'}.")
    if array.is_virtual or array.external:
        raise DatasetError(f"{path}: {key} points to other files; that is not read.")
    return array


def h5_name(name: str | bytes) -> str:
    """Return a name as text; h5py gives one that is not UTF-8 as bytes."""
    return name if isinstance(name, str) else name.decode(errors="replace")


@dataclass(frozen=True)
class Packing:
    """What stored numbers mean by netCDF's conventions: ``stored * scale + offset``.

    Attributes:
        scale, offset: see above.
        missing: stored numbers that stand for a missing value.
    """

    scale: float
    offset: float
    missing: tuple[float, ...]

    def __call__(self, stored: NDArray[Any]) -> NDArray[np.float64]:
        values = np.asarray(stored, dtype=np.float64)
        absent = np.isin(values, self.missing)
        return np.where(absent, np.nan, values * self.scale + self.offset)


def read_packing(array: Any) -> Packing | None:
    """Read an array's attributes of packing; None where it has none, or holds no numbers.

    Raises:
        DatasetError: an attribute is no number.
    """
    names = ("scale_factor", "add_offset", "_FillValue", "missing_value")
    if array.dtype.kind not in "iuf" or not any(name in array.attrs for name in names):
        return None
    told: dict[str, NDArray[np.float64]] = {}
    for name in names:
        try:
            told[name] = np.asarray(array.attrs.get(name, []), dtype=np.float64).reshape(-1)
        except (TypeError, ValueError):
            where = f"{array.file.filename}: {array.name.lstrip('/')}"
            raise DatasetError(f"{where}: its attribute {name} is no number.") from None
    scale = float(told["scale_factor"][0]) if len(told["scale_factor"]) else 1.0
    offset = float(told["add_offset"][0]) if len(told["add_offset"]) else 0.0
    missing = np.concatenate([told["_FillValue"], told["missing_value"]])
    missing = missing[~np.isnan(missing)]
    if (scale, offset) == (1, 0) and not len(missing):
        return None
    return Packing(scale, offset, tuple(missing.tolist()))


def check_storage(path: Path, key: str, array: Any) -> None:
    """Check that an array lies in its own file, and that reading it takes bounded memory.

    What was never written is read as fill values, up to :data:`MOST_UNWRITTEN`; beyond that, a
    header may not claim more than the file holds.

    Raises:
        DatasetError: it points to other files, claims more, or comes in larger pieces.
    """
    if array.is_virtual or array.external:
        raise DatasetError(f"{path}: {key} points to other files; that is not read.")
    claimed = float(np.prod(array.shape or (), dtype=np.float64)) * array.dtype.itemsize
    stored = array.id.get_storage_size()
    most = stored if array.chunks is None else 1100.0 * stored  # deflate's best is 1032
    if claimed > max(most, MOST_UNWRITTEN):
        raise DatasetError(
            f"{path}: {key} claims {claimed:.0f} bytes, but {stored} are stored; the rest, which "
            f"would be read as fill values, may be {MOST_UNWRITTEN >> 20} MB at most."
        )
    piece = float(np.prod(array.chunks or (), dtype=np.float64)) * array.dtype.itemsize
    if piece > MOST_UNWRITTEN:
        raise DatasetError(
            f"{path}: {key} is stored in pieces of {piece:.0f} bytes, each of which is read as a "
            f"whole; {MOST_UNWRITTEN >> 20} MB are read at most."
        )


def _start(array: Any) -> int | None:
    """The byte of its file where an array's numbers begin, if they lie there in one piece.

    None where they are not laid out as numpy has them: integers of fewer bits than their bytes
    hold, text padded otherwise, and what was never written.
    """
    import h5py

    if array.chunks is not None or array.dtype.kind not in "biufS" or not hasattr(os, "preadv"):
        return None
    if array.id.get_type() != h5py.h5t.py_create(array.dtype, logical=True):
        return None
    start: int | None = array.id.get_offset()
    return start
