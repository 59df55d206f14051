"""Emoji: nine groups from a picture and its keywords."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from i2moe_plugin.benchmarks.data.base import SplitName
from i2moe_plugin.benchmarks.data.cards import Card
from i2moe_plugin.benchmarks.data.packaged import Arrays, PackagedDataset
from i2moe_plugin.benchmarks.data.preview import Preview
from i2moe_plugin.benchmarks.data.registry import register_dataset
from i2moe_plugin.benchmarks.encoders import EncoderSettings, feature_encoder, picture_encoder
from i2moe_plugin.errors import DatasetError

SIZE = 48
WORD_EPOCHS = 30
CHANNELS = 32


@register_dataset("emoji")
class Emoji(PackagedDataset):
    """1,906 emoji; a 48x48 picture and a few keywords; 9 groups.

    Pictures go through a small CNN. Words become vectors by a Word2Vec fitted on the training
    rows' keywords, averaged over the words of a sample; a word never seen in training has none.

    Args:
        root: folder of another ``emoji.npz``.
        word_vectors: width of the word vectors.
    """

    modalities = ("image", "text")
    arrays = ("image_webp", "image_offset", "text")
    file = "emoji.npz"
    card = Card(
        title="Noto Emoji pictures with keywords",
        source="pictures: emoji-datasource-google 16.0.0 (Noto Emoji); keywords: emojilib 4.0.3; "
        "groups: Unicode",
        licence="Apache-2.0 (pictures), MIT (keywords), Unicode licence (names and groups)",
        embedded=True,
    )

    def __init__(self, root: str | Path | None = None, word_vectors: int = 64) -> None:
        self.word_vectors = int(word_vectors)
        if self.word_vectors < 1:
            raise DatasetError(f"word_vectors must be at least 1, not {word_vectors}.")
        super().__init__(root)

    def _prepare(self, data: Arrays) -> list[NDArray[Any]]:
        self._texts = [str(text) for text in data["text"]]
        return [self._pictures(data), self._word_means(self._texts)]

    def show(self, name: SplitName, index: int) -> list[Preview]:
        """The picture, and the keywords in place of their vector."""
        picture, _ = super().show(name, index)
        return [picture, Preview("text", "text", self._texts[self._rows[name][index]])]

    def _pictures(self, data: Arrays) -> NDArray[Any]:
        """All pictures on white, uint8 [N, 3, 48, 48]."""
        from PIL import Image

        stream, offset = data["image_webp"], data["image_offset"]
        if (
            stream.dtype != np.uint8
            or offset.shape != (len(self._labels) + 1,)
            or (np.diff(offset) <= 0).any()
            or offset[0] != 0
            or offset[-1] != len(stream)
        ):
            raise DatasetError(
                f"{self.path}: image_offset does not cut image_webp into {len(self._labels)} files."
            )
        pictures = np.empty((len(self._labels), 3, SIZE, SIZE), dtype=np.uint8)
        for row in range(len(pictures)):
            content = stream[offset[row] : offset[row + 1]].tobytes()
            try:
                with Image.open(io.BytesIO(content), formats=["WEBP"]) as image:
                    if image.size != (SIZE, SIZE):
                        raise ValueError(f"size {image.size}, expected {(SIZE, SIZE)}")
                    colours = image.convert("RGBA")
            except Exception as error:  # Pillow raises many kinds for damaged bytes
                raise DatasetError(
                    f"{self.path}: picture {row} is unreadable ({error})."
                ) from error
            white = Image.new("RGBA", colours.size, "white")
            picture = Image.alpha_composite(white, colours).convert("RGB")
            pictures[row] = np.asarray(picture).transpose(2, 0, 1)
        return pictures

    def _word_means(self, texts: list[str]) -> NDArray[Any]:
        """Mean word vector of each text, standardised on training rows: [N, word_vectors]."""
        from gensim.models import Word2Vec
        from sklearn.preprocessing import StandardScaler

        if len(texts) != len(self._labels):
            raise DatasetError(f"{self.path}: {len(texts)} texts for {len(self._labels)} labels.")
        words = [text.lower().split() for text in texts]
        # One worker and a seed: the vectors are the same in every process.
        model = Word2Vec(
            [words[row] for row in self._rows["train"]],
            vector_size=self.word_vectors,
            window=10,
            min_count=1,
            sg=1,
            negative=10,
            epochs=WORD_EPOCHS,
            workers=1,
            seed=0,
        )
        means = np.zeros((len(words), self.word_vectors))
        for row, sentence in enumerate(words):
            known = [model.wv[word] for word in sentence if word in model.wv]
            if known:
                means[row] = np.mean(known, 0)
        scaler = StandardScaler().fit(means[self._rows["train"]])
        return np.asarray(scaler.transform(means), dtype=np.float32)

    def fingerprint(self) -> str:
        return f"{super().fingerprint()}-{self.word_vectors}"

    def encoders(self, settings: EncoderSettings) -> list[nn.Module]:
        text = feature_encoder(self.word_vectors, settings)
        return [picture_encoder(CHANNELS, settings), text]


get_dataloader = Emoji.get_dataloader
