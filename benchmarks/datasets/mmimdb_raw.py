"""MM-IMDb's raw archive: plots and posters themselves; see :mod:`mmimdb` for published features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from i2moe_plugin.benchmarks.data.batches import Values
from i2moe_plugin.benchmarks.data.cache import digests
from i2moe_plugin.benchmarks.data.cards import Card, Download, File, Key
from i2moe_plugin.benchmarks.data.contents import Contents, Later, Modality
from i2moe_plugin.benchmarks.data.frozen import MIDDLE, middles_by_vgg16, missing_weights
from i2moe_plugin.benchmarks.data.open import dataloader_of
from i2moe_plugin.benchmarks.data.pretrained import Pretrained
from i2moe_plugin.benchmarks.data.registry import register_dataset
from i2moe_plugin.benchmarks.data.source import DataFolder
from i2moe_plugin.benchmarks.data.splits import consecutive
from i2moe_plugin.benchmarks.datasets.mmimdb import (
    CITATION,
    FILMS,
    GENRES,
    LICENCE,
    SOURCE,
    TEST_FROM,
    VALID_FROM,
    read_film,
    split_rows,
)
from i2moe_plugin.benchmarks.datasets.samples import mmimdb as drawn
from i2moe_plugin.benchmarks.encoders import maxout_encoder, vgg
from i2moe_plugin.benchmarks.encoders.pretrained.text import LIMIT
from i2moe_plugin.benchmarks.formats.pictures import ImageFiles
from i2moe_plugin.benchmarks.formats.reading import Rows
from i2moe_plugin.benchmarks.formats.tables import check_number, read_json
from i2moe_plugin.benchmarks.formats.word_vectors import Texts, mean_vectors
from i2moe_plugin.errors import DatasetError
from i2moe_plugin.tasks import Multilabel

VECTORS = "GoogleNews-vectors-negative300.bin"

CARD = Card(
    title="MM-IMDb raw: film genres from plot and poster",
    source=SOURCE,
    licence=LICENCE,
    citation=CITATION,
    splits="split.json: 15,552 train, 2,608 dev, 7,799 test",
    files=(
        File(
            "split.json",
            "IMDb's numbers of the films of each split",
            (
                Key("train", ("A",), "text", "7 digits each"),
                Key("dev", ("B",), "text", "the valid split"),
                Key("test", ("C",), "text", "no film twice"),
            ),
        ),
        File("dataset/{id}.json", "a film: plot (a list; the longest is taken) and genres"),
        File("dataset/{id}.jpeg", "its poster; the middle, resized to 224 x 224"),
        File(
            VECTORS,
            "word vectors; or any others with data.words",
            (Key("", ("V", 300), "f4", "word2vec of Google News"),),
            optional=True,
        ),
    ),
    sizes=(("A", VALID_FROM), ("B", TEST_FROM - VALID_FROM), ("C", FILMS - TEST_FROM)),
    downloads=(
        Download("https://archive.org/download/mmimdb/mmimdb.tar.gz", "mmimdb.tar.gz", unpack="."),
    ),
    how_to_get="Download https://archive.org/download/mmimdb/mmimdb.tar.gz and unpack it; the "
    "folder is the one with split.json. Put GoogleNews-vectors-negative300.bin (word2vec, "
    "https://code.google.com/archive/p/word2vec/; reading it takes 4 GB of memory, once) "
    "beside it, or name another file with --set data.words=FILE.",
)


def draw(folder: Path, seed: int = 0, films: int = 120) -> None:
    """Draw so many films, and word vectors."""
    drawn.write_raw(folder, seed, films, VECTORS, split_rows(films))


@register_dataset(
    "mmimdb-raw",
    card=CARD,
    modalities=("language", "image"),
    metric="macro_f1",
    draw=draw,
    ready=partial(missing_weights, vgg.VGG16),
)
def read(
    folder: DataFolder,
    words: str | Path = "",
    weights: str | Path = "auto",
    text_model: str | Path = "",
    picture_model: str | Path = "",
    picture_size: Annotated[int, Field(ge=1)] = MIDDLE[0],
    max_tokens: Annotated[int, Field(ge=1)] = LIMIT,
) -> Contents:
    """Plots and posters of the raw archive.

    A plot becomes the mean of its words' vectors, a poster the features of a frozen VGG16: as the
    published ones were made, but with torchvision's VGG16. What takes long is computed once.

    Args:
        folder: with split.json and dataset/.
        words: a word2vec file, binary (.bin, .bin.gz) or text; Google's in the folder, if not told.
        weights: of the VGG16: ``auto`` (ImageNet's, from the torch hub cache), ``none`` (random
            features) or a file.
        text_model, picture_model: pretrained models that give tokens and patches in their place,
            as ``fl-i2moe`` explains them: a name such as ``minilm``, or a folder; empty: none.
        picture_size: pixels of the shorter side as the picture model sees it.
        max_tokens: of a text for ``text_model``; the rest is cut off.

    Raises:
        DatasetError: missing or damaged files, no word vectors, or a model that cannot be used.
    """
    vectors = None if text_model else _find_vectors(folder, words)
    path = folder / "split.json"
    listed = read_json(path)
    parts = [_ids(path, listed, key) for key in ("train", "dev", "test")]
    ids = [one for part in parts for one in part]
    films = [folder / f"dataset/{one}.json" for one in ids]
    posters = [film.with_suffix(".jpeg") for film in films]
    folder.check_files(films, path.name)
    folder.check_files(posters, path.name)
    chosen = Pretrained(folder)
    vgg16 = None if picture_model else middles_by_vgg16(folder, posters, weights)
    films_digest = cache(lambda: folder.digest(films))

    @cache
    def vectors_digest() -> str:
        return "" if vectors is None else digests(vectors.parent, [vectors])[vectors.name]

    def kept(what: str, compute: Callable[[], Iterator[NDArray[Any]]], **key: str) -> Rows:
        """Return what takes reading every film's json, which are a gigabyte: done once."""
        key |= {"films": films_digest(), "what": what, "genres": ",".join(GENRES)}
        return folder.kept(what, len(films), compute, **key)

    plots = Texts(lambda row: read_film(films[row])[0], len(films))
    genres = kept("genres", lambda: _genres(films))[:].astype(np.int64)
    splits = folder.split(consecutive(*map(len, parts)), ids, classes=genres)

    def by_vectors(file: Path) -> Modality:
        means = Later(
            lambda: kept("words", lambda: mean_vectors(file, plots), words=vectors_digest())
        )
        return Modality(
            "language",
            Values(means),
            lambda settings: maxout_encoder(means.value.shape[1], 1, settings),
            preview=plots.__getitem__,
            prepare=means.prepare,
        )

    if vectors is None:
        language = chosen.text(
            "language", text_model, [plots[row] for row in range(len(films))], max_tokens
        )
    else:
        language = by_vectors(vectors)
    if vgg16 is None:
        middles, digest = ImageFiles(posters, MIDDLE, crop=True), partial(folder.digest, posters)
        (image,) = chosen.pictures(["image"], picture_model, picture_size, middles, MIDDLE, digest)
    else:
        image = vgg16.modality("image", partial(maxout_encoder, vgg.VGG16.width, 2))
    return Contents(
        splits=splits,
        modalities=[language, image],
        target=torch.from_numpy(genres),
        task=Multilabel(len(GENRES)),
        class_names=GENRES,
        notes=(*(vgg16.notes if vgg16 else ()), *chosen.notes),
        decisive=lambda: {
            "weights": vgg16.weights_digest if vgg16 else "",
            "words": vectors_digest(),
            **chosen.decisive,
        },
    )


get_dataloader = dataloader_of("mmimdb-raw", weights="none")


def _find_vectors(folder: DataFolder, words: str | Path) -> Path:
    places = [Path(words).expanduser()] if words else []
    places = places or [folder / VECTORS, folder / f"{VECTORS}.gz"]
    for path in places:
        if path.is_file():
            return path
    raise DatasetError(
        f"no word vectors at {places[0]}. Put a word2vec file there, or name one with --set "
        "data.words=FILE."
    )


def _genres(films: list[Path]) -> Iterator[NDArray[np.uint8]]:
    """Give each film's row of 0 and 1."""
    for path in films:
        yield np.array([[genre in read_film(path)[1] for genre in GENRES]], dtype=np.uint8)


def _ids(path: Path, split: Any, key: str) -> list[str]:
    """Return the ids of a split."""
    ids = split.get(key) if isinstance(split, dict) else None
    if not isinstance(ids, list):
        raise DatasetError(f"{path}: lacks the list {key!r}.")
    return [check_number(f"{path}: {key}", one) for one in ids]
