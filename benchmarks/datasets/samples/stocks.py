"""Drawn daily prices of four tickers, in the format of Yahoo's csv files.

Each ticker has calm and wild times of its own. The first one's move of the next day is large where
it is in a wild time itself, larger where another is, and largest where both are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.datasets.samples.files import write_csv

TICKERS = ("AAA", "BBB", "CCC", "DDD")
COLUMNS = ("Date", "Open", "High", "Low", "Close", "Adj Close", "Volume")
STAY = (0.97, 0.7, 0.9, 0.9)  # chance that a ticker's time goes on for another day


def write(folder: Path, seed: int = 0) -> None:
    """Write one csv a ticker, for the weekdays from 2000-06-01 to 2021-02-26."""
    draw = np.random.default_rng(seed)
    days = np.arange("2000-06-01", "2021-02-27", dtype="datetime64[D]")
    days = days[np.is_busday(days)]
    count = len(days)
    changes = draw.random((count, len(TICKERS))) > STAY
    wild = np.cumsum(changes, 0) % 2 == 1  # [days, M]
    size = 0.006 * np.where(wild, 3.0, 1.0)
    own, other = np.roll(wild[:, :2], 1, 0).T  # the day before
    size[:, 0] = 0.006 * np.where(own, 2, 1) * np.where(other, 2, 1) * np.where(own & other, 1.5, 1)
    returns = size * draw.choice([-1.0, 1.0], size.shape) * draw.uniform(0.8, 1.2, size.shape)
    prices = 50 * np.exp(np.cumsum(returns - returns.mean(0), 0))
    for column, ticker in enumerate(TICKERS):
        _write_one(folder / f"{ticker}.csv", days, prices[:, column], draw)


def _write_one(path: Path, days: Any, opens: NDArray[Any], draw: np.random.Generator) -> None:
    closes = opens * np.exp(draw.normal(0, 0.003, len(opens)))
    spread = 1 + np.abs(draw.normal(0, 0.003, len(opens)))
    volumes = draw.integers(1_000_000, 9_000_000, len(opens))
    rows = []
    for day, first, last, wide, volume in zip(days, opens, closes, spread, volumes, strict=True):
        high, low = max(first, last) * wide, min(first, last) / wide
        prices = [f"{value:.6f}" for value in (first, high, low, last, last)]
        rows.append([day, *prices, volume])
    write_csv(path, COLUMNS, rows)
