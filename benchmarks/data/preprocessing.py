"""Transforms that are fitted on training rows, and then take rows of any file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.formats.cells import LARGEST
from i2moe_plugin.benchmarks.formats.reading import Rows
from i2moe_plugin.errors import DatasetError

BLOCK = 4096  # rows at once, where all training rows are gone through


@dataclass(frozen=True)
class Standardiser:
    """Numbers [B, F] or [B, T, F] with mean 0 and deviation 1, feature by feature.

    A missing value (NaN) becomes the mean; for features [B, F], columns that missed values in
    training also give an indicator, since that a value is missing is information too. A column
    that holds one value in all training rows teaches nothing, and is 0 in every row.

    Attributes:
        where: the file and the array, for messages.
        fill: what stands for a missing value, [F].
        mean, deviation: what is subtracted, and what is divided by, [F]; infinite where training
            values are all one.
        indicators: the numbers of the columns with an indicator.
    """

    where: str
    fill: NDArray[np.float64]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    indicators: NDArray[np.int64]

    @property
    def width(self) -> int:
        """Columns given: the array's and the indicators."""
        return len(self.fill) + len(self.indicators)

    @property
    def constant(self) -> NDArray[np.int64]:
        """The numbers of the columns that are 0, since they do not vary in training."""
        return np.flatnonzero(np.isinf(self.deviation))

    def __call__(
        self, values: NDArray[Any], lengths: NDArray[Any] | None = None
    ) -> NDArray[np.float32]:
        """Rows as float32; steps from a row's length on are padding, and 0.

        Raises:
            DatasetError: values that are infinite or beyond single precision.
        """
        values, real = real_values(self.where, values, lengths)
        missing = np.isnan(values)
        values = (np.where(missing, self.fill, values) - self.mean) / self.deviation
        values = np.where(real[..., None], values, 0)
        if len(self.indicators):
            values = np.concatenate([values, missing[:, self.indicators]], 1)
        return values.astype(np.float32)


def fit_standardiser(
    where: str,
    array: Rows,
    train: NDArray[np.int64],
    lengths: NDArray[Any] | None = None,
    scale: bool = True,
) -> Standardiser:
    """Fit a :class:`Standardiser` on training rows of [N, F] or [N, T, F], read in blocks.

    Args:
        where: the file and the array, for messages.
        array: [N, F] or [N, T, F]; read by rows.
        train: the training rows.
        lengths: [N], for [N, T, F]: later steps are padding, and count for nothing.
        scale: subtract and divide; else only fill what is missing.

    Raises:
        DatasetError: values that are infinite or beyond single precision, or no training value in
            a column.
    """
    width = array.shape[-1]
    count, total, squares = (np.zeros(width) for _ in range(3))
    low, high = np.full(width, np.inf), np.full(width, -np.inf)
    shift: NDArray[Any] | None = None  # of the first block: squares of large numbers cancel
    for start in range(0, len(train), BLOCK):
        rows = train[start : start + BLOCK]
        known = None if lengths is None else lengths[rows]
        values, real = real_values(where, array[rows], known, rows)
        values = values.reshape(-1, width)[real.reshape(-1)]
        there = ~np.isnan(values)
        if shift is None:
            shift = np.nan_to_num(np.where(there, values, 0).sum(0) / there.sum(0).clip(1))
        low = np.where(there, values, np.inf).min(0, initial=np.inf).clip(max=low)
        high = np.where(there, values, -np.inf).max(0, initial=-np.inf).clip(min=high)
        values = np.where(there, values - shift, 0)
        count += there.sum(0)
        total += values.sum(0)
        squares += (values**2).sum(0)
    assert shift is not None
    if (count == 0).any():
        bad = (np.flatnonzero(count == 0)[:5] + 1).tolist()
        raise DatasetError(f"{where}: columns {bad} have no value in any training row.")
    mean = total / count
    deviation = np.sqrt((squares / count - mean**2).clip(0))
    gaps = count < (count.max() if array.shape[1:-1] else len(train))
    return Standardiser(
        where,
        fill=shift + mean,
        mean=(shift + mean) if scale else np.zeros(width),
        deviation=np.where((low < high) & (deviation > 0), deviation, np.inf)
        if scale
        else np.ones(width),
        indicators=np.flatnonzero(gaps) if len(array.shape) == 2 else np.array([], int),
    )


def silence_constant(scaler: Any) -> Any:
    """Let a fitted ``StandardScaler`` of scikit-learn give 0 for columns that never varied.

    By itself it gives the plain difference, which may be thousands of deviations.
    """
    scaler.scale_ = np.where(scaler.var_ > 0, scaler.scale_, np.inf)
    return scaler


def check_values(
    where: str, array: Rows, rows: NDArray[np.int64], lengths: NDArray[Any] | None = None
) -> None:
    """Check these rows, in blocks.

    Raises:
        DatasetError: values that are infinite or beyond single precision; names the first.
    """
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        real_values(where, array[block], None if lengths is None else lengths[block], block)


def real_values(
    where: str,
    values: NDArray[Any],
    lengths: NDArray[Any] | None = None,
    rows: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Rows as float64, and which steps are not padding.

    Args:
        where: the file and the array, for messages.
        values: [B, F] or [B, T, F].
        lengths: [B]; later steps are padding.
        rows: their numbers in the array, for messages.

    Raises:
        DatasetError: values that are infinite or beyond single precision, and no padding.
    """
    values = np.asarray(values, dtype=np.float64)
    real = np.ones(values.shape[:-1], dtype=bool)
    if lengths is not None:
        real = np.arange(values.shape[1]) < lengths[:, None]
    huge = (np.abs(values) > LARGEST) & real[..., None]
    if huge.any():
        row, *_, column = np.argwhere(huge)[0].tolist()
        value = values[huge][0]
        named = "" if rows is None else f"row {rows[row] + 1}, "
        raise DatasetError(
            f"{where}, {named}column {column + 1}: {value:g} is infinite or beyond single "
            "precision (3.4e38)."
        )
    return values, real
