"""One run: from settings to a finished run directory."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from i2moe_plugin import __version__
from i2moe_plugin.backbones.entry import backbones
from i2moe_plugin.benchmarks.data.open import OpenedDataset
from i2moe_plugin.benchmarks.data.splits import OWN_SPLIT, SPLITS, SplitName
from i2moe_plugin.benchmarks.run.checkpoints import (
    FITTED,
    WEIGHTS,
    load_state,
    save_state,
    save_tensors,
)
from i2moe_plugin.benchmarks.run.code import source_of
from i2moe_plugin.benchmarks.run.environment import (
    create_fabric,
    device_kind,
    environment,
    load_what_runs_need,
    training_threads,
)
from i2moe_plugin.benchmarks.run.files import json_ready, write_json, write_text
from i2moe_plugin.benchmarks.run.memory import keep_freed_memory
from i2moe_plugin.benchmarks.run.model import backbone_notes, check_last_batch, create_trainer
from i2moe_plugin.benchmarks.run.outputs import write_outputs
from i2moe_plugin.benchmarks.run.precision import settle_precision
from i2moe_plugin.benchmarks.run.probes import compare_with_probes
from i2moe_plugin.benchmarks.run.selection import check_selection
from i2moe_plugin.benchmarks.run.settings import RunSettings
from i2moe_plugin.benchmarks.run.store import EVIDENCE, STATES, Run, RunStore
from i2moe_plugin.errors import RunError, TrainingError
from i2moe_plugin.evidence import Evidence
from i2moe_plugin.model import I2MoE
from i2moe_plugin.training import Predictions, Trainer, count_parameters

log = logging.getLogger(__name__)

#: Seconds of work that a kill may cost, where an epoch does not take longer.
SAVE_EVERY = 10.0

EpochCallback = Callable[[dict[str, Any]], None]


def run_name(settings: RunSettings, data: OpenedDataset) -> tuple[str, str]:
    """Return a run's directory name and its identity.

    The identity covers the settings, the data, the device's kind, this package's version and the
    source of the backbone, with what it imports from its own folder: change any, and it is another
    run.
    """
    entry = backbones.get(settings.fusion)
    identity = settings.identity(
        version=__version__,
        data=data.fingerprint(),
        device=device_kind(settings.device),
        source=source_of(entry.build, entry.module),
    )
    stem = f"{settings.dataset}-{settings.fusion}-{settings.method}-seed{settings.seed}"
    if settings.split != OWN_SPLIT:
        stem += f"-split{settings.split}"
    return f"{stem.replace(':', '.').replace('/', '.')}-{identity[:8]}", identity


def backbone_digest(fusion: str) -> str:
    """Return a hash of the source of a backbone, with what it imports from its own folder."""
    entry = backbones.get(fusion)
    return hashlib.sha256(source_of(entry.build, entry.module).encode()).hexdigest()


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
        ConfigError: the metric that selects the epoch is undefined on the validation split.
        BackboneError, TrainingError: see :class:`Trainer`.
    """
    if not fresh and (found := finished(settings, data, store)) is not None:
        return found
    check_selection(settings, data)
    name, identity = run_name(settings, data)
    with store.writing(name, identity, fresh=fresh) as folder:
        if folder is None:  # finished by another process, or before a kill
            return Run.load(store.folder / name)
        settings, why = settle_precision(settings, data, store.folder, most_threads)
        notes = [why] if why else []
        with ready_trainer(settings, data, most_threads) as trainer:
            _train_and_test(
                settings, data, trainer, folder, identity, on_epoch, sources or {}, notes
            )
    return Run.load(store.folder / name)


@contextmanager
def ready_trainer(
    settings: RunSettings, data: OpenedDataset, most_threads: int | None = None
) -> Iterator[Trainer]:
    """Give the trainer of a run, and run the block as training is to run.

    Args:
        settings, data, most_threads: see :func:`execute`.

    Raises:
        BackboneError: the model cannot be built, or not be trained on the last batch.
    """
    load_what_runs_need()
    trainer = create_trainer(settings, data, create_fabric(settings))
    if trainer.fabric.device.type == "cpu":
        keep_freed_memory()
    if not torch.cuda.is_available():
        # torch's optimizers otherwise look for a driver on the disk at every step.
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    with training_threads(settings, trainer.model, most_threads):
        yield trainer


def fit(
    trainer: Trainer, settings: RunSettings, data: OpenedDataset, on_epoch: EpochCallback | None
) -> Callable[[SplitName], Predictions]:
    """Train, and return what predicts a split by the best epoch's weights.

    Args:
        trainer: of :func:`ready_trainer`.
        settings, data, on_epoch: see :func:`execute`.
    """
    read = loaders(settings, data, trainer.fabric.device)
    trainer.fit(read("train", shuffle=True), read("valid"), settings.epochs, on_epoch)
    return lambda split: trainer.predict(read(split))


def loaders(settings: RunSettings, data: OpenedDataset, device: torch.device) -> Callable[..., Any]:
    """Return what gives the loader of a split, as a run reads it.

    Args:
        settings, data: see :func:`execute`.
        device: where it is trained.
    """
    options: dict[str, Any] = {
        "batch_size": settings.batch_size,
        "seed": settings.seed,
        "num_workers": settings.workers,
        "pin_memory": device.type == "cuda",
    }
    return functools.partial(data.prepare(device).loader, **options)


def _train_and_test(
    settings: RunSettings,
    data: OpenedDataset,
    trainer: Trainer,
    folder: Path,
    identity: str,
    on_epoch: EpochCallback | None,
    sources: Mapping[str, str],
    notes: Sequence[str],
) -> None:
    start = time.perf_counter()
    check_last_batch(settings, data, trainer.model)
    notes = [*notes, *data.notes, *data.observations(), *backbone_notes(trainer.model)]
    _go_on(trainer, folder, identity)
    last_save = time.perf_counter()

    def epoch_done(record: dict[str, Any]) -> None:
        nonlocal last_save
        # Before another epoch as long as this one would make it too much.
        if time.perf_counter() - last_save + record["seconds"] > SAVE_EVERY:
            save_state(folder, trainer.state_dict(), identity)
            last_save = time.perf_counter()
        if on_epoch is not None:
            on_epoch(record)

    predict = fit(trainer, settings, data, epoch_done)
    test_start = time.perf_counter()
    test = predict("test")
    seconds = {
        "training": sum(record["seconds"] for record in trainer.history),
        "test": time.perf_counter() - test_start,
        "total": time.perf_counter() - start,
    }
    _write(settings, data, folder, trainer, test, sources, seconds, notes)


def _go_on(trainer: Trainer, folder: Path, identity: str) -> None:
    """Go on from a stopped run's last state, or the one before; without any, it starts over."""
    problems = []
    for name in STATES:
        if (folder / name).exists():
            try:
                trainer.load_state_dict(load_state(folder / name, identity))
            except (RunError, TrainingError) as error:
                problems.append(str(error))
                (folder / name).unlink()
            else:
                break
    done = len(trainer.history)
    for problem in problems:
        log.warning(
            "a saved state cannot be used (%s); the run %s.",
            problem.removesuffix("."),
            f"goes on after epoch {done}, from the state before" if done else "starts over",
        )


def _write(
    settings: RunSettings,
    data: OpenedDataset,
    folder: Path,
    trainer: Trainer,
    test: Predictions,
    sources: Mapping[str, str],
    seconds: dict[str, float],
    notes: Sequence[str],
) -> None:
    result: dict[str, Any] = {
        "test": {"loss": test.loss, **trainer.model.task.metrics(test.prediction, test.target)},
        "best_epoch": trainer.best_epoch,
        **({"best_epochs": trainer.best_epochs} if len(trainer.best_epochs) > 1 else {}),
        "epochs": len(trainer.history),
        "metric": trainer.metric,
        "headline": headline_metric(settings, data),
        "parameters": count_parameters(trainer.model),
        "parameters_without_encoders": count_parameters(trainer.model)
        - sum(map(count_parameters, trainer.model.every_encoder)),
        "seconds": seconds,
        "plan": trainer.plan,
        "notes": notes,
        "task": trainer.model.task.describe(),
        "target_scale": trainer.target_scale and asdict(trainer.target_scale),
        "class_names": data.class_names,
        "modalities": list(data.modalities),
        "data_root": None if data.root is None else str(data.root.absolute()),
        "samples": {split: len(data.sample_ids(split)) for split in SPLITS},
    }
    ids = np.asarray(data.sample_ids("test"))
    if len(ids) != len(test.prediction):  # a checkout's loader may leave some out
        ids = np.arange(len(test.prediction)).astype(str)
        result["notes"] = [
            *notes,
            f"the loader gave {len(ids)} test samples, where the files have "
            f"{len(data.sample_ids('test'))}: their ids are their places.",
        ]
    arrays: dict[str, Any] = {
        "prediction": test.prediction,
        "target": trainer.model.task.truth(test.target),
        "sample_id": ids,
    }
    groups = data.groups("test")
    result["grouped"] = groups is not None
    if groups is not None:
        arrays["group"] = groups.astype(str)
    if isinstance(trainer.model, I2MoE) and test.weights is not None:
        names = trainer.model.expert_names
        result["expert_weights"] = dict(
            zip(names, test.weights.mean(0).astype(float).tolist(), strict=True)
        )
        arrays |= {"expert_outputs": test.outputs, "weights": test.weights}
    fitted = trainer.model.fitted if isinstance(trainer.model, Evidence) else None
    if fitted is not None and test.outputs is not None:
        if trainer.target_scale is not None:
            scale = trainer.target_scale
            fitted = fitted.rescaled(np.array(scale.mean), np.array(scale.deviation))
        # In double precision, from what is stored: so parts sum to what is stored.
        arrays |= {"model_outputs": test.outputs, "prediction": fitted.predict(test.outputs)}
        device = trainer.fabric.device
        probes = compare_with_probes(fitted, test.outputs, data, device, settings.seed)
        write_json(folder / EVIDENCE, {**fitted.record(), "probes": probes})
    write_json(
        folder / "settings.json",
        {
            **settings.model_dump(),
            "splits": data.split_hash(),
            "data": data.content_hash(),
            "sources": dict(sources),
        },
    )
    write_json(
        folder / "environment.json",
        {**environment(settings), "backbone": backbone_digest(settings.fusion)},
    )
    write_json(folder / "result.json", result)
    lines = [json.dumps(json_ready(record), allow_nan=False) + "\n" for record in trainer.history]
    write_text(folder / "metrics.jsonl", "".join(lines))
    write_outputs(folder, arrays)
    save_tensors(folder / WEIGHTS, trainer.model.state_dict())
    if (learned := data.learned()) is not None:
        tensors = {name: torch.tensor(array) for name, array in learned.arrays.items()}
        save_tensors(folder / FITTED, tensors, learned.facts)
