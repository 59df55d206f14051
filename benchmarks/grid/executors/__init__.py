"""Where the runs of a grid are trained. Each file beside this one is a place, with one class.

A task is called with a function that passes its messages on, which have to survive pickling: an
executor is free to run it in another process, or on another machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

Send = Callable[[Any], None]
Task = Callable[[Send], None]
#: Called with the place of a task and a message of it.
Receive = Callable[[int, Any], None]


class Executor(Protocol):
    """Runs tasks.

    Attributes:
        workers: how many tasks run at a time.
        threads: the most CPU threads a task may use; None: as many as it likes.
    """

    workers: int
    threads: int | None

    def run(self, tasks: Sequence[Task], receive: Receive) -> None:
        """Run every task, beginning them in the order given.

        Args:
            tasks: what to run.
            receive: called here, in this process, with each message.

        Raises:
            Exception: of the first task that raised one; tasks under way are stopped.
            RunError: a place where tasks ran is gone.
        """
        ...
