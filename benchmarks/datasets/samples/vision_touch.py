"""Drawn runs in the format of Vision & Touch.

A tool moves over a table with a block. The picture shows where they are in the plane, the distances
how high the tool is, each in noise of its own; it touches when it is over the block and low. So
whether it touches next needs picture, height and action together; forces tell of touching now.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.formats.hdf5_writing import writing_hdf5

PARTS, STEPS = 2, 6


def write(folder: Path, seed: int = 0, runs: int = 40) -> None:
    """Write the files of each run."""
    draw = np.random.default_rng(seed)
    for run in range(runs):
        arrays = _run(draw)
        for part in range(PARTS):
            name = f"20190408_{100000 + run}_triangle_0_journal_0_{part}_1000.h5"
            with writing_hdf5(folder / name) as file:
                for key, values in arrays.items():
                    file.create_dataset(
                        key,
                        data=values[part * STEPS : (part + 1) * STEPS],
                        chunks=(1, *values.shape[1:]),
                        compression="gzip",
                        compression_opts=1,
                    )


def _run(draw: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Return all time steps of a run; positions in metres, the table is 0.4 wide."""
    count = PARTS * STEPS
    block = draw.uniform(-0.1, 0.1, 2)
    action = draw.normal(0, [0.03, 0.03, 0.015, 0.1], (count, 4))
    place = np.empty((count, 4))
    place[0] = [*draw.uniform(-0.12, 0.12, 2), 0.05, 0.0]
    for step in range(1, count):
        # Drawn to the block, so that there is contact nearly half of the time.
        place[step] = place[step - 1] + action[step]
        place[step, :2] += 0.3 * (block - place[step - 1, :2])
        place[step, 2] = np.clip(place[step, 2], 0.01, 0.09)
    over = (np.abs(place[:, :2] - block) < 0.07).all(1)
    touching = over & (place[:, 2] < 0.06)
    forces = draw.normal(0, 0.3, (count, 50, 6))
    forces[:, :, :3] += 2.0 * touching[:, None, None]
    contact = (draw.random((count, 50)) < 0.8) & touching[:, None]
    proprio = np.column_stack([place, np.gradient(place, axis=0)])
    pictures = [_picture(p[:2], block) for p in place]
    depth = np.round(1.2 - 10 * place[:, 2], 3)[:, None, None, None] * np.ones((1, 128, 128, 1))
    return {
        "image": np.stack(pictures).astype(np.uint8),
        "depth_data": depth.astype(np.float32),
        "proprio": proprio + draw.normal(0, 0.01, proprio.shape),
        "ee_forces_continuous": forces,
        "optical_flow": np.zeros((count, 128, 128, 2), dtype=np.float32),
        "action": action,
        "contact": contact.astype(np.float64),
    }


def _picture(tool: NDArray[Any], block: NDArray[Any]) -> NDArray[Any]:
    """[128, 128, 3]: a grey table, the block in red, the tool in blue."""
    picture = np.full((128, 128, 3), 128)
    for place, half, colour in ((block, 16, (200, 40, 40)), (tool, 6, (40, 40, 220))):
        row, column = (int(64 + 320 * value) for value in place)
        rows = slice(max(row - half, 0), max(row + half, 0))
        picture[rows, max(column - half, 0) : max(column + half, 0)] = colour
    return picture
