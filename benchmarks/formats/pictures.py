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
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from i2moe_plugin.benchmarks.formats.reading import check_file
from i2moe_plugin.errors import DatasetError

#: What data sets are published in, by Pillow's names. It knows others, of which some hand the file
#: to another program, whatever the file is called.
FORMATS = ("JPEG", "PNG")
#: What a user's own pictures may be.
OWN_FORMATS = (*FORMATS, "WEBP", "BMP", "GIF", "TIFF", "PPM")
LARGEST_FILE = 1 << 28  # bytes
MOST_PIXELS = 100_000_000
LONGEST_SIDE = 65_500  # what JPEG can hold; resizing takes memory in proportion to it


@contextmanager
def open_picture(
    source: Path | bytes, where: str, formats: Sequence[str] = FORMATS
) -> Iterator[Image.Image]:
    """Open a picture for the time of the block; the one place where one is opened.

    Args:
        source: a file, or a file's content.
        where: what messages call it.
        formats: Pillow's names of the formats that are read.

    Raises:
        DatasetError: it is missing, empty, cut short, damaged, of another format, of several
            pictures, or large enough to be a decompression bomb; also what goes wrong with it in
            the block.
    """
    if isinstance(source, Path):
        check_file(source, "picture", LARGEST_FILE)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the bound is ours
            file = io.BytesIO(source) if isinstance(source, bytes) else source
            with Image.open(file, formats=list(formats)) as image:
                _check(image)
                yield image
    except UnidentifiedImageError as error:
        raise DatasetError(
            f"{where}: not a readable image (expected {', '.join(formats)})."
        ) from error
    except Exception as error:  # Pillow meets damage with nearly any exception
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DatasetError(f"{where}: not a readable image ({reason}).") from error


def _check(image: Image.Image) -> None:
    """Raise ValueError on what would take too much memory, or is more than one picture."""
    width, height = image.size
    if width * height > MOST_PIXELS or max(width, height) > LONGEST_SIDE:
        raise ValueError(
            f"{width} x {height} pixels; at most {MOST_PIXELS} in all and {LONGEST_SIDE} a side "
            "are read"
        )
    # MPO: a JPEG of a camera that keeps a second view behind the first.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        raise ValueError("several frames; one picture is expected")


def read_image(
    path: Path, size: tuple[int, int], crop: bool = False, formats: Sequence[str] = FORMATS
) -> Tensor:
    """An image file as [3, H, W] in [0, 1]: what torchvision's Resize and ToTensor make of it.

    Args:
        path: the file.
        size: H, W.
        crop: keep the proportions and cut what is over, alike on both sides.
        formats: see :func:`open_picture`.

    Raises:
        DatasetError: see :func:`open_picture`.
    """
    bilinear = Image.Resampling.BILINEAR
    with open_picture(path, str(path), formats) as image:
        colours = image.convert("RGB")
        width, height = size[::-1]
        if crop:
            resized = ImageOps.fit(colours, (width, height), bilinear)
        else:
            resized = colours.resize((width, height), bilinear)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1).contiguous().float().div(255)


def read_picture(
    path: Path, longest: int = 512, formats: Sequence[str] = FORMATS
) -> NDArray[np.uint8]:
    """An image file for people: uint8 [H, W, 3] in its proportions, neither side over ``longest``.

    Raises:
        DatasetError: see :func:`open_picture`.
    """
    with open_picture(path, str(path), formats) as image:
        colours = image.convert("RGB")
        colours.thumbnail((longest, longest))
    return np.array(colours)


class ImageFiles:
    """Image files as an array [N, 3, H, W] whose rows are read when asked for.

    Args:
        paths: the files.
        size: H, W.
        crop, formats: see :func:`read_image`.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        size: tuple[int, int],
        crop: bool = False,
        formats: Sequence[str] = FORMATS,
    ) -> None:
        self.paths, self.size, self.crop, self.formats = paths, size, crop, formats
        self.shape, self.dtype = (len(paths), 3, *size), np.dtype(np.float32)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, rows: Any) -> Tensor:
        """One image [3, H, W] by its number, or a batch of them by an array of numbers."""
        if isinstance(rows, (int, np.integer)):
            return read_image(self.paths[int(rows)], self.size, self.crop, self.formats)
        return torch.stack([self[row] for row in rows.tolist()])
