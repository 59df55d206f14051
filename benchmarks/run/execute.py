"""One run: from settings to a finished run directory."""

from __future__ import annotations

import inspect
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from i2moe_plugin import __version__
from i2moe_plugin.backbones.entry import backbones
from i2moe_plugin.benchmarks.data.open import OpenedDataset
from i2moe_plugin.benchmarks.run.checkpoints import load_state, save_state, save_tensors
from i2moe_plugin.benchmarks.run.environment import (
    create_fabric,
    environment,
    resolve_device,
    training_threads,
)
from i2moe_plugin.benchmarks.run.files import json_ready, write_json, write_text
from i2moe_plugin.benchmarks.run.memory import keep_freed_memory
from i2moe_plugin.benchmarks.run.model import create_trainer
from i2moe_plugin.benchmarks.run.outputs import write_outputs
from i2moe_plugin.benchmarks.run.settings import RunSettings
from i2moe_plugin.benchmarks.run.store import Run, RunStore
from i2moe_plugin.errors import RunError
from i2moe_plugin.model import I2MoE
from i2moe_plugin.training import Predictions, Trainer, count_parameters

#: Seconds between two saved states of a run under way.
SAVE_EVERY = 30.0
STATE = "state.safetensors"

EpochCallback = Callable[[dict[str, Any]], None]


def run_name(settings: RunSettings, data: OpenedDataset) -> tuple[str, str]:
    """Return a run's directory name and its identity.

    The identity covers the settings, the data, the device's kind, this package's version and the
    source of the backbone: change any, and it is another run.
    """
    build = backbones.get(settings.fusion).build
    try:
        source = Path(inspect.getsourcefile(inspect.unwrap(build)) or "").read_text(
            encoding="utf-8"
        )
    except (OSError, TypeError):
        source = ""
    identity = settings.identity(
        version=__version__,
        data=data.fingerprint(),
        device=resolve_device(settings.device).type,
        source=source,
    )
    stem = f"{settings.dataset}-{settings.fusion}-{settings.method}-seed{settings.seed}"
    return f"{stem.replace(':', '.').replace('/', '.')}-{identity[:8]}", identity


def finished(settings: RunSettings, data: OpenedDataset, store: RunStore) -> Run | None:
    """Return the finished run of this identity; a damaged one counts as none."""
    try:
        return store.find(run_name(settings, data)[0])
    except RunError:
        return None


def headline_metric(settings: RunSettings, data: OpenedDataset) -> str:
    """Return the metric that methods are compared by: what selects the epoch, if it was chosen."""
    chosen = settings.metric
    return chosen if chosen is not None and chosen != "loss" else data.metric


def execute(
    settings: RunSettings,
    data: OpenedDataset,
    store: RunStore,
    *,
    fresh: bool = False,
    on_epoch: EpochCallback | None = None,
    sources: Mapping[str, str] | None = None,
    most_threads: int | None = None,
) -> Run:
    """Train, select on validation, test once; or return the finished run of the same identity.

    Args:
        settings: complete.
        data: the opened data set.
        store: where the run goes.
        fresh: train even where a finished run, or a stopped one, is there.
        on_epoch: called with each epoch's record.
        sources: where each setting comes from, to be stored beside them.
        most_threads: train on no more CPU threads than these, whatever the settings say.

    Raises:
        RunError: the run cannot be written, or another process computes it.
        BackboneError, TrainingError: see :class:`Trainer`.
    """
    if not fresh and (found := finished(settings, data, store)) is not None:
        return found
    name, identity = run_name(settings, data)
    with store.writing(name, identity, fresh=fresh) as folder:
        trainer = create_trainer(settings, data, create_fabric(settings))
        if trainer.fabric.device.type == "cpu":
            keep_freed_memory()
        if not torch.cuda.is_available():
            # torch's optimizers otherwise look for a driver on the disk at every step.
            os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
        with training_threads(settings, trainer.model, most_threads):
            _train_and_test(settings, data, trainer, folder, on_epoch, sources or {})
    return Run.load(store.folder / name)


def _train_and_test(
    settings: RunSettings,
    data: OpenedDataset,
    trainer: Trainer,
    folder: Path,
    on_epoch: EpochCallback | None,
    sources: Mapping[str, str],
) -> None:
    start = time.perf_counter()
    _go_on(trainer, folder / STATE)
    last_save = time.perf_counter()

    def epoch_done(record: dict[str, Any]) -> None:
        nonlocal last_save
        if time.perf_counter() - last_save > SAVE_EVERY:
            save_state(folder / STATE, trainer.state_dict())
            last_save = time.perf_counter()
        if on_epoch is not None:
            on_epoch(record)

    options: dict[str, Any] = {
        "batch_size": settings.batch_size,
        "seed": settings.seed,
        "num_workers": settings.workers,
        "pin_memory": trainer.fabric.device.type == "cuda",
    }
    prepared = data.prepare(trainer.fabric.device)
    trainer.fit(
        prepared.loader("train", shuffle=True, **options),
        prepared.loader("valid", **options),
        settings.epochs,
        epoch_done,
    )
    test_start = time.perf_counter()
    test = trainer.predict(prepared.loader("test", **options))
    seconds = {
        "training": sum(record["seconds"] for record in trainer.history),
        "test": time.perf_counter() - test_start,
        "total": time.perf_counter() - start,
    }
    _write(settings, data, folder, trainer, test, sources, seconds)


def _go_on(trainer: Trainer, state: Path) -> None:
    """Go on from a stopped run's last state; where it cannot be used, the run starts over."""
    if state.exists():
        try:
            trainer.load_state_dict(load_state(state))
        except (RunError, RuntimeError, KeyError, ValueError):
            state.unlink()


def _write(
    settings: RunSettings,
    data: OpenedDataset,
    folder: Path,
    trainer: Trainer,
    test: Predictions,
    sources: Mapping[str, str],
    seconds: dict[str, float],
) -> None:
    result: dict[str, Any] = {
        "test": {"loss": test.loss, **trainer.model.task.metrics(test.prediction, test.target)},
        "best_epoch": trainer.best_epoch,
        "epochs": len(trainer.history),
        "metric": trainer.metric,
        "headline": headline_metric(settings, data),
        "parameters": count_parameters(trainer.model),
        "parameters_without_encoders": count_parameters(trainer.model)
        - count_parameters(trainer.model.encoders),
        "seconds": seconds,
        "plan": trainer.plan,
        "notes": data.notes,
        "task": trainer.model.task.describe(),
        "class_names": data.class_names,
        "modalities": list(data.modalities),
        "data_root": None if data.root is None else str(data.root.absolute()),
    }
    arrays: dict[str, Any] = {
        "prediction": test.prediction,
        "target": trainer.model.task.truth(test.target),
        "sample_id": np.asarray(data.sample_ids("test")),
    }
    if isinstance(trainer.model, I2MoE) and test.weights is not None:
        names = trainer.model.expert_names
        result["expert_weights"] = dict(
            zip(names, test.weights.mean(0).astype(float).tolist(), strict=True)
        )
        arrays |= {"expert_outputs": test.outputs, "weights": test.weights}
    write_json(
        folder / "settings.json",
        {**settings.model_dump(), "splits": data.split_hash(), "sources": dict(sources)},
    )
    write_json(folder / "environment.json", environment(settings))
    write_json(folder / "result.json", result)
    lines = [json.dumps(json_ready(record), allow_nan=False) + "\n" for record in trainer.history]
    write_text(folder / "metrics.jsonl", "".join(lines))
    write_outputs(folder, arrays)
    save_tensors(folder / "weights.safetensors", trainer.model.state_dict())
    (folder / STATE).unlink(missing_ok=True)
