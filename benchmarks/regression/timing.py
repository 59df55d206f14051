"""CPU time in units of a fixed computation, so that machines can be compared."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

REPEATS = 5


def relative_time(call: Callable[[], object]) -> float:
    """Measure the CPU time of a call in units of a fixed computation that is timed beside it.

    The smallest of several times is taken of each: what else the machine does can only add to them.
    CPU time stands in place of the clock's, since others may share the processor. Both run on
    torch's threads as they are set; on one thread the ratio hardly depends on the machine's load.
    """
    ours, reference = [], []
    for _ in range(REPEATS):
        reference.append(_cpu_seconds(_reference))
        ours.append(_cpu_seconds(call))
        reference.append(_cpu_seconds(_reference))
    return min(ours) / min(reference)


def _reference() -> None:
    """Compute small operators and middling matrix products, as a small model's step does."""
    small, square = torch.ones(64, 64), torch.full((256, 256), 1e-3)
    for _ in range(400):
        small = (small * 0.5).relu() + 0.5
    for _ in range(10):
        square = square @ square


def _cpu_seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start
