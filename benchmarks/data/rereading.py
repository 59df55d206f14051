"""New samples, read by what a data set learned from its training rows."""

from __future__ import annotations

from collections.abc import Sequence

from i2moe_plugin.benchmarks.data.contents import Learned
from i2moe_plugin.benchmarks.data.registry import datasets
from i2moe_plugin.benchmarks.data.samples import Part, Reread, Samples, Source
from i2moe_plugin.errors import DatasetError
from i2moe_plugin.tasks import Task


def open_samples(
    name: str, source: Source, part: Part, learned: Learned, task: Task, class_names: Sequence[str]
) -> Samples:
    """Open new samples, and read them by what a data set learned from its training rows.

    Args:
        name: the data set that the model was trained on.
        source: a folder or a file; or each modality's values, by its name.
        part: which samples.
        learned: what was learned.
        task, class_names: of the model.

    Raises:
        DatasetError: they are damaged, or not of the form of training.
    """
    return _reader(name)(source, part, learned, task, class_names)


def empty_samples(name: str, learned: Learned, task: Task) -> Samples:
    """Return no samples at all, of the form that a trained model reads; see :func:`open_samples`.

    Raises:
        DatasetError: what was learned is damaged.
    """
    return _reader(name)(None, "all", learned, task, ())


def _reader(name: str) -> Reread:
    reread = datasets.get(name).reread
    if reread is None:
        raise DatasetError(f"{name} does not say how to read new samples by what it has learned.")
    return reread
