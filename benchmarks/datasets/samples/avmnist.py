"""Drawn digits in AV-MNIST's format: seven-segment figures, and spoken ones as two formants.

In each modality three samples in ten show another digit: always the same other one, but not the
same in both modalities. So either modality alone leaves two digits open, and both together tell.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CONFUSED = 0.3
#: Segments: top, upper left, upper right, middle, lower left, lower right, bottom.
SEGMENTS = (
    "1110111",
    "0010010",
    "1011101",
    "1011011",
    "0111010",
    "1101011",
    "1101111",
    "1010010",
    "1111111",
    "1111011",
)
#: Rows and columns of each segment's ends, in a box of 16 x 9 pixels.
STROKES = (
    (0, 0, 0, 8),
    (0, 0, 7, 0),
    (0, 8, 7, 8),
    (7, 0, 7, 8),
    (8, 0, 15, 0),
    (8, 8, 15, 8),
    (15, 0, 15, 8),
)


def write(folder: Path, seed: int = 0, train: int = 420, test: int = 100) -> None:
    """Write the three files of each part with so many rows."""
    (folder / "image").mkdir()
    (folder / "audio").mkdir()
    draw = np.random.default_rng(seed)
    for part, count in (("train", train), ("test", test)):
        digits = draw.permutation(np.arange(count) % 10)
        confused = draw.random((2, count)) < CONFUSED
        written = np.where(confused[0], digits ^ 1, digits)
        spoken = np.where(confused[1], (digits + 5) % 10, digits)
        images = np.stack([_image(digit, draw) for digit in written])
        sounds = np.stack([_sound(digit, draw) for digit in spoken])
        np.save(folder / "image" / f"{part}_data.npy", images.reshape(count, 784))
        np.save(folder / "audio" / f"{part}_data.npy", sounds)
        np.save(folder / f"{part}_labels.npy", digits)


def _image(digit: int, draw: np.random.Generator) -> NDArray[Any]:
    """Return a digit somewhere in [28, 28], float32, 0 to 255."""
    image = np.zeros((28, 28))
    top, left = draw.integers(2, 9), draw.integers(4, 13)
    for stroke, drawn in zip(STROKES, SEGMENTS[digit], strict=True):
        if drawn == "1":
            y0, x0, y1, x1 = stroke
            image[top + y0 : top + y1 + 2, left + x0 : left + x1 + 2] = draw.uniform(120, 255)
    return np.clip(image + draw.normal(0, 25, image.shape), 0, 255).astype(np.float32)


def _sound(digit: int, draw: np.random.Generator) -> NDArray[Any]:
    """Two ridges over time in [112, 112] (frequency, time), uint8; where they go is the digit's."""
    time = np.linspace(0, 1, 112)
    lower = 15 + 4 * digit + draw.normal(0, 1.5) + (digit % 3 - 1) * 12 * time
    upper = 65 + 3 * ((3 * digit) % 10) + draw.normal(0, 1.5) + (digit % 2) * 14 * time
    rows = np.arange(112)[:, None]
    start, stop = draw.uniform(0, 0.25), draw.uniform(0.75, 1)
    audible = (time > start) & (time < stop)
    ridges = sum(np.exp(-(((rows - ridge) / 2.5) ** 2)) for ridge in (lower, upper))
    sound = 170 * ridges * audible + np.abs(draw.normal(0, 30, (112, 112)))
    return np.clip(sound, 0, 255).astype(np.uint8)
