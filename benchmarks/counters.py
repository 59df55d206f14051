"""Counting the work of a piece of code: operators that torch dispatches, and FLOPs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode


class Work(NamedTuple):
    """What a call did.

    Attributes:
        operators: how many operators torch dispatched, backward pass and optimiser included.
        flops: floating point operations of its matrix products, convolutions and attention.
    """

    operators: int
    flops: int


class _Operators(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def count_work(call: Callable[[], object]) -> Work:
    """Run it once and count.

    >>> import torch
    >>> left, right = torch.ones(2, 3), torch.ones(3, 4)
    >>> count_work(lambda: left @ right + 1)
    Work(operators=2, flops=48)
    """
    operators = _Operators()
    with FlopCounterMode(display=False) as flops, operators:
        call()
    return Work(operators.count, int(flops.get_total_flops()))


def relative_time(call: Callable[[], object], repeats: int = 5) -> float:
    """The CPU time of a call in units of a fixed computation that is timed beside it.

    The smallest of several times each: what else the machine does can only add to them. CPU time
    rather than the clock's, since others may share the processor. Both run on torch's threads as
    they are set; on one thread the ratio hardly depends on the machine's load.
    """
    ours, reference = [], []
    for _ in range(repeats):
        reference.append(_cpu_seconds(_reference))
        ours.append(_cpu_seconds(call))
        reference.append(_cpu_seconds(_reference))
    return min(ours) / min(reference)


def _reference() -> None:
    """Small operators and middling matrix products, as a small model's step has."""
    small, square = torch.ones(64, 64), torch.full((256, 256), 1e-3)
    for _ in range(400):
        small = (small * 0.5).relu() + 0.5
    for _ in range(10):
        square = square @ square


def _cpu_seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start
