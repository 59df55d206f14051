"""``torch.compile`` where it works, and the call as it is where it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor


class Compiled:
    """A call of tensors, compiled the first time, backward pass included; batch sizes may vary.

    Compiling may fail for a backbone that its tracer cannot follow, or where there is no compiler,
    at the first call or where a later one differs; before torch 2.10 it is not tried. From then on
    the call is made as it is, from the same random numbers on, and :attr:`problem` says why.

    Args:
        call: takes tensors, or lists and tuples of them, with the batch first.
    """

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call
        self.problem = "" if compiles_backward_at_once() else "it needs torch 2.10 or newer"
        self._compiled: Callable[..., Any] = torch.compile(call, dynamic=None)

    def __call__(self, *arguments: Any) -> Any:
        """What the call returns."""
        if self.problem:
            return self.call(*arguments)
        for tensor in _tensors(arguments):
            if tensor.dim() and tensor.shape[0] > 1:  # sizes 0 and 1 are always cases of their own
                torch._dynamo.maybe_mark_dynamic(tensor, 0)
        devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
        before = torch.random.get_rng_state()
        cuda = [torch.cuda.get_rng_state(device) for device in devices]
        try:
            # The backward pass at once, too: a failure there would come when all is under way.
            with torch._functorch.config.patch(force_non_lazy_backward_lowering=True):
                return self._compiled(*arguments)
        except Exception as error:  # of the tracer, of the compiler, or none installed
            first = (str(error).strip().splitlines() or [""])[0]
            self.problem = f"{type(error).__name__}: {first[:200]}"
        torch.random.set_rng_state(before)
        for device, state in zip(devices, cuda, strict=True):
            torch.cuda.set_rng_state(state, device)
        return self.call(*arguments)


def compiles_backward_at_once() -> bool:
    """Whether this torch can compile the backward pass with the forward pass (2.10 and newer)."""
    from torch._functorch import config

    return hasattr(config, "force_non_lazy_backward_lowering")


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
