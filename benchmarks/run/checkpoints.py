"""Weights and training states as safetensors + JSON: nothing is ever unpickled.

A run's folder keeps its last two states. Each carries a checksum and the run's identity, so that
one that is damaged, or of another run, is found out before anything is taken from it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from i2moe_plugin.benchmarks.run.files import replacing
from i2moe_plugin.benchmarks.run.store import STATES
from i2moe_plugin.errors import RunError

WEIGHTS = "weights.safetensors"
#: What a data set learned from its training rows, where new samples can be read by it.
FITTED = "preprocessing.safetensors"
#: The key of checksum and record in a file's header: one alone, since several have no fixed order.
CHECKED = "checked"
_AS_TENSORS = ("model", "best_state", "optimizer")


def save_tensors(path: Path, tensors: Mapping[str, Tensor], record: Any = None) -> None:
    """Write tensors, and a record that JSON can hold, with a checksum of both.

    Raises:
        RunError: the file cannot be written, or something is no tensor.
    """
    with replacing(path) as aside:
        _write(aside, tensors, record)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], Any]:
    """Read what :func:`save_tensors` wrote.

    Raises:
        RunError: the file is missing, or is not what was written.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        if "record" in facts:  # of older versions: without a checksum
            return tensors, json.loads(facts["record"])
        checksum, _, text = facts.get(CHECKED, "").partition(" ")
        if checksum != _checksum(tensors, text):
            raise RunError(f"{path}: its content does not match its checksum.")
        return tensors, json.loads(text)
    except (OSError, SafetensorError, ValueError) as error:
        raise RunError(f"{path}: not readable ({error}).") from error


def save_state(folder: Path, state: dict[str, Any], identity: str) -> None:
    """Write a :meth:`Trainer.state_dict` as a run's last state; the one before it is kept.

    Args:
        folder: of the run.
        state: weights, Adam's moments, best epoch, history, the precision's scale.
        identity: of the run.

    Raises:
        RunError: it cannot be written; the last states stay as they are.
    """
    tensors = {f"model/{key}": value for key, value in state["model"].items()}
    tensors |= {f"best/{key}": value for key, value in state["best_state"].items()}
    for index, slots in state["optimizer"]["state"].items():
        for key, value in slots.items():
            tensors[f"optimizer/{index}/{key}"] = torch.as_tensor(value)
    record = {key: value for key, value in state.items() if key not in _AS_TENSORS}
    record |= {"param_groups": state["optimizer"]["param_groups"], "identity": identity}
    newest, previous = (folder / name for name in STATES)
    with replacing(newest) as aside:
        _write(aside, tensors, record)
        if newest.exists():
            newest.replace(previous)


def load_state(path: Path, identity: str) -> dict[str, Any]:
    """Read what :func:`save_state` wrote, for :meth:`Trainer.load_state_dict`.

    Raises:
        RunError: the file is missing, damaged, or another run's state.
    """
    tensors, record = load_tensors(path)
    slots: dict[int, dict[str, Tensor]] = {}
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}}
    try:
        found = record.pop("identity")
        groups = record.pop("param_groups")
        for key, tensor in tensors.items():
            kind, _, rest = key.partition("/")
            if kind == "optimizer":
                index, _, slot = rest.partition("/")
                slots.setdefault(int(index), {})[slot] = tensor
            else:
                parts[kind][rest] = tensor
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path}: not a training state.") from error
    if found != identity:
        raise RunError(f"{path}: the state of a run with other settings, data or code.")
    return {
        **record,
        "model": parts["model"],
        "best_state": parts["best"],
        "optimizer": {"state": slots, "param_groups": groups},
    }


def _write(path: Path, tensors: Mapping[str, Tensor], record: Any) -> None:
    wrong = [key for key, value in tensors.items() if not isinstance(value, Tensor)]
    if wrong:
        raise RunError(
            f"the model's state holds {wrong[0]}, which is no tensor and cannot be saved: keep it "
            "in a buffer, not in get_extra_state."
        )
    # Contiguous copies: tied or expanded tensors would otherwise be refused.
    whole = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in tensors.items()}
    text = json.dumps(record, default=_plain)
    try:
        save_file(whole, path, {CHECKED: f"{_checksum(whole, text)} {text}"})
    except SafetensorError as error:
        raise RunError(f"cannot write {path}: {error}. Is the disk full?") from error
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _checksum(tensors: Mapping[str, Tensor], record: str) -> str:
    """Return a hash of names, types, shapes, bytes and record."""
    found = hashlib.sha256(record.encode())
    for key in sorted(tensors):
        tensor = tensors[key]
        found.update(f"{key} {tensor.dtype} {list(tensor.shape)}".encode())
        if tensor.numel():
            found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _plain(value: Any) -> Any:
    """Make of numpy's numbers, and of one in a tensor, what JSON has."""
    return value.item()
