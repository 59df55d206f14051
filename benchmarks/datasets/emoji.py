"""Emoji: nine groups from a picture and its keywords."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from i2moe_plugin.benchmarks.data.batches import Values
from i2moe_plugin.benchmarks.data.cards import Card
from i2moe_plugin.benchmarks.data.contents import Contents, Modality
from i2moe_plugin.benchmarks.data.open import dataloader_of
from i2moe_plugin.benchmarks.data.packaged import Packaged, located, read_packaged
from i2moe_plugin.benchmarks.data.preprocessing import silence_constant
from i2moe_plugin.benchmarks.data.pretrained import Pretrained
from i2moe_plugin.benchmarks.data.registry import register_dataset
from i2moe_plugin.benchmarks.data.source import DataFolder
from i2moe_plugin.benchmarks.data.tokens import Scaled
from i2moe_plugin.benchmarks.datasets.embedded import EMBEDDED
from i2moe_plugin.benchmarks.encoders import feature_encoder, picture_encoder
from i2moe_plugin.benchmarks.encoders.pretrained.text import LIMIT
from i2moe_plugin.benchmarks.formats.pictures import open_picture, upright
from i2moe_plugin.benchmarks.formats.reading import same_length
from i2moe_plugin.errors import DatasetError

SIZE = 48
WORD_EPOCHS = 30
CHANNELS = 32


@register_dataset(
    "emoji",
    card=Card(
        title="Noto Emoji pictures with keywords",
        source="pictures: emoji-datasource-google 16.0.0 (Noto Emoji); keywords: emojilib 4.0.3; "
        "groups: Unicode",
        licence="Apache-2.0 (pictures), MIT (keywords), Unicode licence (names and groups)",
        embedded=True,
    ),
    modalities=("image", "text"),
    locate=located(EMBEDDED, "emoji.npz", ("image_webp", "image_offset", "text")),
)
def read(
    folder: DataFolder,
    word_vectors: Annotated[int, Field(ge=1)] = 64,
    text_model: str | Path = "",
    picture_model: str | Path = "",
    picture_size: Annotated[int, Field(ge=1)] = 112,
) -> Contents:
    """1,906 emoji; a 48x48 picture and a few keywords; 9 groups.

    Pictures go through a small CNN. Words become vectors by a Word2Vec fitted on the training
    rows' keywords, averaged over the words of a sample; a word never seen in training has none.
    With ``text_model`` and ``picture_model`` they are tokens and patches of frozen models, as
    ``fl-i2moe`` explains them.

    Args:
        folder: with ``emoji.npz``.
        word_vectors: width of the word vectors.
        text_model, picture_model: pretrained models of tokens and of patches: a name such as
            ``minilm`` and ``dinov2-small``, or a folder; empty: none.
        picture_size: pixels of a side as the picture model sees it.

    Raises:
        DatasetError: a damaged file or picture, or a model that cannot be used.
    """
    data = read_packaged(folder)
    texts = [str(text) for text in data.arrays["text"]]
    same_length(data.path, {"text": data.arrays["text"], "label": data.labels})
    pictures = torch.from_numpy(_pictures(data))
    chosen = Pretrained(folder)
    if picture_model:
        scaled, shape = Scaled(pictures), (SIZE, SIZE)
        (image,) = chosen.pictures(
            ["image"], picture_model, picture_size, scaled, shape, scaled.digest
        )
    else:
        column = Values(pictures, held=pictures)
        image = Modality("image", column, partial(picture_encoder, CHANNELS))
    if text_model:
        text = chosen.text("text", text_model, texts, LIMIT)
    else:
        words = fit_word_means([texts[row] for row in data.train], word_vectors)
        text = Modality(
            "text",
            Values.in_memory(texts, words),
            partial(feature_encoder, word_vectors),
            preview=texts.__getitem__,
        )
    return data.contents(
        image,
        text,
        notes=chosen.notes,
        decisive=lambda: {"word_vectors": word_vectors, **chosen.decisive},
    )


get_dataloader = dataloader_of("emoji")


def _pictures(data: Packaged) -> NDArray[np.uint8]:
    """Return all pictures on white, [N, 3, 48, 48]."""
    stream, offset = data.arrays["image_webp"], data.arrays["image_offset"]
    if (
        stream.dtype != np.uint8
        or offset.shape != (len(data.labels) + 1,)
        or (np.diff(offset) <= 0).any()
        or offset[0] != 0
        or offset[-1] != len(stream)
    ):
        raise DatasetError(
            f"{data.path}: image_offset does not cut image_webp into {len(data.labels)} files."
        )
    pictures = np.empty((len(data.labels), 3, SIZE, SIZE), dtype=np.uint8)
    for row in range(len(pictures)):
        content = stream[offset[row] : offset[row + 1]].tobytes()
        with open_picture(content, f"{data.path}: picture {row}", ["WEBP"]) as image:
            if image.size != (SIZE, SIZE):
                raise ValueError(f"size {image.size}, expected {(SIZE, SIZE)}")
            pictures[row] = np.asarray(upright(image)).transpose(2, 0, 1)
    return pictures


@dataclass(frozen=True)
class WordMeans:
    """Texts as the means of their words' vectors, standardised: float32 [B, F]."""

    vectors: dict[str, NDArray[np.float32]]
    width: int
    scaler: Any = None

    def means(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the means [B, F]; a text without a known word has zeros."""
        means = np.zeros((len(texts), self.width))
        for row, text in enumerate(texts):
            known = [self.vectors[w] for w in text.lower().split() if w in self.vectors]
            if known:
                means[row] = np.mean(known, 0)
        return means

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.asarray(self.scaler.transform(self.means(texts)), dtype=np.float32)


def fit_word_means(texts: Sequence[str], width: int) -> WordMeans:
    """Fit word vectors and their scale on training texts."""
    from gensim.models import Word2Vec
    from sklearn.preprocessing import StandardScaler

    # One worker and a seed: the vectors are the same in every process.
    model = Word2Vec(
        [text.lower().split() for text in texts],
        vector_size=width,
        window=10,
        min_count=1,
        sg=1,
        negative=10,
        epochs=WORD_EPOCHS,
        workers=1,
        seed=0,
    )
    words = WordMeans({word: model.wv[word] for word in model.wv.index_to_key}, width)
    return WordMeans(
        words.vectors, width, silence_constant(StandardScaler().fit(words.means(texts)))
    )
