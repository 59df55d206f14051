"""The recipe that a search ends with: the best settings of each method, and how they were found."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from typing import Any

import yaml

from i2moe_plugin import __version__
from i2moe_plugin.benchmarks.grid.cells import Cell
from i2moe_plugin.benchmarks.run.files import json_ready
from i2moe_plugin.benchmarks.tuning.trials import settings_given

_PACKAGES = ("torch", "numpy", "scikit-learn", "optuna")


def versions() -> dict[str, str]:
    """Return the versions that decide a search's numbers."""
    found = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"i2moe_plugin": __version__, "python": platform.python_version(), **found}


def recipe_of(
    cell: Cell, best: Mapping[str, Mapping[str, Any]], sources: Mapping[str, str], facts: Any
) -> dict[str, Any]:
    """Return the recipe.

    Args:
        cell: what was tuned; its settings are those that no search changed.
        best: each method's best settings.
        sources: for each method, where its settings come from.
        facts: how they were found.
    """
    values = settings_given(cell.settings)
    base = {
        key: {"value": values[key], "source": "given to tune" if source == "given" else source}
        for key, source in cell.sources.items()
        if key in values
    }
    shared = {key: one for key, one in base.items() if not key.startswith("fusion.")}
    own = {key: one for key, one in base.items() if key.startswith("fusion.")}
    recipe = {
        "about": "Written by i2moe-bench tune, on validation data alone; tuned says how.",
        "settings": shared,
        "fusions": {cell.settings.fusion: own},
        "methods": {
            method: {
                key: {"value": value, "source": sources[method]} for key, value in found.items()
            }
            for method, found in best.items()
        },
        "tuned": facts,
    }
    return dict(json_ready(recipe))


def recipe_text(recipe: Mapping[str, Any]) -> str:
    """Write a recipe as YAML."""
    return yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True, width=100)
