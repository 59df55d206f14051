"""Forked processes that answer to signals in their own way, from their first moment on.

A fork starts with the answers of the process that forked it. One that is told to end before it has
its own would raise there what its parent raises, and go on as a second copy of it.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_TOLD = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def signals_wait() -> Iterator[None]:
    """Hold back what a terminal and a scheduler send, in the block; a fork starts with that.

    This thread hears of it after the block.
    """
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _TOLD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def answer_as_a_fork() -> None:
    """End at SIGTERM, and leave Ctrl-C to the first process; called first in a fork.

    Ctrl-C reaches all processes of a terminal, and the first one ends the others.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _TOLD)
