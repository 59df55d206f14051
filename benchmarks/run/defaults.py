"""Settings for data that nobody wrote a recipe for, chosen by how many training samples there are.

docs/defaults.md shows what they were measured on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from i2moe_plugin.benchmarks.run.recipes import load_recipe
from i2moe_plugin.benchmarks.run.settings import RunSettings

#: The same for every size.
DEFAULTS: dict[str, Any] = {
    "epochs": 60,
    "patience": 10,
    "lr": 1e-3,
    "weight_decay": 0.01,
    "encoder_dropout": 0.2,
    "interaction_weight": 0.1,
    "temperature": 4.0,
}

#: How a source begins that is not a recipe's or the user's.
SOURCE = "by size"


def defaults_for(samples: int) -> dict[str, Any]:
    """Choose settings by the number of training samples: small data takes small batches.

    >>> defaults_for(125)["batch_size"], defaults_for(1258)["batch_size"]
    (32, 64)
    """
    batch = 2 ** int(np.log2(max(samples, 1) / 16))
    return {**DEFAULTS, "batch_size": int(np.clip(batch, 32, 256))}


def fill_in(
    settings: RunSettings, sources: Mapping[str, str], samples: int
) -> tuple[RunSettings, dict[str, str]]:
    """Take :func:`defaults_for` where neither the user nor a recipe says anything.

    Args:
        settings: as :func:`resolve` settles them without knowing the data.
        sources: where each value that is not a default comes from.
        samples: how many training samples there are.

    Returns:
        the settings and their sources; both as they were for a data set that has a recipe.
    """
    if load_recipe(settings.dataset):
        return settings, dict(sources)
    chosen = {key: value for key, value in defaults_for(samples).items() if key not in sources}
    source = f"{SOURCE}: {samples:,} training samples (docs/defaults.md)"
    return settings.model_copy(update=chosen), {**sources, **dict.fromkeys(chosen, source)}


def said_of(settings: RunSettings, sources: Mapping[str, str]) -> str:
    """Say which settings a data set's size has decided; nothing where a recipe has."""
    chosen = [key for key, source in sources.items() if source.startswith(SOURCE)]
    if not chosen:
        return ""
    values = ", ".join(f"{key} {getattr(settings, key):g}" for key in chosen)
    return f"no recipe for this data set: {values} by its size (docs/defaults.md)"
