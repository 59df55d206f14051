"""Bring your own: a folder with ``dataset.yaml`` is a data set without code."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from i2moe_plugin.benchmarks.data.base import SPLITS, BatchSplit, SplitName, Status
from i2moe_plugin.benchmarks.data.cards import Card, File, Key
from i2moe_plugin.benchmarks.data.files import FileDataset
from i2moe_plugin.benchmarks.data.preview import Preview
from i2moe_plugin.benchmarks.data.registry import DatasetEntry
from i2moe_plugin.benchmarks.datasets.folder.columns import (
    Files,
    Pictures,
    Standardised,
    TfIdf,
    text,
)
from i2moe_plugin.benchmarks.datasets.folder.spec import FILE, Fractions, Modality, read_spec
from i2moe_plugin.benchmarks.encoders import EncoderSettings, feature_encoder, picture_encoder
from i2moe_plugin.benchmarks.encoders.recurrent import recurrent_encoder
from i2moe_plugin.benchmarks.encoders.tokens import TokenEncoder
from i2moe_plugin.benchmarks.formats.readers import Rows
from i2moe_plugin.errors import DatasetError, did_you_mean
from i2moe_plugin.seeding import derive_seed
from i2moe_plugin.tasks import Classification, Multilabel, Regression, Task

PREFIX = "folder"
CHANNELS = 16
METRICS = {"classification": "accuracy", "multilabel": "macro_f1", "regression": "mae"}
SPLIT_WORDS: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "test": "test",
    "testing": "test",
}


class FolderDataset(FileDataset):
    """The user's own data, as its ``dataset.yaml`` describes it (docs/adding_a_dataset.md).

    Args:
        root: the folder.

    Raises:
        DatasetError: no folder, a ``dataset.yaml`` that is not of the form, files that are missing
            or damaged, arrays that do not fit each other, a class without training sample.
    """

    card = Card(
        title="a folder of your own",
        source="dataset.yaml in the folder",
        licence="as the folder's dataset.yaml says",
        files=(File(FILE, "names the files, the modalities, the target and the split"),),
        how_to_get="docs/adding_a_dataset.md shows how to write one.",
        access="yours",
    )
    modalities: tuple[str, ...] = ()

    def __init__(self, root: str | Path | None = None) -> None:
        if root is None:
            raise DatasetError(f"give the folder that holds {FILE}: --dataset path/to/folder.")
        folder = Path(root).expanduser()
        self.spec = spec = read_spec(folder)
        self.name = f"{PREFIX}:{spec.name}"
        self.modalities = tuple(spec.modalities)
        self.metric = spec.metric or METRICS[spec.task]
        self.card = self._describe()
        super().__init__(folder)
        self._files = Files(folder)
        opened = {what: self._files.open(source) for what, source in spec.sources.items()}
        count = len(opened["target"])
        for what, array in opened.items():
            if len(array) != count:
                raise DatasetError(
                    f"{folder / FILE}: {what} has {len(array)} rows, the target has {count}."
                )
        self._take_target(opened["target"])
        ids = text(opened["ids"]) if spec.ids else [str(row) for row in range(count)]
        self._set_splits(self._split_rows(opened.get("split"), count), ids)
        self._check_classes()
        self._lengths = {
            name: self._read_lengths(name, part, opened[name])
            for name, part in spec.modalities.items()
            if part.lengths
        }
        self._inputs = [self._make(n, part, opened[n]) for n, part in spec.modalities.items()]

    @property
    def task(self) -> Task:
        return self._task

    @property
    def class_names(self) -> list[str]:
        return self._names

    def split(self, name: SplitName) -> FolderSplit:
        lengths = [self._lengths.get(modality) for modality in self.modalities]
        return FolderSplit(self._inputs, lengths, self._target, self._rows[name])

    def labels(self, name: SplitName) -> NDArray[Any]:
        return self._target[self._rows[name]].numpy()

    def features(self, name: SplitName) -> NDArray[Any] | None:
        """The standardised features, where all modalities are features."""
        if any(part.kind != "features" for part in self.spec.modalities.values()):
            return None
        return np.concatenate([part[self._rows[name]] for part in self._inputs], 1)

    def encoders(self, settings: EncoderSettings) -> list[nn.Module]:
        return [
            self._encoder(part.kind, made, settings)
            for part, made in zip(self.spec.modalities.values(), self._inputs, strict=True)
        ]

    def show(self, name: SplitName, index: int) -> list[Preview]:
        row = int(self._rows[name][index])
        return [
            Preview(modality, "text", made.texts[row]) if isinstance(made, TfIdf) else shown
            for modality, made, shown in zip(
                self.modalities, self._inputs, super().show(name, index), strict=True
            )
        ]

    def fingerprint(self) -> str:
        """A hash of every file, image files included."""
        digest = hashlib.sha256(super().fingerprint().encode())
        for made in self._inputs:
            if isinstance(made, Pictures) and made.files is not None:
                for path in made.files.paths:
                    digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    @classmethod
    def status(cls, root: Path | None) -> Status:
        if root is None:
            return Status(False, FILE, problems=("no folder given",))
        size = sum(path.stat().st_size for path in Path(root).rglob("*") if path.is_file())
        try:
            cls(root)
        except DatasetError as error:
            return Status(False, str(root), size, (str(error),))
        return Status(True, str(root), size)

    @classmethod
    def verify(cls, root: Path | None) -> list[str]:
        return list(cls.status(root).problems)

    @classmethod
    def write_sample(cls, folder: Path, seed: int = 0) -> None:
        raise DatasetError("a folder is your own data; docs/adding_a_dataset.md writes one.")

    def _describe(self) -> Card:
        keys: dict[str, list[Key]] = {FILE: []}
        for what, source in self.spec.sources.items():
            columns = source.columns if isinstance(source.columns, str) else None
            name = source.key or source.column or columns or ", ".join(source.columns or ())
            kind = f"{source.kind}: " if isinstance(source, Modality) else ""
            keys.setdefault(source.file, []).append(Key(name, what=f"{kind}{what}"))
        split = self.spec.split
        return Card(
            title=self.spec.title or self.spec.name,
            source=self.spec.source or "your own",
            licence=self.spec.licence or "not told",
            citation=self.spec.citation,
            access="yours",
            files=tuple(File(file, "", tuple(found)) for file, found in keys.items()),
            splits=f"{split.train:.0%} / {split.valid:.0%} / {split.test:.0%}, seed {split.seed}"
            if isinstance(split, Fractions)
            else f"{split.file}: {split.column or split.key}",
        )

    def _take_target(self, array: Rows) -> None:
        spec, where = self.spec, self.folder / self.spec.target.file
        values = np.asarray(array[:])
        if not len(values):
            raise DatasetError(f"{where}: has no rows.")
        if spec.task == "classification":
            self._take_classes(values, where)
            return
        values = values.reshape(len(values), -1)
        if values.dtype.kind not in "fiub" or not np.isfinite(values).all():
            raise DatasetError(f"{where}: the target must be numbers, none missing.")
        width = values.shape[1]
        self._names = spec.classes or [f"output {i + 1}" for i in range(width)]
        if len(self._names) != width:
            raise DatasetError(f"{where}: {len(self._names)} classes for {width} columns.")
        if spec.task == "multilabel" and not np.isin(values, (0, 1)).all():
            raise DatasetError(f"{where}: a multilabel target holds 0 and 1 only.")
        self._task: Task = (Multilabel if spec.task == "multilabel" else Regression)(width)
        self._target = torch.from_numpy(values.astype(np.float32))
        self._check_metric()

    def _take_classes(self, values: NDArray[Any], where: Path) -> None:
        spec = self.spec
        values = values.reshape(-1) if values.size == len(values) else values
        if values.ndim != 1:
            raise DatasetError(f"{where}: a class is one cell a row; got {list(values.shape)}.")
        if values.dtype.kind == "f":
            if not np.isfinite(values).all() or (values % 1).any():
                raise DatasetError(f"{where}: classes are names or whole numbers, none missing.")
            values = values.astype(np.int64)
        words = [v.decode() if isinstance(v, bytes) else str(v) for v in values.tolist()]
        present = sorted(set(words), key=lambda w: (not w.lstrip("-").isdigit(), _number(w), w))
        names = spec.classes or present
        numbered = spec.classes is not None and not set(words) <= set(names)
        if numbered:  # the column holds places in the list
            if not all(w.isdigit() and int(w) < len(names) for w in set(words)):
                odd = sorted(set(words) - set(names))[:5]
                raise DatasetError(f"{where}: {odd} are none of the classes {', '.join(names)}.")
            labels = [int(word) for word in words]
        else:
            place = {name: index for index, name in enumerate(names)}
            labels = [place[word] for word in words]
        if len(names) < 2:
            raise DatasetError(f"{where}: all rows have one class, {names[0]!r}.")
        self._names = list(names)
        self._task = Classification(len(names))
        self._target = torch.tensor(labels)
        self._check_metric()

    def _check_metric(self) -> None:
        if self.metric not in self._task.metric_names:
            raise DatasetError(
                f"{self.folder / FILE}: metric {self.metric!r} is none of "
                f"{', '.join(self._task.metric_names)}."
                f"{did_you_mean(self.metric, self._task.metric_names)}"
            )

    def _check_classes(self) -> None:
        if self.spec.task == "classification":
            there = set(self.labels("train").tolist())
            absent = [name for i, name in enumerate(self._names) if i not in there]
            if absent:
                raise DatasetError(
                    f"{self.folder}: no training sample of {', '.join(absent[:5])}: it cannot be "
                    "learned."
                )

    def _split_rows(self, column: Rows | None, count: int) -> dict[SplitName, NDArray[Any]]:
        split = self.spec.split
        if isinstance(split, Fractions):
            order = np.random.default_rng(derive_seed(split.seed, "split")).permutation(count)
            first = round(count * split.train)
            second = round(count * (split.train + split.valid))
            parts = (order[:first], order[first:second], order[second:])
            return {name: np.sort(part) for name, part in zip(SPLITS, parts, strict=True)}
        assert column is not None
        words = [word.strip().lower() for word in text(column)]
        unknown = sorted({word for word in words if word not in SPLIT_WORDS})
        if unknown:
            raise DatasetError(
                f"{self.folder / split.file}: the split holds {unknown[:5]}; expected train, valid "
                "and test."
            )
        names = np.array([SPLIT_WORDS[word] for word in words])
        return {name: np.flatnonzero(names == name) for name in SPLITS}

    def _read_lengths(self, name: str, part: Modality, array: Rows) -> NDArray[Any]:
        values = np.asarray(self._files.lengths(part, str(part.lengths))[:])
        steps = array.shape[1] if len(array.shape) > 1 else 0
        if values.shape != (len(array),) or values.dtype.kind not in "iu":
            raise DatasetError(
                f"{self.folder / part.file}: lengths of {name} must be integers [N]."
            )
        if (values < 1).any() or (values > steps).any():
            raise DatasetError(
                f"{self.folder / part.file}: lengths of {name} must lie from 1 to {steps}."
            )
        return values.astype(np.int64)

    def _make(self, name: str, part: Modality, array: Rows) -> Any:
        where, train = f"{self.folder / part.file}: {name}", self._rows["train"]
        if part.kind == "text":
            if np.dtype(array.dtype).kind not in "OSU":
                raise DatasetError(f"{where}: text must be strings, not {array.dtype}.")
            return TfIdf(where, text(array), train, part.words)
        if part.kind == "image":
            return Pictures(where, array, self.folder, part.size)
        rank = 2 if part.kind == "features" else 3
        if len(array.shape) == 1 and rank == 2:
            array = np.asarray(array[:]).reshape(-1, 1)
        if len(array.shape) != rank or 0 in array.shape:
            raise DatasetError(
                f"{where}: {part.kind} are [{'N, F' if rank == 2 else 'N, T, F'}]; got "
                f"{list(array.shape)}."
            )
        return Standardised(where, array, train, self._lengths.get(name), self.spec.standardise)

    def _encoder(self, kind: str, made: Any, settings: EncoderSettings) -> nn.Module:
        if kind == "image":
            return picture_encoder(CHANNELS, settings)
        if kind in ("features", "text"):
            return feature_encoder(made.width, settings)
        if kind == "series":
            return recurrent_encoder(made.width, settings)
        return TokenEncoder(made.width, settings)


class FolderSplit(BatchSplit):
    """Rows of a folder's modalities, read a batch at a time."""

    def __init__(
        self,
        inputs: list[Any],
        lengths: list[NDArray[Any] | None],
        target: Tensor,
        rows: NDArray[Any],
    ) -> None:
        self.inputs, self.lengths, self.target, self.rows = inputs, lengths, target, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indices: list[int]) -> tuple[Any, ...]:
        rows = self.rows[indices]
        columns: list[Any] = []
        for made, lengths in zip(self.inputs, self.lengths, strict=True):
            values = torch.as_tensor(made[rows])
            columns.append(values if lengths is None else (values, torch.as_tensor(lengths[rows])))
        return (*columns, self.target[torch.from_numpy(rows)])


def resolve(name: str) -> DatasetEntry:
    """The entry of ``folder:NAME``; the folder itself is the data set's root."""
    return DatasetEntry(name, FolderDataset)


def _number(word: str) -> int:
    return int(word) if word.lstrip("-").isdigit() else 0
