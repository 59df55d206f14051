"""Pretrained models that take the place of a data set's own encoders: tokens and patches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from i2moe_plugin.benchmarks.data.cache import cache_dir
from i2moe_plugin.benchmarks.data.contents import Modality
from i2moe_plugin.benchmarks.data.source import DataFolder
from i2moe_plugin.benchmarks.data.tokens import Patches, Texts, model_digest
from i2moe_plugin.benchmarks.encoders.pretrained import ModelFolder, VisionModel, find_model


@dataclass
class Pretrained:
    """The modalities of a data set that pretrained models read, and what decides them.

    Attributes:
        folder: of the data set.
        notes: what must stand beside results.
    """

    folder: DataFolder
    notes: tuple[str, ...] = ()
    _models: dict[str, ModelFolder] = field(default_factory=dict)
    _sizes: dict[str, int] = field(default_factory=dict)

    def text(self, name: str, model: str | Path, texts: Sequence[str], max_tokens: int) -> Modality:
        """The tokens of texts.

        Args:
            name: the modality's.
            model: a known name, a folder, or a name on the hub.
            texts: one a row.
            max_tokens: of a text; the rest is cut off, which is noted.

        Raises:
            DatasetError: a model that cannot be used.
        """
        read = Texts(self.folder, self._found(name, model, "text"), texts, max_tokens)
        self._sizes[name] = max_tokens
        self.notes += read.notes
        return read.modality(name, np.arange(len(texts)))

    def pictures(
        self,
        names: Sequence[str],
        model: str | Path,
        size: int,
        pictures: Any,
        shape: tuple[int, int],
        digest: Callable[[], str],
    ) -> list[Modality]:
        """The patches of pictures, of one or several modalities that lie one behind another.

        Args:
            names: of the modalities.
            model: a known name, a folder, or a name on the hub.
            size: pixels of the shorter side as the model sees it.
            pictures: [3, H, W] in [0, 1] by number.
            shape: H and W.
            digest: gives a hash of all pictures.

        Raises:
            DatasetError: a model that cannot be used, or a size that does not fit its patches.
        """
        found = self._found(names[0], model, "image")
        self._sizes[names[0]] = size
        patches = Patches(self.folder, VisionModel(found, size), pictures, shape, cache(digest))
        rows = np.arange(len(pictures)).reshape(len(names), -1)
        return [patches.modality(name, own) for name, own in zip(names, rows, strict=True)]

    @property
    def decisive(self) -> dict[str, Any]:
        """What decides the modalities' values; empty where no model reads any."""
        models = {f"model of {name}": model_digest(model) for name, model in self._models.items()}
        return models | {f"size of {name}": size for name, size in self._sizes.items()}

    def _found(self, name: str, model: str | Path, kind: Any) -> ModelFolder:
        self._models[name] = find_model(model, kind, cache_dir() / "models")
        return self._models[name]
