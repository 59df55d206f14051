"""Settings for data that nobody wrote a recipe for, chosen by how many training samples there are.

docs/defaults.md shows what they were measured on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from i2moe_plugin.benchmarks.run.recipes import load_recipe
from i2moe_plugin.benchmarks.run.settings import RunSettings
from i2moe_plugin.tasks import Regression, Task

#: The same for every size.
DEFAULTS: dict[str, Any] = {
    "epochs": 40,
    "patience": 12,
    "lr": 4e-3,
    "schedule": "cosine",
    "weight_decay": 0.3,
    "encoder_dropout": 0.2,
    "interaction_weight": 0.1,
    "temperature": 4.0,
}

#: How a source begins that is not a recipe's or the user's.
SOURCE = "by size"


def defaults_for(samples: int, task: Task) -> dict[str, Any]:
    """Choose settings by the number of training samples and the task.

    Small data takes small batches. Where metrics count right answers, the epoch is selected by the
    loss, which few validation samples measure with less noise.

    >>> from i2moe_plugin.tasks import Classification
    >>> found = defaults_for(125, Classification(2))
    >>> found["batch_size"], found["metric"]
    (32, 'loss')
    """
    batch = 2 ** int(np.log2(max(samples, 1) / 16))
    chosen = {**DEFAULTS, "batch_size": int(np.clip(batch, 32, 256))}
    return chosen if isinstance(task, Regression) else {**chosen, "metric": "loss"}


def fill_in(
    settings: RunSettings, sources: Mapping[str, str], samples: int, task: Task
) -> tuple[RunSettings, dict[str, str]]:
    """Take :func:`defaults_for` where neither the user nor a recipe says anything.

    Args:
        settings: as :func:`resolve` settles them without knowing the data.
        sources: where each value that is not a default comes from.
        samples: how many training samples there are.
        task: what is predicted.

    Returns:
        the settings and their sources; both as they were for a data set that has a recipe.
    """
    if load_recipe(settings.dataset):
        return settings, dict(sources)
    chosen = {k: value for k, value in defaults_for(samples, task).items() if k not in sources}
    source = f"{SOURCE}: {samples:,} training samples (docs/defaults.md)"
    return settings.model_copy(update=chosen), {**sources, **dict.fromkeys(chosen, source)}


def said_of(settings: RunSettings, sources: Mapping[str, str]) -> str:
    """Say which settings a data set's size has decided; nothing where a recipe has."""
    chosen = [key for key, source in sources.items() if source.startswith(SOURCE)]
    if not chosen:
        return ""
    values = ", ".join(f"{key} {_short(getattr(settings, key))}" for key in chosen)
    return f"no recipe for this data set: {values} by its size (docs/defaults.md)"


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)
