"""What is measured of each cell of the gate's suite."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from i2moe_plugin.benchmarks.data.open import OpenedDataset, open_dataset
from i2moe_plugin.benchmarks.grid.runner import describe
from i2moe_plugin.benchmarks.grid.spec import Cell, Suite
from i2moe_plugin.benchmarks.regression.timing import relative_time
from i2moe_plugin.benchmarks.run.environment import create_fabric, resolve_device, training_threads
from i2moe_plugin.benchmarks.run.execute import execute
from i2moe_plugin.benchmarks.run.model import create_trainer
from i2moe_plugin.benchmarks.run.settings import RunSettings
from i2moe_plugin.benchmarks.run.store import Run, RunStore, plain
from i2moe_plugin.benchmarks.speed.counting import count
from i2moe_plugin.errors import RunError
from i2moe_plugin.model import MultimodalModel

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
    losses: dict[str, list[float | None]] = {}
    parameters: int = 0
    trained: list[str] = []
    operators: dict[str, int] = {}
    flops: dict[str, int] = {}
    seconds: float | None = None
    error: str = ""


def measure_suite(
    suite: Suite, *, timed: bool = True, told: Callable[[str], None] = lambda _: None
) -> list[Measurement]:
    """Measure every cell, always anew, in a folder that is thrown away.

    A cell whose training fails is measured as an error; what keeps all of it from being started is
    raised.

    Args:
        suite: what to measure.
        timed: time training too.
        told: called with each cell's name before it is measured.

    Raises:
        I2MoEError: a data set or a device is not there.
    """
    opened: dict[str, OpenedDataset] = {}
    out = []
    for cell in suite.cells:
        settings = cell.settings
        place = repr([settings.dataset, cell.root, settings.loader, settings.data_settings])
        if place not in opened:
            device = resolve_device(settings.device)
            opened[place] = open_dataset(
                settings.dataset, cell.root, loader=settings.loader, **settings.data_settings
            )
            opened[place].prepare(device)
        told(" ".join(cell.key))
        out.append(_measure(cell, suite.seeds, opened[place], timed))
    return out


def _measure(cell: Cell, seeds: Sequence[int], data: OpenedDataset, timed: bool) -> Measurement:
    name = " ".join(cell.key)
    try:
        with tempfile.TemporaryDirectory() as folder:
            store = RunStore(folder)
            runs = [
                execute(cell.settings.model_copy(update={"seed": seed}), data, store)
                for seed in seeds
            ]
            facts = _facts(runs, cell.settings.metric or data.metric)
        work = _work(cell.settings.model_copy(update={"seed": seeds[0]}), data, timed)
    except RunError:
        raise  # the disk, not the code
    except Exception as error:
        return Measurement(cell=name, error=describe(error))
    return Measurement(
        cell=name,
        settings=plain(cell.settings.model_dump(exclude={"seed", "device", "workers"})),
        data=f"{data.fingerprint()[:16]} {data.split_hash()[:16]}",
        **facts,
        **work,
    )


def _facts(runs: Sequence[Run], metric: str) -> dict[str, Any]:
    """Scores and losses of finished runs."""
    results = [run.json("result.json") for run in runs]
    losses: dict[str, list[Any]] = {}
    for run, result in zip(runs, results, strict=True):
        experts = list(result.get("expert_weights", ()))
        for record in run.history():
            for name, value in _terms(record, experts):
                losses.setdefault(name, []).append(value)
        losses.setdefault("test: task", []).append(result["test"]["loss"])
    return {
        "metric": metric,
        "scores": [result["test"][metric] for result in results],
        "losses": plain(losses),
        "parameters": results[0]["parameters"],
    }


def _terms(record: Mapping[str, Any], experts: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """The losses of one epoch, by name."""
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
    """What a few steps and a prediction cost, and which parts get a gradient."""
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
    """Encoders, experts and what else the model is made of, where some gradient is not zero."""
    found = {
        _part(name): None
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and bool(parameter.grad.any())
    }
    return list(found)


def _part(name: str) -> str:
    """The part of the model that a parameter lies in.

    >>> _part("bank.experts.2.head.0.weight"), _part("encoders.1.0.bias"), _part("backbone.x.y.0")
    ('bank.experts.2', 'encoders.1', 'backbone')
    """
    words = name.split(".")
    number = next((place for place, word in enumerate(words[:3]) if word.isdigit()), 0)
    return ".".join(words[: number + 1])
