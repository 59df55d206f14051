"""The trained model of a finished run, as a function of samples whose modalities may be mixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit, softmax

from i2moe_plugin.benchmarks.data.batches import SplitDataset
from i2moe_plugin.benchmarks.data.open import OpenedDataset, open_dataset
from i2moe_plugin.benchmarks.data.splits import SplitName
from i2moe_plugin.benchmarks.run.checkpoints import load_tensors
from i2moe_plugin.benchmarks.run.model import build_model
from i2moe_plugin.benchmarks.run.settings import RunSettings
from i2moe_plugin.benchmarks.run.store import Run
from i2moe_plugin.errors import DatasetError, RunError
from i2moe_plugin.multimodal import MultimodalModel
from i2moe_plugin.seeding import seeded
from i2moe_plugin.tasks import Classification, Multilabel

#: Samples that a model is given at once.
BATCH = 2048


def data_of(run: Run, root: str | None = None) -> OpenedDataset:
    """Open the data set that a run was trained on.

    Args:
        run: the run.
        root: where it lies; where it lay when the run was made by default.

    Raises:
        DatasetError: it is not here, or has other samples than the run was tested on.
    """
    settings = run.settings
    place = root or run.result.get("data_root")
    data = open_dataset(
        settings["dataset"], place, loader=settings["loader"], **settings["data_settings"]
    )
    if settings.get("splits") not in (None, data.split_hash()):
        raise DatasetError(
            f"the data set {data.name} at hand has other samples than the run was trained on."
        )
    return data


@dataclass(frozen=True)
class TrainedModel:
    """A run's model and the data it reads; made by :meth:`load`.

    Attributes:
        model: in evaluation mode, on the CPU.
        data: the opened data set.
    """

    model: MultimodalModel
    data: OpenedDataset
    _columns: dict[SplitName, SplitDataset] = field(repr=False)

    @classmethod
    def load(cls, run: Run, data: OpenedDataset | None = None) -> TrainedModel:
        """Build the model of a run and take its weights.

        Raises:
            RunError: weights that do not fit.
            DatasetError: see :func:`data_of`.
        """
        data = data_of(run) if data is None else data
        known = {key: run.settings[key] for key in RunSettings.model_fields if key in run.settings}
        settings = RunSettings(**{**known, "device": "cpu"})
        model = build_model(settings, data)
        tensors, _ = load_tensors(run.file("weights.safetensors"))
        try:
            model.load_state_dict(tensors)
        except RuntimeError as error:
            raise RunError(f"{run.path}: its weights do not fit its settings ({error}).") from error
        prepared = data.prepare()
        columns: dict[SplitName, SplitDataset] = {}
        for split in ("train", "valid", "test"):
            found = prepared.loader(split, batch_size=1).dataset
            if not isinstance(found, SplitDataset):
                raise DatasetError("samples are mixed of our own loader's batches, loader=own.")
            columns[split] = found
        return cls(model.eval(), data, columns)

    def rows(self, split: SplitName) -> NDArray[np.int64]:
        """The numbers of a split's samples, as :meth:`probabilities` takes them."""
        return np.asarray(self._columns[split].rows)

    def probabilities(self, rows: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
        """What the model says where modalities of different samples are put together.

        Args:
            rows: for each of M modalities [n] numbers of samples.

        Returns:
            [n, C]: probabilities of classes or labels; real values as they are.
        """
        columns = self._columns["train"].columns
        found = []
        with torch.no_grad(), seeded(0, "mixed samples"):
            for start in range(0, len(rows[0]), BATCH):
                inputs = [
                    column[np.ascontiguousarray(own[start : start + BATCH], dtype=np.int64)]
                    for column, own in zip(columns, rows, strict=True)
                ]
                found.append(self.model(inputs).prediction.double().numpy())
        outputs = np.concatenate(found)
        task = self.model.task
        if isinstance(task, Classification):
            return np.asarray(softmax(outputs, 1))
        return np.asarray(expit(outputs) if isinstance(task, Multilabel) else outputs)
