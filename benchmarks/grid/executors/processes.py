"""Several runs at a time, each in a process of its own, with the numbers of one after another.

Processes are forked, so that each starts with what is loaded here: packages, plugins, the data set.
Each computes on one thread: OpenMP's threads do not survive a fork, and a process that waits for
them hangs. A model that would take several threads alone may differ from that in the last digits.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from typing import Any, cast

from i2moe_plugin.errors import I2MoEError, RunError

#: (place of the task, what it says on its way)
Say = Callable[[Any], None]


_state = {"worker": False}


def in_worker() -> bool:
    """Whether this process is one of :func:`run_parallel`'s."""
    return _state["worker"]


def can_fork() -> bool:
    """Whether processes can be forked here (not on Windows; not safely on macOS)."""
    return sys.platform == "linux" and "fork" in multiprocessing.get_all_start_methods()


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def run_parallel(
    tasks: Sequence[Callable[[Say], Any]], jobs: int, heard: Callable[[int, Any], None]
) -> None:
    """Run every task, ``jobs`` at a time, in order of their places.

    Args:
        tasks: each is called with a function that passes messages (which can be pickled) on.
        jobs: how many processes.
        heard: called here with each message and the place of the task that sent it.

    Raises:
        I2MoEError: of the first task that raised one; the others are stopped.
        RunError: a process was killed, or a task raised something else.
    """
    left = list(range(len(tasks)))
    with _workers(tasks, min(jobs, len(tasks))) as workers:
        busy: dict[Connection, int] = {}
        for connection in workers:
            _assign(connection, left, busy)
        while busy:
            for ready in wait(list(busy)):
                connection = cast(Connection, ready)
                try:
                    kind, content = connection.recv()
                except (EOFError, ConnectionResetError) as error:
                    code = _exit_code(workers[connection])
                    raise RunError(
                        f"a process that trained a run ended unexpectedly ({code}); it may have "
                        "run out of memory. Finished runs are kept; --jobs 1 needs the least."
                    ) from error
                if kind == "said":
                    heard(busy[connection], content)
                elif kind == "failed":
                    raise content
                else:
                    del busy[connection]
                    _assign(connection, left, busy)


def _assign(connection: Connection, left: list[int], busy: dict[Connection, int]) -> None:
    if left:
        busy[connection] = left.pop(0)
        with suppress(OSError):  # a worker that is gone is found out where it is listened to
            connection.send(busy[connection])


@contextmanager
def _workers(
    tasks: Sequence[Callable[[Say], Any]], count: int
) -> Iterator[dict[Connection, ForkProcess]]:
    context = multiprocessing.get_context("fork")
    workers: dict[Connection, ForkProcess] = {}
    try:
        for _ in range(count):
            here, there = context.Pipe()
            # What a fork inherits of the others must not keep their pipes open.
            process = context.Process(target=_work, args=(there, [*workers, here], tasks))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads
                process.start()
            there.close()
            workers[here] = process
        yield workers
    finally:
        for process in workers.values():
            process.terminate()
        for connection, process in workers.items():
            process.join(10)
            if process.is_alive():
                process.kill()
                process.join()
            connection.close()


def _work(
    connection: Connection, others: Sequence[Connection], tasks: Sequence[Callable[[Say], Any]]
) -> None:
    import torch

    # Ctrl-C reaches all processes of a terminal; the first one ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    _state["worker"] = True
    for other in others:
        other.close()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            place = connection.recv()
            try:
                tasks[place](lambda message: connection.send(("said", message)))
            except (BrokenPipeError, ConnectionResetError):
                raise
            except Exception as error:
                connection.send(("failed", _portable(error)))
                return
            connection.send(("done", None))


def _portable(error: Exception) -> I2MoEError:
    """The error itself where it is ours and survives pickling, otherwise one that tells of it."""
    if isinstance(error, I2MoEError):
        with suppress(Exception):
            if str(pickle.loads(pickle.dumps(error))) == str(error):
                return error
        return RunError(str(error))
    return RunError(f"a run failed: {type(error).__name__}: {error}")


def _exit_code(process: ForkProcess) -> str:
    process.join(5)
    code = process.exitcode
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"
