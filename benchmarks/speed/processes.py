"""Models in processes of their own, so that what one does with memory does not help another."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import torch

from i2moe_plugin.allocation import keep_freed_memory
from i2moe_plugin.benchmarks.speed.models import Shape, Subject, Variant, build
from i2moe_plugin.errors import RunError

#: Seconds below which a call is made twice and timed the second time.
SHORT = 0.1


class Process:
    """A process that builds models and times them.

    Args:
        connection: to the process.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def build(self, shape: Shape, variant: Variant, options: Mapping[str, Any]) -> None:
        """Build a model beside those it holds.

        Raises:
            RunError: it could not be built, or the process has ended; likewise below.
        """
        self._ask("build", shape, variant, dict(options))

    def seconds(self, variant: Variant, inference: bool) -> float:
        """How long a training step of a model took, or a prediction."""
        return float(self._ask("time", variant, inference))

    def plan(self, variant: Variant) -> dict[str, Any] | None:
        """The plan that a model settled on."""
        found: dict[str, Any] | None = self._ask("plan", variant)
        return found

    def clear(self) -> None:
        """Drop all models."""
        self._ask("clear")

    def _ask(self, *question: Any) -> Any:
        try:
            self._connection.send(question)
            answer = self._connection.recv()
        except (EOFError, ConnectionError) as error:
            raise RunError(
                "a process of the benchmark ended unexpectedly; it may have run out of memory."
            ) from error
        if isinstance(answer, Exception):
            raise answer
        return answer


@contextmanager
def processes() -> Iterator[Callable[[Variant], Process]]:
    """Two processes: one for ``naive`` models, one, which keeps its memory, for the others."""
    context = multiprocessing.get_context("spawn")
    running, ours = [], []
    for keep in (False, True):
        here, there = context.Pipe()
        worker = context.Process(
            target=_serve, args=(there, torch.get_num_threads(), keep), daemon=True
        )
        worker.start()
        there.close()
        running.append((worker, here))
        ours.append(Process(here))
    try:
        yield lambda variant: ours[variant != "naive"]
    finally:
        for worker, connection in running:
            connection.close()  # ends the process
            worker.join(10)
            worker.terminate()


def _serve(connection: Connection, threads: int, keep: bool) -> None:
    torch.set_num_threads(threads)
    if keep:
        keep_freed_memory()
    held: dict[str, Subject] = {}
    while True:
        try:
            question, *arguments = connection.recv()
        except EOFError:
            return
        answer: Any = None
        try:
            if question == "build":
                shape, variant, options = arguments
                held[variant] = build(shape, variant, **options)
            elif question == "time":
                subject = held[arguments[0]]
                call = subject.infer if arguments[1] else subject.step
                # Once to warm up after the other process: short calls would mostly show that.
                answer = _seconds(call)
                if answer < SHORT:
                    answer = _seconds(call)
            elif question == "plan":
                answer = held[arguments[0]].model.plan
            else:
                held.clear()
        except Exception as error:  # not every error survives the way
            answer = RunError(f"{type(error).__name__}: {error}")
        connection.send(answer)


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start
