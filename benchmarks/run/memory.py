"""What the process does with freed memory, and what is said where there is no more of it.

A training step allocates the same tensors again and again. glibc hands large ones back to the
kernel when they are freed, and gets them anew, page by page and zeroed, at the next step: a quarter
of a transformer's step in a virtual machine.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

from i2moe_plugin.errors import RunError

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
        if not _is_of_memory(error):
            raise
        said = " ".join(str(error).split())[:200]
        raise RunError(
            f"{what} needs more memory than there is. {advice}"
            + (f" ({type(error).__name__}: {said})" if said else "")
        ) from error


def _is_of_memory(error: BaseException) -> bool:
    """Whether an error tells of memory; torch's of a CPU are of no type of their own."""
    words = str(error).lower()
    return isinstance(error, MemoryError) or any(
        told in words for told in ("out of memory", "can't allocate memory", "not enough memory")
    )
