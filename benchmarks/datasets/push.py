"""MuJoCo Push: a robot's finger pushes a cylinder; where is the cylinder?

Files, normalisation, subsequences and batches are MultiBench's
(``datasets/gentle_push/data_loader.py``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from i2moe_plugin.benchmarks.data.batches import (
    Loaders,
    SplitDataset,
    Values,
    as_is,
    remade_loaders,
)
from i2moe_plugin.benchmarks.data.cards import Card, File, Key
from i2moe_plugin.benchmarks.data.contents import Contents, Modality
from i2moe_plugin.benchmarks.data.open import open_dataset
from i2moe_plugin.benchmarks.data.registry import register_dataset
from i2moe_plugin.benchmarks.data.source import DataFolder
from i2moe_plugin.benchmarks.data.splits import SplitName
from i2moe_plugin.benchmarks.datasets.samples import push as drawn
from i2moe_plugin.benchmarks.encoders import EncoderSettings, recurrent_encoder
from i2moe_plugin.benchmarks.encoders.robotics import PerStep, step_image_layers, step_vector_layers
from i2moe_plugin.benchmarks.formats.hdf5 import H5Files, H5Rows
from i2moe_plugin.errors import ConfigError, DatasetError, did_you_mean
from i2moe_plugin.tasks import Regression

FILES: dict[SplitName, str] = {
    "train": "gentle_push_1000.hdf5",
    "valid": "gentle_push_10.hdf5",
    "test": "gentle_push_300.hdf5",
}
DRIVE = {
    "gentle_push_1000.hdf5": "1JTgmq1KPRK9HYi8BgvljKg5MPqT_N4cR",
    "gentle_push_10.hdf5": "1qmBCfsAGu8eew-CQFmV1svodl9VJa6fX",
    "gentle_push_300.hdf5": "18dr1z0N__yFiP_DAKxy-Hs9Vy_AsaW6Q",
}
IMAGE = (32, 32)
#: What is read of a trajectory: the shape of a time step, its type, what it is.
ARRAYS: dict[str, tuple[tuple[int, ...], str, str]] = {
    "Cylinder0_pos": ((3,), "f", "position of the cylinder, m; x and y are the target"),
    "eef_pos": ((3,), "f", "position of the finger, m"),
    "force": ((6,), "f", "force and torque on the finger, N and N m"),
    "contact": ((), "number", "1: the finger touches something"),
    "image": (IMAGE, "f", "grey picture of the scene"),
}
#: Published means and deviations, of the training trajectories.
SCALES = {
    "target": ((0.4970164, -0.00916641), (0.0572766, 0.06118315)),
    "gripper_pos": ((0.46806443, -0.0017836, 0.88028437), (0.02410769, 0.02341035, 0.04018243)),
    "gripper_sensors": (
        (
            0.49182904,
            0.045039989,
            -3.2791464,
            -0.0033874984,
            0.011552566,
            -0.00084817986,
            0.21303751,
        ),
        (1.6152629, 1.666905, 1.9186896, 0.14219016, 0.14232528, 0.01675198, 0.40950698),
    ),
    "control": (
        (
            0.46594709,
            -0.0025247163,
            0.88094306,
            1.2939950e-04,
            -5.4364675e-05,
            -6.1112235e-04,
            0.22041667,
        ),
        (0.02239027, 0.02356066, 0.0405312, 0.00054858, 0.0005754, 0.00046352, 0.41451886),
    ),
}
MODALITIES = ("gripper_pos", "gripper_sensors", "image", "control")
NAMES = {
    "gripper_pos": ("x", "y", "z"),
    "gripper_sensors": (*(f"force {i}" for i in range(1, 7)), "contact"),
    "control": ("x before", "y before", "z before", "x moved", "y moved", "z moved", "contact"),
}

CARD = Card(
    title="MuJoCo Push: a pushed cylinder's position",
    source="Lee, Yi, Martín-Martín, Savarese, Bohg: Multimodal Sensor Fusion with "
    "Differentiable Filters, IROS 2020, https://github.com/brentyi/multimodalfilter; as in "
    "MultiBench, https://github.com/pliang279/MultiBench",
    licence="not published",
    citation="Lee, Yi, Martín-Martín, Savarese, Bohg. Multimodal Sensor Fusion with "
    "Differentiable Filters. IROS 2020.",
    files=tuple(
        File(
            path,
            f"the {name} trajectories, each a group trajectory0, trajectory1, ...",
            tuple(
                Key(f"trajectory0/{key}", (f"T_{name}", *shape), dtype, what)
                for key, (shape, dtype, what) in ARRAYS.items()
            ),
        )
        for name, path in FILES.items()
    ),
    splits="by file: 1000 trajectories train, 10 valid, 300 test; 29 subsequences of 16 steps "
    "from each: 29,000, 290, 8,700",
    how_to_get="In a browser, download "
    + ", ".join(f"https://drive.google.com/file/d/{key}/view ({f})" for f, key in DRIVE.items())
    + " (the addresses in MultiBench's README) into one folder.",
)


def draw(folder: Path, seed: int = 0, train: int = 16, valid: int = 4, test: int = 8) -> None:
    """Draw so many trajectories, shorter than published."""
    drawn.write(folder, dict(zip(FILES.values(), (train, valid, test), strict=True)), seed)


class Place(NamedTuple):
    """The place of a subsequence in the files, and in the arrays of all time steps."""

    path: Path
    trajectory: str
    start: int  # in the trajectory
    first: int  # in the arrays of all time steps


@register_dataset(
    "push",
    card=CARD,
    modalities=MODALITIES,
    metric="mse",
    selection="loss",
    draw=draw,
    checkout="it needs fannypack and downloads at every start (datasets/gentle_push)",
)
def read(folder: DataFolder, subsequence_length: Annotated[int, Field(ge=2)] = 16) -> Contents:
    """Subsequences of pushes; the cylinder's position (x, y) at each time step.

    Each trajectory is cut into subsequences twice, from its start and from half a subsequence
    later. Pictures are read when a batch asks for them; the rest is held in memory. Everything but
    the pictures is normalised with the published constants, which come from training trajectories.

    Args:
        folder: with the three files.
        subsequence_length: L, time steps of a subsequence.

    Raises:
        DatasetError: damaged files, arrays of another shape, NaN, or a trajectory shorter than L.
    """
    length, files = subsequence_length, H5Files()
    places: list[Place] = []
    arrays: list[dict[str, NDArray[Any]]] = []
    rows: dict[SplitName, NDArray[np.int64]] = {}
    first = 0
    for split, name in FILES.items():
        path, before = folder / name, len(places)
        for trajectory in _trajectories(path, files):
            found = _read_trajectory(path, trajectory, files, length)
            steps = len(found["target"])
            places += [
                Place(path, trajectory, start, first + start) for start in starts(steps, length)
            ]
            arrays.append(found)
            first += steps
        rows[split] = np.arange(before, len(places))
    steps_of = {key: np.concatenate([a[key] for a in arrays]) for key in SCALES}
    windows = np.array([place.first for place in places])[:, None] + np.arange(length)

    pictures = H5Rows(
        files,
        [(p.path, f"{p.trajectory}/image", slice(p.start, p.start + length)) for p in places],
    )

    def modality(name: str) -> Modality:
        if name == "image":
            return Modality(name, Values(pictures, as_is), partial(_encoder, name))
        column = Values.in_memory(steps_of[name][windows], as_is)
        return Modality(name, column, partial(_encoder, name), NAMES[name])

    return Contents(
        splits=folder.split(
            rows,
            [f"{p.path.stem}/{p.trajectory}/{p.start}" for p in places],
            groups=[f"{p.path.stem}/{p.trajectory}" for p in places],
        ),
        modalities=[modality(name) for name in MODALITIES],
        target=torch.from_numpy(steps_of["target"][windows]),
        task=Regression(2 * length, criterion="mse"),
        class_names=[f"{axis} at step {step}" for step in range(1, length + 1) for axis in "xy"],
        decisive=lambda: {"subsequence_length": length},
    )


def _encoder(name: str, settings: EncoderSettings) -> nn.Module:
    """MultiBench's layers for each time step, then an LSTM (its late fusion).

    ``settings.hidden`` is the width between them (64 there, and where it is 0).
    """
    units = settings.hidden or 64
    if name == "image":
        network: nn.Module = step_image_layers(IMAGE, units)
    else:
        network = step_vector_layers(len(NAMES[name]), units)
    return nn.Sequential(
        PerStep(network), recurrent_encoder(units, settings, kind="lstm", steps=True)
    )


def _trajectories(path: Path, files: H5Files) -> list[str]:
    """Return the trajectories' groups in a file, by number."""
    names = files.names(path)
    numbers = sorted(int(n[10:]) for n in names if re.fullmatch(r"trajectory[0-9]{1,9}", n))
    if not numbers or numbers != list(range(len(numbers))):
        raise DatasetError(
            f"{path}: expected the groups trajectory0, trajectory1, ... without a gap; it "
            f"holds {', '.join(names[:12]) or 'nothing'}."
        )
    return [f"trajectory{number}" for number in numbers]


def _read_trajectory(
    path: Path, trajectory: str, files: H5Files, length: int
) -> dict[str, NDArray[np.float32]]:
    """Return what is held in memory of one trajectory, normalised."""
    shapes = {f"{trajectory}/{key}": shape for key, (shape, *_) in ARRAYS.items()}
    steps = files.check(path, shapes)
    if steps < length:
        raise DatasetError(
            f"{path}: {trajectory} has {steps} time steps; a subsequence has {length}."
        )
    position, gripper, force, contact = (
        files.read(path, f"{trajectory}/{key}") for key in ARRAYS if key != "image"
    )
    before = np.concatenate([gripper[:1], gripper[:-1]])
    found = {
        "target": position[:, :2],
        "gripper_pos": gripper,
        "gripper_sensors": np.concatenate([force, contact[:, None]], 1),
        "control": np.concatenate([before, gripper - before, contact[:, None]], 1),
    }
    for key, (mean, deviation) in SCALES.items():
        subtract, divide = (np.array(x, dtype=np.float32) for x in (mean, deviation))
        found[key] = (found[key] - subtract) / divide
    return found


def starts(steps: int, length: int) -> list[int]:
    """Return where subsequences of a trajectory start: from 0, then from half a length."""
    return [
        start for offset in (0, length // 2) for start in range(offset, steps - length + 1, length)
    ]


def get_dataloader(
    root: str | Path | None = None,
    batch_size: int = 32,
    num_workers: int = 0,
    train_shuffle: bool = True,
    seed: int = 0,
    subsequence_length: int = 16,
    modalities: Sequence[str] | None = None,
) -> Loaders:
    """MultiBench's call, batches ([B, L, 3], [B, L, 7], [B, L, 32, 32], [B, L, 7], [B, L, 2]).

    Args:
        root, batch_size, num_workers, train_shuffle, seed: see :func:`dataloader_of`.
        subsequence_length: L.
        modalities: which ones, in this order; all four if not told.

    Raises:
        ConfigError: a modality that there is not.
        DatasetError: missing or damaged files.
    """
    chosen = MODALITIES if modalities is None else tuple(modalities)
    unknown = [
        f"push has no modality {name!r}.{did_you_mean(name, MODALITIES)}"
        for name in chosen
        if name not in MODALITIES
    ]
    if unknown:
        raise ConfigError(unknown)

    def make(split: SplitDataset) -> SplitDataset:
        columns = [split.columns[MODALITIES.index(name)] for name in chosen]
        return SplitDataset(columns, split.target, split.rows)

    data = open_dataset("push", root, subsequence_length=subsequence_length).prepare(frozen=False)
    return remade_loaders(data, make, batch_size, num_workers, train_shuffle, seed)
