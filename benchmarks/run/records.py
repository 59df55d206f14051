"""What the files of a finished run must hold: runs of other people are read too.

Nothing in them is believed before it has the types and bounds that are written here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from i2moe_plugin.errors import RunError
from i2moe_plugin.tasks import Classification, Multilabel

if TYPE_CHECKING:
    from i2moe_plugin.interpretation import Outputs

Name = Annotated[str, Field(min_length=1, max_length=500)]
#: A data set is opened by its name alone; a path would be read wherever it lies.
DatasetName = Annotated[Name, Field(pattern=r"^[^/\\]+$")]
SettingName = Annotated[str, Field(pattern=r"^[^\W_]\w*$", max_length=500)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, lt=2**63)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


class _Settings(_Record):
    dataset: DatasetName
    fusion: Name
    method: Name
    seed: Count
    data_settings: dict[SettingName, Any]
    sources: dict[str, str] = {}
    splits: str = ""
    split: Annotated[str, Field(pattern=r"^(own|[1-9][0-9]{0,3}(of[1-9][0-9]{0,3})?)$")] = "own"


class _Result(_Record):
    test: Annotated[dict[Name, Number | None], Field(min_length=1)]
    metric: Name
    headline: Name = "loss"
    epochs: Count
    best_epoch: Count
    parameters: Count
    seconds: dict[str, Number]
    notes: list[str]
    class_names: list[str]
    modalities: list[str]
    expert_weights: dict[Name, Number | None] = {}
    task: dict[str, Any] = {}
    data_root: str | None = None
    grouped: bool = False
    samples: dict[str, Annotated[int, Field(ge=1, lt=2**63)]] = {}


class _Epoch(_Record):
    epoch: Count
    seconds: Number
    train: dict[str, Number | list[Number | None] | None]
    valid: dict[str, Number | None]


def check_settings(path: Path, settings: Mapping[str, Any], file: str = "settings.json") -> None:
    """Check the settings of a run.

    Args:
        path: of the run, for messages.
        settings: what ``settings.json`` holds.
        file: which holds them.

    Raises:
        RunError: something is missing, or has another type than a run writes; names the first.
    """
    _check(_Settings, path / file, settings)
    for name in settings:
        if name.startswith("_"):
            raise RunError(f"{path / file}: {name[:40]!r} is no setting.")


def check_result(
    path: Path, result: Mapping[str, Any], history: Sequence[Mapping[str, Any]]
) -> None:
    """Check the result and the history of a run.

    Args:
        path: of the run, for messages.
        result: what ``result.json`` holds.
        history: the records of all epochs.

    Raises:
        RunError: see :func:`check_settings`.
    """
    _check(_Result, path / "result.json", result)
    experts = len(result.get("expert_weights", ()))
    for record in history:
        _check(_Epoch, path / "metrics.jsonl", record)
        weights = record["train"].get("weights", [])
        if not isinstance(weights, list) or len(weights) not in (0, experts):
            raise RunError(f"{path / 'metrics.jsonl'}: weights of {experts} experts expected.")


def _check(kind: type[_Record], file: Path, record: Mapping[str, Any]) -> None:
    try:
        kind.model_validate(record)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part)[:40] for part in first["loc"])
        raise RunError(f"{file}: {where}: {first['msg'].lower()}.") from error


def check_values(outputs: Outputs) -> None:
    """Check outputs of a run, whose shapes fit together.

    Raises:
        ValueError: numbers that are not finite, or targets that the task cannot have.
    """
    columns = {
        "prediction": outputs.prediction,
        "expert_outputs": outputs.expert_outputs,
        "weights": outputs.weights,
        "target": outputs.target,
    }
    for name, values in columns.items():
        if values is None:
            continue
        if values.dtype.kind not in "fiub":
            raise ValueError(f"{name} is {values.dtype}; expected numbers")
        if not (np.abs(values) <= np.finfo(np.float32).max).all():  # false of NaN as well
            raise ValueError(f"{name} holds NaN, infinite or impossibly large values")
    if not all(isinstance(name, str) for name in outputs.sample_id.tolist()):
        raise ValueError("sample_id is not text")
    weights = outputs.weights
    if not outputs.experts and (weights is not None or outputs.expert_outputs is not None):
        raise ValueError("weights or outputs of experts, of which result.json names none")
    if weights is not None and not ((weights >= 0) & (weights <= 1.001)).all():
        raise ValueError("weights are not all from 0 to 1")
    target, width = outputs.target, outputs.task.num_outputs
    if isinstance(outputs.task, Classification):
        inside = target.ndim == 1 and target.dtype.kind in "iu"
        if not inside or not ((target >= 0) & (target < width)).all():
            raise ValueError(f"target is not classes from 0 to {width - 1}")
    elif target.shape not in {(len(outputs), width), *([(len(outputs),)] if width == 1 else [])}:
        raise ValueError(f"target is {list(target.shape)} for {width} outputs")
    elif isinstance(outputs.task, Multilabel) and not np.isin(target, (0, 1)).all():
        raise ValueError("target holds labels that are neither 0 nor 1")
