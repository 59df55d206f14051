"""Transforms that are fitted on training rows, and then take rows of any file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.formats.arrays import SparseRows
from i2moe_plugin.benchmarks.formats.reading import Rows
from i2moe_plugin.errors import DatasetError

BLOCK = 4096  # rows at once, where all training rows are gone through


@dataclass(frozen=True)
class Standardiser:
    """Numbers [B, F] or [B, T, F] with mean 0 and deviation 1, feature by feature.

    A missing value (NaN) becomes the mean; for features [B, F], columns that missed values in
    training also give an indicator, since that a value is missing is information too.

    Attributes:
        where: the file and the array, for messages.
        fill: what stands for a missing value, [F].
        mean, deviation: what is subtracted, and what is divided by, [F].
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

    def __call__(
        self, values: NDArray[Any], lengths: NDArray[Any] | None = None
    ) -> NDArray[np.float32]:
        """Rows as float32; steps from a row's length on are padding, and 0.

        Raises:
            DatasetError: infinite values.
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
    """Fit a :class:`Standardiser` on training rows, which are read in blocks.

    Args:
        where: the file and the array, for messages.
        array: [N, F] or [N, T, F]; read by rows.
        train: the training rows.
        lengths: [N], for [N, T, F]: later steps are padding, and count for nothing.
        scale: subtract and divide; else only fill what is missing.

    Raises:
        DatasetError: infinite values, or no training value in a column.
    """
    width = array.shape[-1]
    count, total, squares = (np.zeros(width) for _ in range(3))
    shift: NDArray[Any] | None = None  # of the first block: squares of large numbers cancel
    for start in range(0, len(train), BLOCK):
        rows = train[start : start + BLOCK]
        known = None if lengths is None else lengths[rows]
        values, real = real_values(where, array[rows], known)
        values = values.reshape(-1, width)[real.reshape(-1)]
        there = ~np.isnan(values)
        if shift is None:
            shift = np.nan_to_num(np.where(there, values, 0).sum(0) / there.sum(0).clip(1))
        values = np.where(there, values - shift, 0)
        count += there.sum(0)
        total += values.sum(0)
        squares += (values**2).sum(0)
    assert shift is not None
    if (count == 0).any():
        bad = np.flatnonzero(count == 0)[:5].tolist()
        raise DatasetError(f"{where}: columns {bad} have no value in any training row.")
    mean = total / count
    deviation = np.sqrt((squares / count - mean**2).clip(0))
    gaps = count < (count.max() if array.shape[1:-1] else len(train))
    return Standardiser(
        where,
        fill=shift + mean,
        mean=(shift + mean) if scale else np.zeros(width),
        deviation=np.where(deviation > 0, deviation, 1) if scale else np.ones(width),
        indicators=np.flatnonzero(gaps) if len(array.shape) == 2 else np.array([], int),
    )


def real_values(
    where: str, values: NDArray[Any], lengths: NDArray[Any] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Rows as float64, and which steps are not padding.

    Raises:
        DatasetError: infinite values that are not padding.
    """
    values = np.asarray(values, dtype=np.float64)
    real = np.ones(values.shape[:-1], dtype=bool)
    if lengths is not None:
        real = np.arange(values.shape[1]) < lengths[:, None]
    if np.isinf(values[real]).any():
        raise DatasetError(f"{where}: holds infinite values.")
    return values, real


@dataclass(frozen=True)
class TfIdf:
    """Texts as the TF-IDF of the commonest words of training texts, float32 [B, words].

    Attributes:
        vectorizer: scikit-learn's, fitted.
    """

    vectorizer: Any

    @property
    def width(self) -> int:
        """The number of words."""
        return len(self.vectorizer.vocabulary_)

    def __call__(self, texts: Iterable[str]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = self.vectorizer.transform(texts).toarray()
        return found

    def rows(self, texts: Iterable[str]) -> SparseRows:
        """All of these texts; a row becomes dense when it is asked for."""
        return SparseRows(self.vectorizer.transform(texts))


def fit_tf_idf(where: str, texts: Iterable[str], words: int, **options: Any) -> TfIdf:
    """Fit a :class:`TfIdf`.

    Args:
        where: the file, for messages.
        texts: the training texts.
        words: at most so many words, the commonest ones.
        **options: scikit-learn's, of how a text is cut into words.

    Raises:
        DatasetError: no word in any text.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(max_features=words, sublinear_tf=True, dtype=np.float32, **options)
    try:
        return TfIdf(vectorizer.fit(texts))
    except ValueError as error:
        raise DatasetError(f"{where}: no word in any training text ({error}).") from error
