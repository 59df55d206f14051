"""Reading files that may be missing, damaged or hostile: values, or DatasetError, nothing else."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.formats.mistaken import mistaken_file
from i2moe_plugin.errors import DatasetError


class Rows(Protocol):
    """An array [N, ...] whose rows are read when asked for."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> Any: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Any: ...


LARGEST_TEXT = 2 << 30  # bytes of a table or a json file, which are held in memory


def is_file(path: Path) -> bool:
    """Whether a file is there: no folder, pipe or device, and no link that leads nowhere."""
    try:
        return path.is_file()
    except OSError:  # a name that is too long, a folder that may not be entered
        return False


def check_name(path: Path) -> os.stat_result | None:
    """Ask for a path; None where nothing is there.

    Raises:
        DatasetError: nothing can be there: a name that is too long, a link in a circle.
    """
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DatasetError(f"{_shown(path)}: cannot be read ({reason}).") from error


def _shown(path: Path) -> str:
    return str(path) if len(str(path)) < 400 else f"{str(path)[:200]}..."


def check_file(path: Path, kind: str = "file", largest: int | None = None) -> None:
    """Check that a file can be opened and is no larger than its kind may be.

    Args:
        path: the file.
        kind: what it is expected to be, for messages.
        largest: bytes; None: any size.

    Raises:
        DatasetError: there is none, something else is in its place, or it is too large.
    """
    name, facts = _shown(path), check_name(path)
    if facts is None:
        raise DatasetError(f"{name}: no such file.")
    if not stat.S_ISREG(facts.st_mode):
        what = "a folder" if stat.S_ISDIR(facts.st_mode) else "a pipe, a socket or a device"
        raise DatasetError(f"{name}: is {what}, not a {kind}.")
    if largest is not None and facts.st_size > largest:
        raise DatasetError(
            f"{name}: has {facts.st_size} bytes; a {kind} of more than {largest} is not read."
        )


@contextmanager
def reading(path: Path, kind: str = "file", largest: int | None = None) -> Iterator[None]:
    """Turn whatever a reader raises on a damaged file into a DatasetError that names it.

    Args:
        path, kind, largest: see :func:`check_file`.
    """
    check_file(path, kind, largest)
    try:
        yield
    except Exception as error:  # readers meet damage with nearly any exception
        instead = mistaken_file(path, kind)
        if isinstance(error, DatasetError) and instead in ("", "empty"):
            raise
        if instead:
            raise DatasetError(f"{path}: expected a {kind}, but it is {instead}.") from error
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, UnicodeDecodeError):
            reason = f"{reason[:200]}; it is not UTF-8: save it as UTF-8"
        raise DatasetError(f"{path}: not a readable {kind} ({reason[:300]}).") from error


def same_length(where: Path, arrays: Mapping[str, Rows | NDArray[Any]]) -> int:
    """Give the number of rows that all arrays have.

    Raises:
        DatasetError: they differ, or there are none.
    """
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} {count}" for name, count in lengths.items())
        raise DatasetError(f"{where}: the arrays differ in their number of rows: {said}.")
    count = next(iter(lengths.values()), 0)
    if not count:
        raise DatasetError(f"{where}: has no rows.")
    return count


def check_array(where: str, array: Any, shape: Sequence[int | str], kinds: str = "fiub") -> None:
    """Check that an array has numbers in the expected shape.

    Args:
        where: the file and the array, for messages.
        array: anything with ``shape`` and ``dtype``.
        shape: a number is that size; a word any size, above 0 unless it is the number of rows.
        kinds: numpy's letters of the kinds of numbers that are taken.
    """
    found = tuple(array.shape or ())
    fits = len(found) == len(shape) and all(
        size == wanted if isinstance(wanted, int) else size or not axis
        for axis, (size, wanted) in enumerate(zip(found, shape, strict=True))
    )
    if not fits or np.dtype(array.dtype).kind not in kinds:
        raise DatasetError(
            f"{where} is {array.dtype} {list(found)}; expected "
            f"{'floats' if kinds == 'f' else 'numbers'} [{', '.join(map(str, shape))}]."
        )


def check_finite(where: str, values: NDArray[Any]) -> None:
    """Raise DatasetError where there are NaN or infinite values, with the place of the first."""
    bad = ~np.isfinite(values)
    if bad.any():
        first = np.argwhere(bad)[0].tolist()
        raise DatasetError(
            f"{where} holds {int(bad.sum())} NaN or infinite values, the first at {first}."
        )


def single(values: NDArray[Any]) -> NDArray[np.float32]:
    """Give numbers in single precision, without a warning where one is too large for it."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.array(values, dtype=np.float32)


def finite_single(where: str, values: NDArray[Any]) -> NDArray[np.float32]:
    """Give numbers in single precision."""
    result = single(values)
    check_finite(where, result)
    return result


def check_ids(where: str, ids: Sequence[str]) -> None:
    """Raise DatasetError where an id stands twice."""
    seen: set[str] = set()
    twice = list(dict.fromkeys(i for i in ids if i in seen or seen.add(i)))  # type: ignore[func-returns-value]
    if twice:
        raise DatasetError(f"{where}: {len(twice)} ids are listed twice: {', '.join(twice[:5])}.")
