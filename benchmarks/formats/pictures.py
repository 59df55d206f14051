"""Picture files, opened in one place, and what is made of their pixels."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from i2moe_plugin.benchmarks.formats.mistaken import mistaken_file
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

#: The values of deep pictures that become 0 and 1.
Bounds = tuple[float, float]
GROUND = "white"  # what shows through where a picture is transparent
DEPTHS = (255, 1023, 4095, 16383, 65535)
LOOKED_AT = 256  # pictures


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
    except Exception as error:  # Pillow meets damage with nearly any exception
        instead = mistaken_file(source, "image") if isinstance(source, Path) else ""
        if instead:
            raise DatasetError(f"{where}: not a readable image (it is {instead}).") from error
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = f"expected {', '.join(formats)}"
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
    path: Path,
    size: tuple[int, int],
    crop: bool = False,
    bounds: Bounds | None = None,
    formats: Sequence[str] = FORMATS,
) -> Tensor:
    """An image file as [3, H, W] in [0, 1]: what torchvision's Resize and ToTensor make of it.

    Args:
        path: a file that Pillow reads.
        size: H, W.
        crop: keep the proportions and cut what is over, alike on both sides.
        bounds: of deep pictures' values; see :func:`upright`.

    Raises:
        DatasetError: see :func:`open_picture`.
    """
    bilinear = Image.Resampling.BILINEAR
    with open_picture(path, str(path), formats) as image:
        colours = upright(image, bounds)
        width, height = size[::-1]
        if crop:
            resized = ImageOps.fit(colours, (width, height), bilinear)
        else:
            resized = colours.resize((width, height), bilinear)
    pixels = torch.from_numpy(np.array(resized))
    if pixels.ndim == 2:  # deep grey
        return pixels.expand(3, -1, -1).contiguous()
    return pixels.permute(2, 0, 1).contiguous().float().div(255)


def read_picture(
    path: Path, longest: int = 512, formats: Sequence[str] = FORMATS
) -> NDArray[np.uint8]:
    """An image file for people: uint8 [H, W, 3] in its proportions, neither side over ``longest``.

    Raises:
        DatasetError: see :func:`open_picture`.
    """
    with open_picture(path, str(path), formats) as image:
        colours = upright(image)
        colours.thumbnail((longest, longest))
    pixels = np.array(colours)
    if pixels.ndim == 2:
        pixels = np.repeat((pixels * 255).round().clip(0, 255).astype(np.uint8)[..., None], 3, 2)
    return pixels


def upright(image: Image.Image, bounds: Bounds | None = None) -> Image.Image:
    """Turn a picture of any mode into RGB, or into deep grey: mode F from 0 to 1.

    The orientation that a camera noted (EXIF) is applied, and transparency laid over
    :data:`GROUND`. Deep pictures (16 and 32 bits, floats) keep their depth, scaled by ``bounds``.

    Args:
        image: an open picture.
        bounds: the values of deep pictures that become 0 and 1; those of their own depth by
            default, 12 bits where none is above 4095: see :func:`depth_bounds`.

    Raises:
        ValueError: a deep picture with values that are not finite.
    """
    image.load()
    with suppress(Exception):  # a note that is damaged says nothing of the picture
        ImageOps.exif_transpose(image, in_place=True)
    if is_deep(image):
        values = _deep_values(image)
        low, high = bounds or depth_bounds(values, (4095, 65535))
        return Image.fromarray(((values - low) / (high - low)).astype(np.float32))
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        ground = Image.new("RGBA", image.size, GROUND)
        image = Image.alpha_composite(ground, image.convert("RGBA"))
    return image.convert("RGB")


def is_deep(image: Image.Image) -> bool:
    """Whether a picture's values need more than 8 bits."""
    return image.mode == "F" or image.mode.startswith("I")


def depth_bounds(values: NDArray[Any], depths: tuple[int, ...] = DEPTHS) -> Bounds:
    """Choose the range that values are scaled by: the least depth that holds them all.

    Floats from 0 to 1 stay as they are; what no depth holds is scaled by its least and largest.

    >>> depth_bounds(np.array([0, 3000])), depth_bounds(np.array([-2.0, 6.0]))
    ((0.0, 4095.0), (-2.0, 6.0))
    """
    low, high = float(values.min()), float(values.max())
    if values.dtype.kind == "f":
        depths = (1, *depths)
    for depth in depths:
        if low >= 0 and high <= depth:
            return 0.0, float(depth)
    return low, (high if high > low else low + 1.0)


def _deep_values(image: Image.Image) -> NDArray[np.float64]:
    values = np.asarray(image)
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are NaN or infinite")
    kept: NDArray[np.float64] = values.astype(np.float64 if values.dtype.kind == "f" else np.int64)
    return kept


class ImageFiles:
    """Image files as an array [N, 3, H, W] whose rows are read when asked for.

    Args:
        paths: the files.
        size: H, W.
        crop: see :func:`read_image`.
        bounds: of deep pictures; see :func:`fit_bounds`.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        size: tuple[int, int],
        crop: bool = False,
        bounds: Bounds | None = None,
        formats: Sequence[str] = FORMATS,
    ) -> None:
        self.paths, self.size, self.crop, self.bounds = paths, size, crop, bounds
        self.formats = formats
        self.shape, self.dtype = (len(paths), 3, *size), np.dtype(np.float32)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, rows: Any) -> Tensor:
        """One image [3, H, W] by its number, or a batch of them by an array of numbers."""
        if isinstance(rows, (int, np.integer)):
            return read_image(
                self.paths[int(rows)], self.size, self.crop, self.bounds, self.formats
            )
        return torch.stack([self[row] for row in rows.tolist()])


def fit_bounds(paths: Sequence[Path], formats: Sequence[str] = FORMATS) -> Bounds | None:
    """Find the range of deep pictures in common, so that their brightness compares; None if none.

    Args:
        paths: training pictures; :data:`LOOKED_AT` of them are read where any is deep.

    Raises:
        DatasetError: see :func:`open_picture`.
    """
    chosen = [paths[place] for place in spread(len(paths), LOOKED_AT)]
    extremes: list[NDArray[Any]] = []
    for path in chosen:
        with open_picture(path, str(path), formats) as image:
            if is_deep(image):
                values = _deep_values(image)
                extremes.append(np.array([values.min(), values.max()]))
    return depth_bounds(np.concatenate(extremes)) if extremes else None


def spread(count: int, most: int) -> list[int]:
    """Choose at most so many of the numbers below ``count``, evenly."""
    return sorted(set(np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()))
