"""Reading files that may be missing, damaged or hostile: arrays, or DatasetError, and nothing else.

Large arrays stay on disk: :class:`H5Array` and memory-mapped npy files give rows when asked.
"""

from __future__ import annotations

import csv
import json
import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.errors import DatasetError

Summary = dict[str, tuple[tuple[int, ...], str]]  # name -> shape, dtype


class Rows(Protocol):
    """An array [N, ...] whose rows are read when asked for."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> Any: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Any: ...


@contextmanager
def reading(path: Path, kind: str = "file") -> Iterator[None]:
    """Turn whatever a reader raises on a damaged file into a DatasetError that names it."""
    if not path.is_file():
        raise DatasetError(f"{path}: no such file.")
    try:
        yield
    except DatasetError:
        raise
    except Exception as error:  # readers meet damage with nearly any exception
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DatasetError(f"{path}: not a readable {kind} ({reason[:300]}).") from error


def read_json(path: Path) -> Any:
    """The content of a UTF-8 json file.

    Raises:
        DatasetError: missing, not UTF-8, not json.
    """
    with reading(path, "json file"):
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    return content


def read_csv(path: Path, columns: Sequence[str] = ()) -> dict[str, list[str]]:
    """A csv file by columns, every cell as text.

    Args:
        path: UTF-8, with a header.
        columns: those it must have.

    Raises:
        DatasetError: missing, not UTF-8, no header, a name twice, rows of another length, or
            columns that are not there.
    """
    with reading(path, "csv file"), path.open(encoding="utf-8-sig", newline="") as file:
        table = csv.reader(file, strict=True)
        header = next(table, [])
        if not header:
            raise DatasetError(f"{path}: is empty; its first line should name the columns.")
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise DatasetError(f"{path}: more than one column is called {', '.join(twice)}.")
        cells: list[list[str]] = [[] for _ in header]
        for row in table:
            if not row:
                continue
            if len(row) != len(header):
                raise DatasetError(
                    f"{path}, line {table.line_num}: {len(row)} cells; the header has "
                    f"{len(header)}."
                )
            for column, cell in zip(cells, row, strict=True):
                column.append(cell)
    missing = [name for name in columns if name not in header]
    if missing:
        raise DatasetError(
            f"{path}: lacks the column {', '.join(missing)}; it has {', '.join(header[:20])}."
        )
    return dict(zip(header, cells, strict=True))


def numbers(path: Path, name: str, cells: Sequence[str], missing: float | None = None) -> Any:
    """Cells of a csv column as float64 [N].

    Args:
        path, name: for messages.
        cells: the column.
        missing: what an empty cell is; None: an error.

    Raises:
        DatasetError: a cell is not a number; names the first.
    """
    values = np.empty(len(cells))
    for row, cell in enumerate(cells):
        text = cell.strip()
        if not text and missing is not None:
            values[row] = missing
            continue
        try:
            values[row] = float(text)
        except ValueError:
            raise DatasetError(
                f"{path}: column {name}, row {row + 1}: {cell[:40]!r} is not a number."
            ) from None
    return values


def read_npy(path: Path) -> NDArray[Any]:
    """An npy file, memory-mapped; never unpickles.

    Raises:
        DatasetError: missing, cut short, damaged, or of objects.
    """
    with reading(path, "npy file"):
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


class H5Array:
    """One array of an HDF5 file; rows are read from disk when asked for, in any process.

    Numbers that lie in one piece, uncompressed, are read at their place in the file, past HDF5:
    several times faster than through it, and unlike a memory map it leaves nothing in the
    process's memory and survives a file that is cut short meanwhile.

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
            self.dtype = array.dtype
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
                return self._rows(np.array([rows]))[0]
            if isinstance(rows, slice):
                if self._start is None:
                    return np.asarray(self._array()[rows])
                rows = np.arange(len(self))[rows]
            return self._rows(np.asarray(rows, dtype=np.int64))

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
        values = np.empty((len(unique), *self.shape[1:]), self.dtype)
        array = self._array()
        for number, row in enumerate(unique.tolist()):
            values[number] = array[row]
        return values[place]

    def _read_in_place(self, rows: NDArray[Any]) -> NDArray[Any]:
        assert self._start is not None
        values = np.empty((len(rows), *self.shape[1:]), self.dtype)
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
        import h5py

        if self._file is None or self._owner != os.getpid():  # handles do not survive a fork
            self._file, self._owner = h5py.File(self.path, "r"), os.getpid()
        return h5_dataset(self.path, self._file, self.key)


def h5_dataset(path: Path, file: Any, key: str) -> Any:
    """The array of that key in an open HDF5 file.

    Raises:
        DatasetError: there is none.
    """
    import h5py

    array = file.get(key)
    if not isinstance(array, h5py.Dataset):
        held = ", ".join(map(h5_name, list(file)[:12]))
        raise DatasetError(f"{path}: lacks the array {key!r}; it holds {held or 'nothing'}.")
    return array


def h5_name(name: str | bytes) -> str:
    """A name as text; h5py gives one that is not UTF-8 as bytes."""
    return name if isinstance(name, str) else name.decode(errors="replace")


def check_storage(path: Path, key: str, array: Any) -> None:
    """Raise DatasetError where a header claims more than the file holds, or names another file."""
    if array.is_virtual or array.external:
        raise DatasetError(f"{path}: {key} points to other files; that is not read.")
    claimed = float(np.prod(array.shape or (), dtype=np.float64)) * array.dtype.itemsize
    stored = array.id.get_storage_size()
    most = stored if array.chunks is None else 1100.0 * stored  # deflate's best is 1032
    if claimed > most:
        raise DatasetError(f"{path}: {key} claims {claimed:.0f} bytes, but {stored} are stored.")


def _start(array: Any) -> int | None:
    """The byte of its file where an array's numbers begin, if they lie there in one piece."""
    if array.chunks is not None or array.dtype.kind not in "biufS" or not hasattr(os, "preadv"):
        return None
    start: int | None = array.id.get_offset()
    return start


def same_length(path: Path, arrays: Mapping[str, Rows | NDArray[Any]]) -> int:
    """The common number of rows.

    Raises:
        DatasetError: they differ, or there are none.
    """
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} {count}" for name, count in lengths.items())
        raise DatasetError(f"{path}: the arrays differ in their number of rows: {said}.")
    count = next(iter(lengths.values()), 0)
    if not count:
        raise DatasetError(f"{path}: has no rows.")
    return count


def check_finite(where: str, values: NDArray[Any]) -> None:
    """Raise DatasetError where there are NaN or infinite values, with the place of the first."""
    bad = ~np.isfinite(values)
    if bad.any():
        first = np.argwhere(bad)[0].tolist()
        raise DatasetError(
            f"{where} holds {int(bad.sum())} NaN or infinite values, the first at {first}."
        )


def finite_single(where: str, values: NDArray[Any]) -> NDArray[np.float32]:
    """Numbers in single precision.

    Raises:
        DatasetError: some are NaN, infinite, or too large for it.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        result = values.astype(np.float32)
    check_finite(where, result)
    return result


def check_ids(where: str, ids: Sequence[str]) -> None:
    """Raise DatasetError where an id stands twice."""
    seen: set[str] = set()
    twice = list(dict.fromkeys(i for i in ids if i in seen or seen.add(i)))  # type: ignore[func-returns-value]
    if twice:
        raise DatasetError(f"{where}: {len(twice)} ids are listed twice: {', '.join(twice[:5])}.")


def inspect_hdf5(path: Path) -> Summary:
    """Every array of an HDF5 file: shape and type, no values."""
    import h5py

    found: Summary = {}

    def note(name: str | bytes, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[h5_name(name)] = (tuple(item.shape or ()), _kind(item.dtype))

    with reading(path, "HDF5 file"), h5py.File(path, "r") as file:
        file.visititems(note)
    return found


def inspect_npy(path: Path) -> Summary:
    """The array of an npy file."""
    array = read_npy(path)
    return {"": (array.shape, _kind(array.dtype))}


def inspect_npz(path: Path) -> Summary:
    """The arrays of an npz file."""
    with (
        reading(path, "npz file"),
        path.open("rb") as handle,
        np.load(handle, allow_pickle=False) as archive,
    ):
        found = {name: (archive[name].shape, _kind(archive[name].dtype)) for name in archive}
    return found


def inspect_csv(path: Path) -> Summary:
    """The columns of a csv file."""
    return {name: ((len(cells),), "text") for name, cells in read_csv(path).items()}


def inspect_json(path: Path) -> Summary:
    """The fields of a json object; the length of a list."""
    content = read_json(path)
    if isinstance(content, list):
        return {"": ((len(content),), "text")}
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: holds {type(content).__name__}; expected an object or a list.")
    return {
        str(k): ((len(v),) if isinstance(v, (list, dict)) else (), "text")
        for k, v in content.items()
    }


def inspect_pickle(path: Path) -> Summary:
    """The arrays of a pickle, read through the allow-list."""
    from i2moe_plugin.benchmarks.formats.pickles import read_arrays

    return {name: (array.shape, _kind(array.dtype)) for name, array in read_arrays(path).items()}


def inspect_torch(path: Path) -> Summary:
    """The tensor of a ``torch.save`` file, read without unpickling code."""
    array = read_tensor(path)
    return {"": (array.shape, _kind(array.dtype))}


def read_tensor(path: Path) -> NDArray[Any]:
    """The one tensor of a ``torch.save`` file.

    Raises:
        DatasetError: damaged, or it holds anything but one tensor.
    """
    import torch

    with reading(path, "torch file"):
        value = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(value, torch.Tensor) or value.layout != torch.strided:
            raise DatasetError(f"{path}: holds {type(value).__name__}; expected one dense tensor.")
        array: NDArray[Any] = value.detach().numpy()
    return array


def _kind(dtype: Any) -> str:
    return "text" if dtype.kind in "OSUV" else str(dtype.name)
