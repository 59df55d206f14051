"""Finished runs as `explain` and `report` take them: found, grouped, with their data if at hand.

Imports no torch until a data set is opened.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from i2moe_plugin.benchmarks.run.store import MANIFEST, OUTPUTS, Run, RunStore
from i2moe_plugin.errors import I2MoEError, RunError

if TYPE_CHECKING:
    from i2moe_plugin.benchmarks.data.open import OpenedDataset
    from i2moe_plugin.benchmarks.data.preview import Preview
    from i2moe_plugin.interpretation import Outputs

#: What is read of a run; its weights, which may be large, are not looked at.
READ = (OUTPUTS, "settings.json", "result.json", "environment.json", "metrics.jsonl")
#: Of the settings, what differs between the runs of one comparison, or says where they ran.
NOT_COMPARED = ("method", "seed", "sources", "device", "workers", "threads")


@dataclass(frozen=True)
class Stored:
    """A finished run and what is read of it, each part once."""

    run: Run

    @property
    def name(self) -> str:
        """Of its directory."""
        return self.run.path.name

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Its settings, with the sources of their values."""
        return self.run.json("settings.json")

    @cached_property
    def result(self) -> dict[str, Any]:
        """Metrics, notes, names."""
        return self.run.json("result.json")

    @cached_property
    def outputs(self) -> Outputs:
        """Of every test sample."""
        return self.run.interpretable()

    @property
    def method(self) -> str:
        """``vanilla``, ``i2moe`` or another."""
        return str(self.settings["method"])

    @property
    def seed(self) -> int:
        """What the run derived from."""
        return int(self.settings["seed"])

    @cached_property
    def configuration(self) -> str:
        """Equal for the runs that may be compared: all settings but method and seed."""
        kept = {key: value for key, value in self.settings.items() if key not in NOT_COMPARED}
        return json.dumps(kept, sort_keys=True)


@dataclass
class Found:
    """What there is at some paths.

    Attributes:
        runs: finished and undamaged.
        problems: (name, reason) of what is not.
    """

    runs: list[Stored] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)


def find_runs(paths: Iterable[Path]) -> Found:
    """The runs at these paths: each a run's directory, or a folder of runs.

    Raises:
        RunError: a path that is neither, or no finished run at all.
    """
    found = Found()
    seen: set[Path] = set()
    for path in paths:
        if (path / MANIFEST).is_file():
            folders = [path]
        elif path.is_dir():
            folders = sorted(child.parent for child in path.glob(f"*/{MANIFEST}"))
            found.problems += [
                (name, "under way now" if active else "stopped before it was finished")
                for name, active in RunStore(path).unfinished().items()
            ]
            if not folders and not found.problems:
                raise RunError(f"{path}: no run and no folder of runs.")
        else:
            raise RunError(f"{path}: no such directory.")
        for folder in folders:
            if folder.resolve() in seen:
                continue
            seen.add(folder.resolve())
            try:
                stored = Stored(Run.load(folder, only=READ))
                assert stored.settings["method"], stored.result["task"]
            except RunError as error:
                found.problems.append((folder.name, str(error)))
            else:
                found.runs.append(stored)
    if not found.runs:
        reasons = "".join(f"\n  - {name}: {reason}" for name, reason in found.problems)
        raise RunError(f"no finished run to show.{reasons}")
    return found


def siblings(stored: Stored) -> list[Stored]:
    """The undamaged runs beside it that differ from it in the seed alone, by seed."""
    alike = []
    for path in sorted(stored.run.path.parent.glob(f"*/{MANIFEST}")):
        if path.parent == stored.run.path:
            continue
        try:
            other = Stored(Run.load(path.parent, only=(OUTPUTS, "settings.json", "result.json")))
        except RunError:
            continue
        if other.method == stored.method and other.configuration == stored.configuration:
            alike.append(other)
    return sorted(alike, key=lambda other: other.seed)


class Samples:
    """The test samples of a run's data set, for people; empty-handed where it is not at hand.

    Args:
        stored: the run.
        data_root: where the data set lies; where it lay when the run was made by default.

    Attributes:
        missing: why nothing can be shown; empty where it can.
    """

    def __init__(self, stored: Stored, data_root: str | Path | None = None) -> None:
        self.missing = ""
        self._rows: dict[str, int] = {}
        self._data: OpenedDataset | None = None
        try:
            self._open(stored, data_root or stored.result.get("data_root"))
        except (I2MoEError, OSError) as error:
            self.missing = f"the data set {stored.settings['dataset']} is not at hand: {error}"

    def _open(self, stored: Stored, root: str | Path | None) -> None:
        from i2moe_plugin.benchmarks.data.open import open_dataset

        data = open_dataset(stored.settings["dataset"], root, **stored.settings["data_settings"])
        if data.split_hash() != stored.settings.get("splits"):
            self.missing = (
                f"the data set {data.name} at hand has other samples than the run was tested on"
            )
            return
        self._data = data
        self._rows = {name: row for row, name in enumerate(data.sample_ids("test"))}

    def show(self, sample_id: str) -> list[Preview]:
        """The sample's modalities; none where it is not at hand or not readable."""
        if self._data is None or sample_id not in self._rows:
            return []
        try:
            return self._data.preview("test", self._rows[sample_id])
        except (I2MoEError, OSError) as error:
            self.missing = f"a sample of {self._data.name} cannot be read: {error}"
            return []


def printable(text: str, limit: int | None = None) -> str:
    """Text from a data set without what would steer a terminal or turn the reading direction.

    >>> printable("a\\x1b[31mb")
    'a�[31mb'
    """
    clean = "".join(
        character if character in "\n\t\u200d" or unicodedata.category(character)[0] != "C" else "�"
        for character in text
    )
    return clean if limit is None or len(clean) <= limit else f"{clean[: limit - 1]}…"


def in_words(names: Sequence[str], limit: int = 10) -> str:
    """Names in a sentence, the first few of them."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
