"""The processes (ranks) that train one model together, one on each device.

They are started anew, not forked: a GPU that was used cannot be forked. What each does is pickled
to it. The process that starts them writes nothing of the run; it waits, passes on what the first
rank tells, and ends all of them as soon as one has failed or this process is to stop.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, cast

from i2moe_plugin.errors import ConfigError, I2MoEError, RunError
from i2moe_plugin.registry import load_plugin, loaded_plugins

#: What a rank does, called with a function that passes its messages on; it has to be picklable.
Work = Callable[[Callable[[Any], None]], None]
#: Ranks wait so long for each other. One that is gone is noticed at once, so that this ends a rank
#: that hangs alone; the first one's prediction of the validation split has to take less.
PATIENCE = timedelta(hours=2)
#: Seconds in which the rank that failed first may say so, after others have missed it.
_GRACE = 5.0
_KEPT = "The same command goes on from the last saved state."


def in_rank() -> bool:
    """Whether this process is one of several that train together."""
    from torch import distributed

    return distributed.is_available() and distributed.is_initialized()


def run_ranks(work: Work, count: int, backend: str, receive: Callable[[Any], None]) -> None:
    """Start that many processes that do a piece of work together, and wait for them.

    Args:
        work: what each does, once they know of each other.
        count: how many.
        backend: by which they talk: ``gloo`` or ``nccl``.
        receive: called here with each message.

    Raises:
        ConfigError: this process may not start others.
        I2MoEError: what one of them raised; the others are ended.
        RunError: one was killed, or raised something else.
    """
    if multiprocessing.current_process().daemon:
        raise ConfigError(
            f"devices={count}: a worker of a cluster starts no processes of its own. Leave "
            "--cluster out, or --devices."
        )
    with tempfile.TemporaryDirectory(prefix="i2moe-ranks-") as folder:
        meeting = (Path(folder) / "meeting").as_uri()
        surroundings = (loaded_plugins(), meeting, backend, count)
        with _started(work, surroundings, count) as ranks:
            _listen(ranks, receive)


def _listen(ranks: dict[Connection, SpawnProcess], receive: Callable[[Any], None]) -> None:
    """Pass messages on until all ranks are done.

    The others of one that is gone fail for want of it: their errors count only where no rank has
    a better reason.
    """
    waiting: list[Connection] = list(ranks)
    doubtful: Exception | None = None
    until: float | None = None
    while waiting:
        left: float | None = None if until is None else max(until - time.monotonic(), 0.0)
        ready = wait(waiting, left)
        if not ready and doubtful is not None:
            break
        for one in ready:
            connection = cast(Connection, one)
            try:
                kind, content = connection.recv()
            except (EOFError, ConnectionResetError):
                rank = list(ranks).index(connection)
                raise RunError(
                    f"the process of device {rank + 1} of {len(ranks)} ended unexpectedly "
                    f"({_end_of(ranks[connection])}); it may have run out of memory. The others "
                    f"were ended. {_KEPT}"
                ) from None
            if kind == "message":
                receive(content)
            elif kind == "error":
                raise content
            else:
                waiting.remove(connection)
                if kind == "doubtful":
                    doubtful = doubtful or content
                    until = until or time.monotonic() + _GRACE
    if doubtful is not None:
        raise doubtful


def portable(error: Exception) -> I2MoEError:
    """Return the error itself where it is ours and survives pickling, else one that tells it.

    For a process that has to tell another one what went wrong.
    """
    if isinstance(error, I2MoEError):
        with suppress(Exception):
            if str(pickle.loads(pickle.dumps(error))) == str(error):
                return error
        return RunError(str(error))
    return RunError(f"a run failed: {type(error).__name__}: {error}")


@contextmanager
def _started(
    work: Work, surroundings: tuple[Sequence[str], str, str, int], count: int
) -> Iterator[dict[Connection, SpawnProcess]]:
    """Start the processes, and end them after the block."""
    context = multiprocessing.get_context("spawn")
    ranks: dict[Connection, SpawnProcess] = {}
    try:
        for rank in range(count):
            pipe: tuple[Any, Any] = context.Pipe(duplex=False)
            here, there = pipe
            process = context.Process(
                target=_serve, args=(pickle.dumps(work), rank, there, surroundings)
            )
            process.start()
            there.close()
            ranks[here] = process
        yield ranks
    finally:
        end(ranks)


def end(processes: Mapping[Connection, BaseProcess]) -> None:
    """End processes, by force where they do not go, and close what they were heard by."""
    for process in processes.values():
        process.terminate()
    for connection, process in processes.items():
        process.join(10)
        if process.is_alive():
            process.kill()
            process.join()
        connection.close()


def _serve(
    work: bytes,
    rank: int,
    connection: Connection,
    surroundings: tuple[Sequence[str], str, str, int],
) -> None:
    """Meet the other ranks, and do the work with them."""
    # Ctrl-C reaches all processes of a terminal; the first one ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    plugins, meeting, backend, count = surroundings
    os.environ["LOCAL_RANK"] = str(rank)  # Fabric takes it from here
    # torch otherwise tells of every step that leaves no parameter out.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from torch import distributed

    with suppress(BrokenPipeError, ConnectionResetError):
        try:
            distributed.init_process_group(
                backend, meeting, timeout=PATIENCE, world_size=count, rank=rank
            )
            for plugin in plugins:
                load_plugin(plugin)
            pickle.loads(work)(lambda message: connection.send(("message", message)))
        except (BrokenPipeError, ConnectionResetError):
            raise
        except Exception as error:
            ours = isinstance(error, I2MoEError)
            connection.send(("error" if ours else "doubtful", portable(error)))
        else:
            connection.send(("done", None))


def _leave_with_parent() -> None:
    """End this process as soon as the one that started it is gone, whatever it does."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _end_of(process: SpawnProcess) -> str:
    process.join(5)
    code = process.exitcode
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"
