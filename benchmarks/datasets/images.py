"""Image files as a split: reading, and augmentation that is drawn anew each epoch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from i2moe_plugin.benchmarks.datasets.base import EpochShuffle
from i2moe_plugin.benchmarks.features import progress_bar
from i2moe_plugin.errors import DatasetError, listed
from i2moe_plugin.seeding import derive_seed


def read_image(path: Path, size: tuple[int, int]) -> Tensor:
    """An image file as [3, H, W] in [0, 1]: what torchvision's Resize and ToTensor make of it.

    Args:
        path: a file that Pillow reads.
        size: H, W.

    Raises:
        DatasetError: it is missing, empty, cut short, damaged, or large enough to be a
            decompression bomb.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                resized = image.convert("RGB").resize(size[::-1], Image.Resampling.BILINEAR)
    except Exception as error:  # Pillow meets damage with nearly any exception
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DatasetError(f"{path}: not a readable image ({reason}).") from error
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1).contiguous().float().div(255)


class ImageFiles:
    """Image files, each read when it is asked for.

    Args:
        paths: the files.
        size: H, W of the images [3, H, W] given.
    """

    def __init__(self, paths: Sequence[Path], size: tuple[int, int]) -> None:
        self.paths, self.size = paths, size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        return read_image(self.paths[index], self.size)

    def check(self, progress: bool = False) -> None:
        """Read every file.

        Raises:
            DatasetError: some are damaged; names them.
        """
        problems = []
        with progress_bar("checking images", len(self), progress) as advance:
            for index in range(len(self)):
                try:
                    self[index]
                except DatasetError as error:
                    problems.append(str(error))
                advance(1)
        if problems:
            raise DatasetError(f"{len(problems)} images cannot be read:\n{listed(problems)}")


class ImageSplit(Dataset[Any]):
    """Items ``(image_1, ..., image_M, label)``.

    Args:
        modalities: the M modalities' images.
        labels: one a sample.
    """

    def __init__(self, modalities: Sequence[ImageFiles], labels: Sequence[int]) -> None:
        self.modalities, self.labels = modalities, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int | tuple[int, int]) -> tuple[Any, ...]:
        """The sample of that number; with (number, seed), augmented as that seed draws it."""
        row, seed = index if isinstance(index, tuple) else (index, None)
        images = [files[row] for files in self.modalities]
        if seed is not None:  # each modality draws its own, as in the paper's code
            images = [augmented(x, derive_seed(seed, place)) for place, x in enumerate(images)]
        return *images, self.labels[row]


class AugmentationSampler(Sampler[Any]):
    """Rows, each with the seed of its augmentation, which is that epoch's and row's own.

    The seed travels with the index, so that the processes that read need not know the epoch.

    Args:
        length: number of rows.
        seed: of the order and of the augmentation.
        shuffle: draw the order anew each epoch.
    """

    def __init__(self, length: int, seed: int, shuffle: bool) -> None:
        self.order, self.seed, self.shuffle = EpochShuffle(length, seed), seed, shuffle

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next pass draws."""
        self.order.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.order.epoch
        shuffled = list(self.order)  # also moves on to the next epoch
        rows = shuffled if self.shuffle else range(len(self))
        return iter([(row, derive_seed(self.seed, "augment", epoch, row)) for row in rows])


def augmented(image: Tensor, seed: int) -> Tensor:
    """The I2MoE code's augmentation of [3, H, W]: a flip each way with probability 1/2; a blur."""
    from torchvision.transforms.functional import gaussian_blur

    draws = torch.rand(3, generator=torch.Generator().manual_seed(seed)).tolist()
    image = image.flip(2) if draws[0] < 0.5 else image
    image = image.flip(1) if draws[1] < 0.5 else image
    sigma = 0.1 + 1.9 * draws[2]
    return gaussian_blur(image, [3, 3], [sigma, sigma])
