"""MM-IMDb: 25,959 films with plot and poster in 23 genres; the published features.

They are what MultiBench and the I2MoE paper train on; :mod:`mmimdb_raw` has plots and posters.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from i2moe_plugin.benchmarks.data import frozen as features
from i2moe_plugin.benchmarks.data.base import SplitName
from i2moe_plugin.benchmarks.data.cards import Card, Download, File, Key
from i2moe_plugin.benchmarks.data.files import FileDataset, LazySplit, digests
from i2moe_plugin.benchmarks.data.preview import Preview, preview_of
from i2moe_plugin.benchmarks.data.registry import register_dataset
from i2moe_plugin.benchmarks.data.samples import writing_sample
from i2moe_plugin.benchmarks.data.text_picture import rows_of_splits
from i2moe_plugin.benchmarks.datasets.samples import mmimdb as mmimdb_sample
from i2moe_plugin.benchmarks.encoders import EncoderSettings, maxout_encoder, picture_encoder, vgg
from i2moe_plugin.benchmarks.formats.readers import (
    H5Array,
    Rows,
    check_finite,
    finite_single,
    read_json,
    reading,
    same_length,
)
from i2moe_plugin.benchmarks.formats.word_vectors import printable, whole
from i2moe_plugin.errors import ConfigError, DatasetError
from i2moe_plugin.tasks import Multilabel

#: In the published order, which is that of their frequency.
GENRES = [
    "Drama",
    "Comedy",
    "Romance",
    "Thriller",
    "Crime",
    "Action",
    "Adventure",
    "Horror",
    "Documentary",
    "Mystery",
    "Sci-Fi",
    "Fantasy",
    "Family",
    "Biography",
    "War",
    "History",
    "Music",
    "Animation",
    "Musical",
    "Western",
    "Sport",
    "Short",
    "Film-Noir",
]
FILMS, VALID_FROM, TEST_FROM = 25959, 15552, 18160
HDF5 = "multimodal_imdb.hdf5"
BLOCK = 1024  # rows
MEANS = np.array([103.939, 116.779, 123.68])  # of blue, green, red, taken off published posters
SOURCE = (
    "Arevalo, Solorio, Montes-y-Gomez, Gonzalez: Gated Multimodal Units for Information Fusion, "
    "ICLR 2017 workshop; https://github.com/johnarevalo/gmu-mmimdb"
)
LICENCE = "not published; plots and posters are their owners', collected from IMDb for research"
CITATION = (
    "Arevalo, Solorio, Montes-y-Gomez, Gonzalez. Gated Multimodal Units for Information Fusion. "
    "ICLR 2017 workshop track. arXiv:1702.01992."
)


def split_rows(count: int) -> dict[SplitName, NDArray[Any]]:
    """Rows of train, valid and test in the published file's order; in a sample, in proportion."""
    valid, test = count * VALID_FROM // FILMS, count * TEST_FROM // FILMS
    return rows_of_splits(valid, test - valid, count - test)


def feature_encoders(settings: EncoderSettings, words: int) -> list[nn.Module]:
    """MultiBench's and I2MoE's Maxout networks, of word vectors and of 4096 VGG16 features."""
    return [
        maxout_encoder(words, 1, settings),
        maxout_encoder(vgg.VGG16_FEATURES, 2, settings),
    ]


@register_dataset("mmimdb")
class MMIMDb(FileDataset):
    """The published features: mean word2vec of the plot, VGG16 of the poster; read by batch.

    Args:
        root: folder of the file, or the file.
        image: ``vgg_features`` [4096], or ``images``: the posters [3, 256, 160] themselves.

    Raises:
        DatasetError: a missing or damaged file, or one with another number of films.
        ConfigError: another ``image``.
    """

    modalities = ("language", "image")
    metric = "macro_f1"
    card = Card(
        title="MM-IMDb: film genres from plot and poster, published features",
        source=SOURCE,
        licence=LICENCE,
        citation=CITATION,
        splits="rows 0-15552 train (15,552), to 18160 valid (2,608), to 25959 test (7,799); dealt "
        "out genre by genre by its authors",
        files=(
            File(
                HDF5,
                "one film a row, in the splits' order",
                (
                    Key("features", ("N", 300), "f4", "mean word2vec (Google News) of the plot"),
                    Key("vgg_features", ("N", 4096), "f4", "last hidden layer of VGG16"),
                    Key("genres", ("N", 23), "i", "1 where the film has the genre"),
                    Key("imdb_ids", ("N",), "text", "IMDb's number of the film, 7 digits"),
                    Key(
                        "images",
                        ("N", 3, 256, 160),
                        "i4",
                        "the poster: blue, green, red less 103.939, 116.779, 123.68",
                        optional=True,
                    ),
                    Key("sequences", ("N",), what="numbers of words; not read", optional=True),
                    Key("three_grams", ("N", "T"), "f4", "tf-idf; not read", optional=True),
                    Key("word_grams", ("N", "W"), "f4", "tf-idf; not read", optional=True),
                ),
            ),
        ),
        sizes=(("N", FILMS),),
        downloads=(
            Download("https://archive.org/download/mmimdb/multimodal_imdb.hdf5", path=HDF5),
        ),
        how_to_get="Download multimodal_imdb.hdf5 (more than 12 GB) from "
        "https://archive.org/download/mmimdb/multimodal_imdb.hdf5. Where the raw archive's folder "
        "dataset/ lies beside it, plots can be shown. The raw archive alone is --dataset "
        "mmimdb-raw.",
    )

    def __init__(self, root: str | Path | None = None, image: str = "vgg_features") -> None:
        if image not in ("vgg_features", "images"):
            raise ConfigError(f"data.image is vgg_features or images, not {image!r}.")
        super().__init__(root)
        self._image = image
        self._path = self.folder / HDF5
        self._arrays: dict[str, Rows] = {
            "features": self._open("features", (300,)),
            image: self._open(image, (4096,) if image == "vgg_features" else (3, 256, 160)),
            "genres": self._open("genres", (len(GENRES),)),
            "imdb_ids": H5Array(self._path, "imdb_ids"),
        }
        count = same_length(self._path, self._arrays)
        if count != FILMS and not self.is_sample:
            raise DatasetError(f"{self._path}: has {count} films; the published file has {FILMS}.")
        genres = self._arrays["genres"][:]
        if not np.isin(genres, (0, 1)).all():
            raise DatasetError(f"{self._path}: genres holds values other than 0 and 1.")
        self._target = torch.from_numpy(genres.astype(np.int64))
        self._names = self._read_names()
        self._set_splits(split_rows(count), self._read_ids())

    def _open(self, key: str, shape: tuple[int, ...]) -> H5Array:
        array = H5Array(self._path, key)
        if array.dtype.kind not in "fiub" or array.shape[1:] != shape:
            raise DatasetError(
                f"{self._path}: {key} is {array.dtype} {list(array.shape)}; expected numbers "
                f"[N, {', '.join(map(str, shape))}]."
            )
        return array

    def _read_ids(self) -> list[str]:
        """Seven digits each; published as text, in copies also as numbers."""
        with reading(self._path, "HDF5 file"):
            return [f"{int(one):07d}" for one in self._arrays["imdb_ids"][:].tolist()]

    def _read_names(self) -> list[str]:
        """The genres as the file names them, where it does."""
        import h5py

        with reading(self._path, "HDF5 file"), h5py.File(self._path, "r") as file:
            said = file["genres"].attrs.get("target_names")
        with suppress(ValueError, TypeError):
            names = json.loads(said)
            if isinstance(names, list) and sorted(map(str, names)) == sorted(GENRES):
                return names
        return list(GENRES)

    @property
    def task(self) -> Multilabel:
        """Any of 23 genres."""
        return Multilabel(len(GENRES))

    @property
    def class_names(self) -> list[str]:
        return self._names

    def prepare(self, device: torch.device | str = "cpu", progress: bool = False) -> None:
        """Copy arrays whose rows are slow to come by, in a repacked file, to the cache folder."""
        for key, array in self._arrays.items():
            if isinstance(array, H5Array) and array.scattered:
                self._arrays[key] = features.kept_rows(
                    f"{self.name}-{key}",
                    len(array),
                    partial(_blocks, array),
                    {"file": digests(self.folder, [self._path])[HDF5], "array": key},
                    cache=self.cache,
                )

    def split(self, name: SplitName) -> LazySplit:
        """Items (plot [300], poster [4096] or [3, 256, 160], genres [23])."""
        keys = ("features", self._image)
        return LazySplit(
            [self._arrays[key] for key in keys],
            self._target,
            self._rows[name],
            [partial(_tensor, f"{self._path}: {key}") for key in keys],
        )

    def labels(self, name: SplitName) -> NDArray[Any]:
        labels: NDArray[Any] = self._target[torch.from_numpy(self._rows[name])].numpy()
        return labels

    def encoders(self, settings: EncoderSettings) -> list[nn.Module]:
        """Maxout networks; of posters, a convolutional one."""
        encoders = feature_encoders(settings, 300)
        if self._image == "images":
            encoders[1] = picture_encoder(32, settings)
        return encoders

    def show(self, name: SplitName, index: int) -> list[Preview]:
        """The plot, where the raw archive lies beside the file, and the poster, where it is in."""
        row, shown = int(self._rows[name][index]), super().show(name, index)
        plot = self.folder / "dataset" / f"{self._ids[row]}.json"
        if plot.is_file():
            shown[0] = Preview("language", "text", printable(read_film(plot)[0]))
        with suppress(DatasetError):
            poster = H5Array(self._path, "images")[row][::-1] + MEANS[::-1, None, None]
            shown[1] = preview_of("image", poster.round().clip(0, 255).astype(np.uint8))
        return shown

    @classmethod
    def verify(cls, root: Path | None) -> list[str]:
        problems = super().verify(root)
        if not problems:
            data = cls(root)
            for key in ("features", "vgg_features"):
                array = data._arrays[key]
                try:
                    for number, block in enumerate(_blocks(array)):
                        check_finite(f"{HDF5}: {key}, from row {number * BLOCK}", block)
                except DatasetError as error:
                    problems.append(str(error))
        return problems

    @classmethod
    def get_dataloader(  # type: ignore[override]
        cls,
        path: str | Path | None = None,
        test_path: str | Path | None = None,
        num_workers: int = 8,
        train_shuffle: bool = True,
        batch_size: int = 40,
        vgg: bool = False,
        skip_process: bool = False,
        no_robust: bool = True,
        seed: int = 0,
    ) -> tuple[DataLoader[Any], DataLoader[Any], DataLoader[Any]]:
        """MultiBench's call: batches (plot [B, 300], poster, genres [B, 23]).

        Args:
            path: the HDF5 file, or its folder.
            test_path, skip_process, no_robust: theirs, for test data with noise, which is not made
                here: the third loader is of the test split as it is.
            num_workers, train_shuffle, batch_size: as there.
            vgg: posters as VGG16 features [B, 4096], not as images [B, 3, 256, 160].
            seed: the shuffling's.
        """
        return super().get_dataloader(
            path,
            batch_size,
            num_workers,
            train_shuffle,
            seed,
            image="vgg_features" if vgg else "images",
        )

    @classmethod
    def write_sample(cls, folder: Path, seed: int = 0, films: int = 320) -> None:
        with writing_sample(folder, "MM-IMDb", seed) as aside:
            mmimdb_sample.write_hdf5(aside / HDF5, seed, films)

    def _told(self) -> dict[str, Any]:
        return {"image": self._image}

    @classmethod
    def _folder(cls, root: str | Path | None) -> Path:
        folder = super()._folder(root)
        return folder.parent if folder.is_file() and folder.name == HDF5 else folder


def read_film(path: Path) -> tuple[str, list[str]]:
    """A film's plot, the longest of those told, and its genres.

    Raises:
        DatasetError: damaged, or without one of them.
    """
    film = read_json(path)
    for key in ("plot", "genres"):
        values = film.get(key) if isinstance(film, dict) else None
        if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
            raise DatasetError(f"{path}: {key} is not a list of texts.")
    if not film["plot"]:
        raise DatasetError(f"{path}: has no plot.")
    return whole(max(film["plot"], key=len)), film["genres"]


def _blocks(array: Rows) -> Iterator[NDArray[Any]]:
    for start in range(0, len(array), BLOCK):
        yield array[start : start + BLOCK]


def _tensor(where: str, values: NDArray[Any]) -> Tensor:
    return torch.from_numpy(finite_single(where, values))


get_dataloader = MMIMDb.get_dataloader
