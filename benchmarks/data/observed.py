"""What a model gets of the modalities, looked at after loading: was content lost on the way?

A picture of an unexpected kind, an empty column or a text without known words does not fail; it
gives the same numbers for every sample, and a result that says nothing of the modality.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.data.batches import IncompleteColumn
from i2moe_plugin.benchmarks.data.contents import Contents, Modality, Preparation
from i2moe_plugin.benchmarks.data.splits import SPLITS, SplitName, Splits

LOOKED_AT = 48  # samples of a split
FEWEST = 8  # samples of which anything is said
ALIKE = 0.9  # share of samples that are one and the same from which a note says so
LEVEL = 1.5 / 255  # pixels that differ by less look the same
RELATIVE = 1e-4  # other values, in relation to the largest


def observe(contents: Contents) -> tuple[str, ...]:
    """Say which modalities hardly vary between samples, one sentence for each.

    Raises:
        DatasetError: samples that are looked at turn out to be damaged.
    """
    preparation = Preparation(frozen=False)
    return tuple(
        sentence
        for modality in contents.modalities
        for sentence in _observe(
            (modality.prepare and modality.prepare(preparation)) or modality, contents.splits
        )
    )


def _observe(modality: Modality, splits: Splits) -> Iterator[str]:
    found = {split: _samples(modality, splits, split) for split in SPLITS}
    count = sum(map(len, found.values()))
    if count >= FEWEST and _same(list(found.values())):
        yield (
            f"{modality.name} hardly varies: {count} samples looked at are the same to a model. "
            "Look at its files, and at how they are described."
        )
        return
    for split, values in found.items():
        if len(values) < FEWEST:
            continue
        alike = Counter(row.tobytes() for row in values).most_common(1)[0][1]
        if alike >= ALIKE * len(values):
            yield (
                f"{modality.name}: {alike} of {len(values)} {split} samples looked at are exactly "
                "the same to a model."
            )


def _samples(modality: Modality, splits: Splits, split: SplitName) -> NDArray[np.float32]:
    """Some samples of a split, [n, ...]; pixels from 0 to 1."""
    rows, column = splits[split], modality.column
    if isinstance(column, IncompleteColumn):
        rows, column = column.present(rows), column.column
        if not len(rows):
            return np.zeros((0, 1), np.float32)
    places = np.linspace(0, len(rows) - 1, min(len(rows), LOOKED_AT)).round().astype(int)
    batch: Any = column[rows[np.unique(places)]]
    values = np.asarray(batch[0] if isinstance(batch, (tuple, list)) else batch)
    return values.astype(np.float32) / np.float32(255 if values.dtype == np.uint8 else 1)


def _same(parts: Sequence[NDArray[np.float32]]) -> bool:
    """Whether samples of all splits differ by next to nothing."""
    parts = [part for part in parts if len(part)]
    pictures = all(part.ndim == 4 for part in parts)
    rows = [part.reshape(len(part), -1) for part in parts]
    width = max(part.shape[1] for part in rows)  # of the longest sequences
    values = np.concatenate([np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in rows])
    spread = float((values.max(0) - values.min(0)).max(initial=0))
    return spread <= (LEVEL if pictures else RELATIVE * float(np.abs(values).max(initial=0)))
