"""Simple models on a data set's features: rows that stand beside the methods of a table."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from i2moe_plugin import __version__
from i2moe_plugin.benchmarks.data.open import OpenedDataset
from i2moe_plugin.benchmarks.data.splits import SPLITS, SplitName
from i2moe_plugin.benchmarks.run.files import disk_errors_explained, read_json, write_json
from i2moe_plugin.benchmarks.statistics.simple import SIMPLE_MODELS, Fitted, linear
from i2moe_plugin.errors import RunError
from i2moe_plugin.incomplete import Incomplete

FOLDER = ".simple"
#: Cells along each side that a picture, and a volume, are averaged in.
PICTURE, VOLUME = 8, 4
BATCH = 256
#: Kinds of simple models, as they are called where different data sets share a table.
KINDS: tuple[str, str, str, str] = (
    "a constant",
    "linear model",
    "gradient boosting",
    "best modality alone (linear)",
)


@dataclass(frozen=True)
class Baseline:
    """A simple model, fitted once.

    Attributes:
        name: as it stands in a table.
        dataset: the data set's name.
        test: its metrics on test data, by name.
        chosen: what validation data chose, for instance the strength of a regularisation.
        note: what to know of it, such as rows that were left out; empty: nothing.
        alone: the modality that it read alone; empty: all of them.
    """

    name: str
    dataset: str
    test: Mapping[str, float]
    chosen: Mapping[str, Any]
    note: str = ""
    alone: str = ""

    @property
    def kind(self) -> str:
        """One of :data:`KINDS`: what it reads, and how."""
        constant, linear, boosting, alone = KINDS
        if self.alone:
            return alone
        return constant if not self.chosen else boosting if "trees" in self.chosen else linear


def fit_baselines(
    names: Sequence[str], data: OpenedDataset, metric: str, folder: Path
) -> list[Baseline]:
    """Fit simple models on all modalities, and the linear one on each alone; or read what was kept.

    Args:
        names: of :data:`SIMPLE_MODELS`; where ``linear`` is among them, each modality alone too.
        data: the opened data set.
        metric: what validation data chooses by.
        folder: the runs'; what is fitted is kept in it.

    Raises:
        RunError: the folder cannot be written.
    """
    if not names:
        return []
    facts = [*names, metric, data.fingerprint(), data.split_hash(), data.task.describe()]
    facts += [__version__, importlib.metadata.version("scikit-learn")]
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
    stem = data.name.replace(":", ".").replace("/", ".")
    path = folder / FOLDER / f"{stem}-{key}.json"
    try:
        return [_read(record) for record in read_json(path)["baselines"]]
    except (RunError, OSError, KeyError, TypeError, AttributeError):
        pass
    found = _fit(names, data, metric)
    with disk_errors_explained(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"baselines": [asdict(one) for one in found]})
    return found


def _read(record: Mapping[str, Any]) -> Baseline:
    """A kept one: JSON has null where a metric is undefined."""
    test = {name: math.nan if value is None else value for name, value in record["test"].items()}
    return Baseline(**{**record, "test": test})


def over_splits(fitted: Sequence[Sequence[Baseline]]) -> list[Baseline]:
    """Return each simple model with its metrics' means over splits; what was chosen is the first's.

    Args:
        fitted: the same models of each split.
    """
    if len(fitted) < 2:
        return [one for models in fitted for one in models]
    found = []
    for models in zip(*fitted, strict=True):
        test = {name: float(np.mean([one.test[name] for one in models])) for name in models[0].test}
        note = "; ".join(dict.fromkeys(one.note for one in models if one.note))
        found.append(replace(models[0], test=test, note=note))
    return found


def _fit(names: Sequence[str], data: OpenedDataset, metric: str) -> list[Baseline]:
    # Targets as they come with the batches: a checkout's loader may leave samples out.
    tables, targets = {}, {}
    for split in SPLITS:
        *tables[split], targets[split] = _columns(data, split)

    def rows(modalities: Sequence[int]) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        for split in SPLITS:
            parts = [tables[split][modality] for modality in modalities]
            yield np.concatenate(parts, 1), targets[split]

    def baseline(fitted: Fitted, alone: str = "") -> Baseline:
        name = f"{alone} alone" if alone else fitted.name
        return Baseline(name, data.name, fitted.test, fitted.chosen, fitted.note, alone)

    everything = list(rows(range(len(data.modalities))))
    found = [baseline(SIMPLE_MODELS[name](data.task, metric, *everything)) for name in names]
    if "linear" in names:
        for number, modality in enumerate(data.modalities):
            train, valid, test = rows([number])
            share = 1 / len(data.modalities)
            alone = linear(data.task, metric, train, valid, test, share=share)
            found.append(baseline(alone, modality))
    return found


def _columns(data: OpenedDataset, split: SplitName) -> list[NDArray[Any]]:
    """Each modality of a split as a table [N, F], in the split's order; and the targets."""
    prepared = data.prepare()
    batches = prepared.loader(split, batch_size=BATCH)
    reads: list[Callable[[Any], NDArray[np.float32]]] = [flat] * len(data.modalities)
    if data.incomplete:
        example = prepared.example()
        for place, name in enumerate(data.modalities):
            if name in data.incomplete:
                reads[place] = partial(_filled, width=flat(example[place]).shape[1])
    rows = [
        [*(read(x) for read, x in zip(reads, inputs, strict=True)), torch.as_tensor(y).numpy()]
        for *inputs, y in batches
    ]
    return [np.concatenate(parts) for parts in zip(*rows, strict=True)]


def _filled(batch: Any, width: int) -> NDArray[np.float32]:
    """A modality's batch as rows of numbers; of what a sample lacks 0, and 1 in one more column."""
    if not isinstance(batch, Incomplete):
        return np.pad(flat(batch), ((0, 0), (0, 1)))
    rows = np.zeros((batch.size, width + 1), np.float32)
    rows[:, -1] = 1
    if batch.x is not None:
        rows[batch.rows.numpy()] = np.pad(flat(batch.x), ((0, 0), (0, 1)))
    return rows


def flat(batch: Tensor | tuple[Tensor, Tensor]) -> NDArray[np.float32]:
    """One modality's batch as rows of plain numbers, which a simple model can read.

    Features [B, F] stay as they are. Of sequences [B, T, F], each feature's mean and deviation over
    the steps that are there, and its last value; of pictures [B, C, H, W] and volumes
    [B, C, D, H, W], means over the cells of a coarse grid; text has become features before.

    Args:
        batch: a modality as a model reads it; a sequence may come with lengths [B], or with a mask
            [B, T] that is true where a step is there.
    """
    values, extent = batch if isinstance(batch, (tuple, list)) else (batch, None)
    values = torch.as_tensor(values).float()
    if values.dim() == 3:
        steps = torch.arange(values.shape[1])
        if extent is None:
            there = torch.ones(values.shape[:2], dtype=torch.bool)
        elif torch.as_tensor(extent).dim() == 1:
            there = steps < torch.as_tensor(extent)[:, None]
        else:
            there = torch.as_tensor(extent).bool()
        weights = (there / there.sum(1, keepdim=True).clamp(min=1))[..., None]
        mean = (values * weights).sum(1)
        deviation = ((values - mean[:, None]) ** 2 * weights).sum(1).sqrt()
        last = torch.where(there, steps, 0).amax(1)
        values = torch.cat([mean, deviation, values[torch.arange(len(values)), last]], 1)
    elif values.dim() == 4:
        values = F.adaptive_avg_pool2d(values, PICTURE)
    elif values.dim() == 5:
        values = F.adaptive_avg_pool3d(values, VOLUME)
    rows: NDArray[np.float32] = values.reshape(len(values), -1).nan_to_num().numpy()
    return rows
