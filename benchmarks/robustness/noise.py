"""Corruptions of numbers: of tables, series, audio, and arrays of any other shape.

Each takes one sample, a level from 0 to 1 and a generator, and gives a new sample. Noise is in
units of the training data's deviation, so that a level means the same whatever the data's unit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Random = np.random.Generator
#: Steps that a structured dropout of audio takes at once.
RUN = 10


def corrupt_table(sample: Array, level: float, random: Random, deviation: Array) -> Array:
    """Drop each entry of [F] to 0, then swap each entry with the one before it, by chance.

    Swaps go from left to right, each with the probability of the level, and so do drops.
    """
    values = np.where(random.random(sample.shape) < level, 0, sample)
    for place in np.flatnonzero(random.random(len(values) - 1) < level) + 1:
        values[[place - 1, place]] = values[[place, place - 1]]
    return values.astype(np.float32)


def corrupt_series(sample: Array, level: float, random: Random, deviation: Array) -> Array:
    """Add noise to each step of [T, F], drop entries, then whole steps.

    The noise is one number a step, of deviation ``level``; an entry, and then a step, becomes 0
    with the probability of the level.
    """
    values = sample + level * random.standard_normal((len(sample), 1)) * deviation
    values = np.where(random.random(values.shape) < level, 0, values)
    return np.where(random.random((len(values), 1)) < level, 0, values).astype(np.float32)


def corrupt_audio(sample: Array, level: float, random: Random, deviation: Array) -> Array:
    """Change [T, F] with the probability of the level by one of three ways, drawn evenly.

    These are noise of deviation ``level`` on every step; single steps that become 0, each with the
    probability of the level; or runs of 10 steps that become 0, begun anywhere with it.
    """
    if random.random() >= level:
        return sample
    way = random.integers(3)
    if way == 0:
        noise = random.standard_normal((len(sample), 1))
        return (sample + level * noise * deviation).astype(np.float32)
    begun = random.random(len(sample)) < level
    if way == 2:
        last = max(len(sample) - RUN + 1, 1)  # a run does not go past the end
        begun[last:] = False
        begun = np.convolve(begun, np.ones(RUN))[: len(sample)] > 0
    return np.where(begun[:, None], 0, sample).astype(np.float32)


def corrupt_array(sample: Array, level: float, random: Random, deviation: Array) -> Array:
    """Add noise of deviation ``level`` to every entry, then drop entries to 0 by chance.

    An entry is dropped with the probability of the level. For what is no table, series, audio or
    picture, such as a volume.
    """
    values = sample + level * random.standard_normal(sample.shape) * deviation
    return np.where(random.random(values.shape) < level, 0, values).astype(np.float32)
