"""Splits published as a json object of id lists: ``training``, ``validation`` and ``testing``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.data.base import SplitName
from i2moe_plugin.benchmarks.formats.readers import read_json
from i2moe_plugin.errors import DatasetError

SPLIT_KEYS: dict[SplitName, str] = {"train": "training", "valid": "validation", "test": "testing"}


def listed_rows(path: Path, places: Mapping[str, int]) -> dict[SplitName, NDArray[Any]]:
    """The rows of each split of an id-list file; ids that the data does not have are left out.

    Args:
        path: a json object with the lists ``training``, ``validation`` and ``testing``.
        places: the row of each id.

    Raises:
        DatasetError: damaged, or not such lists.
    """
    content = read_json(path)
    lists = content if isinstance(content, dict) else {}
    found: dict[SplitName, NDArray[Any]] = {}
    for name, key in SPLIT_KEYS.items():
        ids = lists.get(key)
        if not isinstance(ids, list) or not all(isinstance(i, (str, int)) for i in ids):
            raise DatasetError(f"{path}: {key} should be a list of ids.")
        rows = [places[i] for i in dict.fromkeys(str(i).strip() for i in ids) if i in places]
        if not rows:
            raise DatasetError(f"{path}: none of the {len(ids)} ids of {key} is in the data.")
        found[name] = np.array(rows, dtype=np.int64)
    return found


def write_split(path: Path, ids: Sequence[Any], draw: np.random.Generator) -> None:
    """Write an id-list file with 70, 15 and 15 % of these ids."""
    order = draw.permutation(len(ids))
    first, second = int(0.7 * len(ids)), int(0.85 * len(ids))
    parts = np.split(order, [first, second])
    lists = {
        key: [ids[row] for row in part]
        for key, part in zip(SPLIT_KEYS.values(), parts, strict=True)
    }
    path.write_text(json.dumps(lists) + "\n", encoding="utf-8")
