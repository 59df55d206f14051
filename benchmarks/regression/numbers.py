"""Whatever a part gives, as a few numbers that move where it moves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

Numbers = Sequence[float]


def brief(tensor: Tensor | None) -> list[float]:
    """Return mean, deviation, and a sum in which every place has a weight of its own."""
    if tensor is None:
        return [0.0]
    flat = tensor.detach().double().flatten()
    places = torch.arange(len(flat), dtype=torch.float64)
    return [
        flat.mean().item(),
        flat.std(unbiased=False).item(),
        (flat * places.cos()).mean().item(),
    ]


def numbers_of(found: Any) -> list[float]:
    """Return all numbers of a record or a table, in order."""
    if isinstance(found, dict):
        return [number for value in found.values() for number in numbers_of(value)]
    if isinstance(found, (list, tuple)):
        return [number for value in found for number in numbers_of(value)]
    if hasattr(found, "select_dtypes"):
        numbers: NDArray[Any] = found.select_dtypes("number").to_numpy(dtype=float)
        return [float(number) for number in numbers.ravel()]
    return [float(found)] if isinstance(found, (bool, int, float)) else []
