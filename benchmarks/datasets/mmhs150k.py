"""MMHS150K: 150,000 tweets, text and picture, each judged by three annotators."""

from __future__ import annotations

import re
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from i2moe_plugin.benchmarks.data import frozen as features
from i2moe_plugin.benchmarks.data.base import SPLITS
from i2moe_plugin.benchmarks.data.cards import Card, File, Key
from i2moe_plugin.benchmarks.data.files import digests
from i2moe_plugin.benchmarks.data.registry import register_dataset
from i2moe_plugin.benchmarks.data.samples import is_sample, writing_sample
from i2moe_plugin.benchmarks.data.text_picture import (
    TextPictureDataset,
    check_number,
    rows_of_splits,
)
from i2moe_plugin.benchmarks.datasets.samples import mmhs150k as mmhs150k_sample
from i2moe_plugin.benchmarks.encoders import EncoderSettings, feature_encoder, vgg
from i2moe_plugin.benchmarks.formats.readers import Rows, read_json, reading
from i2moe_plugin.benchmarks.formats.word_vectors import Texts, mean_vectors, whole
from i2moe_plugin.errors import ConfigError, DatasetError
from i2moe_plugin.tasks import Classification

KINDS = ["not hate", "racist", "sexist", "homophobe", "religion", "other hate"]
TWEETS = "MMHS150K_GT.json"
LISTS = {
    split: f"splits/{name}_ids.txt"
    for split, name in zip(SPLITS, ("train", "val", "test"), strict=True)
}
PUBLISHED = {"train": 134823, "valid": 5000, "test": 10000}
NO_WORDS = re.compile(r"https?://\S+|@\w+")  # links and who is addressed


@register_dataset("mmhs150k")
class MMHS150K(TextPictureDataset):
    """Hate in tweets: by the majority of three annotators.

    Text is tf-idf of its words, with the vocabulary and the frequencies of training tweets, since
    no features are published; pictures are the features of a frozen VGG16, computed once.

    Args:
        root: folder with MMHS150K_GT.json, img_resized/ and splits/.
        label: ``binary`` (hate or not), or ``six`` (also which kind).
        image_text: add the text that the authors read off the picture to the tweet's.
        vocabulary: at most so many words, the most frequent ones.
        words: a word2vec file, binary (.bin, .bin.gz) or text: text is then the mean of its words'
            vectors.
        weights: of the VGG16: ``auto`` (ImageNet's, from the torch hub cache), ``none`` (random
            features) or a file.

    Raises:
        DatasetError: missing or damaged files, or no weights.
        ConfigError: a setting that cannot be.
    """

    modalities = ("text", "image")
    metric = "macro_f1"
    card = Card(
        title="MMHS150K: hate speech in tweets with text and picture",
        source="Gomez, Gibert, Gomez, Karatzas: Exploring Hate Speech Detection in Multimodal "
        "Publications, WACV 2020; https://gombru.github.io/2019/10/09/MMHS/",
        licence="not published; tweets are their authors' and under Twitter's terms. They offend",
        citation="Gomez, Gibert, Gomez, Karatzas. Exploring Hate Speech Detection in Multimodal "
        "Publications. WACV 2020. arXiv:1910.03814.",
        splits="splits/: 134,823 train, 5,000 val, 10,000 test",
        files=(
            File(
                TWEETS,
                "an object with an entry a tweet",
                (
                    Key(
                        "{id}",
                        what="of a tweet: tweet_text, img_url, tweet_url, labels_str, and labels, "
                        "one an annotator: 0 not hate, 1 racist, 2 sexist, 3 homophobe, 4 "
                        "religion, 5 other hate",
                        optional=True,
                    ),
                ),
            ),
            *(File(path, "ids of the tweets, one a line") for path in LISTS.values()),
            File("img_resized/{id}.jpg", "the picture, shortest side 500 pixels"),
        ),
        sizes=(("N", sum(PUBLISHED.values())),),
        how_to_get="The project's page, https://gombru.github.io/2019/10/09/MMHS/, links to "
        "MMHS150K.zip (about 6 GB); unpack it. Its img_txt/, what is written in pictures, is read "
        "with --set data.image_text=true alone.",
    )

    def __init__(
        self,
        root: str | Path | None = None,
        label: str = "binary",
        image_text: bool = False,
        vocabulary: int = 2000,
        words: str | Path = "",
        weights: str | Path = "auto",
    ) -> None:
        if label not in ("binary", "six"):
            raise ConfigError(f"data.label is binary or six, not {label!r}.")
        if not isinstance(image_text, bool):
            raise ConfigError(f"data.image_text is true or false, not {image_text!r}.")
        if isinstance(vocabulary, bool) or not isinstance(vocabulary, int) or vocabulary < 1:
            raise ConfigError(f"data.vocabulary is a number of words, not {vocabulary!r}.")
        super().__init__(root, weights)
        self.label, self.image_text, self.vocabulary = label, image_text, vocabulary
        self._words = Path(words).expanduser() if words else None
        if self._words is not None and not self._words.is_file():
            raise DatasetError(f"word vectors {self._words} do not exist.")
        parts = [self._listed(name) for name in LISTS.values()]
        ids = [one for part in parts for one in part]
        votes = self._read_tweets(ids)
        decide = majority if label == "six" else (lambda labels: int(is_hate(labels)))
        self._set_samples(
            rows_of_splits(*map(len, parts)),
            ids,
            [self.folder / "img_resized" / f"{one}.jpg" for one in ids],
            torch.tensor([decide(labels) for labels in votes]),
        )

    def _listed(self, name: str) -> list[str]:
        path = self.folder / name
        with reading(path, "list of ids"):
            lines = path.read_text(encoding="utf-8-sig").split()
        if not lines:
            raise DatasetError(f"{path}: lists no tweets.")
        return [check_number(str(path), one) for one in lines]

    def _read_tweets(self, ids: list[str]) -> list[list[int]]:
        """Read the tweets' texts; give their annotators' labels."""
        path = self.folder / TWEETS
        tweets = read_json(path)
        if not isinstance(tweets, dict):
            raise DatasetError(f"{path}: holds {type(tweets).__name__}; expected an object.")
        self._texts: list[str] = []
        votes = []
        for one in ids:
            tweet = tweets.get(one)
            if not isinstance(tweet, dict):
                raise DatasetError(f"{path}: has no tweet {one}, which is in a split.")
            text, labels = tweet.get("tweet_text"), tweet.get("labels")
            if not isinstance(text, str):
                raise DatasetError(f"{path}: tweet {one}: tweet_text is not a text.")
            if not isinstance(labels, list) or not labels or not all(map(_is_label, labels)):
                raise DatasetError(
                    f"{path}: tweet {one}: labels are not numbers from 0 to 5, one an annotator."
                )
            self._texts.append(whole(text))
            votes.append(labels)
        return votes

    @property
    def task(self) -> Classification:
        """Hate or not, or one of six."""
        return Classification(len(self.class_names))

    @property
    def class_names(self) -> list[str]:
        return list(KINDS) if self.label == "six" else ["not hate", "hate"]

    @cached_property
    def _features(self) -> Rows:
        texts, words = Texts(self._read_text, len(self._ids)), self._words
        if words is not None:
            return features.kept_rows(
                f"{self.name}-words",
                len(texts),
                lambda: mean_vectors(words, texts),
                {"tweets": self._tweets_digest, "words": self._words_digest},
                cache=self.cache,
            )
        from sklearn.feature_extraction.text import TfidfVectorizer

        vectorizer = TfidfVectorizer(
            preprocessor=lambda text: NO_WORDS.sub(" ", text.lower()),
            token_pattern=r"#?\w\w+",
            max_features=self.vocabulary,
            sublinear_tf=True,
            dtype=np.float32,
        )
        with reading(self.folder / TWEETS, "list of tweets"):  # none may hold a word
            vectorizer.fit(texts[row] for row in self._rows["train"].tolist())
            return SparseRows(vectorizer.transform(texts[row] for row in range(len(texts))))

    def _text(self) -> Rows:
        return self._features

    def _read_text(self, row: int) -> str:
        """The tweet's text; with the picture's, on a line of its own, where that is asked for."""
        path = self.folder / "img_txt" / f"{self._ids[row]}.json"
        if not (self.image_text and path.is_file()):
            return self._texts[row]
        found = read_json(path)
        inside = found.get("img_text") if isinstance(found, dict) else None
        if not isinstance(inside, str):
            raise DatasetError(f"{path}: img_text is not a text.")
        return f"{self._texts[row]}\n{whole(inside)}"

    def _feature_encoders(self, settings: EncoderSettings) -> list[nn.Module]:
        return [
            feature_encoder(self._features.shape[1], settings),
            feature_encoder(vgg.VGG16_FEATURES, settings),
        ]

    @cached_property
    def _tweets_digest(self) -> str:
        files = [self.folder / name for name in (TWEETS, *LISTS.values())]
        inside = sorted((self.folder / "img_txt").glob("*.json")) if self.image_text else []
        return self._digest_of([*files, *inside])

    @cached_property
    def _words_digest(self) -> str:
        words = self._words
        return "" if words is None else digests(words.parent, [words])[words.name]

    def _told(self) -> dict[str, Any]:
        return {
            **super()._told(),
            "label": self.label,
            "image_text": self.image_text and self._tweets_digest,
            "vocabulary": self.vocabulary,
            "words": self._words_digest,
        }

    @classmethod
    def verify(cls, root: Path | None) -> list[str]:
        problems = super().verify(root)
        if not problems and not is_sample(cls._folder(root)):
            data = cls(root)
            for name, count in PUBLISHED.items():
                found = len(data.sample_ids(name))  # type: ignore[arg-type]
                if found != count:
                    problems.append(f"split {name} has {found} tweets; {count} are published")
        return problems

    @classmethod
    def write_sample(cls, folder: Path, seed: int = 0, tweets: int = 150) -> None:
        with writing_sample(folder, "MMHS150K", seed) as aside:
            mmhs150k_sample.write(aside, seed, tweets, TWEETS, list(LISTS.values()))


class SparseRows:
    """A sparse matrix [N, F] whose rows are given as they are."""

    def __init__(self, matrix: Any) -> None:
        self.matrix, self.shape, self.dtype = matrix, matrix.shape, matrix.dtype

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        values: NDArray[Any] = self.matrix[rows].toarray()
        return values


def is_hate(labels: list[int]) -> bool:
    """Whether more annotators than not see hate, of any kind.

    >>> is_hate([0, 1, 5]), is_hate([0, 0, 3])
    (True, False)
    """
    return 2 * sum(label > 0 for label in labels) > len(labels)


def majority(labels: list[int]) -> int:
    """What most annotators see, of six: 0 where :func:`is_hate` says no, else the kind of hate.

    Among kinds with equally many votes, the one that was named first.

    >>> majority([5, 1, 1]), majority([4, 0, 3]), majority([0, 2, 0])
    (1, 4, 0)
    """
    if not is_hate(labels):
        return 0
    return Counter(label for label in labels if label).most_common(1)[0][0]


def _is_label(label: Any) -> bool:
    return isinstance(label, int) and not isinstance(label, bool) and 0 <= label < len(KINDS)


get_dataloader = MMHS150K.get_dataloader
