"""Runs in TensorBoard, MLflow or Weights & Biases, while they are trained.

The process that shows progress writes, wherever runs are trained. What was written of a run is
kept beside the logs, so that an epoch that a resumed run trains again is not written again.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from i2moe_plugin.benchmarks.grid.runs import Attempt, CellRuns
from i2moe_plugin.benchmarks.run.files import read_json, write_json
from i2moe_plugin.benchmarks.run.settings import RunSettings
from i2moe_plugin.errors import ConfigError

log = logging.getLogger(__name__)

#: The folder of logs in a folder of runs.
LOGS = "logs"
#: What the runs of all data sets are in: MLflow's experiment, the project of Weights & Biases.
PROJECT = "i2moe-bench"


class Writer(Protocol):
    """Writes one run."""

    def metrics(self, values: Mapping[str, float], step: int) -> None: ...

    def close(self) -> None: ...


class _TensorBoard:
    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any], _: str) -> None:
        from lightning_fabric.loggers.tensorboard import TensorBoardLogger

        self._logger = TensorBoardLogger(folder, name=name, version="", default_hp_metric=False)
        lines = "\n".join(f"| {key} | {value} |" for key, value in settings.items())
        if not Path(self._logger.log_dir).exists():
            self._logger.experiment.add_text("settings", f"| setting | value |\n|---|---|\n{lines}")

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        self._logger.log_metrics(dict(values), step)

    def close(self) -> None:
        self._logger.finalize("success")


class _MLflow:
    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any], known: str) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        place = os.environ.get("MLFLOW_TRACKING_URI")
        if place is None:
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            place = folder.absolute().as_uri()
        self._metric, self._client = Metric, MlflowClient(tracking_uri=place)
        if known:
            self.id = known
            self._client.update_run(known, "RUNNING")
            return
        found = self._client.get_experiment_by_name(PROJECT)
        experiment = found.experiment_id if found else self._client.create_experiment(PROJECT)
        self.id = self._client.create_run(experiment, run_name=name).info.run_id
        params = [Param(key, str(value)[:6000]) for key, value in settings.items()]
        self._client.log_batch(self.id, params=params)

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        import time

        now = int(1000 * time.time())
        found = [self._metric(key, value, now, step) for key, value in values.items()]
        self._client.log_batch(self.id, metrics=found)

    def close(self) -> None:
        self._client.set_terminated(self.id)


class _WandB:
    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any], _: str) -> None:
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        # Its own id for a run is the name, so that a resumed run goes on.
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            dir=str(folder),
            id=name,
            name=name,
            config=dict(settings),
            resume="allow",
            reinit="create_new",
        )

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


#: Name -> what writes, and the module that it needs; the extra has the same name.
WRITERS: dict[str, tuple[Callable[..., Writer], str]] = {
    "tensorboard": (_TensorBoard, "tensorboard"),
    "mlflow": (_MLflow, "mlflow"),
    "wandb": (_WandB, "wandb"),
}


def check_logs(kinds: Sequence[str]) -> None:
    """Refuse kinds of logs that are not known, or whose package is not installed.

    Raises:
        ConfigError: it names what to install.
    """
    problems = []
    for kind in kinds:
        if kind not in WRITERS:
            problems.append(f"log={kind!r} is not one of {', '.join(WRITERS)}.")
        elif importlib.util.find_spec(WRITERS[kind][1]) is None:
            problems.append(
                f"log={kind} needs a package that is not installed: "
                f"pip install 'i2moe-plugin[{kind}]'."
            )
    if problems:
        raise ConfigError(problems)


class RunLogs:
    """Writes what a grid's runs tell; made by :func:`writing_logs`."""

    def __init__(self, kinds: Sequence[str], folder: Path) -> None:
        self._kinds = list(dict.fromkeys(kinds))
        self._folder = folder / LOGS
        self._open: dict[tuple[str, str], Writer] = {}

    def __call__(self, cell: CellRuns, attempt: Attempt, epoch: dict[str, Any] | None) -> None:
        """Take in what :class:`~i2moe_plugin.benchmarks.grid.runner.GridRunner` tells."""
        finished = epoch is None and attempt.state == "finished" and not attempt.reused
        for kind in list(self._kinds):
            try:
                if epoch is not None:
                    self._write(kind, attempt, _flat(epoch), int(epoch["epoch"]))
                elif finished and attempt.run is not None:
                    result = attempt.run.result
                    values = {f"test/{k}": v for k, v in result["test"].items() if v is not None}
                    self._write(kind, attempt, values, int(result["epochs"]), last=True)
                if epoch is None and attempt.state not in ("waiting", "running"):
                    self._close(kind, attempt.name)
            except Exception as error:  # of a server, say: no reason to lose the training
                log.warning("%s: nothing more is logged there (%s).", kind, error)
                self._kinds.remove(kind)

    def close(self) -> None:
        """Close what is open still."""
        for kind, name in list(self._open):
            with suppress(Exception):
                self._close(kind, name)

    def _write(
        self,
        kind: str,
        attempt: Attempt,
        values: Mapping[str, float],
        step: int,
        last: bool = False,
    ) -> None:
        folder = self._folder / kind
        path = folder / f"{attempt.name}.json"
        written: dict[str, Any] = {"epoch": 0, "finished": False, "id": ""}
        if path.exists():
            written |= read_json(path)
        if written["finished"] or (not last and step <= written["epoch"]):
            return
        writer = self._open.get((kind, attempt.name))
        if writer is None:
            make, _ = WRITERS[kind]
            settings = _settings(attempt.settings)
            writer = self._open[kind, attempt.name] = make(
                folder, attempt.name, settings, written["id"]
            )
        # Before it is written: a kill in between loses an epoch of a log, and doubles none.
        known = {"epoch": step, "finished": last, "id": getattr(writer, "id", written["id"])}
        write_json(path, known)
        writer.metrics(values, step)

    def _close(self, kind: str, name: str) -> None:
        writer = self._open.pop((kind, name), None)
        if writer is not None:
            writer.close()


@contextmanager
def writing_logs(kinds: Sequence[str], folder: Path) -> Iterator[RunLogs]:
    """Give what writes the logs of a grid's runs, and close them after the block.

    Args:
        kinds: names of :data:`WRITERS`; none: nothing is written.
        folder: of the runs.

    Raises:
        ConfigError: see :func:`check_logs`.
    """
    check_logs(kinds)
    logs = RunLogs(kinds, folder)
    try:
        yield logs
    finally:
        logs.close()


def _flat(epoch: Mapping[str, Any]) -> dict[str, float]:
    """Return an epoch's figures by name; those of several experts with their number."""
    found: dict[str, float] = {"seconds": epoch["seconds"]}
    for part in ("train", "valid"):
        for key, value in epoch[part].items():
            if isinstance(value, list):
                found |= {f"{part}/{key}/{place}": one for place, one in enumerate(value, 1)}
            else:
                found[f"{part}/{key}"] = value
    return {key: float(value) for key, value in found.items() if value is not None}


def _settings(settings: RunSettings) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in settings.model_dump().items():
        if isinstance(value, dict):
            prefix = key.removesuffix("_settings")
            found |= {f"{prefix}.{name}": one for name, one in value.items()}
        else:
            found[key] = value
    return found
