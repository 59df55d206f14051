"""AV-MNIST: a written and a spoken digit; each made harder, so that either alone is not enough.

Format, split and batches are MultiBench's (``datasets/avmnist/get_data.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from i2moe_plugin.adapters.checkout import Checkout
from i2moe_plugin.benchmarks.data.batches import (
    Loaders,
    SplitDataset,
    Values,
    remade_loaders,
)
from i2moe_plugin.benchmarks.data.cards import Card, File, Key
from i2moe_plugin.benchmarks.data.contents import Contents, Modality
from i2moe_plugin.benchmarks.data.multibench import CheckoutLoader
from i2moe_plugin.benchmarks.data.open import open_dataset
from i2moe_plugin.benchmarks.data.registry import register_dataset
from i2moe_plugin.benchmarks.data.source import DataFolder
from i2moe_plugin.benchmarks.data.splits import consecutive
from i2moe_plugin.benchmarks.datasets.samples import avmnist as drawn
from i2moe_plugin.benchmarks.encoders import EncoderSettings, LeNet, feature_encoder
from i2moe_plugin.benchmarks.formats.arrays import Joined, NpyArray
from i2moe_plugin.benchmarks.formats.reading import same_length
from i2moe_plugin.errors import ConfigError, DatasetError
from i2moe_plugin.tasks import Classification

SIZES = {"image": (28, 28), "audio": (112, 112)}
ROWS = {"image": (784,), "audio": (112, 112)}  # shapes of a row in the files
VALID = 12  # one training sample in so many, the last ones, is for validation: 5000 of 60000
CHANNELS = 6
LAYERS = {"image": 4, "audio": 6}  # convolutions of MultiBench's LeNets

CARD = Card(
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


def _from_checkout(
    checkout: Checkout, folder: DataFolder, settings: Mapping[str, Any], batch_size: int
) -> Loaders:
    module = checkout.module("datasets.avmnist.get_data")
    three: Loaders = module.get_dataloader(str(folder), batch_size=batch_size, num_workers=0)
    return three


@register_dataset(
    "avmnist",
    card=CARD,
    modalities=tuple(SIZES),
    draw=drawn.write,
    checkout=CheckoutLoader(_from_checkout),
)
def read(folder: DataFolder) -> Contents:
    """A picture of a written digit and the spectrogram of a spoken one; which digit.

    The files are memory-mapped: rows are read when a batch asks for them. Values are divided by
    255, whatever their type (MultiBench's division in place takes floats alone).

    Args:
        folder: with image/, audio/ and the labels.

    Raises:
        DatasetError: damaged files, files that differ in their number of rows, or labels that are
            no digits.
    """
    arrays: dict[str, list[NpyArray]] = {name: [] for name in SIZES}
    digits = []
    for part in ("train", "test"):
        files = {f"{name}/{part}_data.npy": shape for name, shape in ROWS.items()}
        found = {file: NpyArray(folder / file, shape) for file, shape in files.items()}
        digits.append(_digits(folder / f"{part}_labels.npy"))
        same_length(folder.path, {**found, f"{part}_labels.npy": digits[-1]})
        for name, array in zip(arrays, found.values(), strict=True):
            arrays[name].append(array)
    first, test = map(len, digits)
    trained = first - first // VALID
    ids = [f"train/{row}" for row in range(first)] + [f"test/{row}" for row in range(test)]
    labels = np.concatenate(digits)
    rows = consecutive(trained, first - trained, test)
    return Contents(
        splits=folder.split(rows, ids, classes=labels),
        modalities=[
            Modality(
                name,
                Values(Joined(*parts), partial(_scaled, shape=(1, *SIZES[name]))),
                partial(_encoder, name),
            )
            for name, parts in arrays.items()
        ],
        target=torch.from_numpy(labels),
        task=Classification(10),
        class_names=[str(digit) for digit in range(10)],
    )


def _digits(path: Path) -> NDArray[np.int64]:
    """Labels as int64 [N]."""
    labels = NpyArray(path)[:]
    wrong = labels[~np.isin(labels, np.arange(10))]
    if len(wrong):
        raise DatasetError(f"{path}: a label is a digit, 0 to 9; it holds {wrong[:3].tolist()}.")
    return labels.astype(np.int64)


def _scaled(
    values: NDArray[Any], shape: tuple[int, ...], divisor: float = 255.0
) -> NDArray[np.float32]:
    """Rows [B, ...] of any type -> float32 [B, *shape]."""
    return (values.astype(np.float32) / np.float32(divisor)).reshape(-1, *shape)


def _encoder(name: str, settings: EncoderSettings) -> nn.Module:
    """MultiBench's LeNet (48 or 192 features), with a projection to the latent."""
    network = LeNet(CHANNELS, LAYERS[name], SIZES[name])
    return nn.Sequential(network, feature_encoder(network.width, settings))


def get_dataloader(
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
) -> Loaders:
    """MultiBench's call: batches ([B, 1, 28, 28], [B, 1, 112, 112], [B]).

    Args:
        root, batch_size, num_workers, train_shuffle, seed: see :func:`dataloader_of`.
        flatten_audio, flatten_image: give [784] or [12544] values in place of a picture.
        unsqueeze_channel: with a dimension of size 1 before them.
        generate_sample: not offered.
        normalize_image, normalize_audio: divide by 255.

    Raises:
        ConfigError: ``generate_sample`` is asked for.
        DatasetError: missing or damaged files.
    """
    if generate_sample:
        raise ConfigError("generate_sample=True (pictures of samples as files) is not offered.")
    forms = {"image": (flatten_image, normalize_image), "audio": (flatten_audio, normalize_audio)}
    transforms = [
        partial(
            _scaled,
            shape=(1,) * unsqueeze_channel + ((prod(SIZES[name]),) if flat else SIZES[name]),
            divisor=255.0 if normalised else 1.0,
        )
        for name, (flat, normalised) in forms.items()
    ]

    def make(split: SplitDataset) -> SplitDataset:
        columns: list[Any] = list(split.columns)
        changed = [
            replace(column, transform=transform)
            for column, transform in zip(columns, transforms, strict=True)
        ]
        return SplitDataset(changed, split.target, split.rows)

    data = open_dataset("avmnist", root).prepare(frozen=False)
    return remade_loaders(data, make, batch_size, num_workers, train_shuffle, seed)
