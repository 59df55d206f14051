"""One run: from settings to a finished run directory."""

from __future__ import annotations

import importlib.metadata
import inspect
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from i2moe_plugin import __version__
from i2moe_plugin.backbones.wrapper import LatentSpec
from i2moe_plugin.benchmarks.datasets import MultimodalDataset
from i2moe_plugin.benchmarks.encoders import EncoderSettings
from i2moe_plugin.benchmarks.grid.executors.processes import in_worker
from i2moe_plugin.benchmarks.run.checkpoints import load_state, save_state, save_tensors
from i2moe_plugin.benchmarks.run.memory import keep_freed_memory
from i2moe_plugin.benchmarks.run.settings import RunSettings
from i2moe_plugin.benchmarks.run.store import (
    Run,
    RunStore,
    explained,
    plain,
    write_json,
    write_outputs,
)
from i2moe_plugin.errors import ConfigError, RunError
from i2moe_plugin.execution.layers import quicken
from i2moe_plugin.methods import create_model
from i2moe_plugin.model import I2MoE, MultimodalModel, latent_specs
from i2moe_plugin.registry import backbones, create_backbone
from i2moe_plugin.seeding import seeded
from i2moe_plugin.training import Predictions, Trainer, count_parameters

#: Below this many parameters one thread is fastest: an operator's work does not pay for waking
#: others, and threads that wait for each other stall on a busy machine. A fixed rule, and not a
#: measurement, since the number of threads decides the last bits of a sum.
SMALL_MODEL = 2_000_000
#: Seconds between two saved states of a run under way.
SAVE_EVERY = 30.0
STATE = "state.safetensors"

EpochCallback = Callable[[dict[str, Any]], None]


def run_name(settings: RunSettings, data: MultimodalDataset) -> tuple[str, str]:
    """A run's directory name and its identity.

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


def finished(settings: RunSettings, data: MultimodalDataset, store: RunStore) -> Run | None:
    """The finished run of this identity; one whose files were damaged since counts as none."""
    try:
        return store.find(run_name(settings, data)[0])
    except RunError:
        return None


def execute(
    settings: RunSettings,
    data: MultimodalDataset,
    store: RunStore,
    *,
    fresh: bool = False,
    on_epoch: EpochCallback | None = None,
    sources: dict[str, str] | None = None,
) -> Run:
    """Train, select on validation, test once; or return the finished run of the same identity.

    Args:
        settings: complete.
        data: the opened data set.
        store: where the run goes.
        fresh: train even where a finished run, or a stopped one, is there.
        on_epoch: called with each epoch's record.
        sources: where each setting comes from, to be stored beside them.

    Raises:
        RunError: the run cannot be written.
        BackboneError, TrainingError: see :class:`Trainer`.
    """
    if not fresh and (found := finished(settings, data, store)) is not None:
        return found
    name, identity = run_name(settings, data)
    with store.writing(name, identity, fresh=fresh) as folder:
        trainer = create_trainer(settings, data)
        if trainer.fabric.device.type == "cpu":
            keep_freed_memory()
        if not torch.cuda.is_available():
            # torch's optimizers otherwise look for a driver on the disk at every step.
            os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
        with training_threads(settings, trainer.model):
            _train_and_test(settings, data, trainer, folder, on_epoch, sources or {})
    return Run.load(store.folder / name)


def create_trainer(settings: RunSettings, data: MultimodalDataset) -> Trainer:
    """The untrained model of a run in its trainer, as :func:`execute` trains it.

    Raises:
        ConfigError, BackboneError, ShapeError: see :func:`build_model`.
    """
    model = build_model(settings, data)
    quicken(model)
    if isinstance(model, I2MoE):
        model.bank.plan = settings.plan
        budget = settings.memory_budget
        model.bank.memory_budget = None if budget is None else budget * 1_000_000
    return Trainer(
        model,
        metric=settings.metric or data.selection or data.metric,
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        clip_grad_norm=settings.clip_grad_norm,
        seed=settings.seed,
        fabric=create_fabric(settings),
    )


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Run the block on that many CPU threads; 0 leaves them as they are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if in_worker() else count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# Threads do not survive a fork: a process forked from one that has used them waits for ever where
# it needs some. Models are built before runs are handed to processes, and in them.
@_threads(1)
def build_model(settings: RunSettings, data: MultimodalDataset) -> MultimodalModel:
    """The model of a run, with initial weights from its seed.

    All methods of one seed start from the same encoders and the same backbone.

    Raises:
        ConfigError, BackboneError, ShapeError: the backbone does not fit the data.
    """
    if settings.method == "wide":
        return _widened(settings, data)
    entry = backbones.get(settings.fusion)
    encoder_settings = EncoderSettings(
        latents="tokens" if entry.latents == "tokens" else "vector",
        dim=settings.latent_dim,
        hidden=settings.encoder_hidden,
        dropout=settings.encoder_dropout,
        input_dropout=settings.input_dropout,
        patches=settings.patches,
    )
    with seeded(settings.seed, "init", "encoders"):
        encoders = data.encoders(encoder_settings)
    latents = _measure(encoders, data)
    task = data.task
    built = 0

    def backbone() -> nn.Module:
        nonlocal built
        with seeded(settings.seed, "init", "backbone", built):
            built += 1
            return create_backbone(
                settings.fusion, latents, task.num_outputs, **settings.fusion_settings
            )

    with seeded(settings.seed, "init", "reweighting"):
        return create_model(
            settings.method,
            encoders,
            latents,
            backbone,
            task,
            interaction_weight=settings.interaction_weight,
            interaction=settings.interaction_loss,
            masking=settings.masking,
            expert_init=settings.expert_init,
            reweighting_hidden=settings.reweighting_hidden,
            reweighting_layers=settings.reweighting_layers,
            reweighting_dropout=settings.reweighting_dropout,
            temperature=settings.temperature,
            auxiliary_weight=settings.auxiliary_weight,
            regularizer_weight=settings.regularizer_weight,
        )


def _widened(settings: RunSettings, data: MultimodalDataset) -> MultimodalModel:
    """The vanilla model on latents so wide that it has about as many parameters as I2MoE.

    The width is the multiple of the settings' eighth (so that attention heads still divide it)
    whose number of parameters comes closest.
    """

    def model(method: str, latent_dim: int) -> MultimodalModel:
        changed = {"method": method, "latent_dim": latent_dim}
        return build_model(settings.model_copy(update=changed), data)

    goal = count_parameters(model("i2moe", settings.latent_dim))
    step = max(settings.latent_dim // 8, 1)
    low, high = settings.latent_dim, 2 * settings.latent_dim
    while count_parameters(model("vanilla", high)) < goal:
        low, high = high, 2 * high
    while high - low > step:
        middle = low + (high - low) // step // 2 * step
        if count_parameters(model("vanilla", middle)) < goal:
            low = middle
        else:
            high = middle
    return min(
        (model("vanilla", width) for width in (low, high)),
        key=lambda one: abs(count_parameters(one) - goal),
    )


def resolve_device(name: str) -> torch.device:
    """The device of that name; ``auto`` is the best there is.

    Raises:
        ConfigError: no such device here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device {name!r} is not one of auto, cpu, cuda, cuda:N, mps.") from error
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(device.type, False):
        raise ConfigError(
            f"device {name!r} is not available here; --device auto takes the best there is."
        )
    return device


def create_fabric(settings: RunSettings) -> Fabric:
    """Fabric on the settings' device and precision."""
    device = resolve_device(settings.device)
    precision: Any = "32-true" if settings.precision == "32" else settings.precision
    if device.type == "cuda":
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
    devices: Any = [device.index or 0] if device.type == "cuda" else 1
    return Fabric(accelerator=device.type, devices=devices, precision=precision)


def environment(settings: RunSettings) -> dict[str, Any]:
    """What a run ran on: versions, device, threads, git commit of the working folder if any."""
    device = resolve_device(settings.device)
    packages = ("torch", "torchvision", "lightning-fabric", "numpy", "scikit-learn", "scipy")
    commit = None
    try:
        git = ["git", "rev-parse", "HEAD"]
        done = subprocess.run(git, capture_output=True, text=True, timeout=5, check=False)
        commit = done.stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        pass
    return {
        "i2moe_plugin": __version__,
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in packages},
        "platform": platform.platform(),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "git_commit": commit,
    }


@contextmanager
def training_threads(settings: RunSettings, model: nn.Module) -> Iterator[None]:
    """Run the block on the CPU threads that the model is trained with."""
    one = count_parameters(model) < SMALL_MODEL
    with _threads(settings.threads or (1 if one else 0)):
        yield


def _measure(encoders: list[nn.Module], data: MultimodalDataset) -> list[LatentSpec]:
    *inputs, _ = next(iter(data.loader("train", batch_size=2)))
    return latent_specs(encoders, inputs)


def _train_and_test(
    settings: RunSettings,
    data: MultimodalDataset,
    trainer: Trainer,
    folder: Path,
    on_epoch: EpochCallback | None,
    sources: dict[str, str],
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
    trainer.fit(
        data.loader("train", shuffle=True, **options),
        data.loader("valid", **options),
        settings.epochs,
        epoch_done,
    )
    test_start = time.perf_counter()
    test = trainer.predict(data.loader("test", **options))
    seconds = {
        "training": sum(record["seconds"] for record in trainer.history),
        "test": time.perf_counter() - test_start,
        "total": time.perf_counter() - start,
    }
    _write(settings, data, folder, trainer, test, sources, seconds)


def _go_on(trainer: Trainer, state: Path) -> None:
    """Go on from a stopped run's last state; one that cannot be used is started over."""
    if state.exists():
        try:
            trainer.load_state_dict(load_state(state))
        except (RunError, RuntimeError, KeyError, TypeError, ValueError):
            state.unlink()


def _write(
    settings: RunSettings,
    data: MultimodalDataset,
    folder: Path,
    trainer: Trainer,
    test: Predictions,
    sources: dict[str, str],
    seconds: dict[str, float],
) -> None:
    result: dict[str, Any] = {
        "test": {"loss": test.loss, **trainer.model.task.metrics(test.prediction, test.target)},
        "best_epoch": trainer.best_epoch,
        "epochs": len(trainer.history),
        "metric": trainer.metric,
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
        {**settings.model_dump(), "splits": data.split_hash(), "sources": sources},
    )
    write_json(folder / "environment.json", environment(settings))
    write_json(folder / "result.json", result)
    with explained(folder):
        lines = [json.dumps(plain(record), allow_nan=False) + "\n" for record in trainer.history]
        (folder / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")
    write_outputs(folder, arrays)
    save_tensors(folder / "weights.safetensors", trainer.model.state_dict())
    (folder / STATE).unlink(missing_ok=True)
