"""Drawn pushes in MuJoCo Push's format.

The picture shows the cylinder and a decoy opposite to it, alike; the forces tell on which side the
cylinder is, the finger follows it with a lag. So its y needs picture and forces together.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.formats.hdf5_writing import writing_hdf5

STEPS = 80  # of a trajectory; a multiple of 16 leaves none over


def write(folder: Path, counts: Mapping[str, int], seed: int) -> None:
    """Write each file with so many trajectories."""
    draw = np.random.default_rng(seed)
    for path, count in counts.items():
        with writing_hdf5(folder / path) as file:
            for number in range(count):
                group = file.create_group(f"trajectory{number}")
                for key, values in _trajectory(draw).items():
                    group.create_dataset(
                        key, data=values, chunks=True, compression="gzip", compression_opts=1
                    )


def _trajectory(draw: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Return one push; float32 as in the published files."""
    velocity = draw.normal(0, 0.0012, 2) + draw.normal(0, 0.0008, (STEPS, 2))
    place = np.array([0.497, 0.0]) + draw.normal(0, [0.04, 0.05], 2) + np.cumsum(velocity, 0)
    near = np.concatenate([np.repeat(place[:1], 5, 0), place[:-5]])  # the finger lags behind
    finger = np.column_stack(
        [near[:, 0] - 0.03, 0.2 * near[:, 1], 0.88 + draw.normal(0, 0.01, STEPS)]
    )
    finger[:, :2] += draw.normal(0, 0.005, (STEPS, 2))
    contact = (draw.random(STEPS) < 0.4).astype(float)
    force = draw.normal([0.5, 0.0, -3.3, 0.0, 0.0, 0.0], 0.5, (STEPS, 6))
    force[:, 1] += 1.5 * np.sign(place[:, 1])
    force[:, 3:] *= 0.1
    arrays = {
        "Cylinder0_pos": np.column_stack([place, np.full(STEPS, 0.83)]),
        "eef_pos": finger,
        "force": force,
        "contact": contact,
        "image": np.stack([_image(x, y) for x, y in place]),
        "object-state": np.column_stack([place, finger]),
    }
    return {key: values.astype(np.float32) for key, values in arrays.items()}


def _image(x: float, y: float) -> NDArray[Any]:
    """[32, 32] in 16 shades from 0 to 1: the cylinder, and its mirror image in y."""
    rows, columns = np.mgrid[:32, :32]
    row = (x - 0.497) * 80 + 16
    blobs = sum(
        np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 8)
        for column in (16 + y * 80, 16 - y * 80)
    )
    return np.asarray(np.round(15 * np.clip(blobs, 0, 1)) / 15)
