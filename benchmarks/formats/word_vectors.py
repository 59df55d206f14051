"""Texts as vectors: their words, and the mean of their words' vectors from a word2vec file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.formats.reading import check_finite, reading
from i2moe_plugin.errors import DatasetError

BLOCK = 1024  # texts
PUNCTUATION = r"/'\-.?!()\",:;"
SKIPPED = r"~*+^`_#\[\]|"
TOKEN = re.compile(
    rf"(?P<link>^https?://.*)|(?P<number>[0-9]+)|[{PUNCTUATION}]|[^\s0-9{PUNCTUATION}{SKIPPED}]+",
    re.MULTILINE,
)
STAND_INS = {"link": "L", "number": "N"}


def words_of(text: str) -> list[str]:
    """Return the words of a text as MM-IMDb's features were made (``make_dataset.py``).

    Lower case; punctuation marks are words; a number is ``N``, a line that is a link is ``L``.

    >>> words_of("It's 1984, again.")
    ['it', "'", 's', 'N', ',', 'again', '.']
    """
    found = TOKEN.finditer(text.lower().replace("<br />", " ").strip())
    return [STAND_INS.get(match.lastgroup or "", match.group()) for match in found]


class Texts:
    """N texts, each made by its number when it is asked for."""

    def __init__(self, make: Callable[[int], str], count: int) -> None:
        self.make, self.count = make, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, row: int) -> str:
        return self.make(row)


def mean_vectors(path: Path, texts: Texts) -> Iterator[NDArray[Any]]:
    """Give the mean of the vectors of each text's known words, in blocks [<= 1024, F] of float32.

    A text without a known word has zeros, as in MultiBench. The file is held in memory meanwhile.
    """
    known = read_vectors(path)
    for start in range(0, len(texts), BLOCK):
        block = np.zeros((min(BLOCK, len(texts) - start), known.vector_size), np.float32)
        for row in range(len(block)):
            words = [w for w in words_of(texts[start + row]) if w in known.key_to_index]
            if words:
                block[row] = known.vectors[[known.key_to_index[w] for w in words]].mean(0)
        check_finite(str(path), block)
        yield block


def read_vectors(path: Path) -> Any:
    """Read a word2vec file (perhaps .gz) with gensim: binary where called .bin, else text."""
    from gensim.models import KeyedVectors

    claimed_vectors(path)
    with reading(path, "word2vec file"):
        vectors = KeyedVectors.load_word2vec_format(str(path), binary=_is_binary(path))
    return vectors


def claimed_vectors(path: Path) -> tuple[int, int]:
    """Say how many words a file has, and their vectors' width, by its first line."""
    import gzip

    packed = path.suffix == ".gz"
    with reading(path, "word2vec file"), (gzip.open if packed else open)(path, "rb") as file:
        line = file.readline(100)
        count, width = (int(part) for part in line.split())
        # A word takes a separator and four bytes a number, or two as text.
        most = path.stat().st_size * (1100 if packed else 1)
        least = count * width * (4 if _is_binary(path) else 2)
        if count < 1 or width < 1 or least > most:
            raise DatasetError(
                f"{path}: its first line claims {count} words of {width} numbers, which is more "
                "than the file can hold."
            )
    return count, width


def _is_binary(path: Path) -> bool:
    return ".bin" in path.suffixes[-2:]
