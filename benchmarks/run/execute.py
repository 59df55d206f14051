"""One run: from settings to a finished run directory."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from i2moe_plugin import __version__
from i2moe_plugin.backbones.entry import backbones
from i2moe_plugin.benchmarks.data.open import OpenedDataset, open_dataset
from i2moe_plugin.benchmarks.data.sharing import share_of
from i2moe_plugin.benchmarks.data.splits import OWN_SPLIT, SPLITS, SplitName
from i2moe_plugin.benchmarks.run.checkpoints import (
    FITTED,
    WEIGHTS,
    save_state,
    save_tensors,
)
from i2moe_plugin.benchmarks.run.code import source_of
from i2moe_plugin.benchmarks.run.environment import (
    check_devices,
    create_fabric,
    device_kind,
    environment,
    load_what_runs_need,
    resolve_device,
    training_threads,
)
from i2moe_plugin.benchmarks.run.files import json_ready, write_json, write_text
from i2moe_plugin.benchmarks.run.memory import keep_freed_memory, memory_errors_explained
from i2moe_plugin.benchmarks.run.model import (
    absence_notes,
    backbone_notes,
    check_last_batch,
    check_shares,
    create_trainer,
    sharing_notes,
)
from i2moe_plugin.benchmarks.run.outputs import write_outputs
from i2moe_plugin.benchmarks.run.precision import settle_precision
from i2moe_plugin.benchmarks.run.probes import compare_with_probes
from i2moe_plugin.benchmarks.run.ranks import run_ranks
from i2moe_plugin.benchmarks.run.resume import go_on
from i2moe_plugin.benchmarks.run.selection import check_selection
from i2moe_plugin.benchmarks.run.settings import RunSettings
from i2moe_plugin.benchmarks.run.store import EVIDENCE, Run, RunStore
from i2moe_plugin.errors import RunError
from i2moe_plugin.evidence import Evidence
from i2moe_plugin.model import I2MoE
from i2moe_plugin.training import Predictions, Trainer, count_parameters

#: Seconds of work that a kill may cost, where an epoch does not take longer.
SAVE_EVERY = 10.0
_LESS_MEMORY = (
    "Give a smaller --batch-size (results then differ), fewer runs at a time (--jobs 1), or a "
    "backbone that takes less."
)

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
    check_devices(settings)
    check_shares(settings, data)
    name, identity = run_name(settings, data)
    with store.writing(name, identity, fresh=fresh) as folder:
        if folder is None:  # finished by another process, or before a kill
            return Run.load(store.folder / name)
        settings, why = settle_precision(settings, data, store.folder, most_threads)
        task = _Task(settings, folder, identity, sources or {}, [why] if why else [])
        if settings.devices == 1:
            _train(task, data, on_epoch, most_threads)
        else:
            _train_in_ranks(task, data, on_epoch, most_threads)
    return Run.load(store.folder / name)


@dataclass(frozen=True)
class _Task:
    """A run that is to be trained, and where it is written.

    Attributes:
        settings, sources: see :func:`execute`.
        folder: of the run under way.
        identity: of the run.
        notes: what is known before it starts.
    """

    settings: RunSettings
    folder: Path
    identity: str
    sources: Mapping[str, str]
    notes: Sequence[str]


def _train(
    task: _Task, data: OpenedDataset, on_epoch: EpochCallback | None, most_threads: int | None
) -> None:
    with (
        memory_errors_explained("this run", _LESS_MEMORY),
        ready_trainer(task.settings, data, most_threads) as trainer,
    ):
        _train_and_test(task, data, trainer, on_epoch)


def _train_in_ranks(
    task: _Task, data: OpenedDataset, on_epoch: EpochCallback | None, most_threads: int | None
) -> None:
    """Train on several devices, each in a process of its own, which opens the data set itself."""
    settings = task.settings
    data.prepare(resolve_device(settings.device))  # once, where it is kept on the disk
    root = None if data.root is None else str(data.root.absolute())
    threads = max((most_threads or torch.get_num_threads()) // settings.devices, 1)
    here = dataclasses.replace(task, folder=task.folder.absolute())
    run_ranks(
        functools.partial(_rank, here, root, run_name(settings, data)[1], threads),
        settings.devices,
        "nccl" if device_kind(settings.device) == "cuda" else "gloo",
        on_epoch or (lambda _: None),
    )


def _rank(task: _Task, root: str | None, made_of: str, threads: int, send: EpochCallback) -> None:
    settings = task.settings
    data = open_dataset(
        settings.dataset,
        root,
        loader=settings.loader,
        split=settings.split,
        **settings.data_settings,
    )
    if run_name(settings, data)[1] != made_of:
        raise RunError(
            "the process of a device found other data, or another backbone, than the one that "
            "started it: they changed meanwhile, or were made in it by hand."
        )
    _train(task, data, send, threads)


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
    fabric = trainer.fabric
    read = loaders(settings, data, fabric.device)
    train = share_of(read("train", shuffle=True), fabric.global_rank, fabric.world_size)
    trainer.fit(train, read("valid"), settings.epochs, on_epoch)
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
    task: _Task, data: OpenedDataset, trainer: Trainer, on_epoch: EpochCallback | None
) -> None:
    start = time.perf_counter()
    settings, folder, model = task.settings, task.folder, trainer.model
    check_last_batch(settings, data, model)
    notes = [*task.notes, *data.notes, *data.observations(), *backbone_notes(model)]
    notes += [*sharing_notes(settings, model), *absence_notes(data.incomplete, model)]
    go_on(trainer, folder, task.identity)
    if not trainer.fabric.is_global_zero:  # the first rank writes, and tells of epochs
        fit(trainer, settings, data, None)
        return
    last_save = time.perf_counter()

    def epoch_done(record: dict[str, Any]) -> None:
        nonlocal last_save
        # Before another epoch as long as this one would make it too much.
        if time.perf_counter() - last_save + record["seconds"] > SAVE_EVERY:
            save_state(folder, trainer.state_dict(), task.identity)
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
    _write(settings, data, folder, trainer, test, task.sources, seconds, notes)


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
    ids, groups = np.asarray(data.sample_ids("test")), data.groups("test")
    if (read := len(ids)) != len(test.prediction):  # a checkout's loader may leave some out
        ids, groups = np.arange(len(test.prediction)).astype(str), None
        result["notes"] = [
            *notes,
            f"the loader gave {len(ids)} test samples, where the files have {read}: their ids are "
            "their places.",
        ]
    arrays: dict[str, Any] = {
        "prediction": test.prediction,
        "target": trainer.model.task.truth(test.target),
        "sample_id": ids,
    }
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
