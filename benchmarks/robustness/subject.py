"""A finished run, rebuilt to be tested again on its own test split."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from i2moe_plugin.benchmarks.attribution.kept import kept
from i2moe_plugin.benchmarks.data.batches import SplitDataset
from i2moe_plugin.benchmarks.data.open import OpenedDataset
from i2moe_plugin.benchmarks.run.environment import resolve_device, training_threads
from i2moe_plugin.benchmarks.run.execute import backbone_digest
from i2moe_plugin.benchmarks.run.saved import SavedModel
from i2moe_plugin.benchmarks.run.store import Run
from i2moe_plugin.benchmarks.run.trained import Predictor, data_of
from i2moe_plugin.errors import DatasetError

#: The folder beside a run that its results are kept in.
FOLDER = "robustness"


@dataclass(frozen=True)
class Subject:
    """A run's model and its test split; made by :meth:`load`.

    Attributes:
        run: the run.
        predictor: its trained model.
        data: the opened data set.
        test, train: the splits, as the model reads them.
        frozen: the modalities that it reads as features of a frozen network.
    """

    run: Run
    predictor: Predictor
    data: OpenedDataset
    test: SplitDataset = field(repr=False)
    train: SplitDataset = field(repr=False)
    frozen: tuple[str, ...]

    @classmethod
    def load(cls, run: Run, root: str | Path | None = None) -> Subject:
        """Rebuild the model of a run, and open its data.

        Args:
            run: the run.
            root: where its data set lies, if it was moved.

        Raises:
            DatasetError: the data is not here, has changed, or is not read by our own loader.
            RunError: weights that do not fit.
        """
        saved = SavedModel.of(run)
        data = data_of(saved, None if root is None else str(root))
        device = resolve_device(saved.settings().device)
        predictor = Predictor.load(saved, data.samples("test", device))
        prepared = data.prepare(device)
        splits = [prepared.loader(name, batch_size=1).dataset for name in ("test", "train")]
        for split in splits:
            if not isinstance(split, SplitDataset):
                raise DatasetError(
                    f"{run.path}: its batches are of another loader; robustness is measured on "
                    "those of our own, loader=own."
                )
        test, train = splits
        raw = data.prepare(device, frozen=False).loader("test", batch_size=1).dataset.columns
        frozen = [
            name
            for name, column, before in zip(data.modalities, test.columns, raw, strict=True)
            if column is not before
        ]
        return cls(run, predictor, data, test, train, tuple(frozen))

    @property
    def metric(self) -> str:
        """What methods are compared by."""
        result = self.run.result
        return str(result.get("headline", result["metric"]))

    def batches(self, split: SplitDataset) -> Iterable[Any]:
        """Give a split in batches of the run's size, in its order."""
        return split.loader(batch_size=self.predictor.settings.batch_size)

    def score(self, split: SplitDataset | None = None, absent: Sequence[int] = ()) -> float:
        """Test the model by the metric that methods are compared by, as its run did.

        Args:
            split: samples; the test split by default.
            absent: modalities (0-based) to do without.

        Raises:
            TrainingError: a prediction is not finite.
        """
        trainer = self.predictor.trainer
        with training_threads(self.predictor.settings, trainer.model):
            found = trainer.predict(self.batches(split or self.test), absent)
        if self.metric == "loss":
            return found.loss
        return trainer.model.task.metric(self.metric, found.prediction, found.target)


def numbers(values: Any) -> list[float]:
    """Return what JSON holds of a metric's values: nothing where it was not defined, NaN here.

    Raises:
        TypeError, ValueError: it holds something else.
    """
    return [math.nan if value is None else float(value) for value in values]


def kept_beside(run: Run, kind: str, key: Mapping[str, Any], compute: Any) -> dict[str, Any]:
    """Return what is kept of a run, or compute it now and keep it; see :func:`kept`."""
    facts = {**key, "backbone": backbone_digest(run.settings["fusion"])}
    return kept(run, kind, facts, compute, FOLDER)
