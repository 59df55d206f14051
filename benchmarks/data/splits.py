"""Which samples are in which split, and what each is called."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.formats.reading import check_ids
from i2moe_plugin.benchmarks.formats.tables import read_json
from i2moe_plugin.errors import DatasetError

SplitName = Literal["train", "valid", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "valid", "test")
#: The row numbers of each split.
SplitRows = Mapping[SplitName, NDArray[np.int64]]
#: How files of id lists call the splits.
LISTED: dict[SplitName, str] = {"train": "training", "valid": "validation", "test": "testing"}


@dataclass(frozen=True)
class Splits:
    """The splits of a data set.

    Attributes:
        rows: the row numbers of each split, in its order.
        ids: every row's id.
    """

    rows: SplitRows
    ids: Sequence[str]

    def __getitem__(self, split: SplitName) -> NDArray[np.int64]:
        return self.rows[split]

    def sample_ids(self, split: SplitName) -> list[str]:
        """The ids of a split, in its order."""
        return [self.ids[row] for row in self.rows[split]]

    def check(self, where: str) -> None:
        """Check that every sample has one id and one split.

        Raises:
            DatasetError: an id twice, a row in two splits, or an empty split.
        """
        check_ids(where, self.ids)
        taken: set[int] = set()
        for name in SPLITS:
            part = self.rows[name].tolist()
            if not part:
                raise DatasetError(f"{where}: the {name} split is empty.")
            if taken.intersection(part) or len(set(part)) < len(part):
                raise DatasetError(f"{where}: samples stand in two splits, or twice in {name}.")
            taken.update(part)


def split_hash(sample_ids: Callable[[SplitName], list[str]]) -> str:
    """A hash of the ids in each split, in order."""
    ids = [sample_ids(name) for name in SPLITS]
    return hashlib.sha256(json.dumps(ids).encode()).hexdigest()


def consecutive(*sizes: int) -> SplitRows:
    """The rows of splits of these sizes that follow one another."""
    ends = np.cumsum(sizes)
    parts = [np.arange(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    return dict(zip(SPLITS, parts, strict=True))


def coded(codes: NDArray[Any]) -> SplitRows:
    """The rows of splits that a column of 0 (train), 1 (valid) and 2 (test) tells."""
    return {name: np.flatnonzero(codes == code) for code, name in enumerate(SPLITS)}


def listed(path: Path, ids: Mapping[str, int]) -> SplitRows:
    """The rows of each split of an id-list file; ids that the data does not have are left out.

    Args:
        path: a json object with the lists ``training``, ``validation`` and ``testing``.
        ids: the row of each id.

    Raises:
        DatasetError: damaged, or not such lists.
    """
    content = read_json(path)
    lists = content if isinstance(content, dict) else {}
    found: dict[SplitName, NDArray[np.int64]] = {}
    for name, key in LISTED.items():
        names = lists.get(key)
        if not isinstance(names, list) or not all(isinstance(i, (str, int)) for i in names):
            raise DatasetError(f"{path}: {key} should be a list of ids.")
        rows = [ids[i] for i in dict.fromkeys(str(i).strip() for i in names) if i in ids]
        if not rows:
            raise DatasetError(f"{path}: none of the {len(names)} ids of {key} is in the data.")
        found[name] = np.array(rows, dtype=np.int64)
    return found
