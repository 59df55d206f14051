"""One run after another, in this process."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from i2moe_plugin.benchmarks.grid.executors import Receive, Task


class Serial:
    """Runs tasks one after another, here; an error of a task is raised as it is."""

    workers: int = 1
    threads: int | None = None

    def run(self, tasks: Sequence[Task], receive: Receive) -> None:
        """Run every task; see :class:`~i2moe_plugin.benchmarks.grid.executors.Executor`."""
        for place, task in enumerate(tasks):
            task(functools.partial(receive, place))
