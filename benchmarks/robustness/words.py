"""Corruptions of text: slips of the keyboard in words of five letters and more."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Random = np.random.Generator
#: Letters that lie beside each on an American keyboard.
BESIDE = {
    "q": "wa",
    "w": "qesa",
    "e": "wrds",
    "r": "etfd",
    "t": "rygf",
    "y": "tuhg",
    "u": "yijh",
    "i": "uokj",
    "o": "iplk",
    "p": "ol",
    "a": "qwsz",
    "s": "awedxz",
    "d": "serfcx",
    "f": "drtgvc",
    "g": "ftyhbv",
    "h": "gyujnb",
    "j": "huikmn",
    "k": "jiolm",
    "l": "kop",
    "z": "asx",
    "x": "zsdc",
    "c": "xdfv",
    "v": "cfgb",
    "b": "vghn",
    "n": "bhjm",
    "m": "njk",
}
#: A word is changed whose last letter or digit stands behind so many signs.
BEFORE_LAST = 4


def _last(word: str) -> int:
    """Return the place of the last letter or digit; -1 where there is none."""
    return next((place for place in range(len(word) - 1, -1, -1) if word[place].isalnum()), -1)


def _swapped(word: str, last: int, random: Random) -> str:
    place = 1 + int(random.integers(last - 2))
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :]


def _shuffled(word: str, last: int, random: Random) -> str:
    middle = list(word[1:last])
    random.shuffle(middle)
    return word[0] + "".join(middle) + word[last:]


def _mistyped(word: str, last: int, random: Random) -> str:
    for place in random.permutation(last + 1):
        letter = word[place]
        if beside := BESIDE.get(letter.lower()):
            wrong = beside[int(random.integers(len(beside)))]
            wrong = wrong.upper() if letter.isupper() else wrong
            return word[:place] + wrong + word[place + 1 :]
    return word


def _repeated(word: str, last: int, random: Random) -> str:
    place = int(random.integers(last + 1))
    return word[:place] + word[place] + word[place:]


def _left_out(word: str, last: int, random: Random) -> str:
    place = 1 + int(random.integers(last - 1))
    return word[:place] + word[place + 1 :]


SLIPS: tuple[Callable[[str, int, Random], str], ...] = (
    *(_swapped, _shuffled, _mistyped, _repeated, _left_out),
)


def corrupt_text(text: str, level: float, random: Random) -> str:
    """Put a slip into each word of five letters and more, with the probability of the level.

    The slip is drawn evenly: two inner neighbours swapped, the middle shuffled, a neighbour's key,
    a letter twice, an inner letter left out. Other words stay as they are; what parts them becomes
    one space.
    """
    words = text.split()
    for number, word in enumerate(words):
        last = _last(word)
        if last >= BEFORE_LAST and random.random() < level:
            words[number] = SLIPS[int(random.integers(len(SLIPS)))](word, last, random)
    return " ".join(words)
