"""One trial: a method trained with some settings over the validation seeds, and judged on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from i2moe_plugin.benchmarks.data.open import OpenedDataset
from i2moe_plugin.benchmarks.grid.cells import Cell
from i2moe_plugin.benchmarks.grid.executors import Send
from i2moe_plugin.benchmarks.grid.failures import in_one_line
from i2moe_plugin.benchmarks.grid.runner import open_cell
from i2moe_plugin.benchmarks.grid.training import SharedData
from i2moe_plugin.benchmarks.run.environment import device_kind
from i2moe_plugin.benchmarks.run.execute import fit, ready_trainer
from i2moe_plugin.benchmarks.run.model import check_last_batch
from i2moe_plugin.benchmarks.run.settings import RunSettings, resolve
from i2moe_plugin.errors import RunError, TrainingError
from i2moe_plugin.tasks import HIGHER_IS_BETTER

State = Literal["finished", "pruned", "failed"]
#: Told the curve so far, says whether a trial is to be given up.
Hopeless = Callable[[Mapping[int, float]], bool]


def open_for_tuning(cell: Cell) -> OpenedDataset:
    """Open a cell's data set without its test split."""
    return open_cell(cell).without_test()


def selecting_metric(settings: RunSettings, data: OpenedDataset) -> str:
    """Return the metric of validation data that selects the epoch and judges trials."""
    return settings.metric or data.selection or data.metric


@dataclass(frozen=True)
class Outcome:
    """What became of a trial.

    Attributes:
        state: ``finished``; ``pruned``: given up on the way; ``failed``: it could not be trained.
        value: the mean over seeds of the best epoch's metric on validation data; NaN where it is
            not finished.
        loss: the same of the task's loss, which decides between equal values.
        curve: by step, the mean of what finished seeds reached and the best so far of the one that
            is trained; seeds follow each other, an epoch a step.
        reason: why it failed.
    """

    state: State
    value: float = math.nan
    loss: float = math.nan
    curve: Mapping[int, float] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class Trial:
    """Trains a method with some settings over all seeds; sends its steps, then its outcome.

    Attributes:
        base: the method's settings but for the seed.
        params: what the trial changes of them.
        seeds: those of training.
        data: what it is trained on; its test split is never opened.
        hopeless: whether to give it up.
        most_threads: the most CPU threads it may take.
    """

    base: RunSettings
    params: Mapping[str, Any]
    seeds: tuple[int, ...]
    data: SharedData
    hopeless: Hopeless
    most_threads: int | None = None

    @property
    def resources(self) -> dict[str, float]:
        """What it needs of a worker, as dask counts it."""
        return {"GPU": 1} if device_kind(self.base.device) == "cuda" else {}

    def __call__(self, send: Send) -> None:
        """Train; the last message is the outcome."""
        curve: dict[int, float] = {}
        try:
            settings = with_params(self.base, self.params)
            found = self._train(settings, self.data.open(), curve, send)
        except _Pruned:
            found = Outcome("pruned", curve=curve)
        except RunError:  # of the disk or of another process, and not of these settings
            raise
        except Exception as error:
            found = Outcome("failed", curve=curve, reason=in_one_line(error))
        send(found)

    def _train(
        self, settings: RunSettings, data: OpenedDataset, curve: dict[int, float], send: Send
    ) -> Outcome:
        metric = selecting_metric(settings, data)
        sign = 1 if HIGHER_IS_BETTER.get(metric) else -1
        values: list[float] = []
        losses: list[float] = []
        for place, seed in enumerate(self.seeds):
            best = -math.inf

            def epoch_done(record: dict[str, Any], place: int = place) -> None:
                nonlocal best
                value = sign * record["valid"][metric]
                best = max(best, value) if value == value else best
                step = place * settings.epochs + record["epoch"]
                if math.isfinite(best):
                    curve[step] = float(np.mean([*values, sign * best]))
                    if self.hopeless(curve):
                        raise _Pruned
                send(step)

            own = settings.model_copy(update={"seed": seed})
            with ready_trainer(own, data, self.most_threads) as trainer:
                check_last_batch(own, data, trainer.model)
                valid = fit(trainer, own, data, epoch_done)("valid")
                task = trainer.model.task
            losses.append(valid.loss)
            values.append(
                valid.loss
                if metric == "loss"
                else task.metric(metric, valid.prediction, valid.target)
            )
        if not np.isfinite(values).all():
            raise TrainingError(f"{metric} of the validation split is undefined.")
        return Outcome("finished", float(np.mean(values)), float(np.mean(losses)), curve)


class _Pruned(Exception):
    """There is no hope for a trial."""


def with_params(base: RunSettings, params: Mapping[str, Any]) -> RunSettings:
    """Return settings with what a trial changes, checked.

    Args:
        base: complete.
        params: by name of the setting, as ``--set`` takes it.

    Raises:
        ConfigError: a value that cannot be used.
    """
    given = {**settings_given(base), **params}
    found, _ = resolve(base.dataset, base.fusion, given, recipe={})
    place = {"method": base.method, "seed": base.seed, "split": base.split}
    return found.model_copy(update=place)


def settings_given(settings: RunSettings) -> dict[str, Any]:
    """Return all settings as a user would give them, by the names that ``--set`` takes."""
    nested = {
        "fusion_settings": "fusion.",
        "data_settings": "data.",
        "evidence_settings": "evidence.",
    }
    plain = settings.model_dump(exclude={*nested, "dataset", "fusion", "method", "seed", "split"})
    record = settings.model_dump()
    inner = {
        f"{prefix}{key}": value
        for part, prefix in nested.items()
        for key, value in record[part].items()
    }
    return {**plain, **inner}
