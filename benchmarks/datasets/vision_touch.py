"""Vision & Touch: a robot arm at a peg's hole; does it touch next, or where will its tool be?

Files, inputs and targets are MultiBench's (``datasets/robotics``); the split is ours, since theirs
is drawn anew by every machine and its test samples are those of validation.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from i2moe_plugin.benchmarks.data.base import BatchSplit, SplitName
from i2moe_plugin.benchmarks.data.cards import Card, Download, File, Key
from i2moe_plugin.benchmarks.data.files import FileDataset
from i2moe_plugin.benchmarks.data.preview import Preview, preview_of
from i2moe_plugin.benchmarks.data.registry import register_dataset
from i2moe_plugin.benchmarks.data.samples import writing_sample
from i2moe_plugin.benchmarks.datasets.samples import vision_touch as vision_touch_sample
from i2moe_plugin.benchmarks.encoders import EncoderSettings, feature_encoder
from i2moe_plugin.benchmarks.encoders.robotics import (
    CausalCNN,
    ColourPlanes,
    DepthFilter,
    LeakyMLP,
    StridedCNN,
)
from i2moe_plugin.benchmarks.formats.ondisk import H5Files
from i2moe_plugin.errors import ConfigError, DatasetError, did_you_mean
from i2moe_plugin.tasks import Classification, Regression, Task

WINDOW = 32  # force readings before a time step
FEATURES = 256
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


class Step(NamedTuple):
    """A sample's time step."""

    path: Path
    step: int  # in its file
    row: int  # in the arrays of all time steps


@register_dataset("vision-touch")
class VisionTouch(FileDataset):
    """Pictures, forces, the arm's state and its action; what the next time step brings.

    A sample is a time step that has a next one. Runs of the robot, each of which lies in several
    files, go as a whole into a split. Pictures, distances and forces are read when a batch asks
    for them; the rest is held in memory.

    Args:
        root: folder with the files; data/vision-touch if not told.
        output: ``contact_next`` (does the tool touch something in the next step?) or
            ``ee_yaw_next`` (its x, y, z and yaw in the next step).

    Raises:
        ConfigError: another output.
        DatasetError: missing or damaged files, names that are not RUN_PART_1000.h5, arrays of
            another shape, NaN, or fewer than three runs.
    """

    card = Card(
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
    modalities = ("image", "force", "proprio", "depth", "action")

    def __init__(self, root: str | Path | None = None, output: str = "contact_next") -> None:
        if output not in OUTPUTS:
            raise ConfigError(
                f"data.output is {' or '.join(OUTPUTS)}, not {output!r}."
                f"{did_you_mean(str(output), OUTPUTS)}"
            )
        super().__init__(root)
        self.output = output
        self.metric = "accuracy" if output == "contact_next" else "mse"
        self._files = H5Files()
        paths = self.card.files[0].found(self.folder)
        part_of = split_runs(sorted({run_of(path) for path in paths}), self.folder)
        self._steps: list[Step] = []
        rows: dict[SplitName, list[int]] = {"train": [], "valid": [], "test": []}
        arrays: dict[str, list[NDArray[Any]]] = {"proprio": [], "action": [], "contact": []}
        first = 0
        for path in paths:
            count = self._files.check(path, {key: shape for key, (shape, *_) in ARRAYS.items()})
            for key, found in arrays.items():
                found.append(self._files.read(path, key))
            samples = range(len(self._steps), len(self._steps) + count - 1)
            rows[part_of[run_of(path)]] += samples
            self._steps += [Step(path, step, first + step) for step in range(count - 1)]
            first += count
        self._arrays = {key: np.concatenate(found) for key, found in arrays.items()}
        after = np.array([step.row + 1 for step in self._steps], dtype=np.int64)
        if output == "contact_next":
            touched = self._arrays["contact"][after].sum(1) > 0
            self._target = torch.from_numpy(touched.astype(np.int64))
        else:
            self._target = torch.from_numpy(self._arrays["proprio"][after, :4])
        self._set_splits(
            {name: np.array(part, dtype=np.int64) for name, part in rows.items()},
            [f"{step.path.stem}/{step.step}" for step in self._steps],
        )
        if not self.is_sample:
            self.notes.append(
                "Test runs are not those of validation, as they are in MultiBench, whose figures "
                "are not comparable."
            )

    @property
    def task(self) -> Task:
        """Two classes; or four numbers, by the mean squared error."""
        if self.output == "contact_next":
            return Classification(2)
        return Regression(4, criterion="mse")

    @property
    def class_names(self) -> list[str]:
        return list(OUTPUTS[self.output])

    def split(self, name: SplitName) -> VisionTouchSplit:
        """Items ([128, 128, 3], [6, 32], [8], [1, 128, 128], [4], target)."""
        rows = self._rows[name]
        steps = [self._steps[row] for row in rows]
        return VisionTouchSplit(self._files, self._arrays, steps, self._target[rows])

    def labels(self, name: SplitName) -> NDArray[Any]:
        return self._target.numpy()[self._rows[name]]

    def show(self, name: SplitName, index: int) -> list[Preview]:
        image, force, proprio, depth, action, _ = self.split(name)[index]
        colours = image.permute(2, 0, 1).byte()
        torques = tuple(f"{kind} {axis}" for kind in ("force", "torque") for axis in "xyz")
        items: list[tuple[str, Any, Sequence[str]]] = [
            ("image", colours, ()),
            ("force", force.T, torques),
            ("proprio", proprio, ()),
            ("depth", depth, ()),
            ("action", action, ()),
        ]
        return [preview_of(*item) for item in items]

    def encoders(self, settings: EncoderSettings) -> list[nn.Module]:
        """MultiBench's (``unimodals/robotics/encoders.py``, z_dim 128), each with a projection."""
        picture = ((16, 7), (32, 5), (64, 5), (64, 3), (128, 3), (128, 3))
        distance = ((32, 3), (64, 3), (64, 4), (64, 3), (128, 3), (128, 3))
        networks: list[tuple[nn.Module, int]] = [
            (nn.Sequential(ColourPlanes(), StridedCNN(3, picture, FEATURES)), FEATURES),
            (CausalCNN(6, (16, 32, 64, 128, FEATURES)), FEATURES),
            (LeakyMLP(8, 32, 64, 128, FEATURES), FEATURES),
            (nn.Sequential(DepthFilter(), StridedCNN(1, distance, FEATURES)), FEATURES),
            (LeakyMLP(4, 32, 32), 32),
        ]
        return [
            nn.Sequential(network, feature_encoder(width, settings)) for network, width in networks
        ]

    def _told(self) -> dict[str, Any]:
        return {"output": self.output}

    @classmethod
    def _folder(cls, root: str | Path | None) -> Path:
        """The folder told, or the one in it that the published archive makes."""
        folder = super()._folder(root)
        inner = folder / "triangle_real_data"
        return inner if inner.is_dir() else folder

    @classmethod
    def write_sample(cls, folder: Path, seed: int = 0, runs: int = 40) -> None:
        """Draw runs in the published format, of fewer files and time steps."""
        with writing_sample(folder, "Vision & Touch", seed) as aside:
            vision_touch_sample.write(aside, runs, seed)


get_dataloader = VisionTouch.get_dataloader


class VisionTouchSplit(BatchSplit):
    """Time steps; pictures, distances and forces are read from disk.

    Args:
        files: reads them.
        arrays: proprio and action of all time steps.
        steps: this split's.
        target: of each.
    """

    def __init__(
        self,
        files: H5Files,
        arrays: dict[str, NDArray[Any]],
        steps: Sequence[Step],
        target: Tensor,
    ) -> None:
        self.files, self.arrays, self.steps, self.target = files, arrays, steps, target

    def __len__(self) -> int:
        return len(self.steps)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, ...]:
        steps = [self.steps[index] for index in indices]
        rows = np.array([step.row for step in steps])
        forces = self._read(steps, "ee_forces_continuous")[:, -WINDOW:]
        columns = (
            self._read(steps, "image"),
            np.tanh(forces).transpose(0, 2, 1),  # very large forces saturate
            self.arrays["proprio"][rows],
            self._read(steps, "depth_data").transpose(0, 3, 1, 2),
            self.arrays["action"][rows + 1],
        )
        return (*map(torch.from_numpy, columns), self.target[torch.as_tensor(indices)])

    def _read(self, steps: Sequence[Step], key: str) -> NDArray[Any]:
        return np.stack([self.files.read(step.path, key, step.step) for step in steps])


def run_of(path: Path) -> str:
    """The run of a file, from its name ``RUN_PART_1000.h5``.

    Raises:
        DatasetError: another form of name.
    """
    found = re.fullmatch(r"(.+)_[0-9]+_1000\.h5", path.name)
    if not found:
        raise DatasetError(
            f"{path}: files are called RUN_PART_1000.h5, such as "
            "20190408_183047_triangle_0_journal_0_1_1000.h5."
        )
    return found.group(1)


def split_runs(runs: Sequence[str], folder: Path) -> dict[str, SplitName]:
    """The split of each run: a fifth to test, a fifth to valid, by ``random.Random(0)``.

    Raises:
        DatasetError: fewer than three runs.
    """
    if len(runs) < 3:
        raise DatasetError(f"{folder}: has {len(runs)} runs; a split needs at least 3.")
    shuffled = list(runs)
    random.Random(0).shuffle(shuffled)
    fifth = max(1, len(runs) // 5)
    counts: dict[SplitName, int] = {"test": fifth, "valid": fifth, "train": len(runs) - 2 * fifth}
    names = [name for name, count in counts.items() for _ in range(count)]
    return dict(zip(shuffled, names, strict=True))
