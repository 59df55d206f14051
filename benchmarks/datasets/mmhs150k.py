"""MMHS150K: 150,000 tweets, text and picture, each judged by three annotators."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn

from i2moe_plugin.benchmarks.data.batches import Values
from i2moe_plugin.benchmarks.data.cache import digests
from i2moe_plugin.benchmarks.data.cards import Card, File, Key
from i2moe_plugin.benchmarks.data.contents import Contents, Later, Modality
from i2moe_plugin.benchmarks.data.frozen import MIDDLE, middles_by_vgg16, missing_weights
from i2moe_plugin.benchmarks.data.open import dataloader_of
from i2moe_plugin.benchmarks.data.pretrained import Pretrained
from i2moe_plugin.benchmarks.data.registry import register_dataset
from i2moe_plugin.benchmarks.data.source import DataFolder
from i2moe_plugin.benchmarks.data.splits import SPLITS, SplitName, Splits, consecutive
from i2moe_plugin.benchmarks.data.words import fit_tf_idf
from i2moe_plugin.benchmarks.datasets.samples import mmhs150k as drawn
from i2moe_plugin.benchmarks.encoders import EncoderSettings, feature_encoder, vgg
from i2moe_plugin.benchmarks.encoders.pretrained.text import LIMIT
from i2moe_plugin.benchmarks.formats.pictures import ImageFiles
from i2moe_plugin.benchmarks.formats.reading import is_file
from i2moe_plugin.benchmarks.formats.tables import (
    check_number,
    read_json,
    read_lines,
    whole_text,
)
from i2moe_plugin.benchmarks.formats.word_vectors import Texts, mean_vectors
from i2moe_plugin.errors import DatasetError
from i2moe_plugin.tasks import Classification

KINDS = ["not hate", "racist", "sexist", "homophobe", "religion", "other hate"]
TWEETS = "MMHS150K_GT.json"
LISTS = {
    split: f"splits/{name}_ids.txt"
    for split, name in zip(SPLITS, ("train", "val", "test"), strict=True)
}
PUBLISHED: dict[SplitName, int] = {"train": 134823, "valid": 5000, "test": 10000}
NO_WORDS = re.compile(r"https?://\S+|@\w+")  # links and who is addressed

CARD = Card(
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


def draw(folder: Path, seed: int = 0, tweets: int = 150) -> None:
    """Draw so many tweets."""
    drawn.write(folder, seed, tweets, TWEETS, list(LISTS.values()))


@register_dataset(
    "mmhs150k",
    card=CARD,
    modalities=("text", "image"),
    metric="macro_f1",
    draw=draw,
    ready=partial(missing_weights, vgg.VGG16),
)
def read(
    folder: DataFolder,
    label: Literal["binary", "six"] = "binary",
    image_text: bool = False,
    vocabulary: Annotated[int, Field(ge=1)] = 2000,
    words: str | Path = "",
    weights: str | Path = "auto",
    text_model: str | Path = "",
    picture_model: str | Path = "",
    picture_size: Annotated[int, Field(ge=1)] = MIDDLE[0],
    max_tokens: Annotated[int, Field(ge=1)] = LIMIT,
) -> Contents:
    """Hate in tweets: by the majority of three annotators.

    Text is tf-idf of its words, with the vocabulary and the frequencies of training tweets, since
    no features are published; pictures are the features of a frozen VGG16, computed once.

    Args:
        folder: with MMHS150K_GT.json, img_resized/ and splits/.
        label: ``binary`` (hate or not), or ``six`` (also which kind).
        image_text: add the text that the authors read off the picture to the tweet's.
        vocabulary: at most so many words, the most frequent ones.
        words: a word2vec file, binary (.bin, .bin.gz) or text: text is then the mean of its words'
            vectors.
        weights: of the VGG16: ``auto`` (ImageNet's, from the torch hub cache), ``none`` (random
            features) or a file.

        text_model, picture_model: pretrained models that give tokens and patches in their place,
            as ``fl-i2moe`` explains them: a name such as ``minilm``, or a folder; empty: none.
        picture_size: pixels of the shorter side as the picture model sees it.
        max_tokens: of a text for ``text_model``; the rest is cut off.

    Raises:
        DatasetError: missing or damaged files, no weights, or a model that cannot be used.
    """
    vectors = Path(words).expanduser() if words else None
    if vectors is not None and not is_file(vectors):
        raise DatasetError(f"word vectors {vectors} do not exist.")
    parts = [_listed(folder / name) for name in LISTS.values()]
    ids = [one for part in parts for one in part]
    tweets, votes = _read_tweets(folder / TWEETS, ids)
    paths = [folder / f"img_resized/{one}.jpg" for one in ids]
    folder.check_files(paths, ", ".join(LISTS.values()))
    chosen = Pretrained(folder)
    vgg16 = None if picture_model else middles_by_vgg16(folder, paths, weights)
    names = KINDS if label == "six" else ["not hate", "hate"]
    decide = majority if label == "six" else is_hate
    target = np.array([int(decide(labels)) for labels in votes])
    splits = folder.split(consecutive(*map(len, parts)), ids, classes=target)

    def text(row: int) -> str:
        """The tweet's text; with the picture's, on a line of its own, where that is asked for."""
        path = folder / f"img_txt/{ids[row]}.json"
        if not (image_text and path.is_file()):
            return tweets[row]
        found = read_json(path)
        inside = found.get("img_text") if isinstance(found, dict) else None
        if not isinstance(inside, str):
            raise DatasetError(f"{path}: img_text is not a text.")
        return f"{tweets[row]}\n{whole_text(inside)}"

    texts = Texts(text, len(ids))

    @cache
    def tweets_digest() -> str:
        files = [folder / name for name in (TWEETS, *LISTS.values())]
        inside = sorted((folder / "img_txt").glob("*.json")) if image_text else []
        return folder.digest([*files, *inside])

    @cache
    def words_digest() -> str:
        return "" if vectors is None else digests(vectors.parent, [vectors])[vectors.name]

    if vectors is None:
        tf_idf = Later(
            lambda: fit_tf_idf(
                str(folder / TWEETS),
                map(text, splits["train"].tolist()),
                vocabulary,
                preprocessor=_plain,
                token_pattern=r"#?\w\w+",
            )
        )
        rows = Later(lambda: tf_idf.value.rows(map(text, range(len(ids)))))
        column = Values(texts, tf_idf, held=rows)
    else:
        key = {"tweets": tweets_digest(), "words": words_digest()}
        rows = Later(
            lambda: folder.kept("words", len(ids), lambda: mean_vectors(vectors, texts), **key)
        )
        column = Values(rows)

    def encoder(settings: EncoderSettings) -> nn.Module:
        return feature_encoder(rows.value.shape[1], settings)

    if text_model:
        spoken = chosen.text("text", text_model, [text(row) for row in range(len(ids))], max_tokens)
    else:
        spoken = Modality("text", column, encoder, preview=text, prepare=rows.prepare)
    if vgg16 is None:
        middles, digest = ImageFiles(paths, MIDDLE, crop=True), partial(folder.digest, paths)
        (image,) = chosen.pictures(["image"], picture_model, picture_size, middles, MIDDLE, digest)
    else:
        image = vgg16.modality("image", partial(feature_encoder, vgg.VGG16.width))
    return Contents(
        splits=splits,
        modalities=[spoken, image],
        target=torch.from_numpy(target),
        task=Classification(len(names)),
        class_names=names,
        notes=(*(vgg16.notes if vgg16 else ()), *chosen.notes),
        decisive=lambda: {
            "weights": vgg16.weights_digest if vgg16 else "",
            "label": label,
            "image_text": image_text and tweets_digest(),
            "vocabulary": vocabulary,
            "words": words_digest(),
            **chosen.decisive,
        },
        problems=lambda: () if folder.is_sample else _lost(splits),
    )


get_dataloader = dataloader_of("mmhs150k", weights="none")


def _listed(path: Path) -> list[str]:
    """Return the ids of a list."""
    ids = [check_number(str(path), one) for one in read_lines(path, "list of ids")]
    if not ids:
        raise DatasetError(f"{path}: lists no tweets.")
    return ids


def _read_tweets(path: Path, ids: list[str]) -> tuple[list[str], list[list[int]]]:
    """Return the tweets' texts, and their annotators' labels."""
    tweets = read_json(path)
    if not isinstance(tweets, dict):
        raise DatasetError(f"{path}: holds {type(tweets).__name__}; expected an object.")
    texts, votes = [], []
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
        texts.append(whole_text(text))
        votes.append(labels)
    return texts, votes


def _lost(splits: Splits) -> Iterable[str]:
    """Give a sentence for each split that has not as many tweets as are published."""
    for name, count in PUBLISHED.items():
        if len(splits[name]) != count:
            yield f"split {name} has {len(splits[name])} tweets; {count} are published"


def _plain(text: str) -> str:
    """Return a tweet without links and without names of who is addressed."""
    return NO_WORDS.sub(" ", text.lower())


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
