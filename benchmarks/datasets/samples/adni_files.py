"""Reading ADNI's smaller files: the template, labels, the list of scans, and tables."""

from __future__ import annotations

import gzip
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.formats.readers import check_ids, numbers, read_csv, reading
from i2moe_plugin.errors import DatasetError

GREY = 150  # grey matter's value in the template
#: Clinical columns that tell when symptoms began or dementia was diagnosed.
TELLING = ("PTCOGBEG", "PTADDX", "PTADBEG")
LARGEST = 1 << 28  # bytes of an unpacked template; the published one has 3.6 MB


def import_nibabel() -> Any:
    """The library nibabel.

    Raises:
        DatasetError: it is not installed.
    """
    try:
        import nibabel
    except ImportError as error:
        raise DatasetError(
            "ADNI's template is a NIfTI file, which is read with nibabel; it is not installed: "
            'pip install "i2moe-plugin[adni]".'
        ) from error
    return nibabel


def read_template(path: Path) -> NDArray[np.bool_]:
    """Where the template's grey matter is: [X, Y, Z].

    Raises:
        DatasetError: damaged, no volume, or without grey matter.
    """
    nibabel = import_nibabel()
    with reading(path, "NIfTI file"):
        with gzip.open(path) as file:  # all of it, so that its checksum is looked at
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise DatasetError(f"{path}: unpacks to more than {LARGEST >> 20} MB.")
        image = nibabel.Nifti1Image.from_bytes(content)
        if len(image.shape) != 3:
            raise DatasetError(f"{path}: expected a volume [X, Y, Z], not {list(image.shape)}.")
        grey: NDArray[np.bool_] = np.asarray(image.dataobj) == GREY
    if not grey.any():
        raise DatasetError(f"{path}: no voxel has the value {GREY}, grey matter's.")
    return grey


def read_labels(path: Path) -> tuple[list[str], NDArray[np.int64]]:
    """The subjects, and their diagnoses from 0 to 2.

    Raises:
        DatasetError: damaged, a subject twice, or another diagnosis.
    """
    table = read_csv(path, ("PTID", "DIAGNOSIS"))
    ids = [cell.strip() for cell in table["PTID"]]
    check_ids(str(path), ids)
    values = numbers(path, "DIAGNOSIS", table["DIAGNOSIS"])
    wrong = sorted({str(value) for value in values[~np.isin(values, (1, 2, 3))].tolist()})
    if wrong:
        raise DatasetError(f"{path}: DIAGNOSIS is 1, 2 or 3; it holds {', '.join(wrong[:5])}.")
    return ids, values.astype(np.int64) - 1


def read_scans(path: Path) -> list[tuple[str, Any]]:
    """The subject and the date of each line, ``002_S_0295_2006-04-18``.

    Raises:
        DatasetError: a line is of another form, or its date is none.
    """
    import pandas as pd

    with reading(path, "list of scans"), warnings.catch_warnings():
        warnings.simplefilter("error")  # dates of no one form, which pandas would guess one by one
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        lines = [line for line in lines if line]
        parts = [re.fullmatch(r"([^_]+_[^_]+_[^_]+)_(?:.*_)?([^_]+)", line) for line in lines]
        wrong = [line for line, part in zip(lines, parts, strict=True) if part is None]
        if wrong:
            raise DatasetError(f"{path}: {wrong[0][:60]!r} is not of the form PTID_date.")
        dates = pd.to_datetime([part[2] for part in parts if part is not None])
    return [(part[1], date) for part, date in zip(parts, dates, strict=True) if part is not None]


def read_table(path: Path) -> tuple[NDArray[np.float64], list[str], list[str]]:
    """A table's features [N, F], NaN where a cell is empty; its subjects; the features' names.

    Raises:
        DatasetError: damaged, a subject twice, or a cell that is not a number.
    """
    table = read_csv(path)
    first, *names = table
    ids = [cell.strip() for cell in table[first]]
    check_ids(str(path), ids)
    names = [name for name in names if not name.startswith(TELLING)]
    if not ids or not names:
        raise DatasetError(f"{path}: has no {'subjects' if names else 'features'}.")
    columns = [_numbers(path, name, table[name]) for name in names]
    return np.stack(columns, 1), ids, names


def _numbers(path: Path, name: str, cells: Sequence[str]) -> NDArray[np.float64]:
    truths = {"True": "1", "False": "-1"}
    values = numbers(path, name, [truths.get(c, c) for c in cells], missing=float("nan"))
    if np.isinf(values).any():
        raise DatasetError(f"{path}: column {name} holds infinite values.")
    return np.asarray(values)
