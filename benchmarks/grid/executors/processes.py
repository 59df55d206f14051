"""Several runs at a time, each in a process of its own, with the numbers of one after another.

Processes are forked, so that each starts with what is loaded here: packages, plugins, the data set.
Each computes on one thread: OpenMP's threads do not survive a fork, and a process that waits for
them hangs. A model that would take several threads alone may differ from that in the last digits.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import cast

from i2moe_plugin.benchmarks.grid.executors import Receive, Task
from i2moe_plugin.benchmarks.run.forks import answer_as_a_fork, signals_wait
from i2moe_plugin.benchmarks.run.ranks import end, portable
from i2moe_plugin.errors import RunError


def can_fork() -> bool:
    """Whether processes can be forked here (not on Windows; not safely on macOS)."""
    return sys.platform == "linux" and "fork" in multiprocessing.get_all_start_methods()


class Processes:
    """Runs tasks in forked processes, several at a time."""

    threads: int | None = 1

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def run(self, tasks: Sequence[Task], receive: Receive) -> None:
        """Run every task; see :class:`~i2moe_plugin.benchmarks.grid.executors.Executor`.

        Raises:
            I2MoEError: of the first task that raised one; the others are stopped.
            RunError: a process was killed, or a task raised something else.
        """
        left = list(range(len(tasks)))
        with _processes(tasks, min(self.workers, len(tasks))) as processes:
            busy: dict[Connection, int] = {}
            for connection in processes:
                _assign(connection, left, busy)
            while busy:
                for ready in wait(list(busy)):
                    connection = cast(Connection, ready)
                    try:
                        kind, content = connection.recv()
                    except (EOFError, ConnectionResetError) as error:
                        code = _exit_code(processes[connection])
                        raise RunError(
                            f"a process that trained a run ended unexpectedly ({code}); it may "
                            "have run out of memory. Finished runs are kept; --jobs 1 needs the "
                            "least."
                        ) from error
                    if kind == "message":
                        receive(busy[connection], content)
                    elif kind == "error":
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
def _processes(tasks: Sequence[Task], count: int) -> Iterator[dict[Connection, BaseProcess]]:
    """Fork processes that wait for the places of tasks, and end them after the block."""
    if sys.platform == "win32":
        raise AssertionError("processes are forked on Linux alone")
    context = multiprocessing.get_context("fork")
    processes: dict[Connection, BaseProcess] = {}
    try:
        for _ in range(count):
            here, there = context.Pipe()
            # What a fork inherits of the others must not keep their pipes open.
            process = context.Process(target=_serve, args=(there, [*processes, here], tasks))
            with signals_wait(), warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads
                process.start()
                processes[here] = process
            there.close()
        yield processes
    finally:
        end(processes)


def _serve(connection: Connection, others: Sequence[Connection], tasks: Sequence[Task]) -> None:
    """Run the tasks whose places come in, until the connection closes or a task fails."""
    answer_as_a_fork()
    import torch

    # What shows progress in the first process may hold a lock at the moment of a fork.
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    torch.set_num_threads(1)
    for other in others:
        other.close()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            place = connection.recv()
            try:
                tasks[place](lambda message: connection.send(("message", message)))
            except (BrokenPipeError, ConnectionResetError):
                raise
            except Exception as error:
                connection.send(("error", portable(error)))
                return
            connection.send(("done", None))


def _exit_code(process: BaseProcess) -> str:
    process.join(5)
    code = process.exitcode
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"
