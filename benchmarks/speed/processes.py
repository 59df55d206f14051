"""Models in processes of their own, so that what one does with memory does not help another."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

from i2moe_plugin.benchmarks.run.memory import keep_freed_memory
from i2moe_plugin.benchmarks.speed.models import Shape, Subject, Variant, build

#: Seconds below which a step is made twice and timed the second time.
SHORT = 0.1
#: (variant, function, arguments): calls the function in the variant's process, variant first.
Ask = Callable[..., Any]


@contextmanager
def processes() -> Iterator[Ask]:
    """Two processes: one, which keeps its memory, and one for ``naive`` and ``unkept`` models."""
    context, threads = multiprocessing.get_context("spawn"), torch.get_num_threads()
    with (
        ProcessPoolExecutor(1, context, _start, (threads, False)) as plain,
        ProcessPoolExecutor(1, context, _start, (threads, True)) as ours,
    ):

        def ask(variant: Variant, function: Callable[..., Any], *arguments: Any) -> Any:
            pool = plain if variant in ("naive", "unkept") else ours
            return pool.submit(function, variant, *arguments).result()

        yield ask


def seconds_of(call: Callable[[], object]) -> float:
    """How long a call takes, until a GPU has done its part as well."""
    start = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


# What these processes do. Their models, by variant:
_held: dict[Variant, Subject] = {}


def build_here(variant: Variant, shape: Shape, options: Mapping[str, Any]) -> None:
    """Build a model beside those the process holds."""
    _held[variant] = build(shape, variant, **options)


def time_here(variant: Variant, inference: bool) -> float:
    """How long a training step of a model takes, or a prediction."""
    subject = _held[variant]
    call = subject.infer if inference else subject.step
    # Once to warm up after the other process: short calls would mostly show that.
    seconds = seconds_of(call)
    return seconds_of(call) if seconds < SHORT else seconds


def plan_here(variant: Variant) -> dict[str, Any] | None:
    """The plan that a model settled on."""
    return _held[variant].model.plan


def drop_here(variant: Variant) -> None:
    """Drop a model."""
    del _held[variant]


def _start(threads: int, keep: bool) -> None:
    torch.set_num_threads(threads)
    if keep:
        keep_freed_memory()
