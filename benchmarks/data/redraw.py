"""Splits drawn anew from all samples of a data set: repeated, or as folds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.data.splits import OWN_SPLIT, SPLITS, SplitRows
from i2moe_plugin.errors import ConfigError
from i2moe_plugin.seeding import derive_seed

MOST_SPLITS = 1000


@dataclass(frozen=True)
class Redraw:
    """One split drawn anew from the union of a data set's train, valid and test samples.

    Attributes:
        number: which, from 1; it is what the drawing derives from.
        folds: of so many folds it is the one that is tested on; 0: a random split with the sizes
            of the data set's own.
    """

    number: int
    folds: int = 0

    @classmethod
    def of(cls, name: str) -> Redraw | None:
        """Return the split of this name: ``3``, or ``2of5`` of folds; None: the data set's own.

        Raises:
            ConfigError: it names none.
        """
        if name == OWN_SPLIT:
            return None
        match = re.fullmatch(r"([1-9]\d{0,3})(?:of([1-9]\d{0,3}))?", name)
        if match is None or (match[2] and not 1 <= int(match[1]) <= int(match[2])):
            raise ConfigError(
                f"split {name!r} is neither {OWN_SPLIT!r}, nor a number from 1 (drawn anew), nor a "
                "fold such as 2of5."
            )
        return cls(int(match[1]), int(match[2] or 0))

    def rows(
        self,
        own: SplitRows,
        classes: NDArray[Any] | None = None,
        groups: NDArray[Any] | None = None,
    ) -> SplitRows:
        """Draw the rows of each split; every row that ``own`` has is in one of them.

        Args:
            own: the data set's own splits, whose sizes a random split has. Of folds, the test split
                is one, and train and valid share the others in their own proportion.
            classes: [N], or [N, C] of 0 and 1: each class, and each combination of labels, has its
                share in each split. None: drawn without regard to the target.
            groups: [N]: rows of one group stay together; sizes are then about those of ``own``.

        Raises:
            ConfigError: fewer samples, or groups, than there are to be splits.
        """
        union = np.sort(np.concatenate([own[name] for name in SPLITS]))
        strata = np.zeros(len(union), dtype=np.int64)
        if classes is not None:
            strata = np.unique(classes[union], axis=0, return_inverse=True)[1].reshape(-1)
        members = None
        if groups is not None:
            members = np.unique(groups[union], return_inverse=True)[1].reshape(-1)
        train, valid, test = (len(own[name]) for name in SPLITS)
        if not self.folds:
            draw = np.random.default_rng(derive_seed(self.number, "split drawn anew"))
            part = allocate((train, valid, test), strata, members, draw)
        else:
            draw = np.random.default_rng(derive_seed(0, "folds", self.folds))
            fold = allocate(_equal(len(union), self.folds), strata, members, draw, trained=False)
            part = np.full(len(union), SPLITS.index("test"))
            rest = np.flatnonzero(fold != self.number - 1)
            share = round(len(rest) * valid / (train + valid))
            inside = None if members is None else np.unique(members[rest], return_inverse=True)[1]
            draw = np.random.default_rng(derive_seed(self.number, "folds", self.folds))
            part[rest] = allocate((len(rest) - share, share), strata[rest], inside, draw)
        found = {name: union[part == code] for code, name in enumerate(SPLITS)}
        empty = [name for name in SPLITS if not len(found[name])]
        if empty:
            count = len(union) if members is None else int(members.max()) + 1
            what = "samples" if members is None else "groups"
            raise ConfigError(
                f"split {self} leaves {' and '.join(empty)} empty: {count} {what} are too few."
            )
        return found

    def __str__(self) -> str:
        return f"{self.number}of{self.folds}" if self.folds else str(self.number)


def split_names(asked: str | int) -> tuple[str, ...]:
    """Return the names of the splits that ``--splits`` asks for.

    Args:
        asked: how many random splits; or ``kfold:5``.

    Raises:
        ConfigError: neither, fewer than 2 or more than 1000.

    >>> split_names(2), split_names("kfold:3")
    (('1', '2'), ('1of3', '2of3', '3of3'))
    """
    match = re.fullmatch(r"(kfold:)?(\d{1,6})", str(asked).strip())
    if match is None or not 2 <= int(match[2]) <= MOST_SPLITS:
        raise ConfigError(
            f"splits={asked!r}: give how many splits to draw, from 2 to {MOST_SPLITS}, or kfold:5."
        )
    count = int(match[2])
    return tuple(f"{n}of{count}" if match[1] else str(n) for n in range(1, count + 1))


def allocate(
    sizes: tuple[int, ...],
    strata: NDArray[np.int64],
    groups: NDArray[np.int64] | None,
    draw: np.random.Generator,
    *,
    trained: bool = True,
) -> NDArray[np.int64]:
    """Draw the part of each sample, from 0.

    Without groups, parts have exactly these sizes, and each stratum's share in a part is exact but
    for rounding. With them, each group in a random order goes where samples of its strata are
    wanted most.

    Args:
        sizes: of the parts; they sum to N.
        strata, groups: [N], numbers from 0.
        draw: decides everything.
        trained: every stratum has a sample in part 0, where there are as many as strata.
    """
    if groups is not None:
        return _by_group(np.array(sizes), strata, groups, draw)
    # Places of each part, evenly spread; samples sorted by stratum take them in turn.
    spread = np.concatenate([(np.arange(size) + 0.5) / max(size, 1) for size in sizes])
    places = np.repeat(np.arange(len(sizes)), sizes)[np.argsort(spread, kind="stable")]
    order = draw.permutation(len(strata))
    order = order[np.argsort(strata[order], kind="stable")]
    part = np.empty(len(strata), dtype=np.int64)
    part[order] = np.roll(places, int(draw.integers(max(len(places), 1))))
    if trained:
        _train_every_stratum(part, strata, draw)
    return part


def _train_every_stratum(
    part: NDArray[np.int64], strata: NDArray[np.int64], draw: np.random.Generator
) -> None:
    """Exchange samples so that each stratum has one in part 0, as far as that is possible."""
    counts = np.bincount(strata[part == 0], minlength=int(strata.max(initial=-1)) + 1)
    for stratum in np.flatnonzero(counts == 0):
        spare = np.flatnonzero((part == 0) & (counts[strata] > 1))
        if not len(spare):
            return
        inside, outside = draw.choice(spare), draw.choice(np.flatnonzero(strata == stratum))
        part[inside], part[outside] = part[outside], 0
        counts[strata[inside]] -= 1
        counts[stratum] += 1


def _by_group(
    sizes: NDArray[np.int64],
    strata: NDArray[np.int64],
    groups: NDArray[np.int64],
    draw: np.random.Generator,
) -> NDArray[np.int64]:
    """Give each group to the part where it takes most off the squared distance from the aim."""
    if strata.max(initial=0) > len(strata) // 10:  # combinations of labels: each is too rare
        strata = np.zeros_like(strata)
    count = int(groups.max()) + 1
    of_group = np.zeros((count, int(strata.max()) + 1))
    np.add.at(of_group, (groups, strata), 1)
    wanted = np.maximum(sizes[:, None] * of_group.sum(0) / len(strata), 1e-9)
    have = np.zeros_like(wanted)
    part = np.empty(count, dtype=np.int64)
    for group in draw.permutation(count):
        own = of_group[group]
        cost = ((2 * (have - wanted) + own) * own / wanted).sum(1)
        size = own.sum()
        cost += (2 * (have.sum(1) - sizes) + size) * size / np.maximum(sizes, 1)
        part[group] = int(np.argmin(cost))
        have[part[group]] += own
    return part[groups]


def _equal(count: int, parts: int) -> tuple[int, ...]:
    """Return sizes of parts that differ by one at most."""
    return tuple(len(part) for part in np.array_split(np.arange(count), parts))
