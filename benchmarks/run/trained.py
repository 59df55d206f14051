"""A trained model, opened again: the one way to rebuild it, and to predict by it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from torch import nn

from i2moe_plugin import __version__
from i2moe_plugin.benchmarks.data.open import (
    OpenedDataset,
    empty_samples,
    open_dataset,
    open_samples,
)
from i2moe_plugin.benchmarks.data.samples import Part, Samples, Source
from i2moe_plugin.benchmarks.data.splits import OWN_SPLIT
from i2moe_plugin.benchmarks.encoders import EncoderSettings
from i2moe_plugin.benchmarks.run.environment import (
    cpu_threads,
    create_fabric,
    resolve_device,
    settings_to_predict,
    training_threads,
)
from i2moe_plugin.benchmarks.run.execute import backbone_digest
from i2moe_plugin.benchmarks.run.model import absence_notes, assemble, backbone_notes
from i2moe_plugin.benchmarks.run.predicted import Predicted
from i2moe_plugin.benchmarks.run.saved import SavedModel
from i2moe_plugin.benchmarks.run.settings import RunSettings
from i2moe_plugin.errors import ConfigError, DatasetError, I2MoEError, RunError
from i2moe_plugin.execution.layers import quicken
from i2moe_plugin.interactions.fitted import Fitted
from i2moe_plugin.interpretation import Outputs
from i2moe_plugin.multimodal import MultimodalModel
from i2moe_plugin.tasks import Task
from i2moe_plugin.training import Trainer


class Read(Protocol):
    """What a model reads: of new samples, or of an opened data set that is prepared."""

    @property
    def encoders(self) -> Callable[[EncoderSettings], list[nn.Module]]:
        """Build untrained encoders of its batches."""

    @property
    def example(self) -> Callable[[], Sequence[Any]]:
        """Give two samples as a batch."""


def data_of(saved: SavedModel, root: str | None = None) -> OpenedDataset:
    """Open the data set that a model was trained on.

    Args:
        saved: the model.
        root: where it lies; where it lay in training by default.

    Raises:
        DatasetError: it is not here, or is not the one of training.
    """
    settings, record = saved.record.settings, saved.record
    data = open_dataset(
        settings["dataset"],
        root or saved.data_root,
        loader=settings.get("loader", "own"),
        split=settings.get("split", OWN_SPLIT),
        **settings["data_settings"],
    )
    if record.splits not in (None, data.split_hash()):
        raise DatasetError(
            f"the data set {data.name} at hand has other samples than the run was trained on."
        )
    if record.data != data.content_hash():
        raise DatasetError(
            f"the data of {data.name} at hand are not those that the run was trained on: they have "
            "changed since, or the run does not say which they were."
        )
    return data


def rebuild(saved: SavedModel, read: Read, task: Task) -> MultimodalModel:
    """Build a model from its settings on the CPU, and take its weights.

    Args:
        saved: the model.
        read: what it reads.
        task: what it predicts.

    Returns:
        the model, in evaluation mode, run by the plan of training.

    Raises:
        RunError: settings or weights that are damaged, or do not fit.
    """
    settings = saved.settings("cpu")
    tensors = saved.weights()
    try:
        with cpu_threads(1):
            model = assemble(settings, read.encoders, read.example(), task)
        model.load_state_dict(tensors)
        model.plan = saved.record.plan  # another one may give other last digits
    except (RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, I2MoEError) and not isinstance(error, ConfigError):
            raise
        reason = " ".join(str(error).split())[:300]
        raise RunError(
            f"{saved.path}: its weights do not fit the model that its settings describe: was it "
            f"made by another version? ({reason})"
        ) from error
    return model.eval()


@dataclass(frozen=True)
class Predictor:
    """A trained model, ready to predict; made by :meth:`load`.

    Attributes:
        saved: as it is kept.
        trainer: holds the model, in the run's own precision.
        settings: of its run.
    """

    saved: SavedModel
    trainer: Trainer = field(repr=False)
    settings: RunSettings = field(repr=False)

    @classmethod
    def load(cls, saved: SavedModel, samples: Samples, device: str | None = None) -> Predictor:
        """Rebuild a model and put it where it is to compute.

        Args:
            saved: the model.
            samples: of the form that it reads.
            device: where to compute; as in training by default.

        Raises:
            RunError: see :func:`rebuild`.
        """
        settings = saved.settings(device)
        model = rebuild(saved, samples, saved.task)
        names = saved.record
        if names.experts and names.experts != model.expert_names:
            raise RunError(f"{saved.path}: its experts are not those that its settings describe.")
        if len(names.class_names) != model.task.num_outputs:
            raise RunError(
                f"{saved.path}: names {len(names.class_names)} classes or outputs; its task has "
                f"{model.task.num_outputs}."
            )
        quicken(model)
        trainer = Trainer(
            model,
            metric="loss",
            seed=settings.seed,
            target_scale=saved.scale,
            fabric=create_fabric(settings_to_predict(settings)),
        )
        return cls(saved, trainer, settings)

    def predict(self, samples: Samples) -> Predicted:
        """Predict samples in batches of the run's size.

        Raises:
            DatasetError: files that turn out to be damaged when they are read.
            RunError: what is kept does not belong together.
            TrainingError: a prediction is not finite.
        """
        record, task = self.saved.record, self.trainer.model.task
        with training_threads(self.settings, self.trainer.model):
            found = self.trainer.predict(samples.batches(self.settings.batch_size))
        prediction = found.prediction
        if found.outputs is not None and record.evidence is not None:
            # As the run's own were stored: in double precision.
            try:
                fitted = Fitted.read(task, record.evidence)
            except ConfigError as error:
                raise RunError(f"{self.saved.path}: {error}") from error
            prediction = fitted.predict(found.outputs)
        labelled = np.full(len(samples.ids), samples.target is not None)
        labelled[samples.unlabelled] = False
        experts = tuple(record.experts) if found.weights is not None else ()
        outputs = Outputs(
            task=task,
            prediction=prediction,
            target=task.truth(found.target),
            sample_id=np.asarray(samples.ids, dtype=object),
            class_names=tuple(record.class_names),
            modalities=tuple(record.modalities),
            experts=experts,
            expert_outputs=found.outputs if experts else None,
            weights=found.weights,
        )
        model = self.trainer.model
        notes = [*self.notes, *backbone_notes(model), *absence_notes(samples.incomplete, model)]
        return Predicted(self.saved.name, outputs, labelled, (*notes, *samples.notes))

    @property
    def notes(self) -> tuple[str, ...]:
        """What is different here from where it was trained, in sentences."""
        record, notes = self.saved.record, []
        if record.version != __version__:
            notes.append(
                f"the run was trained by version {record.version} of i2moe-plugin; this is "
                f"{__version__}."
            )
        if record.backbone not in (None, backbone_digest(self.settings.fusion)):
            notes.append(
                f"the code of the backbone {self.settings.fusion} has changed since the run was "
                "trained: its predictions may be other ones."
            )
        return tuple(notes)


def samples_for(
    saved: SavedModel, source: Source | None = None, part: Part = "all", device: str | None = None
) -> Samples:
    """Open samples for a model: new ones, or those of the data set that it was trained on.

    Args:
        saved: the model.
        source: new samples, see :func:`open_samples`; None: the data set of training.
        part: which of them.
        device: where features of frozen networks are computed; as in training by default.

    Raises:
        DatasetError: the samples cannot be read, or are not of the form of training; or the
            training's own data are not here, or have changed.
        RunError: the model does not keep what its data set learned.
    """
    settings = saved.settings(device)
    if source is None:
        return data_of(saved).samples(part, resolve_device(settings.device))
    names = saved.record.class_names
    return open_samples(settings.dataset, source, part, saved.learned(), saved.task, names)


def load_model(saved: SavedModel) -> MultimodalModel:
    """Rebuild a model on the CPU, in evaluation mode, without its data where it can be.

    Raises:
        DatasetError, RunError: see :func:`samples_for` and :func:`rebuild`.
    """
    if saved.reads_new_samples:
        dataset = saved.record.settings["dataset"]
        return rebuild(saved, empty_samples(dataset, saved.learned(), saved.task), saved.task)
    return rebuild(saved, samples_for(saved, part="test", device="cpu"), saved.task)


def predict(
    saved: SavedModel,
    source: Source | None = None,
    part: Part = "all",
    device: str | None = None,
) -> Predicted:
    """Predict samples by a trained model.

    Args:
        saved: the model.
        source: new samples: a folder or a file, or each modality's values by its name; None: the
            data set that it was trained on.
        part: which of them.
        device: where to compute; as in training by default.

    Raises:
        DatasetError, RunError: see :func:`samples_for` and :func:`rebuild`.
    """
    samples = samples_for(saved, source, part, device)
    return Predictor.load(saved, samples, device).predict(samples)
