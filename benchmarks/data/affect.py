"""MOSI, MOSEI, MUStARD and UR-FUNNY as MultiBench publishes them: data sets of one format.

How files are read stands in :mod:`affect_file`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader

from i2moe_plugin.benchmarks.data.affect_file import MODALITIES, AffectPart, AffectSplit
from i2moe_plugin.benchmarks.data.base import SPLITS, BatchSplit, EpochShuffle, SplitName
from i2moe_plugin.benchmarks.data.convert import converted
from i2moe_plugin.benchmarks.data.files import FileDataset
from i2moe_plugin.benchmarks.data.samples import writing_sample
from i2moe_plugin.benchmarks.datasets.samples.affect import Drawing, draw
from i2moe_plugin.benchmarks.encoders import EncoderSettings, recurrent_encoder
from i2moe_plugin.errors import ConfigError, DatasetError
from i2moe_plugin.tasks import Classification, SignClassification, SignedRegression, Task

Labels = Literal["signs", "scores", "classes"]


class Affect(FileDataset):
    """A pickle of three sequences a sample; a child names its file and what its labels are.

    Args:
        root: the folder of the pickle (or of the HDF5 file made of it), or the file itself.
        max_seq_len: steps kept of a sequence, the first ones.
        max_pad: give sequences of that length, padded with zeros; else of the batch's longest, with
            each one's length.
        z_norm: standardise each feature of each sequence over its steps.
        aligned: the modalities share their steps, and so their start; else each starts at its own
            first step that is not zero.
        tokens: what token backbones get: ``patches`` of the last state (I2MoE's code), or the
            states of all ``steps``.

    Attributes:
        labels_are: ``signs`` (classes by a score above zero), ``scores`` (a value) or ``classes``.
        criterion: the loss of scores.
        drawing: of the sample.

    Raises:
        DatasetError: a file that is missing, damaged, refused, or lacks what it should hold.
        ConfigError: settings that make no sense.
    """

    modalities = MODALITIES
    labels_are: ClassVar[Labels]
    criterion: ClassVar[Literal["smooth_l1", "mae"]] = "smooth_l1"
    names: ClassVar[tuple[str, ...]]
    drawing: ClassVar[Drawing]
    multibench: ClassVar[str]

    def __init__(
        self,
        root: str | Path | None = None,
        max_seq_len: int = 50,
        max_pad: bool = False,
        z_norm: bool = False,
        aligned: bool = True,
        tokens: Literal["patches", "steps"] = "patches",
    ) -> None:
        _check_settings(max_seq_len, tokens, max_pad=max_pad, z_norm=z_norm, aligned=aligned)
        if root is not None and Path(root).expanduser().is_file():
            path = Path(root).expanduser()
            (file,) = self.card.files
            self.card = replace(self.card, files=(replace(file, path=path.name),))
            root = path.parent
        super().__init__(root)
        self.max_seq_len, self.max_pad = max_seq_len, max_pad
        self.z_norm, self.aligned, self.tokens = z_norm, aligned, tokens
        self.file = self.folder / self.card.files[0].path
        path = self.file if self.file.suffix == ".h5" else converted(self.file)
        self._parts = {name: AffectPart(path, name, aligned) for name in SPLITS}
        self._check_widths()
        if self.labels_are == "classes":
            self._check_classes()
        self._set_rows()

    @property
    def task(self) -> Task:
        """By :attr:`labels_are`."""
        if self.labels_are == "signs":
            return SignClassification()
        if self.labels_are == "scores":
            return SignedRegression(criterion=self.criterion)
        return Classification(2)

    @property
    def class_names(self) -> list[str]:
        return list(self.names)

    def split(self, name: SplitName) -> AffectSplit:
        """Items (vision, audio, text, target); a modality is (values [T, F], length), or values."""
        target = torch.from_numpy(self.labels(name))
        return AffectSplit(self._parts[name], target, **self._told())

    def labels(self, name: SplitName) -> NDArray[Any]:
        """Scores as float32, or classes as int64."""
        scores = self._parts[name].scores
        if self.labels_are == "classes":
            return (scores > 0).astype(np.int64)
        return scores.astype(np.float32)

    def encoders(self, settings: EncoderSettings) -> list[nn.Module]:
        """A GRU for each modality; see :func:`recurrent_encoder` and the setting ``tokens``."""
        steps = self.tokens == "steps"
        widths = [array.shape[2] for array in self._parts["train"].arrays]
        return [recurrent_encoder(width, settings, steps=steps) for width in widths]

    def _told(self) -> dict[str, Any]:
        names = ("max_seq_len", "max_pad", "z_norm", "aligned")
        return {name: getattr(self, name) for name in names}

    def _check_widths(self) -> None:
        for modality, name in enumerate(MODALITIES):
            widths = {split: p.arrays[modality].shape[2] for split, p in self._parts.items()}
            if len(set(widths.values())) > 1:
                said = ", ".join(f"{split} {width}" for split, width in widths.items())
                raise DatasetError(f"{self.file}: {name} has features of different number: {said}.")

    def _check_classes(self) -> None:
        found = {float(score) for part in self._parts.values() for score in np.unique(part.scores)}
        if not (found <= {0.0, 1.0} or found <= {-1.0, 1.0}):
            said = ", ".join(f"{score:g}" for score in sorted(found)[:6])
            raise DatasetError(f"{self.file}: labels are {said}; expected 0 and 1, or -1 and 1.")

    def _set_rows(self) -> None:
        """Number the samples of all splits one after the other, and name each once."""
        rows: dict[SplitName, NDArray[Any]] = {}
        names: list[str] = []
        seen: dict[str, tuple[int, SplitName]] = {}
        shared: set[str] = set()
        for split, part in self._parts.items():
            rows[split] = np.arange(len(names), len(names) + len(part.rows))
            for name in part.names:
                count, first = seen.get(name, (0, split))
                seen[name] = (count + 1, first)
                if first != split:
                    shared.add(name)
                names.append(f"{name}#{count + 1}" if count else name)
        if shared:
            self.notes.append(
                f"{len(shared)} ids of {self.file.name} stand in more than one split, as published."
            )
        self._set_splits(rows, names)

    @classmethod
    def write_sample(cls, folder: Path, seed: int = 0, clips: int = 192) -> None:
        """Draw a small data set in the published format; see :mod:`affect_sample`.

        Raises:
            DatasetError: the folder is not empty or cannot be written.
            ConfigError: fewer than 24 clips.
        """
        if clips < 24:
            raise ConfigError(f"a sample needs at least 24 clips, not {clips}.")
        with writing_sample(folder, cls.card.title, seed) as aside:
            draw(aside / cls.card.files[0].path, cls.drawing, clips, seed)

    @classmethod
    def get_dataloader(  # type: ignore[override]
        cls,
        root: str | Path | None = None,
        batch_size: int = 32,
        max_seq_len: int = 50,
        max_pad: bool = False,
        train_shuffle: bool = True,
        num_workers: int = 0,
        flatten_time_series: bool = False,
        task: Literal["classification", "regression"] | None = None,
        robust_test: bool = False,
        data_type: str | None = None,
        raw_path: str | None = None,
        z_norm: bool = False,
        seed: int = 0,
        aligned: bool = True,
    ) -> tuple[DataLoader[Any], DataLoader[Any], DataLoader[Any]]:
        """MultiBench's call, with its arguments in its order: (train, valid, test) loaders.

        Args:
            root: the pickle, or its folder.
            max_pad: batches ``(vision, audio, text, labels)`` of ``max_seq_len`` steps; else
                ``([3 sequences], [3 lengths], rows, labels)``, padded to the batch's longest.
            flatten_time_series: a sequence as one row of steps times features.
            task: ``classification``: labels are classes [B, 1]; else scores [B, 1], for MUStARD and
                UR-FUNNY -1 and 1.
            data_type: MultiBench's name of the data set; checked.
            robust_test, raw_path: MultiBench's noisy tests are not offered.

        Raises:
            DatasetError: see the class.
            ConfigError: another data set's name, an unknown task, or noisy tests.
        """
        if data_type not in (None, cls.multibench):
            raise ConfigError(f"data_type {data_type!r} is not {cls.name}'s, {cls.multibench!r}.")
        if task not in (None, "classification", "regression"):
            raise ConfigError(f"task {task!r} is neither 'classification' nor 'regression'.")
        if robust_test or raw_path is not None:
            raise ConfigError("MultiBench's noisy tests (robust_test, raw_path) are not offered.")
        steps = max_seq_len if max_pad else 1 << 30
        data = cls(root, max_seq_len=steps, max_pad=max_pad, z_norm=z_norm, aligned=aligned)
        loaders = []
        for name in SPLITS:
            split = MultiBenchSplit(data.split(name), data, task, flatten_time_series)
            shuffled = train_shuffle and name == "train"
            loaders.append(
                DataLoader(
                    split,
                    batch_size,
                    sampler=EpochShuffle(len(split), seed) if shuffled else None,
                    num_workers=num_workers,
                    collate_fn=_as_is,
                )
            )
        return loaders[0], loaders[1], loaders[2]


class MultiBenchSplit(BatchSplit):
    """A split in the batches of MultiBench's loader; see :meth:`Affect.get_dataloader`."""

    def __init__(
        self, split: AffectSplit, data: Affect, task: str | None, flatten_time_series: bool
    ) -> None:
        self.split, self.flatten = split, flatten_time_series
        scores = torch.from_numpy(split.part.scores)
        if task == "classification":
            self.labels = (scores > 0).long()
        elif data.labels_are == "classes":
            self.labels = torch.where(scores < 1, -1.0, 1.0)
        else:
            self.labels = scores.float()

    def __len__(self) -> int:
        return len(self.split)

    def __getitems__(self, indices: list[int]) -> tuple[Any, ...]:
        found = self.split.sequences(indices)
        if self.flatten:
            found = [(values.flatten(1), lengths * values.shape[2]) for values, lengths in found]
        values, lengths = [v for v, _ in found], [n for _, n in found]
        rows = torch.as_tensor(indices)[:, None]
        labels = self.labels[rows]
        return (*values, labels) if self.split.max_pad else (values, lengths, rows, labels)


def _as_is(batch: Any) -> Any:
    return batch


def _check_settings(max_seq_len: int, tokens: str, **switches: bool) -> None:
    problems = [
        f"data.{name} is true or false, not {value!r}."
        for name, value in switches.items()
        if not isinstance(value, bool)
    ]
    if not isinstance(max_seq_len, int) or isinstance(max_seq_len, bool) or max_seq_len < 1:
        problems.append(f"data.max_seq_len is a number of steps above 0, not {max_seq_len!r}.")
    if tokens not in ("patches", "steps"):
        problems.append(f"data.tokens is patches or steps, not {tokens!r}.")
    if problems:
        raise ConfigError(problems)
