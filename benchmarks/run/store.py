"""Run directories: written aside, renamed into place when finished, never half-read.

<runs>/<name>/             a finished run; its manifest lists every file with its sha256
<runs>/.unfinished/<name>/ one that is under way or was stopped; goes on from its last state
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.errors import ConfigError, RunError, ShapeError

if TYPE_CHECKING:
    from i2moe_plugin.interpretation import Outputs

MANIFEST = "manifest.json"
LOCK = ".lock"
FORMAT = 2
OUTPUTS = "outputs.h5"
#: Rows of outputs that are read and checked at once.
CHUNK = 1024


@dataclass(frozen=True)
class Run:
    """A finished run on disk; files are read when they are asked for.

    Attributes:
        path: its directory.
        manifest: format, identity, and each file's sha256 and size.
    """

    path: Path
    manifest: Mapping[str, Any]

    @classmethod
    def load(cls, path: Path, only: Collection[str] | None = None) -> Run:
        """Open a finished run and check its files against the manifest.

        Args:
            path: its directory.
            only: the files to check; all by default. Weights may be large.

        Raises:
            RunError: no manifest, or a file that is missing or differs from it.
        """
        manifest = _read_json(path / MANIFEST)
        if manifest.get("format") != FORMAT or not isinstance(manifest.get("files"), dict):
            raise RunError(
                f"{path / MANIFEST}: not a manifest of format {FORMAT}; a run of another version "
                "has to be run again."
            )
        for name, facts in manifest["files"].items():
            if only is not None and name not in only:
                continue
            file = path / name
            if not file.is_file():
                raise RunError(f"{path}: {name} is missing, although the manifest lists it.")
            if file.stat().st_size != facts["size"] or _sha256(file) != facts["sha256"]:
                raise RunError(f"{path}: {name} is not the file the manifest describes.")
        return cls(path, manifest)

    def json(self, name: str) -> dict[str, Any]:
        """One of ``settings.json``, ``environment.json``, ``result.json``."""
        return _read_json(self.path / name)

    def history(self) -> list[dict[str, Any]]:
        """The records of all epochs, in order."""
        text = (self.path / "metrics.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    def outputs(
        self, *names: str, rows: slice | NDArray[Any] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Per-sample test outputs; nothing but the columns and rows asked for is read.

        Args:
            names: of prediction [N, C], target [N] or [N, C], sample_id [N]; for I2MoE also
                expert_outputs [N, E, C] and weights [N, E]. All there are by default.
            rows: which samples; increasing positions, or a slice.

        Raises:
            RunError: the file is not readable, or has no such column.
        """
        import h5py

        path = self.path / OUTPUTS
        try:
            with h5py.File(path, "r", locking=False) as file:
                missing = [name for name in names if name not in file]
                if missing:
                    raise RunError(f"{path}: no {', '.join(missing)}; it holds {', '.join(file)}.")
                chosen = slice(None) if rows is None else rows
                return {name: _read_column(file[name], chosen) for name in names or file}
        except OSError as error:
            raise RunError(f"{path}: not readable ({error}).") from error

    def interpretable(self, rows: slice | NDArray[Any] | None = None) -> Outputs:
        """The outputs as :mod:`i2moe_plugin.interpretation` takes them.

        Args:
            rows: see :meth:`outputs`.

        Raises:
            RunError: the outputs or the result are not readable, or do not belong together.
        """
        from i2moe_plugin.interpretation import Outputs
        from i2moe_plugin.tasks import task_from

        result = self.json("result.json")
        try:
            return Outputs(
                task=task_from(result["task"]),
                class_names=tuple(result["class_names"]),
                modalities=tuple(result["modalities"]),
                experts=tuple(result.get("expert_weights", ())),
                **self.outputs(rows=rows),
            )
        except (ConfigError, ShapeError, KeyError, TypeError) as error:
            raise RunError(f"{self.path}: not a run's outputs ({error}).") from error


class RunStore:
    """The runs under one folder.

    Args:
        folder: created when the first run is written.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser()

    def find(self, name: str) -> Run | None:
        """The finished run of that name, or None.

        Raises:
            RunError: a directory of that name is damaged.
        """
        path = self.folder / name
        return Run.load(path) if path.exists() else None

    def unfinished(self) -> dict[str, bool]:
        """The runs that were begun and not finished, and of each whether it is under way now."""
        folder = self.folder / ".unfinished"
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
        return {path.name: _locked(path / LOCK) for path in paths if (path / LOCK).exists()}

    def __iter__(self) -> Iterator[Run]:
        """All finished runs, by name."""
        if self.folder.is_dir():
            for path in sorted(self.folder.iterdir()):
                if (path / MANIFEST).is_file():
                    yield Run.load(path)

    @contextlib.contextmanager
    def writing(self, name: str, identity: str, *, fresh: bool = False) -> Iterator[Path]:
        """A directory to write one run into; renamed into place when the block ends without error.

        What an earlier, stopped attempt left is in the directory, unless ``fresh``. A finished run
        of the same name is replaced at the very end, not before.

        Raises:
            RunError: the folder cannot be written, is full, or another process writes this run.
        """
        aside = self.folder / ".unfinished" / name
        with explained(aside):
            aside.mkdir(parents=True, exist_ok=True)
            lock = (aside / LOCK).open("w", encoding="utf-8")
        with lock:
            with explained(aside):
                _lock(lock, aside)
                if fresh:
                    for file in aside.iterdir():
                        if file.name != LOCK:
                            file.unlink()
            yield aside
            with explained(aside):
                self._finish(aside, self.folder / name, identity)

    def _finish(self, aside: Path, final: Path, identity: str) -> None:
        files = {
            file.name: {"sha256": _sha256(file), "size": file.stat().st_size}
            for file in sorted(aside.iterdir())
            if file.name != LOCK
        }
        write_json(aside / MANIFEST, {"format": FORMAT, "identity": identity, "files": files})
        for file in aside.iterdir():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
        if final.exists():  # replaced by --fresh, or damaged
            old = aside.with_name(f"{final.name}.old")
            shutil.rmtree(old, ignore_errors=True)
            final.rename(old)
            aside.rename(final)
            shutil.rmtree(old, ignore_errors=True)
        else:
            aside.rename(final)
        (final / LOCK).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty: other runs are under way
            aside.parent.rmdir()


def write_outputs(folder: Path, columns: Mapping[str, NDArray[Any]]) -> None:
    """Write per-sample outputs as :meth:`Run.outputs` reads them: a column a data set, in rows.

    Raises:
        RunError: the file cannot be written.
    """
    import h5py

    with explained(folder), h5py.File(folder / OUTPUTS, "w") as file:
        for name, values in columns.items():
            text = values.dtype.kind in "UO"
            file.create_dataset(
                name,
                data=values.astype(object) if text else values,
                dtype=h5py.string_dtype() if text else values.dtype,
                chunks=(min(max(len(values), 1), CHUNK), *values.shape[1:])
                if len(values)
                else None,
                compression="gzip" if len(values) else None,
                compression_opts=1 if len(values) else None,
                shuffle=not text and len(values) > 0,
            )


def write_json(path: Path, value: Any) -> None:
    """Write JSON through a neighbouring file, so that a reader never sees half of it.

    NaN and infinity, which JSON has no words for, become null.
    """
    with explained(path):
        aside = path.with_name(f".{path.name}.tmp")
        aside.write_text(
            json.dumps(plain(value), indent=1, allow_nan=False) + "\n", encoding="utf-8"
        )
        aside.replace(path)


def plain(value: Any) -> Any:
    """The value with everything JSON has no words for made into something it has."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an operating system error into a :class:`RunError` that says what to do.

    Raises:
        RunError: in place of any OSError inside the block.
    """
    try:
        yield
    except OSError as error:
        advice = {
            errno.ENOSPC: " Free some space; the same command then goes on.",
            errno.EDQUOT: " The quota is used up; free some space.",
            errno.EACCES: " Choose a folder you may write with --out.",
            errno.EROFS: " Choose a folder you may write with --out.",
            errno.ENOTDIR: " Choose another folder with --out.",
        }.get(error.errno or 0, "")
        raise RunError(f"cannot write {path}: {error.strerror or error}.{advice}") from error


def _lock(file: IO[str], aside: Path) -> None:
    """Hold a run under way for this process; the kernel lets go when it ends, however it ends."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            return  # a file system without locks
        raise RunError(f"{aside}: another process is computing this run.") from error
    current = aside / LOCK
    if not current.exists() or current.stat().st_ino != os.fstat(file.fileno()).st_ino:
        raise RunError(f"{aside}: another process has just finished this run; start again.")


def _locked(lock: Path) -> bool:
    """Whether another process holds it."""
    with contextlib.suppress(OSError), lock.open(encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _read_column(column: Any, rows: slice | NDArray[Any]) -> NDArray[Any]:
    """A column's rows; text as str."""
    values = np.asarray(column[rows])
    if values.dtype.kind != "O":
        return values
    return np.array([text.decode("utf-8") for text in values], dtype=str)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(f"{path}: no such file; this is not a finished run.") from error
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: not readable ({error}).") from error
    if not isinstance(value, dict):
        raise RunError(f"{path}: an object was expected.")
    return value


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
