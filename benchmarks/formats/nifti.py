"""Volumes in NIfTI files."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.formats.reading import reading
from i2moe_plugin.errors import DatasetError

LARGEST = 1 << 28  # bytes of an unpacked volume


def import_nibabel() -> Any:
    """Return the library nibabel."""
    try:
        import nibabel
    except ImportError as error:
        raise DatasetError(
            "NIfTI files are read and written with nibabel; it is not installed: "
            'pip install "i2moe-plugin[adni]".'
        ) from error
    return nibabel


def read_volume(path: Path) -> NDArray[Any]:
    """Return the volume [X, Y, Z] of a packed NIfTI file (``.nii.gz``)."""
    nibabel = import_nibabel()
    with reading(path, "NIfTI file"):
        with gzip.open(path) as file:  # all of it, so that its checksum is looked at
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise DatasetError(f"{path}: unpacks to more than {LARGEST >> 20} MB.")
        image = nibabel.Nifti1Image.from_bytes(content)
        if len(image.shape) != 3:
            raise DatasetError(f"{path}: expected a volume [X, Y, Z], not {list(image.shape)}.")
        volume = np.asarray(image.dataobj)
    return volume
