"""Files of runs and tables: JSON, hashes, and what the disk's errors mean."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from i2moe_plugin.errors import RunError

_ADVICE = {
    errno.ENOSPC: " Free some space; the same command then goes on.",
    errno.EDQUOT: " The quota is used up; free some space.",
    errno.EACCES: " Choose a folder you may write with --out.",
    errno.EROFS: " Choose a folder you may write with --out.",
    errno.ENOTDIR: " Choose another folder with --out.",
}


@contextlib.contextmanager
def disk_errors_explained(path: Path) -> Iterator[None]:
    """Turn an OSError in the block, which writes ``path``, into one that says what to do."""
    try:
        yield
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, "")
        raise RunError(f"cannot write {path}: {error.strerror or error}.{advice}") from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a neighbouring file to write, which takes the place of a file when the block ends.

    So a reader never sees half of a file, and two processes may write the same one. A block that
    ends with an error leaves the file as it was, and takes no room on a full disk.

    Raises:
        RunError: in place of any OSError.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with disk_errors_explained(path):
        try:
            yield aside
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> Path:
    """Write a file whole; see :func:`replacing`.

    Raises:
        RunError: the file cannot be written.
    """
    with replacing(path) as aside:
        aside.write_text(text, encoding="utf-8")
    return path


def write_json(path: Path, value: Any) -> None:
    """Write JSON as :func:`write_text` writes, in a folder that is made where there is none."""
    with disk_errors_explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(json_ready(value), indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        RunError: the file is not there, not readable, or holds something else.
    """
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise RunError(f"{path}: not a file.")
    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except FileNotFoundError as error:
        raise RunError(f"{path}: no such file; this is not a finished run.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path}: not readable ({error}).") from error
    if not isinstance(value, dict):
        raise RunError(f"{path}: an object was expected.")
    return value


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


def json_ready(value: Any) -> Any:
    """Return the value with everything that JSON lacks made into something that it has.

    NaN and infinity become null, tuples lists, numpy's numbers Python's, and keys text.

    >>> json_ready({1: (float("nan"), True)})
    {'1': [None, True]}
    """
    if isinstance(value, Mapping):
        return {str(key): json_ready(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(item) for item in value]
    if isinstance(value, np.generic):
        return json_ready(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
