"""What the process does with freed memory, and what is said where there is no more of it.

A training step allocates the same tensors again and again. glibc hands large ones back to the
kernel when they are freed, and gets them anew, page by page and zeroed, at the next step: a quarter
of a transformer's step in a virtual machine.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from i2moe_plugin.errors import RunError

#: Where Linux shows control groups.
GROUPS = Path("/sys/fs/cgroup")
# Of glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, and use it again.

    For a process that trains on a CPU: its size then stays at its peak until it ends. Nothing but
    speed changes. Settings in the environment (``MALLOC_TRIM_THRESHOLD_``) are overruled.

    Returns:
        Whether it could be arranged: glibc only.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, another system
        return False
    # The largest threshold that this version takes; larger blocks are still handed back.
    taken = any(mallopt(_MMAP_THRESHOLD, size) for size in (1 << 30, 1 << 25))
    return bool(taken and mallopt(_TRIM_THRESHOLD, (1 << 31) - 1) and mallopt(_TOP_PAD, 1 << 26))


@contextmanager
def memory_errors_explained(what: str, advice: str) -> Iterator[None]:
    """Turn what torch, Python and drivers raise for want of memory into one that says what to do.

    Args:
        what: needs the memory, such as ``this run``.
        advice: what to do about it, in a sentence.

    Raises:
        RunError: in place of these errors alone. It is none of the method: there may be more memory
            the next time.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not tells_of_memory(error):
            raise
        said = " ".join(str(error).split())[:200]
        raise RunError(
            f"{what} needs more memory than there is. {advice}"
            + (f" ({type(error).__name__}: {said})" if said else "")
        ) from error


def tells_of_memory(error: BaseException) -> bool:
    """Return whether an error tells of memory; torch's of a CPU are of no type of their own."""
    words = str(error).lower()
    return isinstance(error, MemoryError) or any(
        told in words
        for told in ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc")
    )


def free_memory() -> int | None:
    """Return how many bytes this process may still take without harm; None where nothing tells.

    It is what the system has left without swapping, or less where a control group (a container, a
    job of Slurm) has less left. Linux alone tells.
    """
    left = [kilobytes * 1024 for kilobytes in _kilobytes("/proc/meminfo", "MemAvailable")]
    with suppress(OSError):
        own = re.search(r"^0::/(.*)$", Path("/proc/self/cgroup").read_text(), re.MULTILINE)
        group = GROUPS / (own[1] if own else "")
        for folder in (group, *group.parents):
            if folder.is_relative_to(GROUPS):
                left += _left_to_group(folder)
    return min(left, default=None)


@contextmanager
def bounded_memory(most: int | None) -> Iterator[None]:
    """Let this process take so many bytes more than it has, and no more, within the block.

    Past that an allocation fails, as it does where there is no memory.

    Args:
        most: None: as many as there are.
    """
    has = _kilobytes("/proc/self/status", "VmData")
    if sys.platform == "win32" or most is None or not has:
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bound = has[0] * 1024 + most
    chosen = [limit for limit in (bound, soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(chosen), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _left_to_group(folder: Path) -> list[int]:
    """Return how many bytes a control group (cgroup v2) has left; nothing where it has no bound."""
    try:
        most, taken = (int((folder / f"memory.{name}").read_text()) for name in ("max", "current"))
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # "max"
        return []
    # What is cached of files is given back when memory is asked for.
    return [max(most - taken + int(stat.get("inactive_file", 0)), 0)]


def _kilobytes(file: str, name: str) -> list[int]:
    """Read a number out of one of Linux's tables; nothing where there is none."""
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB$", Path(file).read_text(), re.MULTILINE)
    except OSError:
        return []
    return [] if found is None else [int(found[1])]
