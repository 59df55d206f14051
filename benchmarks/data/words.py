"""Texts as numbers: TF-IDF of training texts' commonest words, fitted on training rows alone.

A word is two letters or more, as in scikit-learn. Scripts that put no spaces between words
(Chinese, Japanese, Thai, Lao, Khmer, Burmese, Tibetan) and emoji give their characters and pairs
of neighbours instead, which need no dictionary.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.formats.arrays import SparseRows
from i2moe_plugin.errors import DatasetError

SHORT = 0.05  # share of training texts with one-letter words alone from which these count
SCRIPTS = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\ua9e0-\ua9ff\uaa60-\uaadf"
    "\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
EMOJI = "\u203c\u2049\u2190-\u21ff\u2300-\u23ff\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff"
JOINERS = "\u200b-\u200d\u20e3\ufe0e\ufe0f"  # between, or after, signs that belong together
#: Vowel signs and accents of other scripts, at which ``\\w`` would end a word.
MARKS = (
    "\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0963"
    "\u0966-\u0dff\u200c\u200d"
)
TOKEN = re.compile(
    rf"(?P<run>[{SCRIPTS}{EMOJI}][{SCRIPTS}{EMOJI}{JOINERS}]*)"
    rf"|(?P<word>\w(?:(?![{SCRIPTS}])[\w{MARKS}])*)"
)
JOINED = re.compile(f"[{JOINERS}]")


def terms_of(text: str, letters: bool = False) -> list[str]:
    """Cut a text into lower-case words, or characters and pairs where no spaces part the words.

    Args:
        text: any.
        letters: words of one letter count too.

    >>> terms_of("The cat, 2 cats")
    ['the', 'cat', 'cats']
    >>> terms_of("a 7", letters=True)
    ['a', '7']
    >>> terms_of("\u5929\u6c14 ok") == ["\u5929", "\u6c14", "\u5929\u6c14", "ok"]
    True
    """
    found: list[str] = []
    for match in TOKEN.finditer(text.lower()):
        if match.lastgroup == "word":
            if letters or len(match.group()) > 1:
                found.append(match.group())
            continue
        signs = JOINED.sub("", match.group())
        found += signs
        found += map("".join, pairwise(signs))
    return found


@dataclass(frozen=True)
class TfIdf:
    """Texts as the TF-IDF of the commonest words of training texts, float32 [B, words].

    Attributes:
        vectorizer: scikit-learn's, fitted.
    """

    vectorizer: Any

    @classmethod
    def of(cls, words: Sequence[str], letters: bool, idf: NDArray[np.float32]) -> TfIdf:
        """Make one that was fitted before, by :func:`fit_tf_idf` without options.

        Args:
            words, letters, idf: what the attributes of these names were.

        Raises:
            ValueError: a word twice, or not as many weights as words.
        """
        vectorizer = _vectorizer(
            vocabulary=list(words), analyzer=partial(terms_of, letters=letters)
        )
        vectorizer.idf_ = idf
        return cls(vectorizer)

    @property
    def width(self) -> int:
        """The number of words."""
        return len(self.vectorizer.vocabulary_)

    @property
    def words(self) -> list[str]:
        """The words, in the order of the columns."""
        places: dict[str, int] = self.vectorizer.vocabulary_
        return sorted(places, key=lambda word: places[word])

    @property
    def letters(self) -> bool:
        """Whether words of one letter count; see :func:`terms_of`."""
        return bool(self.vectorizer.analyzer.keywords["letters"])

    @property
    def idf(self) -> NDArray[np.float32]:
        """How rare each word is in training texts, [words]."""
        return np.asarray(self.vectorizer.idf_)

    def __call__(self, texts: Iterable[str]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = self.vectorizer.transform(texts).toarray()
        return found

    def rows(self, texts: Iterable[str]) -> SparseRows:
        """All of these texts; a row becomes dense when it is asked for."""
        return SparseRows(self.vectorizer.transform(texts))


def fit_tf_idf(where: str, texts: Iterable[str], words: int, **options: Any) -> TfIdf:
    """Fit a :class:`TfIdf`.

    Args:
        where: the file, for messages.
        texts: the training texts.
        words: at most so many words, the commonest ones.
        **options: scikit-learn's, of how a text is cut into words; :func:`terms_of` by default,
            with words of one letter where more than :data:`SHORT` of the texts have no others.

    Raises:
        DatasetError: no word in any text.
    """
    texts = list(texts)
    if not options:
        short = sum(not terms_of(text) and bool(terms_of(text, letters=True)) for text in texts)
        options["analyzer"] = partial(terms_of, letters=short > SHORT * len(texts))
    try:
        return TfIdf(_vectorizer(max_features=words, **options).fit(texts))
    except ValueError as error:
        some = next((text for text in texts if text.strip()), None)
        reason = "all are empty" if some is None else f"such as {some[:40]!r}"
        raise DatasetError(f"{where}: no training text holds a word; {reason}.") from error


def _vectorizer(**options: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(sublinear_tf=True, dtype=np.float32, **options)
