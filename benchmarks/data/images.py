"""Image files as a split: reading, and augmentation that is drawn anew each epoch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from i2moe_plugin.benchmarks.data.base import EpochShuffle
from i2moe_plugin.benchmarks.data.frozen import progress_bar
from i2moe_plugin.errors import DatasetError, listed
from i2moe_plugin.seeding import derive_seed


def read_image(path: Path, size: tuple[int, int], crop: bool = False) -> Tensor:
    """An image file as [3, H, W] in [0, 1]: what torchvision's Resize and ToTensor make of it.

    Args:
        path: a file that Pillow reads.
        size: H, W.
        crop: keep the proportions and cut what is over, alike on both sides.

    Raises:
        DatasetError: it is missing, empty, cut short, damaged, or large enough to be a
            decompression bomb.
    """
    bilinear = Image.Resampling.BILINEAR
    with _opened(path) as image:
        colours = image.convert("RGB")
        width, height = size[::-1]
        if crop:
            resized = ImageOps.fit(colours, (width, height), bilinear)
        else:
            resized = colours.resize((width, height), bilinear)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1).contiguous().float().div(255)


def read_picture(path: Path, longest: int = 512) -> NDArray[np.uint8]:
    """An image file for people: uint8 [H, W, 3] in its proportions, neither side over ``longest``.

    Raises:
        DatasetError: see :func:`read_image`.
    """
    with _opened(path) as image:
        colours = image.convert("RGB")
        colours.thumbnail((longest, longest))
    return np.array(colours)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                yield image
    except Exception as error:  # Pillow meets damage with nearly any exception
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DatasetError(f"{path}: not a readable image ({reason}).") from error


class ImageFiles:
    """Image files, each read when it is asked for.

    Args:
        paths: the files.
        size: H, W of the images [3, H, W] given.
        crop: see :func:`read_image`.
    """

    def __init__(self, paths: Sequence[Path], size: tuple[int, int], crop: bool = False) -> None:
        self.paths, self.size, self.crop = paths, size, crop

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        return read_image(self.paths[index], self.size, self.crop)

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


class ImageRows:
    """Image files as an array [N, 3, H, W] whose rows are read when asked for."""

    def __init__(self, files: ImageFiles) -> None:
        self.files = files
        self.shape, self.dtype = (len(files), 3, *files.size), np.dtype(np.float32)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, rows: NDArray[Any]) -> NDArray[Any]:
        return torch.stack([self.files[row] for row in rows.tolist()]).numpy()


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
