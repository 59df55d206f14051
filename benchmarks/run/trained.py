"""The trained model of a finished run, and what it says of samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from i2moe_plugin import __version__
from i2moe_plugin.benchmarks.data.contents import Learned
from i2moe_plugin.benchmarks.data.open import empty_samples, open_dataset, open_samples
from i2moe_plugin.benchmarks.data.samples import Part, Samples, Source
from i2moe_plugin.benchmarks.run.checkpoints import FITTED, WEIGHTS, load_tensors
from i2moe_plugin.benchmarks.run.environment import (
    cpu_threads,
    create_fabric,
    resolve_device,
    training_threads,
)
from i2moe_plugin.benchmarks.run.execute import backbone_digest
from i2moe_plugin.benchmarks.run.files import disk_errors_explained, replacing, write_json
from i2moe_plugin.benchmarks.run.model import assemble
from i2moe_plugin.benchmarks.run.predict import scale_of
from i2moe_plugin.benchmarks.run.records import check_result, check_settings
from i2moe_plugin.benchmarks.run.settings import RunSettings
from i2moe_plugin.benchmarks.run.store import EVIDENCE, Run
from i2moe_plugin.errors import ConfigError, DatasetError, RunError, UnknownNameError
from i2moe_plugin.execution.layers import quicken
from i2moe_plugin.interactions.fitted import Fitted
from i2moe_plugin.interpretation import Outputs
from i2moe_plugin.interpretation.local import probability
from i2moe_plugin.multimodal import MultimodalModel
from i2moe_plugin.tasks import Classification, Regression, task_from
from i2moe_plugin.training import Trainer

if TYPE_CHECKING:
    import pandas as pd

#: The files that predictions are written into, by their endings.
ENDINGS = (".csv", ".parquet", ".json")


@dataclass(frozen=True, eq=False)
class Predicted:
    """What a trained model says of samples; rows are samples.

    Attributes:
        run: the name of the run's directory.
        outputs: predictions, experts' outputs and weights, in the targets' units. Its target is
            of no meaning where ``labelled`` is false.
        labelled: [N], whether a sample came with its target.
        notes: what must stand beside them.
    """

    run: str
    outputs: Outputs
    labelled: NDArray[np.bool_]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.outputs)

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row for each sample.

        Columns: ``id``; ``prediction``, the class's name (of several outputs ``prediction:NAME``:
            whether a label holds, or a real value in the target's units); ``probability:NAME`` of
            each class or label; ``weight:EXPERT`` of each expert; and ``label`` (``label:NAME``)
            where samples came with targets, empty for those that did not.
        """
        import pandas as pd

        one, columns = self.outputs, {"id": self.outputs.sample_id}
        decided = one.decided
        columns |= self._named("prediction", decided)
        if not isinstance(one.task, Regression):
            chances = probability(one)
            columns |= {
                f"probability:{name}": chances[:, place]
                for place, name in enumerate(one.class_names)
            }
        if one.weights is not None:
            columns |= {
                f"weight:{name}": one.weights[:, place] for place, name in enumerate(one.experts)
            }
        if self.labelled.any():
            labels = self._named("label", one.target)
            for name, values in labels.items():
                columns[name] = values.astype(object)
                columns[name][~self.labelled] = None
        return pd.DataFrame(columns)

    def _named(self, what: str, values: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return decisions or targets as columns."""
        one = self.outputs
        if isinstance(one.task, Classification):
            return {what: np.array(one.class_names, dtype=object)[values.astype(int)]}
        table = values.reshape(len(one), len(one.class_names))
        if not isinstance(one.task, Regression):
            table = table.astype(bool)
        if len(one.class_names) == 1:
            return {what: table[:, 0]}
        return {f"{what}:{name}": table[:, i] for i, name in enumerate(one.class_names)}

    def as_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        return {
            "run": self.run,
            "task": self.outputs.task.name,
            "class_names": list(self.outputs.class_names),
            "experts": list(self.outputs.experts),
            "notes": list(self.notes),
            "samples": self.table.to_dict("records"),
        }

    def write(self, path: Path) -> Path:
        """Write a csv, parquet or json file; its ending says which.

        Raises:
            ConfigError: another ending, or parquet without pyarrow.
            RunError: the file cannot be written.
        """
        ending = path.suffix.lower()
        if ending not in ENDINGS:
            raise ConfigError(f"{path}: the file must end in {', '.join(ENDINGS)}.")
        if ending == ".json":
            write_json(path, self.as_dict())
            return path
        with disk_errors_explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as aside:
            if ending == ".csv":
                self.table.to_csv(aside, index=False, encoding="utf-8", lineterminator="\n")
                return path
            try:
                self.table.to_parquet(aside, index=False)
            except ImportError as error:
                raise ConfigError(
                    "parquet files need pyarrow: pip install 'i2moe-plugin[parquet]'."
                ) from error
        return path

    def _repr_html_(self) -> str:
        """Return the first rows, for a notebook."""
        return self.table.head(20).to_html(index=False)


@dataclass(frozen=True)
class Predictor:
    """The trained model of a run, ready to predict; made by :func:`load_trained`.

    Attributes:
        run: the run.
        trainer: holds the model, with its weights, in the run's own precision and plan.
        settings: of the run.
        notes: what is different here from where it was trained.
    """

    run: Run
    trainer: Trainer = field(repr=False)
    settings: RunSettings = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def model(self) -> MultimodalModel:
        """The model, in evaluation mode."""
        return self.trainer.model.eval()

    def predict(self, samples: Samples) -> Predicted:
        """Predict samples in batches of the run's size.

        Raises:
            DatasetError: files that turn out to be damaged when they are read.
            TrainingError: a prediction is not finite.
        """
        result, task = self.run.result, self.trainer.model.task
        with training_threads(self.settings, self.trainer.model):
            found = self.trainer.predict(samples.batches(self.settings.batch_size))
        prediction = found.prediction
        if found.outputs is not None and EVIDENCE in self.run.files:
            # As the run's own were stored: in double precision.
            prediction = Fitted.read(task, self.run.json(EVIDENCE)).predict(found.outputs)
        labelled = np.full(len(samples.ids), samples.target is not None)
        labelled[samples.unlabelled] = False
        experts = result.get("expert_weights", {}) if found.weights is not None else {}
        outputs = Outputs(
            task=task,
            prediction=prediction,
            target=task.truth(found.target),
            sample_id=np.asarray(samples.ids, dtype=object),
            class_names=tuple(result["class_names"]),
            modalities=tuple(result["modalities"]),
            experts=tuple(experts),
            expert_outputs=found.outputs if experts else None,
            weights=found.weights,
        )
        return Predicted(self.run.name, outputs, labelled, (*self.notes, *samples.notes))


def settings_of(run: Run, device: str | None = None) -> RunSettings:
    """Return the settings of a finished run.

    Args:
        run: the run.
        device: where to compute, in place of where it was trained.

    Raises:
        RunError: they are not those of a run, or its backbone is not known here.
    """
    check_settings(run.path, run.settings)
    known = {key: run.settings[key] for key in RunSettings.model_fields if key in run.settings}
    if device is not None:
        known["device"] = device
    try:
        settings = RunSettings(**known)
        backbone_digest(settings.fusion)
    except (ValidationError, ConfigError) as error:
        raise RunError(f"{run.path / 'settings.json'}: not a run's settings ({error}).") from error
    except UnknownNameError as error:
        raise RunError(
            f"{run.path}: {error} Load the file that registers it: --plugin FILE, or "
            "i2moe_plugin.load_plugin(FILE)."
        ) from error
    return settings


def load_trained(run: Run, samples: Samples, device: str | None = None) -> Predictor:
    """Rebuild the model of a run from its settings, and take its weights.

    Args:
        run: the run.
        samples: of the form that the model reads.
        device: where to compute; as in training by default.

    Raises:
        RunError: settings, result or weights that are not those of a run, or not of this model.
    """
    settings = settings_of(run, device)
    check_result(run.path, run.result, run.history())
    with cpu_threads(1):
        model = assemble(settings, samples.encoders, samples.example(), _task(run))
    quicken(model)
    trainer = Trainer(
        model,
        metric="loss",
        seed=settings.seed,
        target_scale=scale_of(run),
        fabric=create_fabric(settings),
    )
    tensors, _ = load_tensors(run.file(WEIGHTS))
    try:
        trainer.model.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise RunError(f"{run.path}: its weights do not fit its settings ({reason}).") from error
    trainer.model.plan = run.result.get("plan")  # another one may give other last digits
    return Predictor(run, trainer, settings, _notes(run, settings))


def samples_for(
    run: Run, source: Source | None = None, part: Part = "all", device: str | None = None
) -> Samples:
    """Open samples for a run: new ones, or those of the data set that it was trained on.

    Args:
        run: the run.
        source: new samples, see :func:`open_samples`; None: the run's own data set.
        part: which of them.
        device: where features of frozen networks are computed; as in training by default.

    Raises:
        DatasetError: the samples cannot be read, or are not of the form of training; or the run's
            own data are not here, or have changed.
        RunError: the run did not keep what its data set learned.
    """
    settings = settings_of(run, device)
    if source is None:
        return _own_samples(run, settings, part)
    if FITTED not in run.files:
        raise RunError(
            f"{run.path}: keeps no {FITTED}, so new samples cannot be read as those of training. "
            "Runs of data sets that are folders of one's own keep it, if they were trained by this "
            f"version or a later one. Of {settings.dataset} its own samples can be predicted: "
            "leave the data out."
        )
    names = run.result["class_names"]
    return open_samples(settings.dataset, source, part, _learned(run), _task(run), names)


def _learned(run: Run) -> Learned:
    arrays, facts = load_tensors(run.file(FITTED))
    if not isinstance(facts, Mapping):
        raise RunError(f"{run.path / FITTED}: an object was expected.")
    return Learned(facts, {name: tensor.numpy() for name, tensor in arrays.items()})


def _own_samples(run: Run, settings: RunSettings, part: Part) -> Samples:
    data = open_dataset(
        settings.dataset,
        run.result.get("data_root"),
        loader=settings.loader,
        **settings.data_settings,
    )
    if run.settings.get("data") != data.content_hash():
        raise DatasetError(
            f"the data of {data.name} at hand are not those that the run was trained on: they have "
            "changed since, or the run does not say which they were."
        )
    return data.samples(part, resolve_device(settings.device))


def _task(run: Run) -> Any:
    try:
        return task_from(run.result["task"])
    except (ConfigError, KeyError) as error:
        raise RunError(f"{run.path / 'result.json'}: says no task ({error}).") from error


def _notes(run: Run, settings: RunSettings) -> tuple[str, ...]:
    """Say what is different here from where a run was trained."""
    there = run.json("environment.json")
    notes = []
    if there.get("i2moe_plugin") != __version__:
        notes.append(
            f"the run was trained by version {there.get('i2moe_plugin')} of i2moe-plugin; this is "
            f"{__version__}."
        )
    if there.get("backbone", backbone_digest(settings.fusion)) != backbone_digest(settings.fusion):
        notes.append(
            f"the code of the backbone {settings.fusion} has changed since the run was trained: "
            "its predictions may be other ones."
        )
    return tuple(notes)


def load_model(run: Run) -> MultimodalModel:
    """Rebuild the model of a run with its weights, in evaluation mode.

    Raises:
        DatasetError, RunError: see :func:`samples_for` and :func:`load_trained`.
    """
    settings = settings_of(run)
    if FITTED in run.files:
        samples = empty_samples(settings.dataset, _learned(run), _task(run))
    else:
        samples = _own_samples(run, settings, "test")
    return load_trained(run, samples).model


def predict(
    run: Run,
    source: Source | None = None,
    part: Part = "all",
    device: str | None = None,
) -> Predicted:
    """Predict samples by the trained model of a run.

    Args:
        run: the run.
        source: new samples: a folder or a file, or each modality's values by its name; None: the
            data set that the run was trained on.
        part: which of them.
        device: where to compute; as in training by default.

    Raises:
        DatasetError, RunError: see :func:`samples_for` and :func:`load_trained`.
    """
    samples = samples_for(run, source, part, device)
    return load_trained(run, samples, device).predict(samples)
