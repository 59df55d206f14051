"""Whole ways from files to results, on drawn data: what single parts and embedded data leave out.

A folder of the user's own is written, opened, and read as batches; simple models are fitted on it;
evidence is calibrated on drawn outputs; and trained on data whose interactions are known, and
judged: a short audit.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.data.open import OpenedDataset, open_dataset
from i2moe_plugin.benchmarks.data.splits import SPLITS
from i2moe_plugin.benchmarks.datasets.synthetic.dataset import PREFIX
from i2moe_plugin.benchmarks.grid.baselines import fit_baselines
from i2moe_plugin.benchmarks.grid.cells import SIMPLE, methods_grid
from i2moe_plugin.benchmarks.grid.runner import GridRunner
from i2moe_plugin.benchmarks.regression.numbers import Numbers, brief
from i2moe_plugin.benchmarks.run.store import RunStore
from i2moe_plugin.benchmarks.truth.judge import judge
from i2moe_plugin.errors import TrainingError
from i2moe_plugin.interactions.evidence import target_totals
from i2moe_plugin.interactions.fitted import Fitted, Members
from i2moe_plugin.tasks import Classification, Multilabel, Regression, Task

ROWS = 60
WORDS = ("rain", "sun", "snow", "wind", "很好", "不好")
KINDS: dict[str, dict[str, Any]] = {
    "features": {"file": "a.npz", "key": "features", "kind": "features"},
    "cells": {"file": "t.csv", "columns": "x_*", "kind": "features"},
    "series": {"file": "a.npz", "key": "series", "kind": "series", "lengths": "lengths"},
    "tokens": {"file": "a.npz", "key": "series", "kind": "tokens"},
    "text": {"file": "t.csv", "column": "text", "kind": "text"},
    "pixels": {"file": "a.npz", "key": "pixels", "kind": "image"},
}
TARGETS: dict[str, dict[str, Any]] = {
    "classification": {"target": {"file": "t.csv", "column": "label"}},
    "multilabel": {"target": {"file": "t.csv", "columns": "l_*"}},
    "regression": {"target": {"file": "t.csv", "column": "value"}},
}


def measured() -> Iterator[tuple[str, Callable[[], Numbers]]]:
    """Give what is measured, by name."""
    for kind in KINDS:
        yield f"data: {kind}", partial(_batches, kind)
    for task in TARGETS:
        yield f"data: targets of {task}", partial(_targets, task)
        yield f"simple models: {task}", partial(_simple, task)
    for told in (Classification(3, (1.0, 2.0, 0.5)), Multilabel(3), Regression(2)):
        for modalities in (2, 3):
            yield (
                f"evidence: {told.name}, {modalities} modalities",
                partial(_evidence, told, modalities),
            )
    yield "data: splits by fractions", _fractions
    yield "audit: evidence on synergy", _audited


def _folder(folder: Path, kinds: list[str], task: str, **changed: Any) -> OpenedDataset:
    """Write a data set of these kinds of modalities, and open it."""
    random = np.random.default_rng(0)
    label = random.permutation(np.arange(ROWS) % 3)
    features = random.normal(3, 2, (ROWS, 4)) + label[:, None]
    features[random.random((ROWS, 4)) < 0.1] = np.nan
    features[:, 3] = 7 + (np.arange(ROWS) >= ROWS - 5)  # constant in training
    np.savez(
        folder / "a.npz",
        features=features,
        series=random.normal(2, 3, (ROWS, 5, 2)) + label[:, None, None],
        lengths=random.integers(1, 6, ROWS),
        pixels=random.integers(0, 4000, (ROWS, 12, 12, 3)).astype(np.uint16),
    )
    lines = ["id,label,value,l_a,l_b,split,x_1,x_2,text"]
    for row in range(ROWS):
        split = "test" if row >= ROWS - 15 else "valid" if row >= ROWS - 30 else "train"
        words = " ".join(random.choice(WORDS, 4))
        numbers = f"{random.normal(100, 9):.3f},{'' if row % 9 == 4 else row * 1.5}"
        value = 1000 + 30 * features[row, 0] if row % 2 else 900 + row
        told = f"{np.nan_to_num(value, nan=950.0):.3f},{row % 2},{int(label[row] > 0)}"
        lines.append(f"0{row},{'zxy'[label[row]]},{told},{split},{numbers},{words}")
    (folder / "t.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    spec = {
        "name": "drawn",
        "modalities": {kind: KINDS[kind] for kind in kinds},
        "ids": {"file": "t.csv", "column": "id"},
        "task": task,
        "split": {"file": "t.csv", "column": "split"},
        **TARGETS[task],
        **changed,
    }
    (folder / "dataset.yaml").write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
    return open_dataset(str(folder), loader="own")


def _batches(kind: str) -> Numbers:
    """Return what batches hold: in the training order of two epochs, and of the other splits."""
    other = "text" if kind == "cells" else "cells"
    found: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        prepared = _folder(Path(folder), [kind, other], "classification").prepare()
        for split in SPLITS:
            shuffled = split == "train"
            loader = prepared.loader(split, batch_size=8, seed=3, shuffle=shuffled)
            for _ in range(1 + shuffled):
                for first, _, target in loader:
                    tensors = first if isinstance(first, (tuple, list)) else [first]
                    found += [x for tensor in (*tensors, target) for x in brief(tensor)]
    return found


def _targets(task: str) -> Numbers:
    """Return the targets, names and ids of every split, and the task's own settings."""
    with tempfile.TemporaryDirectory() as folder:
        data = _folder(Path(folder), ["features", "cells"], task)
        found: list[float] = [data.task.num_outputs]
        for split in SPLITS:
            found += brief(torch.as_tensor(np.asarray(data.labels(split), dtype=float)))
            found += _places([*data.sample_ids(split), *(data.class_names or ())])
    return found


def _fractions() -> Numbers:
    """Return which rows a drawn split gives to each part, of two seeds."""
    found: list[float] = []
    for seed in (0, 1):
        split = {"train": 0.5, "valid": 0.3, "test": 0.2, "seed": seed}
        with tempfile.TemporaryDirectory() as folder:
            data = _folder(Path(folder), ["features", "cells"], "classification", split=split)
            for name in SPLITS:
                ids = data.sample_ids(name)
                found += [len(ids), *_places(ids)]
    return found


def _simple(task: str) -> Numbers:
    """Return what simple models reach."""
    with tempfile.TemporaryDirectory() as folder:
        data = _folder(Path(folder), ["features", "cells"], task)
        fitted = fit_baselines(SIMPLE, data, data.metric, Path(folder))
    return [number for one in fitted for number in (*one.test.values(), *one.chosen.values())]


def _evidence(task: Task, modalities: int) -> Numbers:
    """Return what is fitted to drawn models that know a part of the target, and its parts."""
    members = Members(modalities=modalities, copies=2, joint=2)
    random = np.random.default_rng(0)
    target: NDArray[Any] = random.normal(size=(2 * ROWS, task.num_outputs))
    known = 0.4 * random.normal(size=(2 * ROWS, members.count, task.num_outputs))
    if isinstance(task, Classification):
        target = np.arange(2 * ROWS) % 3
        known = known + np.eye(3)[target][:, None]
    else:
        target = (target > 0).astype(float) if isinstance(task, Multilabel) else 4 * target + 7
        known = known + target[:, None]
    # Each knows some samples alone, the joint ones more of them.
    shares = np.linspace(0.3, 0.9, members.count)[:, None]
    known *= random.random((2 * ROWS, members.count, 1)) < shares
    totals = target_totals(task, target[:ROWS])
    fitted = Fitted.fit(members, task, known[:ROWS], target[:ROWS], totals, ROWS)
    found: list[float] = []
    for one, scale in ((fitted, 1.0), (fitted.rescaled(np.array(5.0), np.array(3.0)), 3.0)):
        outputs, true = known[ROWS:], target[ROWS:]
        if scale > 1:
            if not isinstance(task, Regression):
                break
            outputs, true = outputs * scale + 5, true * scale + 5
        for array in (
            one.parts(outputs, true),
            one.parts(outputs, true).mean(0),
            one.predict(outputs),
            one.predict_without(outputs, [1]),
            one.errors(outputs, true),
            one.calibration.weights,
            one.calibration.coefficients,
        ):
            found += brief(torch.from_numpy(np.ascontiguousarray(array, dtype=float)))
    return found


def _audited() -> Numbers:
    """Return what evidence says of data that only both modalities together tell, and the truth."""
    values = {
        "data.samples": 4000,
        "data.modalities": 2,
        "epochs": 12,
        "lr": 3e-3,
        "device": "cpu",
    }
    grid = methods_grid(f"{PREFIX}hdxor-synergy", "concat", ["evidence"], [0], values=values)
    with tempfile.TemporaryDirectory() as folder:
        table = GridRunner(RunStore(Path(folder))).run(replace(grid, baselines=()))
        (attempt,) = table.cells[0].attempts
        if attempt.run is None:
            raise TrainingError(attempt.reason)
        judged = judge(attempt.run)
    # Figures of so long a training would move with rounding: what is said of them may not.
    wrong = np.abs(judged.importance - judged.truth)
    return [
        float(judged.score > 0.85),
        float(bool(judged.target_first)),
        float(bool(judged.invented)),
        *(wrong < 0.25).astype(float),
        *judged.truth,
    ]


def _places(words: list[str]) -> list[float]:
    """Numbers that move where words, or their order, do."""
    codes = [sum(place * ord(letter) for place, letter in enumerate(word, 1)) for word in words]
    return brief(torch.tensor(codes, dtype=torch.float64))
