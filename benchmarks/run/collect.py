"""Finished runs as `explain` and `report` take them: found on disk, with their data if at hand.

Imports no torch until a data set is opened.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from i2moe_plugin.benchmarks.formats.reading import is_file
from i2moe_plugin.benchmarks.run.records import check_result, check_settings
from i2moe_plugin.benchmarks.run.store import MANIFEST, Run, RunStore
from i2moe_plugin.errors import ConfigError, I2MoEError, RunError, counted

if TYPE_CHECKING:
    from i2moe_plugin.benchmarks.data.open import OpenedDataset
    from i2moe_plugin.benchmarks.data.preview import Preview

#: What is read of a run beside its outputs; its weights, which may be large, are not looked at.
_READ = ("settings.json", "result.json", "environment.json", "metrics.jsonl")


@dataclass
class FoundRuns:
    """The finished, undamaged runs at some paths, and (name, reason) of the others."""

    runs: list[Run] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)


def find_runs(paths: Iterable[Path], *, required: bool = True) -> FoundRuns:
    """Find the runs at these paths: each is a run's directory, or a folder of runs.

    Args:
        paths: where to look.
        required: none at all is an error.

    Raises:
        RunError: a path that is no directory; or no finished run, with the reasons.
    """
    found = FoundRuns()
    seen: set[Path] = set()
    for path in paths:
        if is_file(path / MANIFEST):
            folders = [path]
        elif path.is_dir():
            folders = sorted(child.parent for child in path.glob(f"*/{MANIFEST}"))
            found.problems += [
                (name, "under way now" if active else "stopped before it was finished")
                for name, active in RunStore(path).unfinished().items()
            ]
            if required and not folders and not found.problems:
                raise RunError(f"{path}: no run and no folder of runs.")
        else:
            raise RunError(f"{path}: no such directory.")
        for folder in folders:
            place = Path(os.path.realpath(folder))  # also of a link in a circle
            if place in seen:
                continue
            seen.add(place)
            try:
                run = Run.load(folder)
                run.check([run.outputs_name, *_READ])
                check_settings(run.path, run.settings)
                check_result(run.path, run.result, run.history())
            except RunError as error:
                found.problems.append((folder.name, str(error)))
            else:
                found.runs.append(run)
    if required and not found.runs:
        reasons = "".join(f"\n  - {name}: {reason}" for name, reason in found.problems)
        raise RunError(f"no finished run to show.{reasons}")
    return found


def one_run(path: Path, method: str | None = None, seed: int | None = None) -> Run:
    """Return a finished run: the one at a path, or the one in a folder that is of these.

    Args:
        path: of a run's directory, or of a folder of runs.
        method, seed: of the run; None: any.

    Raises:
        RunError: none is there.
        ConfigError: there are several, or none is of these.
    """
    runs = find_runs([path]).runs
    found = [run for run in runs if method in (None, run.method) and seed in (None, run.seed)]
    if len(found) != 1:
        asked = " ".join(
            f"--{key} {value}"
            for key, value in (("method", method), ("seed", seed))
            if value is not None
        )
        count = counted(len(found), "run") if found else "no run"
        names = ", ".join(run.name for run in (found or runs)[:3])
        raise ConfigError(
            f"{path}: {count} of {asked or 'this folder'}, and one is needed: name its directory, "
            f"or its --method and --seed. For instance {names}."
        )
    return found[0]


def runs_of_other_seeds(run: Run, *, splits: bool = False) -> list[Run]:
    """Return the undamaged runs beside a run that differ from it in the seed alone, by seed.

    Where ``splits``, also those on other splits that were drawn anew as its own was.
    """
    alike = []
    for path in sorted(run.path.parent.glob(f"*/{MANIFEST}")):
        if path.parent == run.path:
            continue
        try:
            other = Run.load(path.parent)
            check_settings(other.path, other.settings)
            alone = splits or other.split == run.split
            if alone and (other.method, other.configuration) == (run.method, run.configuration):
                other.check([other.outputs_name, *_READ])
                check_result(other.path, other.result, other.history())
                alike.append(other)
        except RunError:
            continue
    return sorted(alike, key=lambda other: (other.split, other.seed))


class SampleViewer:
    """The test samples of a run's data set, for people.

    ``missing`` says why nothing can be shown, for instance since the data set is not at hand.
    """

    def __init__(self, run: Run, data_root: str | Path | None = None) -> None:
        self.missing = ""
        self._rows: dict[str, int] = {}
        self._data: OpenedDataset | None = None
        try:
            self._open(run, data_root or run.result.get("data_root"))
        except (I2MoEError, OSError) as error:
            self.missing = f"the data set {run.settings['dataset']} is not at hand: {error}"

    def _open(self, run: Run, root: str | Path | None) -> None:
        from i2moe_plugin.benchmarks.data.open import open_dataset

        data = open_dataset(
            run.settings["dataset"], root, split=run.split, **run.settings["data_settings"]
        )
        ids = data.sample_ids("test")
        if "splits" in run.settings:
            same = data.split_hash() == run.settings["splits"]
        else:  # format 1
            same = run.outputs("sample_id")["sample_id"].tolist() == ids
        if not same:
            self.missing = (
                f"the data set {data.name} at hand has other samples than the run was tested on"
            )
            return
        if run.settings.get("data", data.content_hash()) != data.content_hash():
            self.missing = (
                f"the data of {data.name} at hand are not those of the run: they have changed since"
            )
            return
        self._data = data
        self._rows = {name: row for row, name in enumerate(ids)}

    def show(self, sample_id: str) -> list[Preview]:
        """Return the sample's modalities; none where it is not at hand or not readable."""
        if self._data is None or sample_id not in self._rows:
            return []
        try:
            return self._data.preview("test", self._rows[sample_id])
        except (I2MoEError, OSError) as error:
            self.missing = f"a sample of {self._data.name} cannot be read: {error}"
            return []


def seeds_in(places: Iterable[int | str]) -> int:
    """Return how many seeds there are among places; one seed may be run on several splits.

    >>> seeds_in([0, 1, 2]), seeds_in(["1:0", "1:1", "2:0", "2:1"])
    (3, 2)
    """
    return len({str(place).rpartition(":")[2] for place in places})
