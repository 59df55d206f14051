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
#: The name of the split that a data set has by itself, where splits can be drawn anew.
OWN_SPLIT = "own"
#: The row numbers of each split.
SplitRows = Mapping[SplitName, NDArray[np.int64]]
#: How files of id lists call the splits.
LISTED: dict[SplitName, str] = {"train": "training", "valid": "validation", "test": "testing"}


def check_given(split: SplitName, given: Sequence[SplitName]) -> None:
    """Check that a split is among those that may be read.

    Raises:
        DatasetError: it is not.
    """
    if split not in given:
        raise DatasetError(
            f"the {split} split is out of reach here: only {' and '.join(given)} are read."
        )


@dataclass(frozen=True)
class Splits:
    """The splits of a data set.

    Attributes:
        rows: the row numbers of each split, in its order.
        ids: every row's id.
        groups: every row's group, [N], where rows of one group are not independent.
        own: the rows of the data set's own splits, where these were drawn anew.
        stratified: they were drawn by class.
    """

    rows: SplitRows
    ids: Sequence[str]
    groups: NDArray[Any] | None = None
    own: SplitRows | None = None
    stratified: bool = False

    def __getitem__(self, split: SplitName) -> NDArray[np.int64]:
        return self.rows[split]

    def sample_ids(self, split: SplitName) -> list[str]:
        """Return the ids of a split, in its order."""
        return [self.ids[row] for row in self.rows[split]]

    def own_ids(self, split: SplitName) -> list[str]:
        """Return the ids of a split of the data set's own, whatever was drawn anew."""
        return [self.ids[row] for row in (self.own or self.rows)[split]]

    def codes(self) -> NDArray[np.int64]:
        """Return each row's split, [N]: 0 (train), 1 (valid) or 2 (test); -1: none."""
        found = np.full(len(self.ids), -1, dtype=np.int64)
        for code, name in enumerate(SPLITS):
            found[self.rows[name]] = code
        return found

    def crossing(self) -> tuple[str, ...]:
        """Return a sentence for groups that stand in more than one split, where there are any."""
        if self.groups is None:
            return ()
        inside = [set(self.groups[self.rows[name]].tolist()) for name in SPLITS]
        both = len((inside[0] | inside[1]) & inside[2])
        if not both:
            return ()
        return (
            f"{both} of {len(inside[2])} groups of the test split are in train or valid too: test "
            "figures are of samples whose groups were seen.",
        )

    @property
    def note(self) -> str:
        """What must stand beside results on splits that were drawn anew."""
        how = ["stratified by class"] * self.stratified
        how += ["whole groups together"] * (self.groups is not None)
        said = f", {' and '.join(how)}" if how else ""
        return (
            "Splits were drawn anew from the source's train, valid and test samples "
            f"together{said}: not comparable with figures on the source's own split."
        )

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
    """Return a hash of the ids in each split, in order."""
    ids = [sample_ids(name) for name in SPLITS]
    return hashlib.sha256(json.dumps(ids).encode()).hexdigest()


def consecutive(*sizes: int) -> SplitRows:
    """Return the rows of splits of these sizes that follow one another."""
    ends = np.cumsum(sizes)
    parts = [np.arange(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    return dict(zip(SPLITS, parts, strict=True))


def coded(codes: NDArray[Any]) -> SplitRows:
    """Return the rows of splits that a column of 0 (train), 1 (valid) and 2 (test) tells."""
    return {name: np.flatnonzero(codes == code) for code, name in enumerate(SPLITS)}


def listed(path: Path, ids: Mapping[str, int]) -> tuple[SplitRows, tuple[str, ...]]:
    """Read the rows of each split of an id-list file, and notes on what fits no row or no list.

    Ids that the data does not have are left out, and so are rows that no list has; both are
    counted in the notes.

    Args:
        path: a json object with the lists ``training``, ``validation`` and ``testing``.
        ids: the row of each id.

    Raises:
        DatasetError: damaged, or not such lists.
    """
    asked = 0
    unknown: list[str] = []
    content = read_json(path)
    lists = content if isinstance(content, dict) else {}
    found: dict[SplitName, NDArray[np.int64]] = {}
    for name, key in LISTED.items():
        names = lists.get(key)
        if not isinstance(names, list) or not all(isinstance(i, (str, int)) for i in names):
            raise DatasetError(f"{path}: {key} should be a list of ids.")
        words = list(dict.fromkeys(str(i).strip() for i in names))
        asked += len(words)
        unknown += [word for word in words if word not in ids]
        rows = [ids[word] for word in words if word in ids]
        if not rows:
            raise DatasetError(f"{path}: none of the {len(names)} ids of {key} is in the data.")
        found[name] = np.array(rows, dtype=np.int64)
    notes = []
    if unknown:
        notes.append(
            f"{len(unknown)} of {asked} ids of {path.name} are not in the data and are left out, "
            f"such as {unknown[0]}."
        )
    outside = len(set(ids.values()).difference(*(part.tolist() for part in found.values())))
    if outside:
        notes.append(f"{outside} of {len(ids)} samples are in no list of {path.name}.")
    return found, tuple(notes)
