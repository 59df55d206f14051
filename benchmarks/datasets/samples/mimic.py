"""Drawn patients in MIMIC-IV's format, as the I2MoE paper uses it.

Each modality has evidence of its own, all share some, and the signs of a value of the laboratory
and one of the notes matter only together.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from i2moe_plugin.benchmarks.datasets.samples.files import write_csv, write_id_lists


def write(folder: Path, seed: int = 0, count: int = 800) -> None:
    """Write every file of so many patients into an empty folder; equal seeds draw equal ones."""
    draw = np.random.default_rng(seed)
    shared, own = draw.normal(size=count), draw.normal(size=(3, count))
    signs = draw.choice([-1.0, 1.0], size=(2, count))
    risk = shared + 0.8 * own.sum(0) + 1.5 * signs.prod(0) + 0.5 * draw.normal(size=count)
    label = (risk > np.quantile(risk, 0.7)).astype(np.int64)
    ids = np.sort(draw.choice(np.arange(10_000_000, 20_000_000), count, replace=False))
    for place, (name, width) in enumerate((("lab", 48), ("note", 96), ("code", 64))):
        values = draw.normal(size=(count, width)).astype(np.float32)
        values[:, 0] += 1.5 * own[place]
        values[:, 1] += 1.5 * shared
        if place < 2:
            values[:, 2:5] += 1.5 * signs[place, :, None]
        if name == "lab":  # what was not measured
            values[:, 5:][draw.random((count, width - 5)) < 0.02] = np.nan
        torch.save(torch.from_numpy(values), folder / f"{name}_x.pt")
    rows = zip(ids.tolist(), label.tolist(), strict=True)
    write_csv(folder / "labels.csv", ["subject_id", "one_year_mortality"], rows)
    write_id_lists(folder / "PTID_splits_mimic.json", ids.tolist(), draw)
