"""Everything random derives from a run's seed and its place in the run."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive_seed(seed: int, *place: str | int) -> int:
    """Derive a 63-bit seed for one place of a run; different places give independent streams.

    >>> derive_seed(0, "epoch", 1) != derive_seed(0, "epoch", 2)
    True
    """
    text = "/".join([str(seed), *map(str, place)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@contextmanager
def seeded(seed: int, *place: str | int) -> Iterator[None]:
    """Seed torch, numpy and random inside the block; their states are as before after it."""
    value = derive_seed(seed, *place)
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=list(devices)):
        torch.manual_seed(value)
        np.random.seed(value % 2**32)  # noqa: NPY002
        random.seed(value)
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)  # noqa: NPY002
