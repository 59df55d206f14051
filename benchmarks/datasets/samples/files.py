"""Writing files that several samples have."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from i2moe_plugin.benchmarks.data.splits import LISTED


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a csv file with a header."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(header)
        table.writerows(rows)


def write_id_lists(path: Path, ids: Sequence[Any], draw: np.random.Generator) -> None:
    """Write a json object of id lists with 70, 15 and 15 % of these ids."""
    order = draw.permutation(len(ids))
    parts = np.split(order, [int(0.7 * len(ids)), int(0.85 * len(ids))])
    lists = {
        key: [ids[row] for row in part] for key, part in zip(LISTED.values(), parts, strict=True)
    }
    path.write_text(json.dumps(lists) + "\n", encoding="utf-8")
