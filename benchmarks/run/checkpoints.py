"""Weights and training states as safetensors + JSON: nothing is ever unpickled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from i2moe_plugin.benchmarks.run.files import disk_errors_explained, json_ready
from i2moe_plugin.errors import RunError


def save_tensors(path: Path, tensors: dict[str, Tensor], record: Any = None) -> None:
    """Write tensors, and a record that JSON can hold, through a neighbouring file.

    Raises:
        RunError: the file cannot be written.
    """
    aside = path.with_name(f".{path.name}.tmp")
    # Contiguous copies: tied or expanded tensors would otherwise be refused.
    whole = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in tensors.items()}
    with disk_errors_explained(path):
        try:
            save_file(whole, aside, {"record": json.dumps(json_ready(record))})
        except SafetensorError as error:
            raise RunError(f"cannot write {path}: {error}. Is the disk full?") from error
        aside.replace(path)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], Any]:
    """Read what :func:`save_tensors` wrote.

    Raises:
        RunError: the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            record = json.loads((file.metadata() or {}).get("record", "null"))
            return {key: file.get_tensor(key) for key in file.keys()}, record  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise RunError(f"{path}: not readable ({error}).") from error


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a :meth:`Trainer.state_dict`: weights, Adam's moments, best epoch, history."""
    tensors = {f"model/{key}": value for key, value in state["model"].items()}
    tensors |= {f"best/{key}": value for key, value in state["best_state"].items()}
    for index, slots in state["optimizer"]["state"].items():
        for key, value in slots.items():
            tensors[f"optimizer/{index}/{key}"] = torch.as_tensor(value)
    record = {key: state[key] for key in ("best_epoch", "best_value", "history", "plan")}
    record["param_groups"] = state["optimizer"]["param_groups"]
    save_tensors(path, tensors, record)


def load_state(path: Path) -> dict[str, Any]:
    """Read what :func:`save_state` wrote, for :meth:`Trainer.load_state_dict`.

    Raises:
        RunError: the file is missing or damaged.
    """
    tensors, record = load_tensors(path)
    slots: dict[int, dict[str, Tensor]] = {}
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}}
    for key, tensor in tensors.items():
        kind, _, rest = key.partition("/")
        if kind == "optimizer":
            index, _, slot = rest.partition("/")
            slots.setdefault(int(index), {})[slot] = tensor
        else:
            parts[kind][rest] = tensor
    if not isinstance(record, dict) or not parts["model"]:
        raise RunError(f"{path}: not a training state.")
    value = record["best_value"]
    return {
        "model": parts["model"],
        "optimizer": {"state": slots, "param_groups": record["param_groups"]},
        "best_state": parts["best"],
        "best_epoch": record["best_epoch"],
        "best_value": float("nan") if value is None else value,
        "history": record["history"],
    }
