"""What the process does with freed memory.

A training step allocates the same tensors again and again. glibc hands large ones back to the
kernel when they are freed, and gets them anew, page by page and zeroed, at the next step: a quarter
of a transformer's step in a virtual machine.
"""

from __future__ import annotations

import ctypes

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
