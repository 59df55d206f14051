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
from i2moe_plugin.benchmarks.data.open import OpenedDataset
from i2moe_plugin.benchmarks.data.splits import SplitName
from i2moe_plugin.benchmarks.run.saved import SavedModel
from i2moe_plugin.benchmarks.run.store import Run
from i2moe_plugin.benchmarks.run.trained import data_of, rebuild
from i2moe_plugin.errors import DatasetError
from i2moe_plugin.multimodal import MultimodalModel
from i2moe_plugin.seeding import seeded
from i2moe_plugin.target_scale import TargetScale
from i2moe_plugin.tasks import Classification, Multilabel

#: Samples that a model is given at once.
BATCH = 2048


@dataclass(frozen=True)
class TrainedModel:
    """A run's model and the data it reads; made by :meth:`load`.

    Attributes:
        model: in evaluation mode, on the CPU.
        data: the opened data set.
        scale: turns real values back to the targets' units; None: they are in them.
    """

    model: MultimodalModel
    data: OpenedDataset
    scale: TargetScale | None
    _columns: dict[SplitName, SplitDataset] = field(repr=False)

    @classmethod
    def load(cls, run: Run, data: OpenedDataset | None = None) -> TrainedModel:
        """Build the model of a run and take its weights.

        Raises:
            RunError: weights that do not fit.
            DatasetError: see :func:`data_of`.
        """
        saved = SavedModel.of(run)
        data = data_of(saved) if data is None else data
        prepared = data.prepare()
        model = rebuild(saved, prepared, data.task)
        columns: dict[SplitName, SplitDataset] = {}
        for split in ("train", "valid", "test"):
            found = prepared.loader(split, batch_size=1).dataset
            if not isinstance(found, SplitDataset):
                raise DatasetError("samples are mixed of our own loader's batches, loader=own.")
            columns[split] = found
        return cls(model, data, saved.scale, columns)

    def rows(self, split: SplitName) -> NDArray[np.int64]:
        """The numbers of a split's samples, as :meth:`outputs` takes them."""
        return np.asarray(self._columns[split].rows)

    def outputs(self, rows: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
        """What the model says where modalities of different samples are put together.

        Args:
            rows: for each of M modalities [n] numbers of samples.

        Returns:
            [n, C]: logits of classes or labels; real values in the targets' units.
        """
        columns = self._columns["train"].columns
        found = []
        with torch.no_grad(), seeded(0, "mixed samples"):
            for start in range(0, len(rows[0]), BATCH):
                inputs = [
                    column[np.ascontiguousarray(own[start : start + BATCH], dtype=np.int64)]
                    for column, own in zip(columns, rows, strict=True)
                ]
                outputs = self.model(inputs).prediction.double()
                found.append(outputs if self.scale is None else self.scale.restore(outputs))
        return np.asarray(torch.cat(found).numpy())

    def probabilities(self, rows: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
        """The same as probabilities of classes or labels; real values as they are."""
        outputs, task = self.outputs(rows), self.model.task
        if isinstance(task, Classification):
            return np.asarray(softmax(outputs, 1))
        return np.asarray(expit(outputs) if isinstance(task, Multilabel) else outputs)
