"""Data sets of a text and a picture a sample: text features, and a frozen VGG16's of pictures."""

from __future__ import annotations

import hashlib
import json
import os
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from i2moe_plugin.benchmarks.data import frozen as features
from i2moe_plugin.benchmarks.data.base import SPLITS, SplitName, Status
from i2moe_plugin.benchmarks.data.files import FileDataset, LazySplit, digests
from i2moe_plugin.benchmarks.data.images import ImageFiles, ImageRows, read_picture
from i2moe_plugin.benchmarks.data.preview import Preview
from i2moe_plugin.benchmarks.data.samples import is_sample
from i2moe_plugin.benchmarks.encoders import EncoderSettings, Frozen, vgg
from i2moe_plugin.benchmarks.formats.readers import Rows
from i2moe_plugin.benchmarks.formats.word_vectors import printable
from i2moe_plugin.errors import DatasetError

SIZE = (224, 224)  # of a picture, cut from its middle


class TextPictureDataset(FileDataset):
    """Base of data sets with modalities (text, image).

    Splits hold pictures [3, 224, 224] until :meth:`prepare` is called, and the features [4096] of
    a frozen VGG16 after it; encoders fit what splits hold. A child's constructor ends with
    :meth:`_set_samples`.

    Args:
        root: the folder.
        weights: of the VGG16: ``auto`` (ImageNet's, from the torch hub cache), ``none`` (random
            features) or a file.

    Raises:
        DatasetError: missing files or weights.
    """

    def __init__(self, root: str | Path | None = None, weights: str | Path = "auto") -> None:
        super().__init__(root)
        self._weights = vgg.find_weights(vgg.VGG16, weights, random_allowed=self.is_sample)
        if self._weights is None:
            self.notes.append(vgg.random_note(vgg.VGG16))
        self._paths: Sequence[Path] = ()
        self._target = torch.zeros(0)
        self._pictures: Rows | None = None

    def _set_samples(
        self,
        rows: dict[SplitName, NDArray[Any]],
        ids: Sequence[str],
        paths: Sequence[Path],
        target: Tensor,
    ) -> None:
        """Take every sample's id, picture and target, and the rows of each split.

        Raises:
            DatasetError: pictures that are not there; see also :meth:`_set_splits`.
        """
        self._set_splits(rows, ids)
        self._paths, self._target = paths, target
        check_files(self.folder, paths)

    @abstractmethod
    def _text(self) -> Rows:
        """The features [N, F] of all texts."""

    @abstractmethod
    def _read_text(self, row: int) -> str:
        """One text for people."""

    @abstractmethod
    def _feature_encoders(self, settings: EncoderSettings) -> list[nn.Module]:
        """Encoders of text features and of picture features."""

    @property
    def _files(self) -> ImageFiles:
        return ImageFiles(self._paths, SIZE, crop=True)

    def prepare(self, device: torch.device | str = "cpu", progress: bool = False) -> None:
        """Compute the pictures' frozen features, or take them from the cache.

        Raises:
            DatasetError: pictures or weights that are damaged; all damaged pictures are named.
        """
        if self._pictures is None:
            key = {
                "images": self._digest_of(self._paths),
                "extractor": "torchvision vgg16, activations of the last hidden layer",
                "weights": self._weights_digest,
                "transform": f"RGB, middle, PIL bilinear {SIZE}, ImageNet mean and deviation",
            }
            self._pictures = features.frozen_features(
                self.name,
                self._files,
                partial(vgg.vgg16_features, self._weights),
                key,
                device=device,
                progress=progress,
                cache=self.cache,
            )

    def split(self, name: SplitName) -> LazySplit:
        """Items (text features [F], picture [3, 224, 224] or its features [4096], target)."""
        pictures = ImageRows(self._files) if self._pictures is None else self._pictures
        return LazySplit([self._text(), pictures], self._target, self._rows[name])

    def labels(self, name: SplitName) -> NDArray[Any]:
        labels: NDArray[Any] = self._target[torch.from_numpy(self._rows[name])].numpy()
        return labels

    def encoders(self, settings: EncoderSettings) -> list[nn.Module]:
        """For features; where splits hold pictures, the second is behind a frozen VGG16."""
        text, picture = self._feature_encoders(settings)
        if self._pictures is None:
            picture = nn.Sequential(Frozen(vgg.vgg16_features(self._weights)), picture)
        return [text, picture]

    def show(self, name: SplitName, index: int) -> list[Preview]:
        """The text and the picture themselves."""
        row = int(self._rows[name][index])
        return [
            Preview(self.modalities[0], "text", printable(self._read_text(row))),
            Preview(self.modalities[1], "image", read_picture(self._paths[row])),
        ]

    @classmethod
    def get_dataloader(
        cls, root: str | Path | None = None, *args: Any, **options: Any
    ) -> tuple[DataLoader[Any], DataLoader[Any], DataLoader[Any]]:
        """MultiBench's call: batches (text features, pictures [B, 3, 224, 224], targets)."""
        options.setdefault("weights", "none")  # pictures alone need none
        return super().get_dataloader(root, *args, **options)

    @classmethod
    def status(cls, root: Path | None) -> Status:
        found = super().status(root)
        try:
            vgg.find_weights(vgg.VGG16, random_allowed=is_sample(Path(found.where)))
        except DatasetError as error:
            problems = (*found.problems, str(error))
            return Status(False, found.where, found.size, problems)
        return found

    def _told(self) -> dict[str, Any]:
        return {"weights": self._weights_digest}

    @cached_property
    def _weights_digest(self) -> str:
        return vgg.weights_fingerprint(vgg.VGG16, self._weights)

    def _digest_of(self, paths: Iterable[Path]) -> str:
        """One hash of files of the folder, in order."""
        found = digests(self.folder, paths)
        return hashlib.sha256(json.dumps(list(found.items())).encode()).hexdigest()


def rows_of_splits(*sizes: int) -> dict[SplitName, NDArray[Any]]:
    """The rows of splits of these sizes that follow one another."""
    ends = np.cumsum(sizes)
    parts = [np.arange(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    return dict(zip(SPLITS, parts, strict=True))


def check_number(where: str, one: Any) -> str:
    """An id that becomes a file's name, and is therefore digits alone.

    Raises:
        DatasetError: it is not.
    """
    if not (isinstance(one, str) and one.isascii() and one.isdigit() and len(one) < 40):
        raise DatasetError(f"{where}: {str(one)[:40]!r} is not a number in digits.")
    return one


def check_files(folder: Path, paths: Sequence[Path]) -> None:
    """Raise DatasetError where files of a folder are missing or empty, with the first ten."""
    sizes: dict[Path, int] = {}
    for parent in {path.parent for path in paths}:
        if parent.is_dir():
            with os.scandir(parent) as entries:  # by far faster than to ask for each
                sizes |= {parent / e.name: e.stat().st_size for e in entries if e.is_file()}
    lost = [path for path in paths if not sizes.get(path)]
    if lost:
        names = ", ".join(str(path.relative_to(folder)) for path in lost[:10])
        more = f" and {len(lost) - 10} more" if len(lost) > 10 else ""
        raise DatasetError(
            f"{folder}: {len(lost)} of {len(paths)} files are missing or empty: {names}{more}."
        )
