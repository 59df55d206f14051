"""MM-IMDb: 25,959 films with plot and poster in 23 genres; the published features.

They are what MultiBench and the I2MoE paper train on; :mod:`mmimdb_raw` has plots and posters.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.data.batches import Loaders, Values
from i2moe_plugin.benchmarks.data.cards import Card, Download, File, Key
from i2moe_plugin.benchmarks.data.contents import Contents, Modality, Preparation
from i2moe_plugin.benchmarks.data.open import open_dataset
from i2moe_plugin.benchmarks.data.registry import register_dataset
from i2moe_plugin.benchmarks.data.source import DataFolder
from i2moe_plugin.benchmarks.data.splits import SplitRows, consecutive
from i2moe_plugin.benchmarks.datasets.samples import mmimdb as drawn
from i2moe_plugin.benchmarks.encoders import maxout_encoder, picture_encoder
from i2moe_plugin.benchmarks.formats.hdf5 import H5Array, open_hdf5
from i2moe_plugin.benchmarks.formats.reading import (
    Rows,
    check_array,
    check_finite,
    finite_single,
    reading,
    same_length,
)
from i2moe_plugin.benchmarks.formats.tables import read_json, whole_text
from i2moe_plugin.errors import DatasetError
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
WORDS = 300  # width of the word vectors
SHAPES: dict[str, tuple[int, ...]] = {
    "features": (WORDS,),
    "vgg_features": (4096,),
    "images": (3, 256, 160),
    "genres": (len(GENRES),),
}
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

CARD = Card(
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
    downloads=(Download("https://archive.org/download/mmimdb/multimodal_imdb.hdf5", path=HDF5),),
    how_to_get="Download multimodal_imdb.hdf5 (more than 12 GB) from "
    "https://archive.org/download/mmimdb/multimodal_imdb.hdf5. Where the raw archive's folder "
    "dataset/ lies beside it, plots can be shown. The raw archive alone is --dataset "
    "mmimdb-raw.",
)


def split_rows(count: int) -> SplitRows:
    """Rows of train, valid and test in the published file's order; in a sample, in proportion."""
    valid, test = count * VALID_FROM // FILMS, count * TEST_FROM // FILMS
    return consecutive(valid, test - valid, count - test)


def draw(folder: Path, seed: int = 0, films: int = 320) -> None:
    """Draw so many films."""
    drawn.write_hdf5(folder / HDF5, seed, films)


def locate(root: Path | None, card: Card) -> tuple[Path, Card]:
    """Return the folder told, or that of the file told."""
    folder = root or Path("data/mmimdb")
    return (folder.parent if folder.is_file() and folder.name == HDF5 else folder), card


@register_dataset(
    "mmimdb",
    card=CARD,
    modalities=("language", "image"),
    metric="macro_f1",
    draw=draw,
    locate=locate,
    checkout="it needs theano, which current Python cannot install, and folders that are written "
    "into its source (datasets/imdb/get_data.py)",
)
def read(folder: DataFolder, image: Literal["vgg_features", "images"] = "vgg_features") -> Contents:
    """The published features: mean word2vec of the plot, VGG16 of the poster; read by batch.

    Encoders are MultiBench's and I2MoE's Maxout networks; of posters a convolutional one.

    Args:
        folder: of the file.
        image: ``vgg_features`` [4096], or ``images``: the posters [3, 256, 160] themselves.

    Raises:
        DatasetError: a damaged file, or one with another number of films.
    """
    path = folder / HDF5
    arrays = {key: H5Array(path, key) for key in ("features", image, "genres", "imdb_ids")}
    for key, array in arrays.items():
        if key in SHAPES:
            check_array(f"{path}: {key}", array, ("N", *SHAPES[key]))
    count = same_length(path, arrays)
    if count != FILMS and not folder.is_sample:
        raise DatasetError(f"{path}: has {count} films; the published file has {FILMS}.")
    genres = arrays["genres"][:]
    if not np.isin(genres, (0, 1)).all():
        raise DatasetError(f"{path}: genres holds values other than 0 and 1.")
    with reading(path, "HDF5 file"):  # seven digits; published as text, in copies also as numbers
        ids = [f"{int(one):07d}" for one in arrays["imdb_ids"][:].tolist()]

    def modality(name: str, key: str, encoder: Any, preview: Any) -> Modality:
        array, transform = arrays[key], partial(finite_single, f"{path}: {key}")

        def prepare(preparation: Preparation) -> Modality | None:
            """Copy an array whose rows are slow to come by to the cache folder."""
            if not (preparation.frozen and array.scattered):
                return None
            (file,) = folder.digests([path]).values()
            kept = folder.kept(key, count, partial(_blocks, array), file=file, array=key)
            return replace(made, column=Values(kept, transform))

        made = Modality(name, Values(array, transform), encoder, preview=preview, prepare=prepare)
        return made

    def plot(row: int) -> Any:
        """Return the plot, where the raw archive lies beside the file."""
        film = folder / f"dataset/{ids[row]}.json"
        return read_film(film)[0] if film.is_file() else arrays["features"][row]

    def poster(row: int) -> Any:
        """Return the poster, where it is in the file."""
        with suppress(DatasetError):
            found = H5Array(path, "images")[row][::-1] + MEANS[::-1, None, None]
            return found.round().clip(0, 255).astype(np.uint8)
        return arrays[image][row]

    def problems() -> Iterable[str]:
        for key in ("features", image):
            try:
                for number, block in enumerate(_blocks(arrays[key])):
                    check_finite(f"{HDF5}: {key}, from row {number * BLOCK}", block)
            except DatasetError as error:
                yield str(error)

    is_picture = image == "images"
    picture = partial(picture_encoder, 32) if is_picture else partial(maxout_encoder, 4096, 2)
    return Contents(
        splits=folder.split(split_rows(count), ids, classes=genres),
        modalities=[
            modality("language", "features", partial(maxout_encoder, WORDS, 1), plot),
            modality("image", image, picture, poster),
        ],
        target=torch.from_numpy(genres.astype(np.int64)),
        task=Multilabel(len(GENRES)),
        class_names=_genre_names(path),
        decisive=lambda: {"image": image},
        problems=problems,
    )


def _genre_names(path: Path) -> list[str]:
    """Return the genres as the file names them, where it does."""
    with open_hdf5(path) as file:
        said = file["genres"].attrs.get("target_names")
    with suppress(ValueError, TypeError):
        names = json.loads(said)
        if isinstance(names, list) and sorted(map(str, names)) == sorted(GENRES):
            return names
    return GENRES


def _blocks(array: Rows) -> Iterator[NDArray[Any]]:
    for start in range(0, len(array), BLOCK):
        yield array[start : start + BLOCK]


def read_film(path: Path) -> tuple[str, list[str]]:
    """Return a film's plot, the longest of those told, and its genres."""
    film = read_json(path)
    for key in ("plot", "genres"):
        values = film.get(key) if isinstance(film, dict) else None
        if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
            raise DatasetError(f"{path}: {key} is not a list of texts.")
    if not film["plot"]:
        raise DatasetError(f"{path}: has no plot.")
    return whole_text(max(film["plot"], key=len)), film["genres"]


def get_dataloader(
    path: str | Path | None = None,
    test_path: str | Path | None = None,
    num_workers: int = 8,
    train_shuffle: bool = True,
    batch_size: int = 40,
    vgg: bool = False,
    skip_process: bool = False,
    no_robust: bool = True,
    seed: int = 0,
) -> Loaders:
    """MultiBench's call: batches (plot [B, 300], poster, genres [B, 23]).

    Args:
        path: the HDF5 file, or its folder.
        test_path, skip_process, no_robust: theirs, for test data with noise, which is not made
            here: the third loader is of the test split as it is.
        num_workers, train_shuffle, batch_size: as there.
        vgg: posters as VGG16 features [B, 4096], not as images [B, 3, 256, 160].
        seed: the shuffling's.

    Raises:
        DatasetError: a missing or damaged file.
    """
    data = open_dataset("mmimdb", path, image="vgg_features" if vgg else "images")
    return data.prepare(frozen=False).loaders(batch_size, num_workers, train_shuffle, seed)
