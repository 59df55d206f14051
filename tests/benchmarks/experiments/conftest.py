"""A folder of one's own with every kind of modality and task, and runs trained on it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.experiments import load_run

N = 48
TEST = np.arange(N) % 4 == 3
SMALL = ["latent_dim=8", "encoder_hidden=8", "patches=2", "reweighting_hidden=8", "batch_size=5"]
WORDS = ["rain", "wind", "sun", "cloud", "fog", "ice"]
TASKS = {
    "classification": {"column": "label"},
    "multilabel": {"columns": ["y1", "y2"]},
    "regression": {"column": "value"},
}


class Folder:
    """A data set of all kinds; ``write`` puts some of its rows into a folder."""

    TEST = TEST

    def __init__(self, task: str) -> None:
        self.task = task
        random = np.random.default_rng(0)
        label = np.arange(N) // 4 % 3
        self.columns: dict[str, Any] = {
            "id": [f"s{row}" for row in range(N)],
            "split": [("train", "train", "valid", "test")[row % 4] for row in range(N)],
            "label": [("a", "b", "c")[one] for one in label],
            "y1": [int(one == 0) for one in label],
            "y2": [int(one > 0) for one in label],
            "value": (1000 * label + random.normal(size=N)).round(3),
            "f1": (5 + label + random.normal(size=N)).round(4),
            "f2": (100 * random.normal(size=N)).round(4),
            "f3": [""] + [f"{x:.3f}" for x in random.normal(size=N - 1)],
            "words": [
                " ".join([*random.choice(WORDS[: 4 + one], 3), f"w{row}"])
                for row, one in enumerate(label)
            ],
            "picture": [f"p{row}.png" for row in range(N)],
        }
        self.arrays = {
            "series": random.normal(3, 2, size=(N, 6, 3)),
            "steps": random.integers(1, 7, size=N),
            "tokens": random.normal(size=(N, 4, 5)),
            "pixels": random.uniform(0, 200, size=(N, 9, 8, 3)).astype(np.float32),
        }
        self.pictures = random.integers(0, 256, size=(N, 10, 12, 3), dtype=np.uint8)
        self.description = {
            "name": "all",
            "modalities": {
                "numbers": {"file": "t.csv", "columns": "f*", "kind": "features"},
                "words": {"file": "t.csv", "column": "words", "kind": "text", "words": 9},
                "series": {"file": "x.npz", "key": "series", "kind": "series", "lengths": "steps"},
                "tokens": {"file": "x.npz", "key": "tokens", "kind": "tokens"},
                "pixels": {"file": "x.npz", "key": "pixels", "kind": "image"},
                "picture": {"file": "t.csv", "column": "picture", "kind": "image", "size": [8, 8]},
            },
            "target": {"file": "t.csv", **TASKS[task]},
            "task": task,
            "ids": {"file": "t.csv", "column": "id"},
            "split": {"file": "t.csv", "column": "split"},
        }

    def write(
        self,
        folder: Path,
        rows: Any = slice(None),
        *,
        described: bool = True,
        drop: tuple[str, ...] = (),
        **changes: Any,
    ) -> Path:
        """Write these rows; ``drop`` leaves columns out, ``changes`` replace some."""
        folder.mkdir(parents=True)
        chosen = np.arange(N)[rows]
        columns = {
            name: [cells[row] for row in chosen]
            for name, cells in {**self.columns, **changes}.items()
            if name not in drop and name not in self.arrays
        }
        with (folder / "t.csv").open("w", newline="", encoding="utf-8") as file:
            lines = zip(*columns.values(), strict=True)
            csv.writer(file).writerows([list(columns), *lines])
        arrays = {name: changes.get(name, self.arrays[name]) for name in self.arrays}
        kept = {name: array[rows] for name, array in arrays.items() if name not in drop}
        np.savez(folder / "x.npz", **kept)
        for row in chosen:
            Image.fromarray(self.pictures[row]).save(folder / f"p{row}.png")
        if described:
            text = yaml.safe_dump(self.description, sort_keys=False)
            (folder / "dataset.yaml").write_text(text, encoding="utf-8")
        return folder


def trained(folder: Path, out: Path, fusion: str, method: str, *more: str) -> Path:
    """Train one small run on a folder by the command line; gives its directory."""
    arguments = ["run", "--dataset", str(folder), "--fusion", fusion, "--method", method]
    arguments += ["--no-vanilla", "--seeds", "1", "--epochs", "1", "--device", "cpu"]
    arguments += ["--out", str(out), *more]
    for one in SMALL:
        arguments += ["--set", one]
    if method == "vanilla":
        arguments.remove("--no-vanilla")
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    (found,) = (path for path in out.iterdir() if f"-{method}-" in path.name)
    return found


@pytest.fixture(scope="session")
def own_folder() -> type[Folder]:
    return Folder


@pytest.fixture(scope="session")
def train():
    return trained


@pytest.fixture(scope="module")
def classified(tmp_path_factory):
    """A folder, and a run trained on it whose data is gone."""
    place = tmp_path_factory.mktemp("classified")
    data = Folder("classification")
    data.write(place / "data")
    run = trained(place / "data", place / "runs", "concat", "i2moe")
    (place / "data").rename(place / "gone")
    return data, load_run(run)
