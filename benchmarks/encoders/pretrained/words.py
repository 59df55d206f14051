"""Words of a text, and which word each token belongs to.

The rule is the same for every tokenizer: a run of letters, digits and underscores is a word, with
apostrophes inside it; every other character that is not white space is a word of its own, and so is
every Chinese, Japanese or Korean character. A token belongs to the word that its first character
other than white space lies in.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

# Kana, CJK ideographs with their extensions, Hangul: written without spaces between words, or in
# syllables that are tokens by themselves.
_SINGLE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_SINGLE}]|[^\W{_SINGLE}]+(?:['’][^\W{_SINGLE}]+)*|[^\w\s]")


@dataclass(frozen=True)
class Word:
    """A word of a text.

    Attributes:
        text: its characters.
        start, end: where they lie in the text, in characters; ``end`` is behind the last.
        tokens: the numbers of its tokens; none where a text was cut off before it.
    """

    text: str
    start: int
    end: int
    tokens: tuple[int, ...] = ()


def words_of(
    text: str, spans: Sequence[tuple[int, int]] = (), special: Sequence[bool] = ()
) -> list[Word]:
    """The words of a text in order, each with its tokens.

    Args:
        text: the text.
        spans: the characters that each token stands for, ``(start, end)``.
        special: True for tokens that stand for no characters, such as a mark of the text's end.

    >>> [word.text for word in words_of("it's a-b 2!")]
    ["it's", 'a', '-', 'b', '2', '!']
    >>> words_of("seat heater", [(0, 4), (5, 9), (9, 11)], [False] * 3)[1]
    Word(text='heater', start=5, end=11, tokens=(1, 2))
    """
    found = [(match.start(), match.end()) for match in _WORD.finditer(text)]
    tokens: list[list[int]] = [[] for _ in found]
    number_at = {place: n for n, (start, end) in enumerate(found) for place in range(start, end)}
    for token, (start, end) in enumerate(spans):
        if not (special and special[token]):
            place = next((number_at[p] for p in range(start, end) if p in number_at), None)
            if place is not None:
                tokens[place].append(token)
    return [
        Word(text[start:end], start, end, tuple(own))
        for (start, end), own in zip(found, tokens, strict=True)
    ]
