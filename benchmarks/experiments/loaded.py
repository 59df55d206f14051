"""A finished run, opened to look at, predict with, and compare."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING

from i2moe_plugin.benchmarks.run.store import Run

if TYPE_CHECKING:
    from i2moe_plugin.benchmarks.data.samples import Part, Source
    from i2moe_plugin.benchmarks.report.explanation import ExplainedSample
    from i2moe_plugin.benchmarks.report.waterfall import ExplainedParts
    from i2moe_plugin.benchmarks.run.predicted import Predicted
    from i2moe_plugin.multimodal import MultimodalModel


class FinishedRun(Run):
    """A finished run, with its trained model; made by :func:`load_run`."""

    def predict(
        self, data: Source | None = None, split: Part = "all", device: str | None = None
    ) -> Predicted:
        """Predict samples, new ones or those of the data set that the run was trained on.

        New samples are read by what the run learned from its training data, which need not be
        here. That is kept by runs of data sets that are folders of one's own.

        Args:
            data: a folder with files as in training, or the one file that holds all modalities;
                or each modality's values by its name, as the files hold them (sequences of varying
                length as values and lengths). None: the run's own data set.
            split: which samples.
            device: where to compute; as in training by default.

        Raises:
            DatasetError: samples that cannot be read, or are not of the form of training.
            RunError: the run is damaged, or cannot predict new samples.
        """
        from i2moe_plugin.benchmarks.run.saved import SavedModel
        from i2moe_plugin.benchmarks.run.trained import predict

        return predict(SavedModel.of(self), data, split, device)

    def export(self, folder: str | Path) -> Path:
        """Write the model as a folder to hand on; see :class:`PretrainedModel`.

        Args:
            folder: a new one.

        Raises:
            ConfigError: without huggingface_hub.
            RunError: the run is damaged, or names files of this machine; or the folder holds
                something, or cannot be written.
        """
        from i2moe_plugin.benchmarks.experiments.pretrained import PretrainedModel

        return PretrainedModel.of(self).export(folder)

    def model(self) -> MultimodalModel:
        """Rebuild the model from the run's settings, with its weights, in evaluation mode.

        Raises:
            RunError: weights that are not of this model.
            DatasetError: the model's shapes are the data's, and these are not here.
        """
        from i2moe_plugin.benchmarks.run.saved import SavedModel
        from i2moe_plugin.benchmarks.run.trained import load_model

        return load_model(SavedModel.of(self))

    def explain(self, sample: str, classes: int = 5) -> ExplainedSample | ExplainedParts:
        """Take a test sample apart: what each expert said of it, and how much it counted.

        Args:
            sample: its id.
            classes: how many classes to show.

        Raises:
            ConfigError: no such sample, or a run without experts.
            RunError: the run is damaged.
        """
        from i2moe_plugin.benchmarks.report.explanation import explain_sample

        return explain_sample(self.path, sample, classes)

    def _repr_html_(self) -> str:
        """Return its test metrics, for a notebook."""
        known = {name: value for name, value in self.result["test"].items() if value is not None}
        rows = "".join(
            f"<tr><td>{html.escape(name)}</td><td>{value:.4f}</td></tr>"
            for name, value in known.items()
        )
        return f"<b>{html.escape(self.name)}</b><table>{rows}</table>"


def load_run(path: str | Path) -> FinishedRun:
    """Open a finished run.

    Args:
        path: its directory.

    Raises:
        RunError: it is no finished run, or is damaged.
    """
    from i2moe_plugin.benchmarks.run.records import check_result, check_settings

    run = FinishedRun.load(Path(path).expanduser())
    check_settings(run.path, run.settings)
    check_result(run.path, run.result, run.history())
    return run


def predict(
    model: str | Path, data: Source | None = None, split: Part = "all", device: str | None = None
) -> Predicted:
    """Predict samples by a trained model: of a run's directory, or of an exported folder.

    Args:
        model: the directory or the folder.
        data, split, device: see :meth:`FinishedRun.predict`.

    Raises:
        DatasetError, RunError: see :meth:`FinishedRun.predict`.
    """
    from i2moe_plugin.benchmarks.run.saved import SavedModel
    from i2moe_plugin.benchmarks.run.trained import predict

    return predict(SavedModel.open(model), data, split, device)


def export_run(
    path: str | Path, folder: str | Path, *, method: str | None = None, seed: int | None = None
) -> Path:
    """Write the model of a run as a folder to hand on; see :meth:`FinishedRun.export`.

    Args:
        path: of the run's directory, or of a folder of runs.
        folder: a new one.
        method, seed: which of several runs.

    Raises:
        ConfigError: not exactly one such run.
        RunError: see :meth:`FinishedRun.export`.
    """
    from i2moe_plugin.benchmarks.run.collect import one_run

    return load_run(one_run(Path(path).expanduser(), method, seed).path).export(folder)
