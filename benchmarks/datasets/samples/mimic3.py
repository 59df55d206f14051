"""Drawn stays in intensive care, in MIMIC-III's format as MultiBench publishes it.

Each outcome depends on a static feature, on the level and the slope of a measurement, and on the
product of another feature's sign with another slope, which neither tells alone.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np

HOURS, MEASURES, STATIC, GROUPS, SPANS = 24, 12, 5, 20, 5


def write(folder: Path, seed: int = 0, count: int = 800) -> None:
    """Write im.pk with so many stays into an empty folder; equal seeds draw equal ones."""
    draw = np.random.default_rng(seed)
    static = draw.normal(size=(count, STATIC))
    level, slope = draw.normal(size=(2, count, MEASURES))
    hours = np.linspace(-1, 1, HOURS)[None, :, None]
    series = level[:, None] + slope[:, None] * hours
    series += 0.5 * draw.normal(size=(count, HOURS, MEASURES))
    outcome = np.arange(GROUPS + 1)
    feature, measure = outcome % STATIC, outcome % MEASURES
    risk = 1.5 * (static[:, feature] + level[:, measure] + slope[:, measure])
    risk += 1.5 * np.sign(static[:, feature - 1]) * slope[:, measure - 1]
    risk += 0.5 * draw.normal(size=risk.shape)
    rank = risk.argsort(0).argsort(0) / count
    # Who died within a span died within every longer one.
    spans = rank[:, [0]] > 1 - 0.12 * np.arange(1, SPANS + 1)
    series[draw.random(series.shape) < 0.01] = np.nan
    content = {
        "ep_tdata": 20 + 10 * series,
        "adm_features_all": 50 + 20 * static,
        "adm_labels_all": np.concatenate([spans[:, :1], spans], 1).astype(np.float64),
        "y_icd9": (rank[:, 1:] > 0.6).astype(np.float64),
    }
    (folder / "im.pk").write_bytes(pickle.dumps(content, protocol=4))
