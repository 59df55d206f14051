"""MOSI, MOSEI, MUStARD and UR-FUNNY as MultiBench publishes them: data sets of one format.

How files are read stands in :mod:`affect_file`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch.utils.data import Dataset

from i2moe_plugin.adapters.checkout import Checkout
from i2moe_plugin.benchmarks.data.affect_file import MODALITIES, AffectPart, Sequences, read_part
from i2moe_plugin.benchmarks.data.batches import Loaders, SplitDataset, remade_loaders
from i2moe_plugin.benchmarks.data.cards import Card
from i2moe_plugin.benchmarks.data.contents import Contents, Modality
from i2moe_plugin.benchmarks.data.convert import converted, named_after
from i2moe_plugin.benchmarks.data.multibench import CheckoutLoader
from i2moe_plugin.benchmarks.data.open import open_dataset
from i2moe_plugin.benchmarks.data.registry import register_dataset
from i2moe_plugin.benchmarks.data.source import DataFolder
from i2moe_plugin.benchmarks.data.splits import SPLITS, SplitName, SplitRows
from i2moe_plugin.benchmarks.encoders import recurrent_encoder
from i2moe_plugin.benchmarks.formats.arrays import Joined
from i2moe_plugin.benchmarks.formats.inspection import inspect_file
from i2moe_plugin.errors import ConfigError, DatasetError
from i2moe_plugin.tasks import Classification, SignClassification, SignedRegression, Task

Parts = Mapping[SplitName, AffectPart]


@dataclass(frozen=True)
class AffectTask:
    """What is predicted of a clip.

    Attributes:
        labels: ``signs`` (classes by a score above zero), ``scores`` (a value) or ``classes``.
        class_names: of the outputs.
        called: MultiBench's name of the data set.
        criterion: the loss of scores.
    """

    labels: Literal["signs", "scores", "classes"]
    class_names: tuple[str, ...]
    called: str
    criterion: Literal["smooth_l1", "mae"] = "smooth_l1"

    @property
    def task(self) -> Task:
        """The task, by the labels."""
        if self.labels == "signs":
            return SignClassification()
        if self.labels == "scores":
            return SignedRegression(criterion=self.criterion)
        return Classification(2)

    def target(self, file: Path, scores: NDArray[np.float64]) -> NDArray[Any]:
        """Scores as float32, or classes as int64."""
        if self.labels != "classes":
            return scores.astype(np.float32)
        found = np.unique(scores).tolist()
        if not (set(found) <= {0.0, 1.0} or set(found) <= {-1.0, 1.0}):
            said = ", ".join(f"{score:g}" for score in found[:6])
            raise DatasetError(f"{file}: labels are {said}; expected 0 and 1, or -1 and 1.")
        return (scores > 0).astype(np.int64)


def register_affect(
    name: str, card: Card, asked: AffectTask, **facts: Any
) -> Callable[..., Contents]:
    """Register the card's pickle of three sequences a sample as a data set; return its reader."""

    @register_dataset(
        name,
        card=card,
        modalities=MODALITIES,
        locate=partial(_located, name),
        checkout=CheckoutLoader(partial(_from_checkout, asked), packed=True),
        **facts,
    )
    def read(
        folder: DataFolder,
        max_seq_len: Annotated[int, Field(ge=1)] = 50,
        max_pad: bool = False,
        z_norm: bool = False,
        aligned: bool = True,
        tokens: Literal["patches", "steps"] = "patches",
    ) -> Contents:
        """Read the pickle, or the HDF5 file made of it.

        Args:
            folder: with the file.
            max_seq_len, max_pad, z_norm: see :class:`Sequences`.
            aligned: the modalities share their steps, and so their start; else each starts at its
                own first step that is not zero.
            tokens: what token backbones get: ``patches`` of the last state (I2MoE's code), or the
                states of all ``steps``.
        """
        file = folder / folder.card.files[0].path
        path = file if file.suffix == ".h5" else converted(file)
        with named_after(file, path):
            if whose := folder.card.files[0].whose(inspect_file(path)):
                raise DatasetError(f"{file}: {whose}.")
            parts: Parts = {split: read_part(path, split, aligned) for split in SPLITS}
        _check_widths(file, parts)
        rows, ids, shared = _numbered(parts)
        scores = np.concatenate([part.scores for part in parts.values()])
        starts = np.concatenate([part.starts for part in parts.values()])
        decisive = {
            "max_seq_len": max_seq_len,
            "max_pad": max_pad,
            "z_norm": z_norm,
            "aligned": aligned,
        }

        def modality(number: int) -> Modality:
            joined = Joined(*(part.arrays[number] for part in parts.values()))
            column = Sequences(joined, starts if aligned else None, max_seq_len, max_pad, z_norm)
            encoder = partial(recurrent_encoder, joined.shape[2], steps=tokens == "steps")
            return Modality(MODALITIES[number], column, encoder)

        target = asked.target(file, scores)
        clips = [video for part in parts.values() for video in part.videos]
        return Contents(
            splits=folder.split(
                rows,
                ids,
                classes=None if asked.labels == "scores" else (target > 0).astype(np.int64),
                groups=clips if all(clips) else None,
            ),
            modalities=[modality(number) for number in range(len(MODALITIES))],
            target=torch.from_numpy(target),
            task=asked.task,
            class_names=asked.class_names,
            notes=tuple(_notes(file, parts, shared)),
            decisive=lambda: decisive,
        )

    return read


def _located(name: str, root: Path | None, card: Card) -> tuple[Path, Card]:
    """Return the folder, and the card with the name of the file, which may be told itself."""
    if root is not None and root.is_file():
        (file,) = card.files
        return root.parent, replace(card, files=(replace(file, path=root.name),))
    return root or Path("data", name), card


def _check_widths(file: Path, parts: Parts) -> None:
    for number, name in enumerate(MODALITIES):
        widths = {split: part.arrays[number].shape[2] for split, part in parts.items()}
        if len(set(widths.values())) > 1:
            said = ", ".join(f"{split} {width}" for split, width in widths.items())
            raise DatasetError(f"{file}: {name} has features of different number: {said}.")


def _numbered(parts: Parts) -> tuple[SplitRows, list[str], int]:
    """The rows of each split, one after the other; each one's id; how many ids splits share."""
    rows: dict[SplitName, NDArray[np.int64]] = {}
    ids: list[str] = []
    seen: dict[str, tuple[int, SplitName]] = {}
    shared: set[str] = set()
    for split, part in parts.items():
        rows[split] = np.arange(len(ids), len(ids) + len(part.names))
        for name in part.names:
            count, first = seen.get(name, (0, split))
            seen[name] = (count + 1, first)
            if first != split:
                shared.add(name)
            ids.append(f"{name}#{count + 1}" if count else name)
    return rows, ids, len(shared)


def _notes(file: Path, parts: Parts, shared: int) -> Iterator[str]:
    if shared:
        yield f"{shared} ids of {file.name} stand in more than one split, as published."
    left_out = sum(part.left_out for part in parts.values())
    if left_out:
        count = left_out + sum(len(part.names) for part in parts.values())
        yield (
            f"{left_out} of {count} samples of {file.name} have no text and are left out, as in "
            "MultiBench."
        )


def _from_checkout(
    asked: AffectTask,
    checkout: Checkout,
    folder: DataFolder,
    settings: Mapping[str, Any],
    batch_size: int,
) -> Loaders:
    """Make loaders of the pickle, which our allow-list has read when it was opened."""
    file = folder / folder.card.files[0].path
    if file.suffix == ".h5":
        raise DatasetError(f"MultiBench reads the published pickle; {file} is the HDF5 of it.")
    # torchtext has no build for current torch; noise on words alone needs it.
    module = checkout.module("datasets.affect.get_data", without=("torchtext",))
    three: Loaders = module.get_dataloader(
        str(file),
        batch_size=batch_size,
        num_workers=0,
        max_seq_len=settings["max_seq_len"],
        z_norm=settings["z_norm"],
        data_type=asked.called,
        task="classification" if asked.labels == "classes" else None,
    )
    return three


def affect_dataloader(name: str, asked: AffectTask) -> Callable[..., Loaders]:
    """MultiBench's ``get_dataloader`` for such a data set."""

    def get_dataloader(
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
    ) -> Loaders:
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
            DatasetError: a file that is missing, damaged or refused.
            ConfigError: another data set's name, an unknown task, or noisy tests.
        """
        if data_type not in (None, asked.called):
            raise ConfigError(f"data_type {data_type!r} is not {name}'s, {asked.called!r}.")
        if task not in (None, "classification", "regression"):
            raise ConfigError(f"task {task!r} is neither 'classification' nor 'regression'.")
        if robust_test or raw_path is not None:
            raise ConfigError("MultiBench's noisy tests (robust_test, raw_path) are not offered.")
        steps = max_seq_len if max_pad else 1 << 30
        data = open_dataset(
            name, root, max_seq_len=steps, max_pad=max_pad, z_norm=z_norm, aligned=aligned
        )
        make = partial(MultiBenchSplit, task=task, flatten=flatten_time_series)
        return remade_loaders(
            data.prepare(frozen=False), make, batch_size, num_workers, train_shuffle, seed
        )

    return get_dataloader


class MultiBenchSplit(Dataset[Any]):
    """A split in the batches of MultiBench's loader; see :func:`affect_dataloader`."""

    def __init__(self, split: SplitDataset, task: str | None, flatten: bool) -> None:
        self.split, self.flatten = split, flatten
        self.columns: list[Any] = list(split.columns)
        target = split.target[torch.from_numpy(split.rows)]
        if task == "classification":
            self.labels = (target > 0).long()
        else:  # classes, 0 and 1, are -1 and 1 there
            self.labels = target if target.is_floating_point() else 2.0 * target - 1

    def __len__(self) -> int:
        return len(self.split)

    def __getitems__(self, indices: Sequence[int]) -> tuple[Any, ...]:
        """The batch of these samples."""
        found = [column.cut(self.split.rows[list(indices)]) for column in self.columns]
        if self.flatten:
            found = [(values.flatten(1), lengths * values.shape[2]) for values, lengths in found]
        values, lengths = [v for v, _ in found], [n for _, n in found]
        rows = torch.as_tensor(indices)[:, None]
        labels = self.labels[rows]
        if self.columns[0].max_pad:
            return (*values, labels)
        return (values, lengths, rows, labels)
