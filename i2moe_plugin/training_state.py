"""Whether a saved state of a training fits the model and the optimizer that are to take it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn


def check_fits(
    state: dict[str, Any], own: dict[str, Any], parameters: Sequence[nn.Parameter]
) -> None:
    """Check a training state before anything of it is taken.

    Args:
        state: what is to be taken.
        own: the trainer's own.
        parameters: the optimizer's, in its order.

    Raises:
        KeyError: a part is missing.
        ValueError: tensors of other names or shapes, or a history that is none.
    """
    weights = state["best_state"]
    for name in ("model", *(["best_state"] if weights else [])):
        if _shapes(state[name]) != _shapes(own["model"]):
            raise ValueError(f"its {name} has other tensors.")
    places = [place for group in state["optimizer"]["param_groups"] for place in group["params"]]
    if places != list(range(len(parameters))):
        raise ValueError("its optimizer has other parameters.")
    for place, slots in state["optimizer"]["state"].items():
        shapes = {slot.shape for slot in slots.values() if slot.dim()}
        if not shapes <= {parameters[place].shape}:
            raise ValueError("its optimizer's parameters have other shapes.")
    epochs = [record["epoch"] for record in state["history"]]
    if epochs != list(range(1, len(epochs) + 1)) or bool(epochs) != bool(weights):
        raise ValueError("its history is not one of whole epochs.")


def _shapes(tensors: dict[str, Any]) -> dict[str, Any]:
    return {key: getattr(value, "shape", None) for key, value in tensors.items()}
