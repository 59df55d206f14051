"""Published pickles as HDF5: read once through the allow-list, then by rows, when asked for."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.data.cache import cache_dir, digest, digests
from i2moe_plugin.benchmarks.formats.hdf5 import open_hdf5
from i2moe_plugin.benchmarks.formats.hdf5_writing import writing_hdf5
from i2moe_plugin.benchmarks.formats.pickles import read_arrays
from i2moe_plugin.errors import DatasetError

FORMAT = 1  # of the HDF5 files; one of another format is written anew
CHUNK = 1 << 16  # bytes, about: rows are read one by one, in any order


def convert(path: Path, target: Path) -> None:
    """Write a pickle of arrays as one HDF5 file, aside, and move it to its place.

    Nested mappings become groups (``train/vision``); text becomes UTF-8 strings. The attributes
    ``source_sha256`` and ``format`` say what it was made from, and how.
    """
    arrays = read_arrays(path)
    if "" in arrays:
        raise DatasetError(f"{path}: holds no named arrays; expected a mapping.")
    arrays = {name: _storable(path, name, array) for name, array in arrays.items()}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".unfinished-") as aside:
            unfinished = Path(aside, target.name)
            _write(unfinished, arrays, digest(path))
            os.replace(unfinished, target)
    except OSError as error:
        raise DatasetError(
            f"{path} cannot be kept as {target} ({error.strerror or error}). Another folder for "
            "what is computed is chosen with the environment variable I2MOE_CACHE."
        ) from error
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{path}: cannot be kept as HDF5 ({error}).") from error


def converted(path: Path) -> Path:
    """The HDF5 file of a pickle: beside it, or in the cache folder, where it is written if need be.

    The one beside it is taken if it was made from this very pickle, or if the pickle is gone.
    """
    beside = path.with_suffix(".h5")
    source = source_digest(path)
    if _made_from(beside) == source:
        return beside
    kept = cache_dir() / "converted" / f"{path.stem}-{source[:16]}.h5"
    if _made_from(kept) != source:
        convert(path, kept)
    return kept


@contextmanager
def named_after(source: Path, kept: Path) -> Iterator[None]:
    """Let messages on the file that was made of a pickle name the pickle, which its user knows."""
    try:
        yield
    except DatasetError as error:
        raise DatasetError(str(error).replace(str(kept), str(source))) from error


def source_digest(path: Path) -> str:
    """Return the sha256 of a pickle; where it is gone, what its HDF5 file says of it."""
    if path.is_file():
        return digests(path.parent, [path])[path.name]
    beside = path.with_suffix(".h5")
    source = _made_from(beside)
    if source is None:
        raise DatasetError(f"{path}: no such file, and no {beside.name} that was made from it.")
    return source


def _made_from(path: Path) -> str | None:
    """What a converted file was made from; None where it is missing, damaged or of another kind."""
    try:
        with open_hdf5(path) as file:
            made = str(file.attrs["source_sha256"]) if file.attrs["format"] == FORMAT else None
    except DatasetError:
        return None
    return made


def _storable(path: Path, name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Numbers as they are; objects as numbers where all are, else as text."""
    if array.dtype.kind in "biufc":
        return array
    if array.dtype.kind == "O":
        items = array.ravel().tolist()
        if items and all(isinstance(item, (bool, int, float)) for item in items):
            numbers = np.array(items)
            if numbers.dtype.kind in "biuf":
                return numbers.reshape(array.shape)
    text = np.empty(array.size, dtype=object)
    for place, item in enumerate(array.ravel()):
        if isinstance(item, bytes):
            text[place] = item.decode("utf-8", errors="replace")
        elif isinstance(item, (str, int, float, np.generic)):
            text[place] = str(item)
        else:
            raise DatasetError(
                f"{path}: {name} holds {type(item).__name__}; expected numbers or text."
            )
    return text.reshape(array.shape)


def _write(path: Path, arrays: dict[str, NDArray[Any]], source: str) -> None:
    import h5py

    with writing_hdf5(path) as file:
        for name, array in arrays.items():
            if array.dtype.kind == "O":
                file.create_dataset(name, data=array, dtype=h5py.string_dtype())
            elif array.ndim and array.size:
                row = array.dtype.itemsize * (array.size // len(array))
                rows = min(len(array), max(1, CHUNK // row))
                file.create_dataset(
                    name,
                    data=array,
                    chunks=(rows, *array.shape[1:]),
                    shuffle=True,
                    compression="gzip",
                    compression_opts=1,
                    fletcher32=True,
                )
            else:
                file.create_dataset(name, data=array)
        file.attrs["source_sha256"], file.attrs["format"] = source, FORMAT
