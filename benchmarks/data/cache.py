"""What is computed once and kept in the user's cache folder: digests of files, arrays by rows."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.formats.hdf5 import H5Array, open_hdf5
from i2moe_plugin.benchmarks.formats.hdf5_writing import writing_hdf5
from i2moe_plugin.benchmarks.formats.reading import Rows
from i2moe_plugin.errors import DatasetError

log = logging.getLogger(__name__)

#: Whether what is not kept may be computed; see :func:`nothing_computed`.
_may_compute: ContextVar[bool] = ContextVar("may_compute", default=True)
FORMAT = 1  # of the kept arrays' files; part of their key
BLOCK = 1 << 24  # bytes of an array that are looked at together


def cache_dir() -> Path:
    """The user's cache folder: ``$I2MOE_CACHE``, else ``i2moe-plugin`` in ``$XDG_CACHE_HOME``."""
    own = os.environ.get("I2MOE_CACHE")
    if own:
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "i2moe-plugin"


@contextmanager
def nothing_computed() -> Iterator[None]:
    """Write nothing into the cache folder in the block; rows that are not kept are an error."""
    before = _may_compute.set(False)
    try:
        yield
    finally:
        _may_compute.reset(before)


def digest(path: Path) -> str:
    """Return the sha256 of a file."""
    with _readable(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests(folder: Path, paths: Iterable[Path]) -> dict[str, str]:
    """Return the sha256 of each file, by its path in the folder.

    Reading tens of gigabytes again at every run would take minutes: what was computed is kept in
    the cache folder, and taken while a file's size and time of change are the same.
    """
    place = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    store = cache_dir() / "digests" / f"{place}.json"
    known: dict[str, list[Any]] = {}
    with suppress(OSError, ValueError):
        known = json.loads(store.read_text(encoding="utf-8"))
        known = known if isinstance(known, dict) else {}
    found: dict[str, list[Any]] = {}
    for path in paths:
        name = path.relative_to(folder).as_posix()
        with _readable(path):
            state = path.stat()
        entry, now = known.get(name), [state.st_size, state.st_mtime_ns]
        if isinstance(entry, list) and entry[:2] == now and len(entry) == 3:
            found[name] = entry
        else:
            found[name] = [*now, digest(path)]
    if found != known and _may_compute.get():
        with suppress(OSError):  # a cache that cannot be written costs time alone
            store.parent.mkdir(parents=True, exist_ok=True)
            handle, aside = tempfile.mkstemp(dir=store.parent)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump({**known, **found}, file)
            os.replace(aside, store)
    return {name: str(entry[2]) for name, entry in found.items()}


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error}).") from error


def digest_of(folder: Path, paths: Iterable[Path]) -> str:
    """Return one hash of files of the folder, in order."""
    return hashlib.sha256(json.dumps(list(digests(folder, paths).items())).encode()).hexdigest()


def kept_rows(
    name: str,
    count: int,
    compute: Callable[[], Iterator[NDArray[Any]]],
    key: Mapping[str, str],
    *,
    cache: bool = True,
) -> Rows:
    """Return an array [N, ...] that takes long to compute: kept before, or computed and kept.

    ``compute`` gives it in blocks of rows; ``key`` holds everything that decides it. It is never in
    memory as a whole, unless the cache folder cannot be written.

    Raises:
        DatasetError: it is not kept, inside :func:`nothing_computed`.
    """
    facts = {**key, "count": str(count), "format": str(FORMAT)}
    identity = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    path = cache_dir() / "features" / f"{name}-{identity[:16]}.h5"
    rows = _read(path, identity) if cache else None
    if rows is not None:
        return rows
    if not _may_compute.get():
        raise DatasetError(
            f"{name}: features of a frozen network are not kept yet; the first run computes them."
        )
    try:
        _write(path, identity, count, compute)
        return H5Array(path, "features")
    except OSError as error:
        log.warning(
            "features cannot be kept in %s (%s); they are held in memory, and will be computed "
            "again next time. Another folder is chosen with the environment variable I2MOE_CACHE.",
            path.parent,
            error,
        )
    return np.concatenate(list(compute()))


def _read(path: Path, identity: str) -> Rows | None:
    """Return what the file holds, if it is whole and was written for this key."""
    if not path.is_file():
        return None
    try:
        with open_hdf5(path) as file:
            key, content = file.attrs["key"], file.attrs["sha256"]
        rows = H5Array(path, "features")
        if key == identity and content == _hash(rows):
            return rows
        reason = "its content does not match its checksum"
    except DatasetError as error:
        reason = str(error)
    log.warning("%s is damaged and is computed again (%s).", path, reason)
    return None


def _write(
    path: Path, identity: str, count: int, compute: Callable[[], Iterator[NDArray[Any]]]
) -> None:
    """Write the file aside and rename it; raises OSError where the folder cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        content, done = hashlib.sha256(), 0
        with writing_hdf5(Path(aside)) as file:
            for block in compute():
                if not done:  # in one piece, uncompressed: rows are read at their place
                    array = file.create_dataset("features", (count, *block.shape[1:]), block.dtype)
                array[done : done + len(block)] = block
                content.update(block.tobytes())
                done += len(block)
            file.attrs["key"], file.attrs["sha256"] = identity, content.hexdigest()
        os.replace(aside, path)
    finally:
        with suppress(OSError):
            os.unlink(aside)


def _hash(rows: Rows) -> str:
    content = hashlib.sha256()
    step = max(1, BLOCK * len(rows) // max(1, int(np.prod(rows.shape)) * rows.dtype.itemsize))
    for start in range(0, len(rows), step):
        content.update(rows[start : start + step].tobytes())
    return content.hexdigest()
