"""Splits that come as lists of ids."""

import json

import numpy as np
import pytest

from i2moe_plugin.benchmarks.data.splits import listed
from i2moe_plugin.errors import DatasetError

IDS = {f"p{row}": row for row in range(10)}


def write(path, **lists):
    path.write_text(json.dumps(lists))
    return path


def test_ids_and_rows_that_fit_nothing_are_counted(tmp_path):
    path = tmp_path / "lists.json"
    full = {"training": ["p0", " p3 "], "validation": ["p1"], "testing": ["p2", "p4"]}
    rows, notes = listed(
        write(path, **full), {key: IDS[key] for key in ("p0", "p3", "p1", "p2", "p4")}
    )
    np.testing.assert_array_equal(rows["train"], [0, 3])
    assert notes == ()
    full["testing"] += ["p2", "q1", "q2", 7]
    rows, notes = listed(write(path, **full), IDS)
    np.testing.assert_array_equal(rows["test"], [2, 4])
    assert notes == (
        "3 of 8 ids of lists.json are not in the data and are left out, such as q1.",
        "5 of 10 samples are in no list of lists.json.",
    )
    with pytest.raises(DatasetError, match="none of the 1 ids of testing"):
        listed(write(path, **full | {"testing": ["q"]}), IDS)
