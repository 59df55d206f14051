"""What is checked before a run is trained: its data, and the metric that selects the epoch."""

from __future__ import annotations

import numpy as np

from i2moe_plugin.benchmarks.data.open import OpenedDataset
from i2moe_plugin.benchmarks.run.settings import RunSettings
from i2moe_plugin.errors import ConfigError
from i2moe_plugin.methods import find_method
from i2moe_plugin.tasks import Classification


def check_selection(settings: RunSettings, data: OpenedDataset) -> None:
    """Check, before anything is trained, that the selecting metric is defined on validation data.

    And that the method takes samples that lack modalities, where there are some.

    Raises:
        ConfigError: it is undefined there, so that no epoch would be better than another; or such
            samples of a method that cannot be trained on them.
    """
    method = find_method(settings.method)
    if data.incomplete and not method.incomplete:
        raise ConfigError(
            f"{data.name}: some samples lack {', '.join(data.incomplete)}, and {method.name} "
            "cannot be trained on such samples. Leave them out of the files, or take another "
            "method."
        )
    metric = settings.metric or data.selection or data.metric
    if metric in data.task.metric_names and _undefined(metric, data):
        others = [name for name in data.task.metric_names if not _undefined(name, data)]
        choices = " or ".join(f"--set metric={name}" for name in [*others, "loss"])
        raise ConfigError(
            f"{metric}, which is to select the epoch, is undefined on the validation split of "
            f"{data.name}{_absent_classes(data)}. Select by another: {choices}."
        )


def _undefined(metric: str, data: OpenedDataset) -> bool:
    """Whether a metric is undefined on validation data, whatever is predicted."""
    # Each target once: what makes a metric undefined is that some are not there at all.
    target = np.unique(data.labels("valid"), axis=0)
    shape = (len(target), data.task.num_outputs)
    prediction = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return not len(target) or bool(np.isnan(data.task.metric(metric, prediction, target)))


def _absent_classes(data: OpenedDataset) -> str:
    if not isinstance(data.task, Classification):
        return ""
    there = data.task.truth(data.labels("valid")).astype(int)
    absent = np.setdiff1d(np.arange(data.task.num_outputs), there)
    names = ", ".join(repr(data.class_names[place]) for place in absent[:5])
    more = ", ..." if len(absent) > 5 else ""
    return f", which has no sample of {names}{more}" if len(absent) else ""
