"""Text of data sets and runs as it may be shown: it steers neither a terminal nor a reader."""

from __future__ import annotations

import unicodedata


def without_controls(text: str, limit: int | None = None) -> str:
    """Replace what would steer a terminal or turn the reading direction.

    Args:
        text: from a data set or a run.
        limit: the most characters to keep.

    >>> without_controls("a\\x1b[31mb")
    'a\N{REPLACEMENT CHARACTER}[31mb'
    >>> without_controls("abcdef", 4)
    'abc\N{HORIZONTAL ELLIPSIS}'
    """
    clean = "".join(
        character if character in "\n\t\u200d" or unicodedata.category(character)[0] != "C" else "�"
        for character in text
    )
    return clean if limit is None or len(clean) <= limit else f"{clean[: limit - 1]}…"
