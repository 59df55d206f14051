"""MuJoCo Push: a robot's finger pushes a cylinder; where is the cylinder?

Files, normalisation, subsequences and batches are MultiBench's
(``datasets/gentle_push/data_loader.py``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from i2moe_plugin.benchmarks.data.base import BatchSplit, SplitName
from i2moe_plugin.benchmarks.data.cards import Card, File, Key
from i2moe_plugin.benchmarks.data.files import FileDataset
from i2moe_plugin.benchmarks.data.preview import Preview, preview_of
from i2moe_plugin.benchmarks.data.registry import register_dataset
from i2moe_plugin.benchmarks.data.samples import writing_sample
from i2moe_plugin.benchmarks.datasets.samples import push as push_sample
from i2moe_plugin.benchmarks.encoders import EncoderSettings, recurrent_encoder
from i2moe_plugin.benchmarks.encoders.robotics import PerStep, step_image_layers, step_vector_layers
from i2moe_plugin.benchmarks.formats.ondisk import H5Files
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
NAMES = {
    "gripper_pos": ("x", "y", "z"),
    "gripper_sensors": (*(f"force {i}" for i in range(1, 7)), "contact"),
    "control": ("x before", "y before", "z before", "x moved", "y moved", "z moved", "contact"),
}


class Place(NamedTuple):
    """Where a subsequence lies."""

    path: Path
    trajectory: str
    start: int  # in the trajectory
    first: int  # in the arrays of all time steps


@register_dataset("push")
class Push(FileDataset):
    """Subsequences of pushes; the cylinder's position (x, y) at each time step.

    Each trajectory is cut into subsequences twice, from its start and from half a subsequence
    later. Pictures are read when a batch asks for them; the rest is held in memory. Everything but
    the pictures is normalised with the published constants, which come from training trajectories.

    Args:
        root: folder with the three files; data/push if not told.
        subsequence_length: L, time steps of a subsequence.

    Raises:
        ConfigError: L is not a whole number of at least 2.
        DatasetError: missing or damaged files, arrays of another shape, NaN, or a trajectory
            shorter than L.
    """

    card = Card(
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
    modalities = ("gripper_pos", "gripper_sensors", "image", "control")
    metric = "mse"
    selection = "loss"

    def __init__(self, root: str | Path | None = None, subsequence_length: int = 16) -> None:
        length = subsequence_length
        if not isinstance(length, int) or isinstance(length, bool) or length < 2:
            raise ConfigError(
                f"data.subsequence_length is a whole number of at least 2, not {length!r}."
            )
        super().__init__(root)
        self.length = length
        self._files = H5Files()
        self._places: list[Place] = []
        arrays: list[dict[str, NDArray[Any]]] = []
        rows: dict[SplitName, NDArray[Any]] = {}
        first = 0
        for name, file in FILES.items():
            before = len(self._places)
            for trajectory in self._trajectories(self.folder / file):
                found = self._read(self.folder / file, trajectory)
                steps = len(found["target"])
                self._places += [
                    Place(self.folder / file, trajectory, start, first + start)
                    for start in starts(steps, length)
                ]
                arrays.append(found)
                first += steps
            rows[name] = np.arange(before, len(self._places))
        self._steps = {key: np.concatenate([a[key] for a in arrays]) for key in SCALES}
        self._set_splits(rows, [f"{p.path.stem}/{p.trajectory}/{p.start}" for p in self._places])

    @property
    def task(self) -> Regression:
        """Its x and y at each of L steps, by the mean squared error."""
        return Regression(2 * self.length, criterion="mse")

    @property
    def class_names(self) -> list[str]:
        return [f"{axis} at step {step}" for step in range(1, self.length + 1) for axis in "xy"]

    def split(self, name: SplitName) -> PushSplit:
        """Items ([L, 3], [L, 7], [L, 32, 32], [L, 7], position [L, 2])."""
        return PushSplit(
            self._files, self._steps, [self._places[row] for row in self._rows[name]], self.length
        )

    def labels(self, name: SplitName) -> NDArray[Any]:
        """[N, L, 2]."""
        firsts = np.array([self._places[row].first for row in self._rows[name]])
        return self._steps["target"][firsts[:, None] + np.arange(self.length)]

    def show(self, name: SplitName, index: int) -> list[Preview]:
        *inputs, _ = self.split(name)[index]
        return [
            preview_of(modality, x, NAMES.get(modality, ()))
            for modality, x in zip(self.modalities, inputs, strict=True)
        ]

    def encoders(self, settings: EncoderSettings) -> list[nn.Module]:
        """MultiBench's layers for each time step, then an LSTM (its late fusion).

        ``settings.hidden`` is the width between them (64 there, and where it is 0).
        """
        units = settings.hidden or 64
        steps = [
            step_vector_layers(3, units),
            step_vector_layers(7, units),
            step_image_layers(IMAGE, units),
            step_vector_layers(7, units),
        ]
        return [
            nn.Sequential(
                PerStep(network), recurrent_encoder(units, settings, kind="lstm", steps=True)
            )
            for network in steps
        ]

    def _told(self) -> dict[str, Any]:
        return {"subsequence_length": self.length}

    def _trajectories(self, path: Path) -> list[str]:
        """The trajectories' groups in a file, by number."""
        names = self._files.names(path)
        numbers = sorted(int(n[10:]) for n in names if re.fullmatch(r"trajectory[0-9]{1,9}", n))
        if not numbers or numbers != list(range(len(numbers))):
            raise DatasetError(
                f"{path}: expected the groups trajectory0, trajectory1, ... without a gap; it "
                f"holds {', '.join(names[:12]) or 'nothing'}."
            )
        return [f"trajectory{number}" for number in numbers]

    def _read(self, path: Path, trajectory: str) -> dict[str, NDArray[Any]]:
        """What is held in memory of one trajectory, normalised."""
        steps = self._files.check(
            path, {f"{trajectory}/{key}": shape for key, (shape, *_) in ARRAYS.items()}
        )
        if steps < self.length:
            raise DatasetError(
                f"{path}: {trajectory} has {steps} time steps; a subsequence has {self.length}."
            )
        position, gripper, force, contact = (
            self._files.read(path, f"{trajectory}/{key}") for key in ARRAYS if key != "image"
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

    @classmethod
    def get_dataloader(  # type: ignore[override]  # MultiBench's choice of modalities
        cls,
        root: str | Path | None = None,
        batch_size: int = 32,
        num_workers: int = 0,
        train_shuffle: bool = True,
        seed: int = 0,
        subsequence_length: int = 16,
        modalities: Sequence[str] | None = None,
    ) -> tuple[DataLoader[Any], DataLoader[Any], DataLoader[Any]]:
        """MultiBench's call, batches ([B, L, 3], [B, L, 7], [B, L, 32, 32], [B, L, 7], [B, L, 2]).

        Args:
            root, batch_size, num_workers, train_shuffle, seed: see the base class.
            subsequence_length: L.
            modalities: which ones, in this order; all four if not told.

        Raises:
            ConfigError: a modality that there is not.
            DatasetError: see the class.
        """
        loaders = super().get_dataloader(
            root,
            batch_size,
            num_workers,
            train_shuffle,
            seed,
            subsequence_length=subsequence_length,
        )
        chosen = cls.modalities if modalities is None else tuple(modalities)
        unknown = [
            f"push has no modality {name!r}.{did_you_mean(name, cls.modalities)}"
            for name in chosen
            if name not in cls.modalities
        ]
        if unknown:
            raise ConfigError(unknown)
        for loader in loaders:
            loader.dataset.modalities = chosen  # type: ignore[attr-defined]
        return loaders

    @classmethod
    def write_sample(
        cls, folder: Path, seed: int = 0, train: int = 16, valid: int = 4, test: int = 8
    ) -> None:
        """Draw so many trajectories in the published format, shorter than published."""
        counts = dict(zip(FILES.values(), (train, valid, test), strict=True))
        with writing_sample(folder, "MuJoCo Push", seed) as aside:
            push_sample.write(aside, counts, seed)


get_dataloader = Push.get_dataloader


class PushSplit(BatchSplit):
    """Subsequences; pictures are read from disk.

    Args:
        files: reads the pictures.
        steps: modality (and ``target``) -> the time steps of all trajectories, [S, ...].
        places: where each subsequence lies.
        length: L.
    """

    def __init__(
        self,
        files: H5Files,
        steps: dict[str, NDArray[Any]],
        places: Sequence[Place],
        length: int,
    ) -> None:
        self.files, self.steps, self.places, self.length = files, steps, places, length
        self.modalities: tuple[str, ...] = Push.modalities

    def __len__(self) -> int:
        return len(self.places)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, ...]:
        places = [self.places[index] for index in indices]
        rows = np.array([place.first for place in places])[:, None] + np.arange(self.length)
        return tuple(
            torch.from_numpy(self._images(places) if name == "image" else self.steps[name][rows])
            for name in (*self.modalities, "target")
        )

    def _images(self, places: Sequence[Place]) -> NDArray[Any]:
        return np.stack(
            [
                self.files.read(
                    place.path,
                    f"{place.trajectory}/image",
                    slice(place.start, place.start + self.length),
                )
                for place in places
            ]
        )


def starts(steps: int, length: int) -> list[int]:
    """Where subsequences of a trajectory start: from 0, then from half a length; none left over."""
    return [
        start for offset in (0, length // 2) for start in range(offset, steps - length + 1, length)
    ]
