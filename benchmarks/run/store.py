"""Run directories: written aside, renamed into place when finished, never half-read.

<runs>/<name>/                  a finished run; its manifest lists each file with its sha256
<runs>/.unfinished/<name>/      one that is under way or was stopped; goes on from its last state,
                                or, where its manifest is there, is only put in its place
<runs>/.unfinished/<name>.lock  held by the process that computes it
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from numpy.typing import NDArray

from i2moe_plugin.benchmarks.data.splits import OWN_SPLIT
from i2moe_plugin.benchmarks.formats.reading import is_file
from i2moe_plugin.benchmarks.run.files import (
    disk_errors_explained,
    read_json,
    sha256_of,
    write_json,
)
from i2moe_plugin.benchmarks.run.locks import hold, is_held, lock_file
from i2moe_plugin.benchmarks.run.outputs import OUTPUTS, read_outputs, task_of_outputs
from i2moe_plugin.errors import ConfigError, RunError, ShapeError

if TYPE_CHECKING:
    from i2moe_plugin.interpretation import Outputs

MANIFEST = "manifest.json"
#: The format that is written; all of :data:`OUTPUTS` are read.
FORMAT = 2
UNFINISHED = ".unfinished"
#: The calibrations of a run of the evidence method.
EVIDENCE = "evidence.json"
#: The last state of a run under way, and the one before it; no part of a finished run.
STATES = ("state.safetensors", "state.previous.safetensors")
#: Settings that differ between the runs of one comparison, or say where a run came from.
_NOT_COMPARED = {"method", "seed", "sources", "device", "workers", "threads", "force_precision"}
_NOT_COMPARED |= {"strategy"}


def place_of(split: str, seed: int) -> int | str:
    """Return what tells a run from others of its kind: its seed, after the split drawn anew.

    >>> place_of("own", 3), place_of("2of5", 3)
    (3, '2of5:3')
    """
    return seed if split == OWN_SPLIT else f"{split}:{seed}"


@dataclass(frozen=True)
class Run:
    """A finished run on disk. A file is compared with the manifest when it is first read.

    Attributes:
        path: its directory.
        manifest: format, identity, and each file's sha256 and size.
    """

    path: Path
    manifest: Mapping[str, Any] = field(repr=False)
    _checked: set[str] = field(default_factory=set, repr=False, compare=False)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Open a finished run; nothing but its manifest is read.

        Raises:
            RunError: there is no manifest, or one of a format that is not known.
        """
        manifest = read_json(path / MANIFEST)
        known = " or ".join(map(str, OUTPUTS))
        if manifest.get("format") not in list(OUTPUTS) or not isinstance(
            manifest.get("files"), dict
        ):
            raise RunError(f"{path / MANIFEST}: not a manifest of format {known}.")
        return cls(path, manifest)

    def check(self, names: Iterable[str] | None = None) -> Self:
        """Compare files with the manifest, each of them once.

        Args:
            names: the files; all of the manifest's by default.

        Raises:
            RunError: a file that is missing, not in the manifest, or not the one it describes.
        """
        files = self.manifest["files"]
        for name in files if names is None else names:
            if name in self._checked:
                continue
            file = self.path / name
            if name not in files:
                raise RunError(f"{self.path}: its manifest lists no {name}.")
            if Path(name).name != name or file.is_symlink():
                raise RunError(f"{self.path}: {name[:100]} is no file in the run's own folder.")
            if not is_file(file):
                raise RunError(
                    f"{self.path}: {name[:100]} is missing, although the manifest lists it."
                )
            if {"size": file.stat().st_size, "sha256": sha256_of(file)} != files[name]:
                raise RunError(f"{self.path}: {name} is not the file the manifest describes.")
            self._checked.add(name)
        return self

    def file(self, name: str) -> Path:
        """Return the path of a file that is as the manifest describes it.

        Raises:
            RunError: see :meth:`check`.
        """
        self.check([name])
        return self.path / name

    def json(self, name: str) -> dict[str, Any]:
        """Read one of ``settings.json``, ``environment.json``, ``result.json``.

        Raises:
            RunError: see :meth:`check`, or the file is not readable.
        """
        return read_json(self.file(name))

    def history(self) -> list[dict[str, Any]]:
        """Read the records of all epochs, in order.

        Raises:
            RunError: see :meth:`check`, or the file is not readable.
        """
        path = self.file("metrics.jsonl")
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            records = [json.loads(line) for line in lines]
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"{path}: not readable ({error}).") from error
        if not all(isinstance(record, dict) for record in records):
            raise RunError(f"{path}: an object a line was expected.")
        return records

    @property
    def files(self) -> frozenset[str]:
        """The names of its files."""
        return frozenset(self.manifest["files"])

    @property
    def outputs_name(self) -> str:
        """The name of the file that holds the outputs."""
        return OUTPUTS[self.manifest["format"]]

    def outputs(
        self, *names: str, rows: slice | NDArray[Any] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Read outputs on test samples; of HDF5 nothing but the columns and rows asked for.

        Args:
            names: of prediction [N, C], target [N] or [N, C], sample_id [N]; for I2MoE also
                expert_outputs [N, E, C] and weights [N, E]; for evidence also model_outputs
                [N, models, C]. All there are by default.
            rows: which samples; increasing positions, or a slice.

        Raises:
            RunError: see :meth:`check`, or the file is not readable, or has no such column.
        """
        return read_outputs(self.file(self.outputs_name), names, rows)

    def interpretable(self, rows: slice | NDArray[Any] | None = None) -> Outputs:
        """Read the outputs as :mod:`i2moe_plugin.interpretation` takes them.

        Args:
            rows: see :meth:`outputs`; all of them are read once and kept.

        Raises:
            RunError: the outputs or the result are not readable, or do not belong together.
        """
        return self._all_outputs if rows is None else self._interpretable(rows)

    @cached_property
    def _all_outputs(self) -> Outputs:
        return self._interpretable(None)

    def _interpretable(self, rows: slice | NDArray[Any] | None) -> Outputs:
        from i2moe_plugin.benchmarks.run.records import check_values
        from i2moe_plugin.interactions.fitted import Fitted
        from i2moe_plugin.interpretation import Outputs, Probe
        from i2moe_plugin.tasks import task_from

        result = self.result
        columns: dict[str, Any] = {**self.outputs(rows=rows)}
        try:
            task = task_from(result["task"]) if "task" in result else task_of_outputs(columns)
            if EVIDENCE in self.files:
                record = self.json(EVIDENCE)
                columns["fitted"] = Fitted.read(task, record)
                columns["probes"] = tuple(Probe(**one) for one in record["probes"])
            found = Outputs(
                task=task,
                class_names=tuple(result["class_names"]),
                modalities=tuple(result["modalities"]),
                experts=tuple(result.get("expert_weights", ())),
                **columns,
            )
            check_values(found)
            return found
        except (ConfigError, ShapeError, LookupError, TypeError, ValueError) as error:
            raise RunError(f"{self.path}: not a run's outputs ({error}).") from error

    @property
    def name(self) -> str:
        """The name of its directory."""
        return self.path.name

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Its settings, with the sources of their values."""
        return self.json("settings.json")

    @cached_property
    def result(self) -> dict[str, Any]:
        """Its test metrics, costs, notes, and the names of classes and modalities."""
        return self.json("result.json")

    @property
    def method(self) -> str:
        """The name of its method, such as ``vanilla`` or ``i2moe``."""
        return str(self.settings["method"])

    @property
    def seed(self) -> int:
        """The seed that everything random in it derives from."""
        return int(self.settings["seed"])

    @property
    def split(self) -> str:
        """The split that it was trained and tested on: ``own``, or one that was drawn anew."""
        return str(self.settings.get("split", OWN_SPLIT))

    @property
    def place(self) -> int | str:
        """What tells it from the runs that it is averaged with: its seed; ``SPLIT:SEED``."""
        return place_of(self.split, self.seed)

    @cached_property
    def configuration(self) -> str:
        """All settings but method and seed: equal for the runs that may be compared.

        Of splits that were drawn anew it is the kind alone: which of them is as the seed is.
        """
        kept = {key: value for key, value in self.settings.items() if key not in _NOT_COMPARED}
        kept.setdefault("devices", 1)  # runs of earlier versions know of no others
        if kept.pop("split", OWN_SPLIT) != OWN_SPLIT:
            del kept["splits"]
            kept["split"] = self.split.partition("of")[2]
        return json.dumps(kept, sort_keys=True)


class RunStore:
    """The runs under one folder.

    Args:
        folder: created when the first run is written.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser()

    def find(self, name: str) -> Run | None:
        """Return the finished run of that name with all its files checked, or None.

        Raises:
            RunError: a directory of that name is damaged.
        """
        path = self.folder / name
        return Run.load(path).check() if path.exists() else None

    def __iter__(self) -> Iterator[Run]:
        """Go through all finished runs, by name."""
        for path in sorted(self.folder.glob(f"*/{MANIFEST}")):
            yield Run.load(path.parent)

    def unfinished(self) -> dict[str, bool]:
        """Return the runs that were begun and not finished, and whether each is under way now."""
        folder = self.folder / UNFINISHED
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
        paths = [path for path in paths if path.is_dir() and not path.name.startswith(".")]
        return {path.name: is_held(path) for path in paths}

    @contextlib.contextmanager
    def writing(self, name: str, identity: str, *, fresh: bool = False) -> Iterator[Path | None]:
        """Give a directory to write one run into; it is renamed into place when the block ends.

        It holds what an earlier, stopped attempt left, unless ``fresh``. A finished run of the
        same name is replaced at the very end, not before. A block that ends with an error leaves
        the directory as it is, for the next attempt.

        Args:
            name: the run's directory.
            identity: the run's.
            fresh: write it even where it is finished.

        Yields:
            the directory; None where nothing is left to do: the run was finished meanwhile, or by
            an attempt that was killed before it could put it in its place.

        Raises:
            RunError: the folder cannot be written, is full, or another process writes this run.
        """
        aside, final = self.folder / UNFINISHED / name, self.folder / name
        with disk_errors_explained(aside):
            lock = hold(aside)
        if lock is None:
            raise RunError(
                f"{aside}: another process is computing this run. Wait until it has finished, or "
                "choose another folder with --out."
            )
        try:
            with disk_errors_explained(aside):
                _clear(aside, final, fresh)
                done = _is_whole(aside, identity)
                if done:
                    _put_in_place(aside, final)
                if done or (not fresh and _is_whole(final, identity)):
                    yield None
                    return
                aside.mkdir(exist_ok=True)
                (aside / MANIFEST).unlink(missing_ok=True)
            yield aside
            with disk_errors_explained(aside):
                _describe(aside, identity)
                _put_in_place(aside, final)
        finally:
            if not aside.exists():
                # Before another process can hold it. Where an open file cannot go, it stays.
                with contextlib.suppress(OSError):
                    lock_file(aside).unlink()
            lock.release()
            with contextlib.suppress(OSError):  # not empty: other runs are under way
                aside.parent.rmdir()


def _clear(aside: Path, final: Path, fresh: bool) -> None:
    """Remove what killed processes left, and with ``fresh`` what a stopped one did."""
    old = _replaced(final)
    if old.exists() and not final.exists():
        old.rename(final)
    for replaced in aside.parent.glob(_replaced(Path("*")).name):
        if _replaces(replaced).exists():
            shutil.rmtree(replaced, ignore_errors=True)
    if fresh:
        shutil.rmtree(aside, ignore_errors=True)
    for half in aside.glob(".*"):
        half.unlink()


def _replaced(final: Path) -> Path:
    """Return where a finished run stays for the moment in which another takes its place."""
    return final.parent / UNFINISHED / f".{final.name}.old"


def _replaces(old: Path) -> Path:
    """Return the finished run whose place it had; see :func:`_replaced`."""
    return old.parent.parent / old.name.removeprefix(".").removesuffix(".old")


def _describe(aside: Path, identity: str) -> None:
    """Write the manifest of a run whose files are all there: from here on it is whole."""
    files = {}
    for file in sorted(aside.iterdir()):
        if file.name not in (MANIFEST, *STATES):
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
            files[file.name] = {"sha256": sha256_of(file), "size": file.stat().st_size}
    write_json(aside / MANIFEST, {"format": FORMAT, "identity": identity, "files": files})


def _is_whole(path: Path, identity: str) -> bool:
    """Whether a directory holds a finished, undamaged run of that identity."""
    try:
        return Run.load(path).check().manifest.get("identity") == identity
    except RunError:
        return False


def _put_in_place(aside: Path, final: Path) -> None:
    """Rename a run that is whole into its place."""
    for name in STATES:
        (aside / name).unlink(missing_ok=True)
    old = _replaced(final)
    if final.exists():  # replaced by --fresh, or damaged
        final.rename(old)
    aside.rename(final)
    shutil.rmtree(old, ignore_errors=True)
