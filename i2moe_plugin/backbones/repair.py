"""Repair of modules that hide what they learn from torch.

A parameter or a layer in a plain list, tuple or dictionary is not registered: it is not moved to a
device, not trained, not saved, and experts that should be independent may share it. The same holds
of a parameter that went through ``.to(device)`` in the constructor, since that leaves a copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from i2moe_plugin.errors import BackboneError

#: Operations that only copy a parameter: ``.to(...)``, ``.cuda()``, ``.clone()``.
_COPIES = {"ToCopyBackward0", "CloneBackward0", "AliasBackward0"}


def register_hidden_parameters(module: nn.Module) -> list[str]:
    """Register every trainable tensor and layer that a module holds in plain attributes.

    Lists and tuples become ``ParameterList`` or ``ModuleList``, dictionaries ``ParameterDict`` or
    ``ModuleDict``, so the module's own code goes on working; copies of a parameter become
    parameters. Values stay as they are. Doing it again does nothing.

    Args:
        module: repaired in place.

    Returns:
        The dotted names of the attributes that were registered.

    Raises:
        BackboneError: a hidden tensor is computed from parameters, or lies where it cannot be
            registered; all of them are named.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> class Hiding(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.factors = [nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))]
        >>> hiding = Hiding()
        >>> len(list(hiding.parameters()))
        0
        >>> register_hidden_parameters(hiding)
        ['factors']
        >>> [name for name, _ in hiding.named_parameters()]
        ['factors.0', 'factors.1']
    """
    repaired, problems = [], []
    pending = [("", module)]
    seen: set[int] = set()
    while pending:
        path, owner = pending.pop(0)
        if id(owner) in seen:
            continue
        seen.add(id(owner))
        for key, value in list(vars(owner).items()):
            name = f"{path}{key}"
            # What is registered as well (a tuple of two parameters, say) follows by itself.
            if key in _REGISTERED or not any(_is_hidden(item, module) for item in leaves(value)):
                continue
            try:
                new = _registered(value, module)
            except ValueError as error:
                reason = _by_old_hook(owner, key) or str(error)
                problems.append(f"{type(owner).__name__}.{name}: {reason}")
                continue
            delattr(owner, key)
            setattr(owner, key, new)
            repaired.append(name)
        pending += [(f"{path}{key}.", child) for key, child in owner.named_children()]
    if problems:
        raise BackboneError(
            f"{type(module).__name__} holds what it learns where torch does not see it: "
            f"{'; '.join(problems)}."
        )
    return repaired


_REGISTERED = ("_parameters", "_buffers", "_modules")


def leaves(value: Any) -> Iterator[Any]:
    """Go over the tensors and modules in nested plain containers."""
    if isinstance(value, (Tensor, nn.Module)):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from leaves(item)


def _is_hidden(item: Tensor | nn.Module, module: nn.Module) -> bool:
    if isinstance(item, nn.Module):
        return item is not module and all(item is not known for known in module.modules())
    return item.requires_grad and all(item is not known for known in module.parameters())


def _registered(value: Any, module: nn.Module) -> Any:
    """Bring a value into a form that torch registers.

    Raises:
        ValueError: there is none.
    """
    if isinstance(value, Tensor):
        return _parameter(value, module)
    if isinstance(value, nn.Module):
        return value
    if isinstance(value, (set, frozenset)):
        raise ValueError("a set has no order; use a list")
    items = list(value.values()) if isinstance(value, dict) else list(value)
    if isinstance(value, dict) and not all(isinstance(key, str) for key in value):
        raise ValueError("a dictionary of parameters or layers needs names as keys")
    if all(isinstance(item, Tensor) for item in items):
        tensors = [_parameter(item, module) for item in items]
        if isinstance(value, dict):
            return nn.ParameterDict(dict(zip(value, tensors, strict=True)))
        return nn.ParameterList(tensors)
    if any(isinstance(item, Tensor) or not list(leaves(item)) for item in items):
        raise ValueError("parameters or layers lie beside other things; keep them apart")
    modules = [_registered(item, module) for item in items]
    if isinstance(value, dict):
        return nn.ModuleDict(dict(zip(value, modules, strict=True)))
    return nn.ModuleList(modules)


def _by_old_hook(owner: nn.Module, key: str) -> str:
    """Say what to use where ``torch.nn.utils`` computes this attribute before each call."""
    for hook in owner._forward_pre_hooks.values():
        kind = type(hook).__name__
        old = {"WeightNorm": "weight_norm", "SpectralNorm": "spectral_norm"}.get(kind)
        if old and getattr(hook, "name", None) == key:
            return (
                f"torch.nn.utils.{old} keeps a tensor computed from parameters; take "
                f"torch.nn.utils.parametrizations.{old}"
            )
    return ""


def _parameter(tensor: Tensor, module: nn.Module) -> nn.Parameter:
    """Make the tensor a parameter of its own; constants stay constants."""
    if isinstance(tensor, nn.Parameter):
        return tensor
    if not _is_copy(tensor.grad_fn, module):
        name = tensor.grad_fn.name() if tensor.grad_fn is not None else "an operation"
        raise ValueError(
            f"a tensor computed from parameters in the constructor ({name}) goes stale at the "
            "first training step; compute it in forward"
        )
    return nn.Parameter(tensor.detach().clone(), requires_grad=tensor.requires_grad)


def _is_copy(node: Any, module: nn.Module) -> bool:
    """Whether a graph only copies one tensor that is not registered itself."""
    while node is not None and not hasattr(node, "variable"):
        if node.name() not in _COPIES:
            return False
        node = node.next_functions[0][0]
    return node is None or all(node.variable is not known for known in module.parameters())
