"""A small drawn data set in the format of the affect pickles.

Every clip has a mood of its face, of its voice and of its words, and a length. Each step of a
modality is noise around a direction of that modality, as far as its mood goes. The score is a
weighted sum of the moods and of the product of voice and words: a word means its opposite in some
voices. So each modality tells something, and voice and words together tell more than either.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.errors import ConfigError
from i2moe_plugin.seeding import derive_seed

SHARES = {"train": 0.625, "valid": 0.167, "test": 0.208}
NOISE = 0.5
#: Of the moods of vision, audio and text, and of the product of the last two.
WEIGHTS = (0.7, 0.7, 1.0, 1.0)


@dataclass(frozen=True)
class Drawing:
    """What a drawn file is like: widths F of vision, audio and text, and T steps.

    From a score (about -3 to 3) and from (split, clip numbers) come labels and ids in the published
    shape.
    """

    widths: tuple[int, int, int]
    steps: int
    label: Callable[[NDArray[Any]], NDArray[Any]]
    id: Callable[[str, NDArray[Any]], Any]


def sentiment(score: NDArray[Any]) -> NDArray[Any]:
    """Scores in steps of 0.2 from -3 to 3, [N, 1, 1]."""
    return (np.round(score.clip(-3, 3) * 5) / 5).astype(np.float32)[:, None, None]


def yes_or_no(score: NDArray[Any]) -> NDArray[Any]:
    """0 or 1, [N, 1]."""
    return (score > 0).astype(np.int64)[:, None]


def clips(split: str, numbers: NDArray[Any]) -> NDArray[Any]:
    """Video, start and end, [N, 3]."""
    return np.array([[f"drawn{split}{n}", f"{n}.0", f"{n}.5"] for n in numbers])


def clip_names(split: str, numbers: NDArray[Any]) -> list[str]:
    """Return a name for each clip."""
    return [f"drawn_{split}_{n}" for n in numbers]


def digits(split: str, numbers: NDArray[Any]) -> NDArray[Any]:
    """Numbers, [N, 1], of their own in each split."""
    return (10_000 * (list(SHARES).index(split) + 1) + numbers)[:, None]


def draw(name: str, drawing: Drawing, folder: Path, seed: int = 0, clips: int = 192) -> None:
    """Write the pickle of that name, of so many clips, into an empty folder."""
    if clips < 24:
        raise ConfigError(f"a sample needs at least 24 clips, not {clips}.")
    dice = np.random.default_rng(derive_seed(seed, name))
    directions = [dice.normal(size=width) for width in drawing.widths]
    directions = [direction / np.linalg.norm(direction) for direction in directions]
    content = {
        split: _part(split, round(share * clips), drawing, directions, dice)
        for split, share in SHARES.items()
    }
    with (folder / name).open("wb") as file:
        pickle.dump(content, file, protocol=4)


def _part(
    split: str,
    count: int,
    drawing: Drawing,
    directions: list[NDArray[Any]],
    dice: np.random.Generator,
) -> dict[str, Any]:
    moods = dice.normal(size=(count, 3))
    score = moods @ np.array(WEIGHTS[:3]) + WEIGHTS[3] * moods[:, 1] * moods[:, 2]
    score[0] = 0  # neither positive nor negative
    starts = dice.integers(0, drawing.steps - 3, count)
    here = np.arange(drawing.steps)[None, :, None] >= starts[:, None, None]
    arrays = {}
    for name, mood, direction in zip(("vision", "audio", "text"), moods.T, directions, strict=True):
        scale = NOISE / np.sqrt(len(direction))
        noise = dice.normal(scale=scale, size=(count, drawing.steps, len(direction)))
        values = noise + mood[:, None, None] * direction
        arrays[name] = np.where(here, values, 0).astype(np.float32)
    arrays["text"][count // 2] = 0  # a clip without words, as there are in the published files
    arrays["audio"][::7, -1, 0] = -np.inf  # and such values
    numbers = np.arange(count)
    return {**arrays, "labels": drawing.label(score), "id": drawing.id(split, numbers)}
