"""The matrix and the row names of an AnnData file (``.h5ad``), read by rows with h5py.

The layout is AnnData's on-disk specification: ``X`` an array, or a group with a compressed sparse
matrix (``data``, ``indices``, ``indptr``); ``obs`` a group whose attribute ``_index`` names the
column of row names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.formats.arrays import SparseRows
from i2moe_plugin.benchmarks.formats.hdf5 import H5Array, check_storage, h5_dataset, open_hdf5
from i2moe_plugin.benchmarks.formats.reading import Rows, check_array, check_ids, reading
from i2moe_plugin.errors import DatasetError

SPARSE = ("csr_matrix", "csc_matrix")


class Matrix(Rows, Protocol):
    """A matrix [N, F] whose rows, or columns, are read when asked for."""

    def columns(self, start: int, stop: int) -> NDArray[Any]:
        """Read the columns from ``start`` to ``stop`` of all rows, [N, stop - start]."""
        ...


def read_h5ad(path: Path) -> tuple[Matrix, list[str]]:
    """Return the matrix [N, F] and the N names of its rows.

    A dense matrix stays on disk; a sparse one is held in memory, sparse.
    """
    import h5py

    with open_hdf5(path, "h5ad file") as file:
        sparse = isinstance(file.get("X"), h5py.Group)
        kind = str(file["X"].attrs.get("encoding-type", "")) if sparse else ""
        shape = file["X"].attrs.get("shape") if sparse else None
        names = _names(path, file)
    matrix: Matrix = _sparse(path, kind, shape) if sparse else DenseRows(path, "X")
    check_array(f"{path}: X", matrix, ("N", "F"))
    if len(names) != len(matrix):
        raise DatasetError(f"{path}: X has {len(matrix)} rows, and obs {len(names)} names.")
    check_ids(str(path), names)
    return matrix, names


class DenseRows(H5Array):
    """Rows of an array on disk."""

    def columns(self, start: int, stop: int) -> NDArray[Any]:
        """Read the columns from ``start`` to ``stop`` of all rows, [N, stop - start]."""
        with open_hdf5(self.path, "h5ad file") as file:
            found = np.asarray(h5_dataset(self.path, file, self.key)[:, start:stop])
        return found


def _sparse(path: Path, kind: str, shape: Any) -> SparseRows:
    from scipy import sparse

    if kind not in SPARSE:
        raise DatasetError(
            f"{path}: X is a group of kind {kind!r}; expected {' or '.join(SPARSE)}."
        )
    parts = [H5Array(path, f"X/{name}")[:] for name in ("data", "indices", "indptr")]
    with reading(path, "h5ad file"):
        build: Any = sparse.csr_matrix if kind == SPARSE[0] else sparse.csc_matrix
        matrix = build(tuple(parts), shape=tuple(int(size) for size in shape))
        matrix.check_format(full_check=True)
    return SparseRows(matrix)


def _names(path: Path, file: Any) -> list[str]:
    import h5py

    table = file.get("obs")
    if not isinstance(table, h5py.Group) or "_index" not in table.attrs:
        raise DatasetError(
            f"{path}: obs should be a group whose attribute _index names a column; files of "
            "anndata before 0.7 are to be read and written anew with it."
        )
    column = str(table.attrs["_index"])
    found = table.get(column)
    if isinstance(found, h5py.Group) and "categories" in found:  # a categorical column
        labels, codes = _text(path, found, "categories"), _values(path, found, "codes")
        if (codes < 0).any():
            raise DatasetError(f"{path}: obs/{column} lacks some names.")
        return [labels[code] for code in codes]
    if isinstance(found, h5py.Group) and "values" in found:  # a column that may lack values
        if "mask" in found and _values(path, found, "mask").any():
            raise DatasetError(f"{path}: obs/{column} lacks some names.")
        return _text(path, found, "values")
    if not isinstance(found, h5py.Dataset):
        raise DatasetError(f"{path}: lacks obs/{column}, the names of the rows.")
    return _text(path, table, column)


def _values(path: Path, group: Any, key: str) -> NDArray[Any]:
    array = h5_dataset(path, group, key)
    check_storage(path, f"{group.name}/{key}", array)
    return np.asarray(array[:])


def _text(path: Path, group: Any, key: str) -> list[str]:
    names = _values(path, group, key).tolist()
    return [i.decode("utf-8") if isinstance(i, bytes) else str(i) for i in names]
