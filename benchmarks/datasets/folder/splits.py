"""Ids and splits of a user's folder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from i2moe_plugin.benchmarks.data.redraw import allocate
from i2moe_plugin.benchmarks.data.splits import SPLITS, SplitName, SplitRows, coded
from i2moe_plugin.benchmarks.datasets.folder.arrays import FolderFiles
from i2moe_plugin.benchmarks.datasets.folder.description import ArrayPlace, Fractions
from i2moe_plugin.benchmarks.formats.cells import as_texts, listed_rows
from i2moe_plugin.benchmarks.formats.reading import Rows
from i2moe_plugin.errors import DatasetError
from i2moe_plugin.seeding import derive_seed

SPLIT_WORDS: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "test": "test",
    "testing": "test",
}


def read_groups(files: FolderFiles, place: ArrayPlace, array: Rows) -> list[str]:
    """Return every row's group.

    Raises:
        DatasetError: a row has none.
    """
    return _words(files.where(place), array, "group")


def read_ids(files: FolderFiles, place: ArrayPlace, array: Rows) -> list[str]:
    """Return the samples' names.

    Raises:
        DatasetError: a row has none.
    """
    return _words(files.where(place), array, "id")


def split_rows(
    files: FolderFiles,
    split: ArrayPlace | Fractions,
    array: Rows | None,
    count: int,
    groups: Sequence[str] | None = None,
) -> SplitRows:
    """Return the rows of each split.

    Args:
        files: of the folder.
        split: what the description says.
        array: the column that it names.
        count: how many rows there are.
        groups: every row's group; one that is drawn stays in one split.

    Raises:
        DatasetError: words that name no split.
    """
    if isinstance(split, Fractions):
        return drawn(count, split, groups)
    assert array is not None
    where = files.where(split)
    words = [word.strip().lower() for word in _words(where, array, "split")]
    unknown = sorted({word for word in words if word not in SPLIT_WORDS})
    if unknown:
        raise DatasetError(
            f"{where}: the split holds {unknown[:5]}; expected train, valid and test."
        )
    names = np.array([SPLIT_WORDS[word] for word in words])
    return {name: np.flatnonzero(names == name) for name in SPLITS}


def drawn(count: int, split: Fractions, groups: Sequence[str] | None = None) -> SplitRows:
    """The rows of a split by fractions, drawn by its seed; groups stay together."""
    draw = np.random.default_rng(derive_seed(split.seed, "split"))
    first = round(count * split.train)
    second = round(count * (split.train + split.valid))
    if groups is not None:
        members = np.unique(groups, return_inverse=True)[1]
        sizes = (first, second - first, count - second)
        return coded(allocate(sizes, np.zeros(count, np.int64), members, draw))
    order = draw.permutation(count)
    parts = (order[:first], order[first:second], order[second:])
    return {name: np.sort(part) for name, part in zip(SPLITS, parts, strict=True)}


def _words(where: str, array: Rows, what: str) -> list[str]:
    """One text a row, none missing."""
    found = as_texts(where, array)
    missing = np.flatnonzero([not (word or "").strip() for word in found])
    if len(missing):
        raise DatasetError(
            f"{where}: {len(missing)} of {len(found)} rows have no {what} ({listed_rows(missing)})."
        )
    return [str(word) for word in found]
