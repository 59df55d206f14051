"""The outputs of a run on test samples, on disk: HDF5, read by column and row.

Runs of format 1 kept them as ``outputs.npz``, which is still read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.formats.arrays import read_npz
from i2moe_plugin.benchmarks.formats.hdf5 import check_storage, h5_dataset, open_hdf5
from i2moe_plugin.benchmarks.formats.hdf5_writing import writing_hdf5
from i2moe_plugin.benchmarks.run.files import replacing
from i2moe_plugin.errors import DatasetError, RunError
from i2moe_plugin.tasks import Classification, Multilabel, Regression, Task

#: The file of the outputs, by the format of the run's manifest.
OUTPUTS = {1: "outputs.npz", 2: "outputs.h5"}
#: Rows that are compressed together.
CHUNK = 1024


def write_outputs(folder: Path, columns: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays [N, ...] of numbers or text, by name: an HDF5 data set for each."""
    import h5py

    with replacing(folder / OUTPUTS[2]) as aside, writing_hdf5(aside) as file:
        for name, values in columns.items():
            text, filled = values.dtype.kind in "UO", len(values) > 0
            if text:
                # All of one length: HDF5 keeps texts of any length in a heap whose gaps hold
                # whatever was in memory, and equal runs would differ in their files.
                encoded = np.char.encode(values.astype(str), "utf-8")
                values = encoded.astype(h5py.string_dtype(length=max(encoded.itemsize, 1)))
            column = file.create_dataset(
                name,
                data=values,
                chunks=(min(len(values), CHUNK), *values.shape[1:]) if filled else None,
                compression="gzip" if filled else None,
                compression_opts=1 if filled else None,
                shuffle=not text and filled,
            )
            # Else it is written when its last reference goes, and a profiler in another thread may
            # hold that for a while: equal outputs would lie in another order in the file.
            column.flush()


def read_outputs(
    path: Path, names: tuple[str, ...], rows: slice | NDArray[Any] | None
) -> dict[str, NDArray[Any]]:
    """Read columns of an outputs file, whichever of the two it is.

    Args:
        path: ``outputs.h5`` or ``outputs.npz``.
        names: the columns; all of them, if there are none.
        rows: increasing positions or a slice; None: all of them.

    Raises:
        RunError: the file is not readable, or has no such column.
    """
    chosen = slice(None) if rows is None else rows
    try:
        if path.name == OUTPUTS[1]:
            return {name: values[chosen] for name, values in read_npz(path, names or None).items()}
        with open_hdf5(path, locking=False) as file:
            found = {}
            for name in names or list(file):
                column = h5_dataset(path, file, name)
                check_storage(path, name, column)
                found[name] = _text_as_str(column[chosen])
            return found
    except DatasetError as error:
        raise RunError(str(error)) from error


def task_of_outputs(columns: Mapping[str, NDArray[Any]]) -> Task:
    """Return the task that outputs of format 1 belong to, which did not say it.

    Args:
        columns: with ``prediction`` [N, C] and ``target``: classes [N] of a classification, 0 and
            1 [N, C] of several labels, else numbers.
    """
    target, width = columns["target"], columns["prediction"].shape[1]
    if target.ndim == 1 and target.dtype.kind in "iu":
        return Classification(width)
    labels = target.ndim == 2 and bool(np.isin(target, (0, 1)).all())
    return Multilabel(width) if labels else Regression(width)


def _text_as_str(values: Any) -> NDArray[Any]:
    """Return a column's values; HDF5 gives text as bytes."""
    array = np.asarray(values)
    if array.dtype.kind not in "OS":
        return array
    return np.array([text.decode("utf-8") for text in array], dtype=str)
