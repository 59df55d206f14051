"""Picture files, opened in one place, and what is made of their pixels."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from i2moe_plugin.errors import DatasetError


@contextmanager
def open_picture(
    source: Path | bytes, where: str, formats: list[str] | None = None
) -> Iterator[Image.Image]:
    """Open a picture for the time of the block; the one place where one is opened.

    Args:
        source: a file, or a file's content.
        where: what messages call it.
        formats: Pillow's names of the formats that are read; all that it knows by default.

    Raises:
        DatasetError: it is missing, empty, cut short, damaged, of another format, or large enough
            to be a decompression bomb; also what goes wrong with it in the block.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            file = io.BytesIO(source) if isinstance(source, bytes) else source
            with Image.open(file, formats=formats) as image:
                yield image
    except Exception as error:  # Pillow meets damage with nearly any exception
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DatasetError(f"{where}: not a readable image ({reason}).") from error


def read_image(path: Path, size: tuple[int, int], crop: bool = False) -> Tensor:
    """An image file as [3, H, W] in [0, 1]: what torchvision's Resize and ToTensor make of it.

    Args:
        path: a file that Pillow reads.
        size: H, W.
        crop: keep the proportions and cut what is over, alike on both sides.

    Raises:
        DatasetError: see :func:`open_picture`.
    """
    bilinear = Image.Resampling.BILINEAR
    with open_picture(path, str(path)) as image:
        colours = image.convert("RGB")
        width, height = size[::-1]
        if crop:
            resized = ImageOps.fit(colours, (width, height), bilinear)
        else:
            resized = colours.resize((width, height), bilinear)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1).contiguous().float().div(255)


def read_picture(path: Path, longest: int = 512) -> NDArray[np.uint8]:
    """An image file for people: uint8 [H, W, 3] in its proportions, neither side over ``longest``.

    Raises:
        DatasetError: see :func:`open_picture`.
    """
    with open_picture(path, str(path)) as image:
        colours = image.convert("RGB")
        colours.thumbnail((longest, longest))
    return np.array(colours)


class ImageFiles:
    """Image files as an array [N, 3, H, W] whose rows are read when asked for.

    Args:
        paths: the files.
        size: H, W.
        crop: see :func:`read_image`.
    """

    def __init__(self, paths: Sequence[Path], size: tuple[int, int], crop: bool = False) -> None:
        self.paths, self.size, self.crop = paths, size, crop
        self.shape, self.dtype = (len(paths), 3, *size), np.dtype(np.float32)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, rows: Any) -> Tensor:
        """One image [3, H, W] by its number, or a batch of them by an array of numbers."""
        if isinstance(rows, (int, np.integer)):
            return read_image(self.paths[int(rows)], self.size, self.crop)
        return torch.stack([self[row] for row in rows.tolist()])
