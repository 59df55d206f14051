"""Our models trained by MultiBench's own loop, out of a checkout, with everything else equal."""

from __future__ import annotations

import contextlib
import io
import math
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from i2moe_plugin.adapters.checkout import Checkout, open_checkout
from i2moe_plugin.benchmarks.data.batches import EpochShuffle
from i2moe_plugin.benchmarks.data.open import OpenedDataset
from i2moe_plugin.benchmarks.data.splits import SPLITS
from i2moe_plugin.benchmarks.run.environment import create_fabric, resolve_device, training_threads
from i2moe_plugin.benchmarks.run.execute import run_name
from i2moe_plugin.benchmarks.run.files import (
    read_json,
    sha256_of,
    write_json,
)
from i2moe_plugin.benchmarks.run.model import build_model
from i2moe_plugin.benchmarks.run.settings import RunSettings
from i2moe_plugin.benchmarks.run.store import RunStore
from i2moe_plugin.errors import ConfigError, PluginError, RunError, TrainingError
from i2moe_plugin.injection import Injection
from i2moe_plugin.seeding import seeded
from i2moe_plugin.training import Trainer

MODULE = "training_structures.Supervised_Learning"
#: What their loop selects the epoch by, for each task's name.
SELECTION = {"classification": "accuracy", "multilabel": "macro_f1", "regression": "loss"}
FOLDER = "multibench-loop"


def loop_results(
    settings: RunSettings, data: OpenedDataset, store: RunStore, root: str
) -> dict[str, Any]:
    """Train and test one run in MultiBench's loop; a finished one is not repeated.

    The model, its initial weights, the order of batches, learning rate, weight decay and clipping
    are those of our run of the same settings. The loop is theirs: optimiser steps, validation, and
    which epoch is kept. Results, ``{"test": metrics, "checkout": its folder}``, are kept in
    ``<runs>/multibench-loop``.
    """
    checkout = open_checkout(root)
    source = checkout.root / "training_structures" / "Supervised_Learning.py"
    try:
        version = sha256_of(source)[:8]
    except OSError as error:
        raise PluginError(f"{source}: not readable ({error}); is {root} a checkout?") from error
    place = store.folder / FOLDER / f"{run_name(settings, data)[0]}-{version}.json"
    if place.is_file():
        with contextlib.suppress(RunError):
            return read_json(place)
    found = _train(settings, data, checkout)
    write_json(place, found)
    return found


def _train(settings: RunSettings, data: OpenedDataset, checkout: Checkout) -> dict[str, Any]:
    task = data.task
    if task.name not in SELECTION:
        raise ConfigError(f"MultiBench's loop has no task {task.name}.")
    options: dict[str, Any] = {"batch_size": settings.batch_size, "seed": settings.seed}
    prepared = data.prepare(resolve_device(settings.device))
    loaders = [prepared.loader(name, shuffle=name == "train", **options) for name in SPLITS]
    sampler = getattr(loaders[0], "sampler", None)
    if isinstance(sampler, EpochShuffle):
        sampler.set_epoch(1)  # where ours begins; each pass goes on by itself
    *inputs, _ = next(iter(loaders[1]))
    if not all(isinstance(x, Tensor) for x in inputs):
        raise ConfigError(
            f"MultiBench's loop takes one tensor a modality; {data.name} gives lengths beside some."
        )
    model = build_model(settings, data)
    injection = Injection(model)
    train: Callable[..., Any] = checkout.module(MODULE).train
    with (
        tempfile.TemporaryDirectory() as folder,
        training_threads(settings, model),
        seeded(settings.seed, "multibench"),
        contextlib.redirect_stdout(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # of code that is not ours
        best = Path(folder) / "best.pt"
        try:
            train(
                **injection.arguments,
                train_dataloader=loaders[0],
                valid_dataloader=loaders[1],
                total_epochs=settings.epochs,
                optimtype=torch.optim.AdamW,
                lr=settings.lr,
                weight_decay=settings.weight_decay,
                clip_val=settings.clip_grad_norm or math.inf,
                save=best,
                track_complexity=False,
                input_to_float=all(x.is_floating_point() for x in inputs),
            )
        except Exception as error:  # theirs may raise anything
            raise TrainingError(
                f"MultiBench's loop failed: {type(error).__name__}: {error}"
            ) from error
        if not best.is_file():
            raise TrainingError(
                "MultiBench's loop kept no model: its validation score never rose above 0."
            )
        # Written by that loop a moment ago.
        kept = torch.load(best, weights_only=False).fuse.model
    test = Trainer(kept, metric=data.metric, seed=settings.seed, fabric=create_fabric(settings))
    result = test.predict(loaders[2])
    return {"test": task.metrics(result.prediction, result.target), "checkout": str(checkout.root)}
