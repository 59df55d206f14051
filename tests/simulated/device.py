"""A simulated accelerator: tensors on a device ``sim`` whose values lie in the CPU's memory.

Every operator runs on the CPU's values, so numbers are the CPU's; what a real accelerator would
refuse (tensors of two devices in one operator) is refused, and what would make it wait (a value or
a shape read by Python) is counted. Registered for the whole process, hence in one of its own.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map, tree_map_only
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

aten = torch.ops.aten
#: Operators after which Python waits for the device, beside copies to the CPU.
WAITING = {
    aten._local_scalar_dense.default: "item",
    aten.nonzero.default: "nonzero",
    aten.masked_select.default: "masked_select",
    aten.equal.default: "equal",
    aten.unique_dim.default: "unique",
    aten._unique2.default: "unique",
}
#: Operators that may take the CPU's and the device's tensors together.
INDEXED = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default}
COPIES = {aten.copy_.default, aten._to_copy.default}


class Module:
    """What ``torch.sim`` is."""

    @staticmethod
    def is_available():
        return True

    @staticmethod
    def is_initialized():
        return True

    @staticmethod
    def _is_in_bad_fork():
        return False

    @staticmethod
    def manual_seed_all(seed):
        """The CPU's generator draws for the device too."""

    @staticmethod
    def device_count():
        return 1

    @staticmethod
    def current_device():
        return 0

    @staticmethod
    def get_amp_supported_dtype():
        return [torch.bfloat16]


_setup_privateuseone_for_python_backend("sim", Module())
DEVICE = torch.device("sim:0")
waits: Counter[str] = Counter()


@contextmanager
def counted():
    """Counts from 0 in the block."""
    waits.clear()
    yield waits


class Simulated(torch.Tensor):
    """A tensor of the device; ``values`` are its values on the CPU."""

    @staticmethod
    def __new__(cls, values, requires_grad=False):
        assert not isinstance(values, Simulated)
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            values.shape,
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=DEVICE,
            requires_grad=requires_grad,
        )
        made.values = values
        return made

    def untyped_storage(self):
        """Where the values lie."""
        return self.values.untyped_storage()

    def tolist(self):
        """The values; torch refuses this of any subclass."""
        waits["tolist"] += 1
        return self.values.tolist()

    @property
    def data(self):
        """As of any tensor; what is set here has values of its own."""
        return torch.Tensor.data.__get__(self)

    @data.setter
    def data(self, new):
        torch.Tensor.data.__set__(self, new)
        self.values = new.values  # which torch does not know of

    def __repr__(self):
        return f"Simulated({self.values})"

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, operator, types, arguments=(), keywords=None):
        return run(operator, arguments, keywords or {})


def run(operator, arguments, keywords):
    """Run an operator on the CPU's values."""
    flat, _ = tree_flatten((arguments, keywords))
    tensors = [one for one in flat if isinstance(one, torch.Tensor)]
    if operator not in COPIES:
        beside = operator in INDEXED  # an index may lie on the CPU; it is then copied
        foreign = [one for one in tensors if not isinstance(one, Simulated) and one.dim()]
        if foreign and beside and isinstance(arguments[0], Simulated):
            waits["index of the CPU"] += 1
        elif foreign and any(isinstance(one, Simulated) for one in tensors):
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but {operator} got sim:0 and cpu"
            )
    if operator in WAITING:
        waits[WAITING[operator]] += 1
    if operator in INDEXED and any(
        one is not None and one.dtype in (torch.bool, torch.uint8) for one in arguments[1]
    ):
        waits["boolean index"] += 1
    device = keywords.get("device")
    keywords = dict(keywords)
    to_cpu = device is not None and torch.device(device).type == "cpu"
    if device is not None:
        keywords["device"] = torch.device("cpu")
    keywords.pop("pin_memory", None)
    if operator is aten._to_copy.default and to_cpu:
        waits["cpu"] += 1
    if operator is aten.copy_.default and not isinstance(arguments[0], Simulated):
        waits["cpu"] += 1
    plain = tree_map_only(Simulated, lambda one: one.values, (arguments, keywords))
    found = operator(*plain[0], **plain[1])
    if to_cpu or (operator is aten.copy_.default and not isinstance(arguments[0], Simulated)):
        return arguments[0] if operator is aten.copy_.default else found
    wrapped = tree_map(lambda one: Simulated(one) if isinstance(one, torch.Tensor) else one, found)
    if operator is aten._to_copy.default:
        return wrapped
    return return_and_correct_aliasing(operator, arguments, keywords, wrapped)


library = torch.library.Library("_", "IMPL")


def _made(operator, *arguments, **keywords):
    """An operator without tensors of the device, such as one that makes them."""
    return run(operator, arguments, keywords)


library.fallback(_made, "PrivateUse1")
own = torch.library.Library("aten", "IMPL")


def _eye(*sizes, dtype=None, device=None, **_):
    """Of its own: torch makes an empty tensor larger, which this one cannot become."""
    return Simulated(torch.eye(*sizes, dtype=dtype))


own.impl("eye", _eye, "PrivateUse1")
own.impl("eye.m", _eye, "PrivateUse1")
