"""The folder of a data set's files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.data.cache import digest_of, digests, kept_rows
from i2moe_plugin.benchmarks.data.cards import Card
from i2moe_plugin.benchmarks.data.convert import source_digest
from i2moe_plugin.benchmarks.data.redraw import Redraw
from i2moe_plugin.benchmarks.data.splits import SplitRows, Splits
from i2moe_plugin.benchmarks.formats.reading import Rows, is_file
from i2moe_plugin.errors import ConfigError, DatasetError, enumerated

#: The file that says that a folder holds a drawn sample.
MARKER = "SAMPLE.txt"


@dataclass(frozen=True)
class DataFolder:
    """The folder of a data set's files; what a data set's reader is given.

    ``folder / "labels.csv"`` is the path of a file in it.

    Attributes:
        path: the folder.
        card: the format that its files are expected to have.
        name: the data set's registered name.
        cache: take what was computed and kept before.
        redraw: the split to draw in place of the data set's own.
    """

    path: Path
    card: Card
    name: str
    cache: bool = True
    redraw: Redraw | None = None

    def __truediv__(self, part: str) -> Path:
        return self.path / part

    def __str__(self) -> str:
        return str(self.path)

    @property
    def is_sample(self) -> bool:
        """Whether it holds a drawn sample."""
        return (self.path / MARKER).is_file()

    @property
    def notes(self) -> tuple[str, ...]:
        """What stands beside every result of a drawn sample."""
        title = self.card.short_title
        note = f"This is a drawn sample, not {title}: its figures are not comparable with published"
        return (f"{note} ones.",) if self.is_sample else ()

    def missing(self) -> list[str]:
        """Return which files are not there, one sentence each."""
        return self.card.missing_files(self.path)

    def found(self) -> list[Path]:
        """Return the files that are there: the card's; in the user's own folder all."""
        if self.card.access == "yours":
            return [path for path in self.path.rglob("*") if is_file(path)]
        return [path for file in self.card.files for path in file.found(self.path)]

    def split(
        self,
        rows: SplitRows,
        ids: Sequence[str],
        *,
        classes: NDArray[Any] | None = None,
        groups: Sequence[str] | NDArray[Any] | None = None,
        fixed: str = "",
    ) -> Splits:
        """Return the splits of these rows, checked; or, where that is asked for, drawn anew.

        Whatever is fitted on training rows is fitted on those of the splits that this returns.

        Args:
            rows: the row numbers of each split.
            ids: every row's id.
            classes: every row's class, [N], or its labels, [N, C] of 0 and 1: what splits that are
                drawn anew are stratified by. None for regression.
            groups: every row's group, where several rows are of one subject, video or object: they
                stay together in splits that are drawn anew.
            fixed: why no other split makes sense, such as one by time.

        Raises:
            DatasetError: an id twice, a row in two splits, or an empty split.
            ConfigError: splits are asked for that cannot be drawn.
        """
        of_group = None if groups is None else np.asarray(groups)
        splits = Splits(rows, ids, of_group)
        splits.check(str(self))
        if self.redraw is None:
            return splits
        if fixed:
            raise ConfigError(f"the splits of {self.name} cannot be drawn anew: {fixed}.")
        drawn = self.redraw.rows(rows, classes, of_group)
        return Splits(drawn, ids, of_group, own=rows, stratified=classes is not None)

    def check_files(self, paths: Sequence[Path], named_in: str) -> None:
        """Check that these files of the folder are there, without reading them.

        Args:
            paths: the files.
            named_in: the file, or files, that name them.

        Raises:
            DatasetError: some are missing or empty; names the first ten.
        """
        sizes: dict[Path, int] = {}
        for parent in {path.parent for path in paths}:
            with suppress(OSError), os.scandir(parent) as entries:  # faster than to ask for each
                for entry in entries:
                    with suppress(OSError):  # a link that leads in a circle
                        if entry.is_file():
                            sizes[parent / entry.name] = entry.stat().st_size
        lost = [path for path in paths if not sizes.get(path)]
        if lost:
            names = enumerated([str(path.relative_to(self.path)) for path in lost])
            raise DatasetError(
                f"{self}: {len(lost)} of {len(paths)} files named in {named_in} are missing or "
                f"empty: {names}."
            )

    def digests(self, paths: Sequence[Path] | None = None) -> dict[str, str]:
        """Return the sha256 of these files, or of the card's, by their paths in the folder.

        Raises:
            DatasetError: a file cannot be read.
        """
        if paths is not None:
            return digests(self.path, paths)
        pickles = [f for f in self.card.files if f.is_pickle and f.found(self.path)]
        others = [path for f in self.card.files if not f.is_pickle for path in f.found(self.path)]
        found = digests(self.path, others)
        return found | {f.path: source_digest(self / f.path) for f in pickles}

    def digest(self, paths: Sequence[Path]) -> str:
        """Return one hash of these files, in order.

        Raises:
            DatasetError: a file cannot be read.
        """
        return digest_of(self.path, paths)

    def kept(
        self, what: str, count: int, compute: Callable[[], Iterator[NDArray[Any]]], /, **key: str
    ) -> Rows:
        """Return an array [N, ...] that takes long to compute: computed once, and kept on disk.

        Args:
            what: it is; part of the cache file's name.
            count: N.
            compute: gives the array in blocks of rows.
            **key: everything that decides the array.
        """
        return kept_rows(f"{self.name}-{what}", count, compute, key, cache=self.cache)


@contextmanager
def writing_sample(folder: Path, title: str, seed: int) -> Iterator[Path]:
    """Give a folder for a sample's files, which go to ``folder`` when all are written."""
    folder = Path(folder).expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DatasetError(f"{folder} is not an empty folder: a sample is written into a new one.")
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".unfinished-") as aside:
            yield Path(aside)
            (Path(aside) / MARKER).write_text(
                f"A drawn sample in the format of {title}, for trying things out; not its own "
                f"data. Figures are not comparable with published ones. Seed {seed}.\n",
                encoding="utf-8",
            )
            for part in sorted(Path(aside).iterdir()):
                os.replace(part, folder / part.name)
    except BaseException as error:
        if new:
            with suppress(OSError):
                folder.rmdir()
        if isinstance(error, OSError):
            raise DatasetError(f"the sample cannot be written to {folder} ({error}).") from error
        raise
