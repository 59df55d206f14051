"""The arrays of a file, by name: shape and type, without their values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from i2moe_plugin.benchmarks.formats.arrays import read_npy, read_npz, read_tensor
from i2moe_plugin.benchmarks.formats.hdf5 import h5_name, open_hdf5
from i2moe_plugin.benchmarks.formats.pickles import read_arrays
from i2moe_plugin.benchmarks.formats.tables import read_csv, read_json
from i2moe_plugin.benchmarks.formats.word_vectors import claimed_vectors
from i2moe_plugin.errors import DatasetError


class ArrayFacts(NamedTuple):
    """An array's shape and numpy's name of its type; ``text`` is anything but numbers."""

    shape: tuple[int, ...]
    dtype: str


def inspect_file(path: Path) -> dict[str, ArrayFacts]:
    """Return the arrays of a file by their names, read by the file's ending."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DatasetError(f"{path}: {path.suffix or 'no ending'} is not a kind of file read here.")
    return reader(path)


def _hdf5(path: Path) -> dict[str, ArrayFacts]:
    import h5py

    found: dict[str, ArrayFacts] = {}

    def note(name: str | bytes, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[h5_name(name)] = _facts(item)

    with open_hdf5(path) as file:
        file.visititems(note)
    return found


def _json(path: Path) -> dict[str, ArrayFacts]:
    """Return the fields of an object; of a list its length."""
    content = read_json(path)
    if isinstance(content, list):
        return {"": ArrayFacts((len(content),), "text")}
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: holds {type(content).__name__}; expected an object or a list.")
    return {
        str(key): ArrayFacts((len(value),) if isinstance(value, (list, dict)) else (), "text")
        for key, value in content.items()
    }


def _facts(array: Any) -> ArrayFacts:
    dtype = "text" if array.dtype.kind in "OSUV" else str(array.dtype.name)
    return ArrayFacts(tuple(array.shape or ()), dtype)


def _each(arrays: dict[str, Any]) -> dict[str, ArrayFacts]:
    return {name: _facts(array) for name, array in arrays.items()}


READERS: dict[str, Callable[[Path], dict[str, ArrayFacts]]] = {
    **dict.fromkeys((".h5", ".hdf5", ".h5ad"), _hdf5),
    **dict.fromkeys((".pkl", ".pk"), lambda path: _each(read_arrays(path))),
    ".npy": lambda path: {"": _facts(read_npy(path))},
    ".npz": lambda path: _each(read_npz(path)),
    ".pt": lambda path: {"": _facts(read_tensor(path))},
    ".csv": lambda path: {
        name: ArrayFacts((len(cells),), "text") for name, cells in read_csv(path).items()
    },
    ".json": _json,
    ".bin": lambda path: {"": ArrayFacts(claimed_vectors(path), "float32")},
}
