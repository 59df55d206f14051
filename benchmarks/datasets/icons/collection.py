"""The icons of one collection, as ``icons.npz`` has them, and their pictures."""

from __future__ import annotations

import io
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.data.splits import SPLITS
from i2moe_plugin.benchmarks.formats.arrays import read_npz
from i2moe_plugin.errors import DatasetError

SIZE = 112  # pixels of a picture's side
COLLECTIONS = ("material", "tabler")
TEXTS, NUMBERS = ("collection", "base", "text"), ("style", "category", "split")
ARRAYS = (
    *(*TEXTS, *NUMBERS, "style_names", "category_names", "word"),
    *("image_webp", "image_offset", "word_webp", "word_offset"),
)


@dataclass(frozen=True, eq=False)
class Collection:
    """The icons of one collection.

    Attributes:
        path: the file.
        collection: its name.
        base, text: N names without style, and texts.
        style, category, split: [N] numbers.
        style_names, category_names: their names.
        words: the class words that are drawn.
        drawing: for each icon the bytes of its picture.
        strips: for each class word the bytes of its picture.
    """

    path: Path
    collection: str
    base: list[str]
    text: list[str]
    style: NDArray[np.int64]
    category: NDArray[np.int64]
    split: NDArray[np.int64]
    style_names: list[str]
    category_names: list[str]
    words: list[str]
    drawing: list[bytes]
    strips: list[bytes]

    def picture(self, row: int, word: int = -1, below: bool = False) -> NDArray[np.uint8]:
        """An icon, black on white, [112, 112]; with a class word over an edge, if it has one.

        Raises:
            DatasetError: a damaged picture.
        """
        what = f"the picture of {self.base[row]}"
        grey = self._opened(self.drawing[row], what)
        if grey.shape != (SIZE, SIZE):
            raise DatasetError(f"{self.path}: {what} has {grey.shape} pixels, not {SIZE} x {SIZE}.")
        return grey if word < 0 else self._stamped(grey, word, below)

    def word_alone(self, word: int, below: bool) -> NDArray[np.uint8]:
        """A class word where it stands over a picture, on white, [112, 112]."""
        return self._stamped(np.full((SIZE, SIZE), 255, np.uint8), word, below)

    def _stamped(self, picture: NDArray[np.uint8], word: int, below: bool) -> NDArray[np.uint8]:
        strip = self._opened(self.strips[word], "a class word")
        if strip.shape[0] > SIZE // 2 or strip.shape[1] != SIZE:
            raise DatasetError(f"{self.path}: a class word has {strip.shape} pixels.")
        picture[slice(SIZE - len(strip), SIZE) if below else slice(0, len(strip))] = strip
        return picture

    def _opened(self, content: bytes, what: str) -> NDArray[np.uint8]:
        from PIL import Image

        try:
            with Image.open(io.BytesIO(content), formats=["WEBP"]) as image:
                if max(image.size) > SIZE:
                    raise ValueError(f"size {image.size}")
                return np.array(image.convert("L"))
        except Exception as error:  # Pillow raises many kinds for damaged bytes
            raise DatasetError(f"{self.path}: {what} is unreadable ({error}).") from error


def read_collection(path: Path, collection: str) -> Collection:
    """The icons of one collection in an ``icons.npz``.

    Raises:
        DatasetError: a file that is missing, damaged, or of another form.
    """
    data = read_npz(path, ARRAYS)
    count = len(data["base"]) if data["base"].ndim else 0
    problems = [
        f"{name} should be {kind} [{count}], not {data[name].dtype} {list(data[name].shape)}"
        for names, kind, kinds in ((TEXTS, "text", "U"), (NUMBERS, "integers", "iu"))
        for name in names
        if data[name].shape != (count,) or data[name].dtype.kind not in kinds
    ]
    if not problems:
        sizes = (len(data["style_names"]), len(data["category_names"]), len(SPLITS))
        problems = [
            f"{name} holds numbers outside 0 to {most - 1}"
            for name, most in zip(NUMBERS, sizes, strict=True)
            if ((data[name] < 0) | (data[name] >= most)).any()
        ]
    if problems:
        raise DatasetError(f"{path}: {'; '.join(problems)}.")
    drawing = _cut(path, data, "image", count)
    rows = np.flatnonzero(data["collection"] == collection)
    if not len(rows):
        raise DatasetError(f"{path}: holds no icons of the collection {collection}.")
    return Collection(
        path=path,
        collection=collection,
        base=data["base"][rows].tolist(),
        text=data["text"][rows].tolist(),
        style=data["style"][rows].astype(np.int64),
        category=data["category"][rows].astype(np.int64),
        split=data["split"][rows].astype(np.int64),
        style_names=data["style_names"].tolist(),
        category_names=data["category_names"].tolist(),
        words=data["word"].tolist(),
        drawing=[drawing[row] for row in rows],
        strips=_cut(path, data, "word", len(data["word"])),
    )


def joined(icons: Collection) -> NDArray[np.int64]:
    """Return each icon's group, [N]: those of one base name or one drawing are in one."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(icons.base)
    base = np.unique(icons.base, return_inverse=True)[1]
    drawing = np.unique(np.array(icons.drawing, dtype=object), return_inverse=True)[1]
    nodes = count + int(base.max()) + 1
    rows = np.tile(np.arange(count), 2)
    columns = np.concatenate([count + base, nodes + drawing])
    size = nodes + int(drawing.max()) + 1
    graph = coo_array((np.ones(2 * count), (rows, columns)), shape=(size, size))
    return connected_components(graph, directed=False)[1][:count].astype(np.int64)


def _cut(path: Path, data: dict[str, NDArray[Any]], name: str, count: int) -> list[bytes]:
    """The pictures that lie back to back in an array."""
    stream, offset = data[f"{name}_webp"], data[f"{name}_offset"]
    if (
        stream.dtype != np.uint8
        or offset.shape != (count + 1,)
        or offset.dtype.kind not in "iu"
        or (np.diff(offset) <= 0).any()
        or offset[0] != 0
        or offset[-1] != len(stream)
    ):
        raise DatasetError(f"{path}: {name}_offset does not cut {name}_webp into {count} pictures.")
    content = stream.tobytes()
    return [content[a:b] for a, b in itertools.pairwise(offset.tolist())]
