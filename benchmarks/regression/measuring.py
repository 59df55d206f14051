"""What is measured of each cell of the gate's grid."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict

from i2moe_plugin.benchmarks.data.open import OpenedDataset
from i2moe_plugin.benchmarks.grid.cells import Cell, Grid
from i2moe_plugin.benchmarks.grid.executors.dask import Dask
from i2moe_plugin.benchmarks.grid.failures import in_one_line
from i2moe_plugin.benchmarks.grid.runner import GridRunner, open_cell
from i2moe_plugin.benchmarks.grid.runs import Attempt, CellRuns
from i2moe_plugin.benchmarks.run.environment import (
    create_fabric,
    resolve_device,
    training_threads,
)
from i2moe_plugin.benchmarks.run.files import json_ready
from i2moe_plugin.benchmarks.run.model import create_trainer
from i2moe_plugin.benchmarks.run.settings import RunSettings
from i2moe_plugin.benchmarks.run.store import RunStore
from i2moe_plugin.benchmarks.speed.counting import count
from i2moe_plugin.errors import RunError
from i2moe_plugin.multimodal import MultimodalModel

#: Batches of the step that is counted and timed.
STEPS = 3


class Measurement(BaseModel):
    """One cell, measured.

    Attributes:
        cell: data set, backbone, method, choices of a grid.
        settings: of its runs, but for the seed.
        data: fingerprint of the data and hash of its splits.
        metric: what it is judged by.
        scores: that metric on test data, one a seed.
        tests: the other metrics on test data, by name, one a seed.
        losses: each loss over seeds and epochs in a row, by name; test losses over seeds.
        parameters: that can be trained.
        trained: the parts of the model that get a gradient.
        operators: that compute something, in training (``STEPS`` batches and their validation)
            and in a prediction.
        flops: of the same.
        seconds: CPU time of the same training, in units of a reference computation; None where it
            was not timed.
        error: why it could not be measured; then everything else is empty.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    cell: str
    settings: dict[str, Any] = {}
    data: str = ""
    metric: str = ""
    scores: list[float | None] = []
    tests: dict[str, list[float | None]] = {}
    losses: dict[str, list[float | None]] = {}
    parameters: int = 0
    trained: list[str] = []
    operators: dict[str, int] = {}
    flops: dict[str, int] = {}
    seconds: float | None = None
    error: str = ""


def measure_grid(
    grid: Grid,
    *,
    timed: bool = True,
    on_cell: Callable[[str], None] = lambda _: None,
    cluster: Dask | None = None,
) -> list[Measurement]:
    """Measure every cell, always anew, in a folder that is thrown away.

    A cell whose training fails is measured as an error; what keeps all of it from being started is
    raised.

    Args:
        grid: what is measured.
        timed: measure time too.
        on_cell: called with each cell's name when it is first trained.
        cluster: where runs are trained, in place of here; steps are counted and timed here.
    """
    opened: dict[str, OpenedDataset] = {}

    def open_once(cell: Cell) -> OpenedDataset:
        settings = cell.settings
        key = repr([settings.dataset, cell.root, settings.loader, settings.data_settings])
        if key not in opened:
            opened[key] = open_cell(cell)
            opened[key].prepare(resolve_device(settings.device))
        return opened[key]

    announced = set()

    def on_event(cell: CellRuns, _attempt: Attempt, epoch: dict[str, Any] | None) -> None:
        if (name := " ".join(cell.cell.key)) not in announced and epoch is None:
            announced.add(name)
            on_cell(name)

    for cell in grid.cells:  # what cannot be opened is told before anything is trained
        open_once(cell)
    alone = replace(grid, corrected=False, baselines=())
    # Workers elsewhere share the working folder, as they share the folder of runs of a suite.
    place = None if cluster is None or cluster.kind == "local" else Path.cwd()
    with tempfile.TemporaryDirectory(prefix=".regress-", dir=place) as folder:
        runner = GridRunner(RunStore(folder), on_event=on_event, cluster=cluster)
        return [_measure(cell, open_once(cell.cell), timed) for cell in runner.run(alone).cells]


def _measure(cell: CellRuns, data: OpenedDataset, timed: bool) -> Measurement:
    name, settings = " ".join(cell.cell.key), cell.settings
    for attempt in cell.attempts:
        if attempt.state == "stopped":
            raise RunError(attempt.reason)  # the disk, not the code
        if attempt.reason:
            return Measurement(cell=name, error=attempt.reason)
    try:
        seed = cell.attempts[0].seed
        work = _work(settings.model_copy(update={"seed": seed}), data, timed)
    except Exception as error:
        return Measurement(cell=name, error=in_one_line(error))
    return Measurement(
        cell=name,
        settings=json_ready(
            settings.model_dump(exclude={"seed", "device", "workers", "force_precision"})
        ),
        data=f"{data.fingerprint()[:16]} {data.split_hash()[:16]}",
        metric=settings.metric or data.metric,
        **_facts(cell, settings.metric or data.metric),
        **work,
    )


def _facts(cell: CellRuns, metric: str) -> dict[str, Any]:
    """Return scores and losses of finished runs."""
    runs = list(cell.runs.values())
    losses: dict[str, list[Any]] = {}
    for run in runs:
        experts = list(run.result.get("expert_weights", ()))
        for record in run.history():
            for name, value in _terms(record, experts):
                losses.setdefault(name, []).append(value)
        losses.setdefault("test: task", []).append(run.result["test"]["loss"])
    return {
        "scores": json_ready(list(cell.values(metric).values())),
        "tests": {
            name: json_ready(list(cell.values(name).values()))
            for name in runs[0].result["test"]
            if name not in ("loss", metric)
        },
        "losses": json_ready(losses),
        "parameters": runs[0].result["parameters"],
    }


def _terms(record: Mapping[str, Any], experts: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Give the losses of one epoch, by name."""
    train = record["train"]
    for name in ("loss", "task", "auxiliary"):
        if name in train:
            yield f"training: {'total' if name == 'loss' else name}", train[name]
    values = train.get("interaction", [])
    names = experts if len(experts) == len(values) else map(str, itertools.count(1))
    for name, value in zip(names, values, strict=False):
        yield f"training: interaction of {name}", value
    yield "validation: task", record["valid"]["loss"]


def _work(settings: RunSettings, data: OpenedDataset, timed: bool) -> dict[str, Any]:
    """Measure what a few steps and a prediction cost, and which parts get a gradient."""
    options: dict[str, Any] = {"batch_size": settings.batch_size, "seed": settings.seed}
    trainer = create_trainer(settings, data, create_fabric(settings))
    batches = data.prepare(trainer.fabric.device).loader("train", shuffle=True, **options)
    train = list(itertools.islice(batches, STEPS))
    epochs = itertools.count(1)

    def step() -> None:
        trainer.fit(train, train[:1], next(epochs))

    with training_threads(settings, trainer.model):
        step()  # settles the plan of the experts
        trained = _with_gradient(trainer.model)
        training = count(step)
        prediction = count(lambda: trainer.predict(train))
        seconds = relative_time(step) if timed else None
    return {
        "trained": trained,
        "operators": {"training": training.operators, "prediction": prediction.operators},
        "flops": {"training": training.flops, "prediction": prediction.flops},
        "seconds": seconds,
    }


def _with_gradient(model: MultimodalModel) -> list[str]:
    """Return the encoders, experts and other parts of the model whose gradient is not zero."""
    found = {
        _part(name): None
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and bool(parameter.grad.any())
    }
    return list(found)


def _part(name: str) -> str:
    """Return the part of the model that a parameter lies in.

    >>> _part("bank.experts.2.head.0.weight"), _part("encoders.1.0.bias"), _part("backbone.x.y.0")
    ('bank.experts.2', 'encoders.1', 'backbone')
    """
    words = name.split(".")
    number = next((place for place, word in enumerate(words[:3]) if word.isdigit()), 0)
    return ".".join(words[: number + 1])


REPEATS = 5


def relative_time(call: Callable[[], object]) -> float:
    """Measure the CPU time of a call in units of a fixed computation that is timed beside it.

    The smallest of several times is taken of each: what else the machine does can only add to them.
    CPU time stands in place of the clock's, since others may share the processor. Both run on
    torch's threads as they are set; on one thread the ratio hardly depends on the machine's load.
    """
    ours, reference = [], []
    for _ in range(REPEATS):
        reference.append(_cpu_seconds(_reference))
        ours.append(_cpu_seconds(call))
        reference.append(_cpu_seconds(_reference))
    return min(ours) / min(reference)


def _reference() -> None:
    """Compute small operators and middling matrix products, as a small model's step does."""
    small, square = torch.ones(64, 64), torch.full((256, 256), 1e-3)
    for _ in range(400):
        small = (small * 0.5).relu() + 0.5
    for _ in range(10):
        square = square @ square


def _cpu_seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start
