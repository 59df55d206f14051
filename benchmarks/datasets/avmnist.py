"""AV-MNIST: a written and a spoken digit; each made harder, so that either alone is not enough.

Format, split and batches are MultiBench's (``datasets/avmnist/get_data.py``).
"""

from __future__ import annotations

from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from i2moe_plugin.benchmarks.data.base import SplitName
from i2moe_plugin.benchmarks.data.cards import Card, File, Key
from i2moe_plugin.benchmarks.data.files import FileDataset, LazySplit
from i2moe_plugin.benchmarks.data.registry import register_dataset
from i2moe_plugin.benchmarks.data.samples import writing_sample
from i2moe_plugin.benchmarks.datasets.samples import avmnist as avmnist_sample
from i2moe_plugin.benchmarks.encoders import EncoderSettings, LeNet, feature_encoder
from i2moe_plugin.benchmarks.formats.ondisk import NpyArray
from i2moe_plugin.benchmarks.formats.readers import same_length
from i2moe_plugin.errors import ConfigError, DatasetError
from i2moe_plugin.tasks import Classification

SIZES = {"image": (28, 28), "audio": (112, 112)}
VALID = 12  # one training sample in so many, the last ones, is for validation: 5000 of 60000
CHANNELS = 6
LAYERS = {"image": 4, "audio": 6}  # convolutions of MultiBench's LeNets


@register_dataset("avmnist")
class AVMNIST(FileDataset):
    """A picture of a written digit and the spectrogram of a spoken one; which digit.

    The files are memory-mapped: rows are read when a batch asks for them. Values are divided by
    255, whatever their type (MultiBench's division in place takes floats alone).

    Args:
        root: folder with image/, audio/ and the labels; data/avmnist if not told.

    Raises:
        DatasetError: missing or damaged files, files that differ in their number of rows, or
            labels that are no digits.
    """

    card = Card(
        title="AV-MNIST: written and spoken digits",
        source="Vielzeuf et al., CentralNet, ECCV 2018 workshops, https://arxiv.org/abs/1808.07275;"
        " the files are those of MFAS and MultiBench, https://github.com/pliang279/MultiBench",
        licence="not published; made of MNIST and of spoken digits (TIDIGITS as CentralNet says, "
        "FSDD as MultiBench says) in noise from ESC-50",
        citation="Vielzeuf, Lechervy, Pateux, Jurie. CentralNet: a Multilayer Approach for "
        "Multimodal Fusion. ECCV 2018 Workshops.",
        files=tuple(
            file
            for part, count in (("train", "train"), ("test", "test"))
            for file in (
                File(
                    f"image/{part}_data.npy",
                    "written digits with three quarters of their energy removed",
                    (Key("", (count, 784), "number", "28 x 28 pixels row by row, 0 to 255"),),
                ),
                File(
                    f"audio/{part}_data.npy",
                    "spectrograms of spoken digits, in noise",
                    (Key("", (count, 112, 112), "number", "0 to 255"),),
                ),
                File(
                    f"{part}_labels.npy",
                    "the digits",
                    (Key("", (count,), "number", "0 to 9"),),
                ),
            )
        ),
        splits="the first 55,000 of the training files' 60,000 rows, their last 5,000 (a twelfth), "
        "the 10,000 of the test files",
        sizes=(("train", 60000), ("test", 10000)),
        how_to_get="Download avmnist.tar.gz from "
        "https://drive.google.com/file/d/1KvKynJJca5tDtI5Mmp6CoRh9pQywH8Xp/view (the address in "
        "MultiBench's README; it opens in a browser only), unpack it, and give the folder that "
        "holds image/, audio/, train_labels.npy and test_labels.npy.",
    )
    modalities = ("image", "audio")

    def __init__(self, root: str | Path | None = None) -> None:
        super().__init__(root)
        self._parts: dict[str, list[NpyArray]] = {}
        labels = []
        for part in ("train", "test"):
            found = {
                file: NpyArray(self.folder / file, shape)
                for file, shape in (
                    (f"image/{part}_data.npy", (784,)),
                    (f"audio/{part}_data.npy", SIZES["audio"]),
                )
            }
            digits = _digits(self.folder / f"{part}_labels.npy")
            same_length(self.folder, {**found, f"{part}_labels.npy": digits})
            self._parts[part] = list(found.values())
            labels.append(digits)
        self._first, count = len(labels[0]), sum(map(len, labels))
        self._labels = torch.from_numpy(np.concatenate(labels))
        self._make = [partial(_scaled, shape=(1, *SIZES[name])) for name in self.modalities]
        trained = self._first - self._first // VALID
        self._set_splits(
            {
                "train": np.arange(trained),
                "valid": np.arange(trained, self._first),
                "test": np.arange(self._first, count),
            },
            [f"train/{row}" for row in range(self._first)]
            + [f"test/{row}" for row in range(count - self._first)],
        )

    @property
    def task(self) -> Classification:
        """One of ten digits."""
        return Classification(10)

    @property
    def class_names(self) -> list[str]:
        return [str(digit) for digit in range(10)]

    def split(self, name: SplitName) -> LazySplit:
        """Items (image [1, 28, 28], audio [1, 112, 112], digit); values in [0, 1]."""
        first = self._first if name == "test" else 0  # rows of the test files count anew
        arrays = self._parts["test" if name == "test" else "train"]
        return LazySplit(arrays, self._labels[first:], self._rows[name] - first, self._make)

    def labels(self, name: SplitName) -> NDArray[Any]:
        return self._labels.numpy()[self._rows[name]]

    def encoders(self, settings: EncoderSettings) -> list[nn.Module]:
        """MultiBench's LeNets (48 and 192 features), each with a projection to the latent."""
        encoders: list[nn.Module] = []
        for name in self.modalities:
            network = LeNet(CHANNELS, LAYERS[name], SIZES[name])
            encoders.append(nn.Sequential(network, feature_encoder(network.features, settings)))
        return encoders

    @classmethod
    def get_dataloader(  # type: ignore[override]  # MultiBench's order of arguments
        cls,
        root: str | Path | None = None,
        batch_size: int = 40,
        num_workers: int = 0,
        train_shuffle: bool = True,
        flatten_audio: bool = False,
        flatten_image: bool = False,
        unsqueeze_channel: bool = True,
        generate_sample: bool = False,
        normalize_image: bool = True,
        normalize_audio: bool = True,
        seed: int = 0,
    ) -> tuple[DataLoader[Any], DataLoader[Any], DataLoader[Any]]:
        """MultiBench's call: batches ([B, 1, 28, 28], [B, 1, 112, 112], [B]).

        Args:
            root, batch_size, num_workers, train_shuffle, seed: see the base class.
            flatten_audio, flatten_image: give [784] or [12544] values in place of a picture.
            unsqueeze_channel: with a dimension of size 1 before them.
            generate_sample: not offered.
            normalize_image, normalize_audio: divide by 255.

        Raises:
            ConfigError: ``generate_sample`` is asked for.
            DatasetError: see the class.
        """
        if generate_sample:
            raise ConfigError("generate_sample=True (pictures of samples as files) is not offered.")
        data = cls(root)
        data._make = [
            partial(
                _scaled,
                shape=((1,) if unsqueeze_channel else ())
                + ((prod(SIZES[name]),) if flat else SIZES[name]),
                divisor=255.0 if normalised else 1.0,
            )
            for name, flat, normalised in (
                ("image", flatten_image, normalize_image),
                ("audio", flatten_audio, normalize_audio),
            )
        ]
        return data.loaders(batch_size, num_workers, train_shuffle, seed)

    @classmethod
    def write_sample(cls, folder: Path, seed: int = 0, train: int = 420, test: int = 100) -> None:
        """Draw written and spoken digits in the published format.

        Args:
            folder: a new or empty folder.
            seed: of the drawing.
            train, test: rows of the training and the test files.
        """
        with writing_sample(folder, "AV-MNIST", seed) as aside:
            avmnist_sample.write(aside, {"train": train, "test": test}, seed)


get_dataloader = AVMNIST.get_dataloader


def _scaled(values: NDArray[Any], shape: tuple[int, ...], divisor: float = 255.0) -> Tensor:
    """Rows [B, ...] of any type -> float32 [B, *shape]."""
    return torch.from_numpy(values.astype(np.float32) / np.float32(divisor)).view(-1, *shape)


def _digits(path: Path) -> NDArray[Any]:
    """Labels as int64 [N]."""
    labels = NpyArray(path)[:]
    wrong = labels[~np.isin(labels, np.arange(10))]
    if len(wrong):
        raise DatasetError(f"{path}: a label is a digit, 0 to 9; it holds {wrong[:3].tolist()}.")
    return labels.astype(np.int64)
