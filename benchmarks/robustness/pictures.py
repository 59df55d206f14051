"""Corruptions of pictures: ten changes, each made with the probability of the level, in order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

Random = np.random.Generator
#: The colour of a black body at 1,000, 1,500, ... 10,000 kelvin, which white takes on.
BLACK_BODY = (
    *((255, 56, 0), (255, 109, 0), (255, 137, 18), (255, 161, 72), (255, 180, 107)),
    *((255, 196, 137), (255, 209, 163), (255, 219, 186), (255, 228, 206), (255, 236, 224)),
    *((255, 243, 239), (255, 249, 253), (245, 243, 255), (235, 238, 255), (227, 233, 255)),
    *((220, 229, 255), (214, 225, 255), (209, 222, 255), (204, 219, 255)),
)
TINTS = ("red", "blue", "green")
TINT, CONTRAST, TURN, CROP = 0.3, 0.5, 20.0, 0.2


def _gray(image: Image.Image, level: float, random: Random) -> Image.Image:
    return ImageOps.grayscale(image).convert("RGB")


def _low_contrast(image: Image.Image, level: float, random: Random) -> Image.Image:
    return ImageEnhance.Contrast(image).enhance(CONTRAST)


def _inverted(image: Image.Image, level: float, random: Random) -> Image.Image:
    return ImageOps.invert(image)


def _white_balance(image: Image.Image, level: float, random: Random) -> Image.Image:
    red, green, blue = BLACK_BODY[random.integers(len(BLACK_BODY))]
    matrix = (red / 255, 0, 0, 0, 0, green / 255, 0, 0, 0, 0, blue / 255, 0)
    return image.convert("RGB", matrix)


def _tinted(image: Image.Image, level: float, random: Random) -> Image.Image:
    colour = TINTS[random.integers(len(TINTS))]
    return Image.blend(image, Image.new("RGB", image.size, colour), TINT)


def _salt_and_pepper(image: Image.Image, level: float, random: Random) -> Image.Image:
    pixels = np.array(ImageOps.grayscale(image))
    count = int(np.ceil(level * pixels.size / 2))
    for colour in (255, 0):
        pixels.reshape(-1)[random.integers(pixels.size, size=count)] = colour
    return Image.fromarray(pixels).convert("RGB")


def _noisy(image: Image.Image, level: float, random: Random) -> Image.Image:
    pixels = np.array(ImageOps.grayscale(image), dtype=np.float64)
    pixels += 255 * level * random.standard_normal(pixels.shape)
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8)).convert("RGB")


def _turned(image: Image.Image, level: float, random: Random) -> Image.Image:
    return image.rotate(random.uniform(-TURN, TURN), Image.Resampling.BILINEAR)


def _flipped(image: Image.Image, level: float, random: Random) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def _cropped(image: Image.Image, level: float, random: Random) -> Image.Image:
    width, height = image.size
    left, top = random.uniform(0, CROP * width), random.uniform(0, CROP * height)
    box = (left, top, left + (1 - CROP) * width, top + (1 - CROP) * height)
    return image.resize(image.size, Image.Resampling.BICUBIC, box=box)


CHANGES: tuple[Callable[[Image.Image, float, Random], Image.Image], ...] = (
    *(_gray, _low_contrast, _inverted, _white_balance, _tinted),
    *(_salt_and_pepper, _noisy, _turned, _flipped, _cropped),
)


def corrupt_picture(pixels: NDArray[np.uint8], level: float, random: Random) -> NDArray[np.uint8]:
    """Change a picture [H, W, 3], or a grey one [H, W], which stays grey.

    Args:
        pixels: the picture.
        level: the probability of each change; also how much salt, pepper and noise there is.
        random: draws.
    """
    grey = pixels.ndim == 2
    image = Image.fromarray(pixels).convert("RGB")
    for change in CHANGES:
        if random.random() < level:
            image = change(image, level, random)
    return np.asarray(image.convert("L" if grey else "RGB"))
