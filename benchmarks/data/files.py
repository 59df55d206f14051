"""Data sets that lie in a folder: which files, are they there, what is their hash."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2moe_plugin.benchmarks.data.base import (
    SPLITS,
    BatchSplit,
    MultimodalDataset,
    SplitName,
    Status,
)
from i2moe_plugin.benchmarks.data.cards import differences, missing_files
from i2moe_plugin.benchmarks.data.samples import is_sample, sample_note
from i2moe_plugin.benchmarks.formats.readers import Rows, check_ids
from i2moe_plugin.errors import DatasetError, listed


class FileDataset(MultimodalDataset):
    """A data set read from published files in a folder.

    A child's constructor calls this one first, reads what is small, opens what is large (see
    :mod:`readers`), and ends with :meth:`_set_splits`.

    Args:
        root: the folder; ``data/NAME`` if not told.

    Attributes:
        folder: the folder.
        is_sample: it holds a drawn sample.

    Raises:
        DatasetError: files that are missing; all of them, and how to get them.
    """

    def __init__(self, root: str | Path | None = None) -> None:
        super().__init__(self._folder(root))
        assert self.root is not None
        self.folder = self.root
        missing = missing_files(self.card, self.folder)
        if missing:
            drawn = f"For a small drawn one: i2moe-bench data sample {self.name} DIR"
            raise DatasetError(
                f"{self.name} cannot be read from {self.folder}:\n{listed(missing)}\n"
                f"{self.card.how_to_get}{'' if self.card.access == 'yours' else chr(10) + drawn}"
            )
        self.is_sample = is_sample(self.folder)
        if self.is_sample:
            self.notes.append(sample_note(self.card.title.split(":")[0]))
        self._rows: dict[SplitName, NDArray[Any]] = {}
        self._ids: Sequence[str] = ()

    def _set_splits(self, rows: dict[SplitName, NDArray[Any]], ids: Sequence[str]) -> None:
        """Take the rows of each split, and every row's id.

        Raises:
            DatasetError: an id twice, a row in two splits, or an empty split.
        """
        where = str(self.folder)
        check_ids(where, ids)
        taken: set[int] = set()
        for name in SPLITS:
            part = rows[name].tolist()
            if not part:
                raise DatasetError(f"{where}: the {name} split is empty.")
            both = taken.intersection(part)
            if both or len(set(part)) < len(part):
                raise DatasetError(f"{where}: samples stand in two splits, or twice in {name}.")
            taken.update(part)
        self._rows, self._ids = rows, ids

    def sample_ids(self, name: SplitName) -> list[str]:
        return [self._ids[row] for row in self._rows[name]]

    def fingerprint(self) -> str:
        """A hash of every file of the card, of the splits and of the settings."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:  # many files take seconds, and every run asks
        from i2moe_plugin.benchmarks.data.convert import source_digest

        pickles = [f for f in self.card.files if f.is_pickle and f.found(self.folder)]
        others = [f for f in self.card.files if not f.is_pickle]
        found = digests(self.folder, [p for f in others for p in f.found(self.folder)])
        found |= {f.path: source_digest(self.folder / f.path) for f in pickles}
        facts = [sorted(found.items()), self.split_hash(), self._told()]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def _told(self) -> dict[str, Any]:
        """The constructor's settings that change the data; a child with settings overrides it."""
        return {}

    @classmethod
    def status(cls, root: Path | None) -> Status:
        folder = cls._folder(root)
        found = [path for file in cls.card.files for path in file.found(folder)]
        problems = missing_files(cls.card, folder)
        size = sum(path.stat().st_size for path in found)
        return Status(not problems, str(folder), size, tuple(problems))

    @classmethod
    def verify(cls, root: Path | None) -> list[str]:
        folder = cls._folder(root)
        problems = differences(cls.card, folder, sample=is_sample(folder))
        if not problems:
            try:
                cls(root)
            except DatasetError as error:
                problems.append(str(error))
        return problems

    @classmethod
    def _folder(cls, root: str | Path | None) -> Path:
        return Path("data", cls.name) if root is None else Path(root).expanduser()


class LazySplit(BatchSplit):
    """A split whose rows are read from disk, a batch at a time.

    Args:
        modalities: M arrays [N, ...] of all samples, on disk or in memory.
        target: [N] or [N, C], of all samples, in memory.
        rows: this split's.
        prepare: for each modality, what to make of a batch's rows [B, ...]; by default float32.
    """

    def __init__(
        self,
        modalities: Sequence[Rows],
        target: Tensor,
        rows: NDArray[Any],
        prepare: Sequence[Callable[[NDArray[Any]], Any]] | None = None,
    ) -> None:
        self.modalities, self.target, self.rows = modalities, target, np.asarray(rows)
        self.prepare = prepare or [single] * len(modalities)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indices: list[int]) -> tuple[Any, ...]:
        rows = self.rows[indices]
        columns = [
            make(array[rows]) for make, array in zip(self.prepare, self.modalities, strict=True)
        ]
        return (*columns, self.target[torch.from_numpy(rows)])


def single(values: NDArray[Any]) -> Tensor:
    """A batch's rows as a float32 tensor of its own."""
    return torch.from_numpy(np.array(values, dtype=np.float32))


def digest(path: Path) -> str:
    """The sha256 of a file.

    Raises:
        DatasetError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error}).") from error


def digests(folder: Path, paths: Iterable[Path]) -> dict[str, str]:
    """The sha256 of each file, by its path in the folder.

    Reading tens of gigabytes again at every run would take minutes: what was computed is kept in
    the cache folder, and taken while a file's size and time of change are the same.

    Raises:
        DatasetError: a file cannot be read.
    """
    from i2moe_plugin.benchmarks.data.frozen import cache_dir

    place = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    store = cache_dir() / "digests" / f"{place}.json"
    known: dict[str, list[Any]] = {}
    with suppress(OSError, ValueError):
        known = json.loads(store.read_text(encoding="utf-8"))
        known = known if isinstance(known, dict) else {}
    found: dict[str, list[Any]] = {}
    for path in paths:
        name = path.relative_to(folder).as_posix()
        state = path.stat()
        entry = known.get(name)
        now = [state.st_size, state.st_mtime_ns]
        if isinstance(entry, list) and entry[:2] == now and len(entry) == 3:
            found[name] = entry
        else:
            found[name] = [*now, digest(path)]
    if found != known:
        with suppress(OSError):  # a cache that cannot be written costs time alone
            store.parent.mkdir(parents=True, exist_ok=True)
            handle, aside = tempfile.mkstemp(dir=store.parent)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump({**known, **found}, file)
            os.replace(aside, store)
    return {name: str(entry[2]) for name, entry in found.items()}
