"""``torch.compile`` where it works, and the model as it is where it does not."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class Compiled:
    """A module's forward, compiled at its first call; batch sizes may vary.

    Compiling may fail for a backbone that its tracer cannot follow, or where there is no compiler.
    The module then runs as it is, from the same random numbers on, and :attr:`problem` says why.

    Args:
        module: the module.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.problem = ""
        self._forward: Any = torch.compile(module, dynamic=None)
        self._proven = False

    def __call__(self, *arguments: Any) -> Any:
        """The module's output."""
        if self.problem:
            return self.module(*arguments)
        if self._proven:
            return self._forward(*arguments)
        devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
        before = torch.random.get_rng_state()
        cuda = [torch.cuda.get_rng_state(device) for device in devices]
        try:
            output = self._forward(*arguments)
        except Exception as error:  # of the tracer, of the compiler, or none installed
            first = (str(error).strip().splitlines() or [""])[0]
            self.problem = f"{type(error).__name__}: {first[:200]}"
            torch.random.set_rng_state(before)
            for device, state in zip(devices, cuda, strict=True):
                torch.cuda.set_rng_state(state, device)
            return self.module(*arguments)
        self._proven = True
        return output
