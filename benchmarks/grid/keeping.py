"""What is in a folder of runs, and what of it may go.

Removed is what is a run, or what a run left: finished runs by their manifest, unfinished ones by
their place, failures by their record. Links are never followed, and a run under way stays.
"""

from __future__ import annotations

import contextlib
import datetime
import re
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from i2moe_plugin.benchmarks.grid.failures import FAILED
from i2moe_plugin.benchmarks.run.files import disk_errors_explained, read_json
from i2moe_plugin.benchmarks.run.locks import hold, is_held, lock_file
from i2moe_plugin.benchmarks.run.store import MANIFEST, UNFINISHED, Run
from i2moe_plugin.errors import ConfigError, RunError

RunState = Literal["finished", "damaged", "unfinished", "under way", "failed"]
#: What ``--unfinished`` names.
LEFT_OVER: tuple[RunState, ...] = ("unfinished", "failed")
_NAME = re.compile(r"(?P<stem>.+)-seed(?P<seed>\d+)-[0-9a-f]{8}")
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*(min|h|d|w)")
_UNITS = {"min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@dataclass(frozen=True)
class KeptRun:
    """A run in a folder, finished or not.

    Attributes:
        path: its directory; of a failure, its record.
        state: what became of it.
        changed: when it was written, in seconds since 1970.
        size: bytes.
        dataset, fusion, method, seed: what it is of; empty or None where its name does not tell.
        split: the split that it was trained and tested on, where it is known.
        metric, value: what methods are compared by, on test data.
        reason: why it is damaged, or failed.
    """

    path: Path
    state: RunState
    changed: float
    size: int
    dataset: str = ""
    fusion: str = ""
    method: str = ""
    seed: int | None = None
    split: str | None = None
    metric: str = ""
    value: float | None = None
    reason: str = ""

    @property
    def name(self) -> str:
        """The name of the run."""
        return self.path.stem if self.state == "failed" else self.path.name

    def as_dict(self) -> dict[str, Any]:
        """Return it for ``--json``."""
        when = datetime.datetime.fromtimestamp(self.changed, datetime.UTC)
        what = ("dataset", "fusion", "method", "seed", "split")
        kept = (*what, "state", "size", "metric", "value", "reason")
        return {
            "name": self.name,
            "path": str(self.path),
            "changed": when.isoformat(timespec="seconds"),
            **{name: getattr(self, name) for name in kept},
        }


def read_age(text: str) -> float:
    """Read an age such as ``30d`` as seconds.

    Raises:
        ConfigError: it has another form.

    >>> read_age("12h"), read_age("2w")
    (43200.0, 1209600.0)
    """
    found = _AGE.fullmatch(text.strip())
    if found is None:
        raise ConfigError(f"{text!r} is no age; give a number with min, h, d or w, such as 30d.")
    return float(found[1]) * _UNITS[found[2]]


def kept_runs(folder: Path) -> list[KeptRun]:
    """Return all runs of a folder, by name; what is no run, or a link, is passed over.

    Raises:
        RunError: there is no such folder.
    """
    if not folder.is_dir():
        raise RunError(f"{folder}: no such folder of runs.")
    found = [_finished(path) for path in _folders(folder) if (path / MANIFEST).is_file()]
    for path in _folders(folder / UNFINISHED):
        state: RunState = "under way" if is_held(path) else "unfinished"
        found.append(_of_its_name(KeptRun(path, state, _changed(path), _size(path))))
    if not (folder / FAILED).is_symlink():
        found += [_failed(path) for path in (folder / FAILED).glob("*.json")]
    return sorted(found, key=lambda run: run.name)


def choose(
    runs: Iterable[KeptRun],
    *,
    datasets: Sequence[str] = (),
    fusions: Sequence[str] = (),
    methods: Sequence[str] = (),
    older_than: float | None = None,
    left_over: bool = False,
) -> list[KeptRun]:
    """Return the runs to which all of this applies.

    Args:
        runs: what there is.
        datasets, fusions, methods: names; any of them. None: all.
        older_than: seconds since a run was written.
        left_over: unfinished ones and failures alone.
    """
    latest = time.time() - older_than if older_than is not None else float("inf")
    datasets = [name for given in datasets for name in (given, _in_names(given))]
    return [
        run
        for run in runs
        if (not datasets or run.dataset in datasets)
        and (not fusions or run.fusion in fusions)
        and (not methods or run.method in methods)
        and run.changed <= latest
        and (not left_over or run.state in LEFT_OVER)
    ]


def as_run(path: Path) -> KeptRun:
    """Return the run of a path: a finished run's directory, or an unfinished one's.

    Raises:
        RunError: it is a link, no directory, or not a run's.
    """
    if path.is_symlink():
        raise RunError(f"{path}: a link; name the run's own directory.")
    path = path.absolute()
    name = path.name
    if path.is_dir() and path.parent.name == UNFINISHED and _NAME.fullmatch(name):
        state: RunState = "under way" if is_held(path) else "unfinished"
        return _of_its_name(KeptRun(path, state, _changed(path), _size(path)))
    if not path.is_dir() or name in ("", ".."):
        raise RunError(f"{path}: no such directory of a run.")
    Run.load(path)  # says what it is not
    return _finished(path)


def remove(run: KeptRun) -> None:
    """Remove a run.

    Raises:
        RunError: it is under way, or is not what it was; or cannot be removed.
    """
    with disk_errors_explained(run.path):
        if run.state == "failed":
            run.path.unlink(missing_ok=True)
            return
        if run.path.is_symlink() or not run.path.is_dir():
            raise RunError(f"{run.path}: no directory of a run any more.")
        if run.path.parent.name != UNFINISHED:
            if not (run.path / MANIFEST).is_file():
                raise RunError(f"{run.path}: no directory of a run any more.")
            shutil.rmtree(run.path)
            return
        lock = hold(run.path)
        if lock is None:
            raise RunError(f"{run.path}: a process is computing this run; end that first.")
        try:
            shutil.rmtree(run.path)
            with contextlib.suppress(OSError):
                lock_file(run.path).unlink()
        finally:
            lock.release()
        with contextlib.suppress(OSError):  # not empty
            run.path.parent.rmdir()


def _folders(folder: Path) -> list[Path]:
    """Return the directories in a folder that are no links, and not hidden."""
    if (folder.is_symlink() and folder.name == UNFINISHED) or not folder.is_dir():
        return []
    found = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(path for path in found if path.is_dir() and not path.is_symlink())


def _finished(path: Path) -> KeptRun:
    one = KeptRun(path, "finished", _changed(path / MANIFEST), _size(path))
    try:
        run = Run.load(path)
        settings, result = run.settings, run.result
        metric = str(result.get("headline") or result["metric"])
        value = result["test"].get(metric)
        return replace(
            one,
            dataset=str(settings["dataset"]),
            fusion=str(settings["fusion"]),
            method=str(settings["method"]),
            seed=run.seed,
            split=run.split,
            metric=metric,
            value=None if value is None else float(value),
        )
    except (RunError, KeyError, TypeError, ValueError, AttributeError) as error:
        return replace(_of_its_name(one), state="damaged", reason=str(error))


def _failed(path: Path) -> KeptRun:
    one = KeptRun(path, "failed", _changed(path), _size(path))
    try:
        record = read_json(path)
    except RunError as error:
        return replace(one, reason=str(error))
    seed = record.get("seed")
    return replace(
        one,
        dataset=str(record.get("dataset", "")),
        fusion=str(record.get("fusion", "")),
        method=str(record.get("method", "")),
        seed=seed if isinstance(seed, int) else None,
        reason=str(record.get("reason", "")),
    )


def _of_its_name(run: KeptRun) -> KeptRun:
    """Fill in what a run's name tells; nothing where it has parts that are not known here."""
    from i2moe_plugin.backbones.entry import backbones
    from i2moe_plugin.methods import METHODS

    found = _NAME.fullmatch(run.path.name)
    if found is None:
        return run
    rest, parts = found["stem"], []
    for names in (METHODS, backbones.names()):
        ends = [name for name in names if rest.endswith(f"-{_in_names(name)}")]
        if not ends:
            return run
        longest = max(ends, key=len)
        parts.append(longest)
        rest = rest[: -len(longest) - 1]
    method, fusion = parts
    return replace(run, dataset=rest, fusion=fusion, method=method, seed=int(found["seed"]))


def _in_names(name: str) -> str:
    """Return a name as it stands in that of a run's directory."""
    return name.replace(":", ".").replace("/", ".")


def _size(path: Path) -> int:
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.lstat().st_size for file in files if not file.is_dir() or file.is_symlink())


def _changed(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:  # gone since it was found
        return time.time()
