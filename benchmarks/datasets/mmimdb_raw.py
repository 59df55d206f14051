"""MM-IMDb's raw archive: plots and posters themselves; see :mod:`mmimdb` for published features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from i2moe_plugin.benchmarks.data import frozen as features
from i2moe_plugin.benchmarks.data.cards import Card, Download, File, Key
from i2moe_plugin.benchmarks.data.files import digests
from i2moe_plugin.benchmarks.data.registry import register_dataset
from i2moe_plugin.benchmarks.data.samples import writing_sample
from i2moe_plugin.benchmarks.data.text_picture import (
    TextPictureDataset,
    check_files,
    check_number,
    rows_of_splits,
)
from i2moe_plugin.benchmarks.datasets.mmimdb import (
    CITATION,
    FILMS,
    GENRES,
    LICENCE,
    SOURCE,
    TEST_FROM,
    VALID_FROM,
    feature_encoders,
    read_film,
)
from i2moe_plugin.benchmarks.datasets.samples import mmimdb as mmimdb_sample
from i2moe_plugin.benchmarks.encoders import EncoderSettings
from i2moe_plugin.benchmarks.formats.readers import Rows, read_json
from i2moe_plugin.benchmarks.formats.word_vectors import Texts, mean_vectors
from i2moe_plugin.errors import DatasetError
from i2moe_plugin.tasks import Multilabel

VECTORS = "GoogleNews-vectors-negative300.bin"


@register_dataset("mmimdb-raw")
class MMIMDbRaw(TextPictureDataset):
    """Plots and posters of the raw archive.

    A plot becomes the mean of its words' vectors, a poster the features of a frozen VGG16: as the
    published ones were made, but with torchvision's VGG16. What takes long is computed once.

    Args:
        root: folder with split.json and dataset/.
        words: a word2vec file, binary (.bin, .bin.gz) or text; Google's in the folder, if not told.
        weights: of the VGG16: ``auto`` (ImageNet's, from the torch hub cache), ``none`` (random
            features) or a file.

    Raises:
        DatasetError: missing or damaged files, or no word vectors.
    """

    modalities = ("language", "image")
    metric = "macro_f1"
    card = Card(
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
            Download(
                "https://archive.org/download/mmimdb/mmimdb.tar.gz", "mmimdb.tar.gz", unpack="."
            ),
        ),
        how_to_get="Download https://archive.org/download/mmimdb/mmimdb.tar.gz and unpack it; the "
        "folder is the one with split.json. Put GoogleNews-vectors-negative300.bin (word2vec, "
        "https://code.google.com/archive/p/word2vec/; reading it takes 4 GB of memory, once) "
        "beside it, or name another file with --set data.words=FILE.",
    )

    def __init__(
        self,
        root: str | Path | None = None,
        words: str | Path = "",
        weights: str | Path = "auto",
    ) -> None:
        super().__init__(root, weights)
        self._words = self._find_words(words)
        split = read_json(self.folder / "split.json")
        parts = [_ids(self.folder / "split.json", split, key) for key in ("train", "dev", "test")]
        ids = [one for part in parts for one in part]
        self._films = [self.folder / "dataset" / f"{one}.json" for one in ids]
        check_files(self.folder, self._films)
        self._set_samples(
            rows_of_splits(*map(len, parts)),
            ids,
            [path.with_suffix(".jpeg") for path in self._films],
            torch.from_numpy(self._kept("genres", self._read_genres)[:].astype(np.int64)),
        )

    def _find_words(self, words: str | Path) -> Path:
        places = [Path(words).expanduser()] if words else []
        places = places or [self.folder / VECTORS, self.folder / f"{VECTORS}.gz"]
        for path in places:
            if path.is_file():
                return path
        raise DatasetError(
            f"no word vectors at {places[0]}. Put a word2vec file there, or name one with --set "
            "data.words=FILE."
        )

    @property
    def task(self) -> Multilabel:
        """Any of 23 genres."""
        return Multilabel(len(GENRES))

    @property
    def class_names(self) -> list[str]:
        return list(GENRES)

    @cached_property
    def _vectors(self) -> Rows:
        return self._kept(
            "words",
            lambda: mean_vectors(self._words, Texts(self._read_text, len(self._films))),
            words=self._words_digest,
        )

    def _text(self) -> Rows:
        return self._vectors

    def _read_text(self, row: int) -> str:
        return read_film(self._films[row])[0]

    def _feature_encoders(self, settings: EncoderSettings) -> list[nn.Module]:
        return feature_encoders(settings, self._vectors.shape[1])

    def _read_genres(self) -> Iterator[NDArray[Any]]:
        for path in self._films:
            yield np.array([[genre in read_film(path)[1] for genre in GENRES]], dtype=np.uint8)

    def _kept(self, what: str, compute: Callable[[], Iterator[NDArray[Any]]], **key: str) -> Rows:
        """What takes reading every film's json, which are a gigabyte: done once."""
        key |= {"films": self._films_digest, "what": what, "genres": ",".join(GENRES)}
        return features.kept_rows(
            f"{self.name}-{what}", len(self._films), compute, key, cache=self.cache
        )

    @cached_property
    def _films_digest(self) -> str:
        return self._digest_of(self._films)

    @cached_property
    def _words_digest(self) -> str:
        return digests(self._words.parent, [self._words])[self._words.name]

    def _told(self) -> dict[str, Any]:
        return {**super()._told(), "words": self._words_digest}

    @classmethod
    def write_sample(cls, folder: Path, seed: int = 0, films: int = 120) -> None:
        with writing_sample(folder, "MM-IMDb", seed) as aside:
            mmimdb_sample.write_raw(aside, seed, films, VECTORS)


def _ids(path: Path, split: Any, key: str) -> list[str]:
    """The ids of a split."""
    ids = split.get(key) if isinstance(split, dict) else None
    if not isinstance(ids, list):
        raise DatasetError(f"{path}: lacks the list {key!r}.")
    return [check_number(f"{path}: {key}", one) for one in ids]


get_dataloader = MMIMDbRaw.get_dataloader
