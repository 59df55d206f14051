"""What a step dispatches, computes and waits for: figures that no other load on a machine changes.

Operators that only look at memory in another way (views, ``detach``), reserve some or ask for a
type start nothing on a device and are left out of the count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

#: What starts nothing, beside views.
IDLE = (
    "detach", "_unsafe_view", "alias", "empty", "empty_like", "empty_strided", "new_empty",
    "new_empty_strided", "promote_types", "_record_function_enter_new", "_record_function_exit",
)  # fmt: skip
#: What reads a result on the host, or makes a shape depend on one: a device stalls there.
WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "unique")


@dataclass
class Counts:
    """What a call did.

    Attributes:
        operators: that compute or move something.
        flops: of matrix products (torch's counter).
        waits: the names of operators that stall a device.
        names: how often each operator was dispatched.
    """

    operators: int = 0
    flops: int = 0
    waits: list[str] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)


def count(call: Callable[[], object]) -> Counts:
    """Run a call once and count what it does, its backward pass included.

    >>> left, right = torch.ones(2, 3), torch.ones(3, 4)
    >>> counts = count(lambda: (left @ right).t() + 1)
    >>> counts.operators, counts.flops, counts.waits
    (2, 48, [])
    """
    mode = _Counter()
    with FlopCounterMode(display=False) as flops, mode:
        call()
    mode.counts.flops = int(flops.get_total_flops())
    return mode.counts


class _Counter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.counts = Counts()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        name = func.overloadpacket.__name__
        if name in WAITS or (name.startswith("index") and _by_mask(args)):
            self.counts.waits.append(name)
        if not (func.is_view or name in IDLE):
            self.counts.operators += 1
            self.counts.names[name] = self.counts.names.get(name, 0) + 1
        return func(*args, **(kwargs or {}))


def _by_mask(args: Sequence[Any]) -> bool:
    places = args[1] if len(args) > 1 and isinstance(args[1], (list, tuple)) else ()
    return any(isinstance(x, torch.Tensor) and x.dtype == torch.bool for x in places)
