"""Vision & Touch: a robot arm at a peg's hole; does it touch next, or where will its tool be?

Files, inputs and targets are MultiBench's (``datasets/robotics``); the split is ours, since theirs
is drawn anew by every machine and its test samples are those of validation.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from i2moe_plugin.benchmarks.data.batches import Values, as_is
from i2moe_plugin.benchmarks.data.cards import Card, Download, File, Key
from i2moe_plugin.benchmarks.data.contents import Contents, Modality
from i2moe_plugin.benchmarks.data.open import dataloader_of
from i2moe_plugin.benchmarks.data.registry import register_dataset
from i2moe_plugin.benchmarks.data.source import DataFolder
from i2moe_plugin.benchmarks.data.splits import SplitName
from i2moe_plugin.benchmarks.datasets.samples import vision_touch as drawn
from i2moe_plugin.benchmarks.encoders import EncoderSettings, feature_encoder
from i2moe_plugin.benchmarks.encoders.robotics import (
    CausalCNN,
    ColourPlanes,
    DepthFilter,
    LeakyMLP,
    StridedCNN,
)
from i2moe_plugin.benchmarks.formats.hdf5 import H5Files, H5Rows
from i2moe_plugin.errors import DatasetError
from i2moe_plugin.tasks import Classification, Regression

WINDOW = 32  # force readings before a time step
FEATURES = 256
MODALITIES = ("image", "force", "proprio", "depth", "action")
TORQUES = tuple(f"{kind} {axis}" for kind in ("force", "torque") for axis in "xyz")
FOLDER = "triangle_real_data"  # that the published archive makes
#: What is read of a file: the shape of a time step, its type, what it is.
ARRAYS: dict[str, tuple[tuple[int, ...], str, str]] = {
    "image": ((128, 128, 3), "number", "camera picture, 0 to 255"),
    "depth_data": ((128, 128, 1), "number", "distance from the camera, m"),
    "proprio": ((8,), "number", "the arm's state; the first four: the tool's x, y, z (m) and yaw"),
    "ee_forces_continuous": ((50, 6), "number", "50 readings of force (N) and torque (N m)"),
    "action": ((4,), "number", "the command that led to this step"),
    "contact": ((50,), "number", "50 readings; above 0: the tool touches something"),
}
OTHERS: dict[str, tuple[int, ...]] = {
    "optical_flow": (128, 128, 2),
    "ee_ori": (4,),
    "ee_pos": (3,),
    "ee_vel": (3,),
    "ee_vel_ori": (3,),
    "ee_yaw": (4,),
    "ee_yaw_delta": (4,),
    "joint_pos": (7,),
    "joint_vel": (7,),
}
OUTPUTS: dict[str, list[str]] = {
    "contact_next": ["no contact", "contact"],
    "ee_yaw_next": ["x", "y", "z", "yaw"],
}

CARD = Card(
    title="Vision & Touch: contact or movement of a robot's tool",
    source="Lee, Zhu et al.: Making Sense of Vision and Touch, ICRA 2019, "
    "https://github.com/stanford-iprl-lab/multimodal_representation; as in MultiBench, "
    "https://github.com/pliang279/MultiBench",
    licence="not published for the data; the code is MIT",
    citation="Lee, Zhu, Srinivasan, Shah, Savarese, Fei-Fei, Garg, Bohg. Making Sense of "
    "Vision and Touch: Self-Supervised Learning of Multimodal Representations for "
    "Contact-Rich Tasks. ICRA 2019.",
    files=(
        File(
            "{id}_1000.h5",
            "50 time steps of a run: RUN_PART_1000.h5, parts 0 to 19",
            (
                *(Key(k, ("T", *s), dtype, what) for k, (s, dtype, what) in ARRAYS.items()),
                *(
                    Key(k, ("T", *shape), "number", "not used here", optional=True)
                    for k, shape in OTHERS.items()
                ),
            ),
        ),
    ),
    sizes=(("T", 50),),
    splits="none is published: MultiBench draws a fifth of the files at random for validation "
    "and tests on the same ones. Here whole runs are dealt out: 60 % train, 20 % valid, 20 % "
    "test. 3,000 files of 50 steps give 147,000 samples",
    downloads=(
        Download(
            "http://downloads.cs.stanford.edu/juno/triangle_real_data.zip",
            "triangle_real_data.zip",
            unpack=".",
        ),
    ),
    how_to_get="Unpack http://downloads.cs.stanford.edu/juno/triangle_real_data.zip (the "
    "address in the authors' and MultiBench's scripts) and give the folder that holds the "
    ".h5 files.",
)


def locate(root: Path | None, card: Card) -> tuple[Path, Card]:
    """Return the folder told, or the one in it that the published archive makes."""
    folder = root or Path("data/vision-touch")
    return (folder / FOLDER if (folder / FOLDER).is_dir() else folder), card


class Step(NamedTuple):
    """A sample's time step."""

    path: Path
    step: int  # in its file
    row: int  # in the arrays of all time steps


@register_dataset(
    "vision-touch",
    card=CARD,
    modalities=MODALITIES,
    draw=drawn.write,
    locate=locate,
    checkout="it gives the validation split as test split (datasets/robotics/get_data.py)",
)
def read(
    folder: DataFolder, output: Literal["contact_next", "ee_yaw_next"] = "contact_next"
) -> Contents:
    """Pictures, forces, the arm's state and its action; what the next time step brings.

    A sample is a time step that has a next one. Runs of the robot, each of which lies in several
    files, go as a whole into a split. Pictures, distances and forces are read when a batch asks
    for them; the rest is held in memory.

    Args:
        folder: with the files.
        output: ``contact_next`` (does the tool touch something in the next step?) or
            ``ee_yaw_next`` (its x, y, z and yaw in the next step).

    Raises:
        DatasetError: damaged files, names that are not RUN_PART_1000.h5, arrays of another shape,
            NaN, or fewer than three runs.
    """
    files = H5Files()
    paths = folder.found()
    part_of = split_runs(sorted({run_of(path) for path in paths}), folder.path)
    samples: list[Step] = []
    rows: dict[SplitName, list[int]] = {"train": [], "valid": [], "test": []}
    arrays: dict[str, list[NDArray[Any]]] = {"proprio": [], "action": [], "contact": []}
    first = 0
    for path in paths:
        count = files.check(path, {key: shape for key, (shape, *_) in ARRAYS.items()})
        for key, found in arrays.items():
            found.append(files.read(path, key))
        rows[part_of[run_of(path)]] += range(len(samples), len(samples) + count - 1)
        samples += [Step(path, step, first + step) for step in range(count - 1)]
        first += count
    held = {key: np.concatenate(found) for key, found in arrays.items()}
    now = np.array([sample.row for sample in samples], dtype=np.int64)
    target = {
        "contact_next": (held["contact"][now + 1].sum(1) > 0).astype(np.int64),
        "ee_yaw_next": held["proprio"][now + 1, :4],
    }[output]

    def on_disk(key: str, change: Callable[[Any], Any] = as_is) -> Values:
        rows = H5Rows(files, [(sample.path, key, sample.step) for sample in samples])
        return Values(rows, change)

    columns = {
        "image": on_disk("image"),
        "force": on_disk("ee_forces_continuous", _forces),
        "proprio": Values(held["proprio"][now]),
        "depth": on_disk("depth_data", _channel_first),
        "action": Values(held["action"][now + 1]),
    }
    people: dict[str, dict[str, Any]] = {
        "image": {"preview": lambda row: columns["image"].of(row).permute(2, 0, 1).byte()},
        "force": {"preview": lambda row: columns["force"].of(row).T, "names": TORQUES},
    }
    is_contact = output == "contact_next"
    return Contents(
        splits=folder.split(
            {name: np.array(part, dtype=np.int64) for name, part in rows.items()},
            [f"{sample.path.stem}/{sample.step}" for sample in samples],
            classes=target if is_contact else None,
            groups=[run_of(sample.path) for sample in samples],
        ),
        modalities=[
            Modality(name, column, partial(_encoder, name), **people.get(name, {}))
            for name, column in columns.items()
        ],
        target=torch.from_numpy(target),
        task=Classification(2) if is_contact else Regression(4, criterion="mse"),
        class_names=OUTPUTS[output],
        metric="accuracy" if is_contact else "mse",
        notes=()
        if folder.is_sample
        else (
            "Test runs are not those of validation, as they are in MultiBench, whose figures "
            "are not comparable.",
        ),
        decisive=lambda: {"output": output},
    )


get_dataloader = dataloader_of("vision-touch")


def _forces(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """[B, 50, 6] -> the last readings [B, 6, 32]; very large forces saturate."""
    return np.tanh(batch[:, -WINDOW:]).transpose(0, 2, 1)


def _channel_first(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """[B, H, W, C] -> [B, C, H, W]."""
    return batch.transpose(0, 3, 1, 2)


def _encoder(name: str, settings: EncoderSettings) -> nn.Module:
    """MultiBench's (``unimodals/robotics/encoders.py``, z_dim 128), with a projection."""
    picture = ((16, 7), (32, 5), (64, 5), (64, 3), (128, 3), (128, 3))
    distance = ((32, 3), (64, 3), (64, 4), (64, 3), (128, 3), (128, 3))
    width, networks = (
        FEATURES,
        {
            "image": lambda: nn.Sequential(ColourPlanes(), StridedCNN(3, picture, FEATURES)),
            "force": lambda: CausalCNN(6, (16, 32, 64, 128, FEATURES)),
            "proprio": lambda: LeakyMLP(8, 32, 64, 128, FEATURES),
            "depth": lambda: nn.Sequential(DepthFilter(), StridedCNN(1, distance, FEATURES)),
            "action": lambda: LeakyMLP(4, 32, 32),
        },
    )
    network = networks[name]()
    if name == "action":
        width = 32
    return nn.Sequential(network, feature_encoder(width, settings))


def run_of(path: Path) -> str:
    """Return the run of a file, from its name ``RUN_PART_1000.h5``."""
    found = re.fullmatch(r"(.+)_[0-9]+_1000\.h5", path.name)
    if not found:
        raise DatasetError(
            f"{path}: files are called RUN_PART_1000.h5, such as "
            "20190408_183047_triangle_0_journal_0_1_1000.h5."
        )
    return found.group(1)


def split_runs(runs: Sequence[str], folder: Path) -> dict[str, SplitName]:
    """Return the split of each run: a fifth to test, a fifth to valid, by ``random.Random(0)``."""
    if len(runs) < 3:
        raise DatasetError(f"{folder}: has {len(runs)} runs; a split needs at least 3.")
    shuffled = list(runs)
    random.Random(0).shuffle(shuffled)
    fifth = max(1, len(runs) // 5)
    counts: dict[SplitName, int] = {"test": fifth, "valid": fifth, "train": len(runs) - 2 * fifth}
    names = [name for name, count in counts.items() for _ in range(count)]
    return dict(zip(shuffled, names, strict=True))
