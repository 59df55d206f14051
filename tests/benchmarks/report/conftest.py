"""Stored runs of any size and kind, written as `run` writes them, without training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from i2moe_plugin import Classification, Multilabel, Regression
from i2moe_plugin.benchmarks.runs import Run, RunStore, write_json, write_outputs
from i2moe_plugin.benchmarks.settings import RunSettings
from i2moe_plugin.seeding import derive_seed

WriteRun = Callable[..., Run]
HISTORY = (
    '{"epoch": 1, "train": {"loss": 2.0, "task": 1.5, "auxiliary": 0.0%s}, '
    '"valid": {"loss": 1.0, "accuracy": 0.5}, "seconds": 0.1}\n'
    '{"epoch": 2, "train": {"loss": 1.0, "task": 0.5, "auxiliary": 0.0%s}, '
    '"valid": {"loss": 0.8, "accuracy": 0.75}, "seconds": 0.1}\n'
)


def write_run(
    folder: Path,
    task: Any = None,
    *,
    samples: int = 60,
    modalities: tuple[str, ...] = ("audio", "video"),
    method: str = "i2moe",
    seed: int = 0,
    dataset: str = "drawn",
    fusion: str = "concat",
    ids: list[str] | None = None,
    class_names: list[str] | None = None,
    splits: str = "",
    data_root: str | None = None,
    notes: list[str] | None = None,
    weights: Any = None,
    **settings: Any,
) -> Run:
    """A finished run with drawn outputs; the targets are the same for all seeds."""
    task = task or Classification(3)
    width = task.num_outputs
    names = class_names or [f"class {c}" for c in range(width)]
    rng = np.random.default_rng(7)
    if isinstance(task, Classification):
        target = np.arange(samples) % width
        signal = np.eye(width)[target]
    elif isinstance(task, Multilabel):
        target = (rng.random((samples, width)) < 0.2).astype(np.float32)
        signal = 2 * target - 1
    else:
        assert isinstance(task, Regression)
        target = signal = rng.normal(size=(samples, width)).astype(np.float32)
    rng = np.random.default_rng(derive_seed(seed, method))
    columns = {
        "target": target,
        "sample_id": np.array(ids or [f"s{row}" for row in range(samples)]),
        "prediction": (2 * signal + rng.normal(size=signal.shape)).astype(np.float32),
    }
    experts = [*(f"uniqueness_{m + 1}" for m in range(len(modalities))), "synergy", "redundancy"]
    if method != "vanilla":
        raw = np.exp(rng.normal(size=(samples, len(experts))))
        drawn = (raw / raw.sum(1, keepdims=True)).astype(np.float32)
        columns["weights"] = drawn if weights is None else np.asarray(weights, np.float32)
        said = 2 * signal[:, None] + rng.normal(size=(samples, len(experts), width))
        columns["expert_outputs"] = said.astype(np.float32)
        columns["prediction"] = np.einsum(
            "ne,nec->nc", columns["weights"], columns["expert_outputs"]
        )
    metric = task.metric_names[0]
    result = {
        "test": {"loss": 0.5, **task.metrics(columns["prediction"], target)},
        "best_epoch": 2,
        "epochs": 2,
        "metric": metric,
        "parameters": 1234,
        "seconds": {"training": 1.0, "test": 0.1, "total": 1.2},
        "notes": notes or [],
        "task": task.describe(),
        "class_names": names,
        "modalities": list(modalities),
        "data_root": data_root,
    }
    terms = ""
    if method != "vanilla":
        result["expert_weights"] = dict(
            zip(experts, columns["weights"].mean(0).tolist(), strict=True)
        )
        terms = f', "interaction": {[0.5] * len(experts)}, "weights": {[0.25] * len(experts)}'
    record = RunSettings(
        dataset=dataset, fusion=fusion, method=method, seed=seed, device="cpu", **settings
    ).model_dump()
    store = RunStore(folder)
    name = f"{dataset}-{fusion}-{method}-seed{seed}-{abs(derive_seed(0, str(record))) % 10**8:08d}"
    with store.writing(name, "identity") as aside:
        write_json(
            aside / "settings.json", {**record, "splits": splits, "sources": {"lr": "given"}}
        )
        write_json(aside / "environment.json", {"python": "3.11", "packages": {"torch": "2"}})
        write_json(aside / "result.json", result)
        (aside / "metrics.jsonl").write_text(HISTORY % (terms, terms))
        write_outputs(aside, columns)
        (aside / "weights.safetensors").write_bytes(b"not looked at")
    return Run.load(folder / name)


@pytest.fixture(name="write_run", scope="session")
def _write_run() -> WriteRun:
    return write_run
