"""The four tasks on icons: which text stands beside which picture, and what is asked of them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.datasets.icons.collection import Collection
from i2moe_plugin.errors import ConfigError
from i2moe_plugin.seeding import derive_seed

USUAL = ("regular", "outline")  # the styles that stand for an icon, where it has several


@dataclass(frozen=True)
class Picture:
    """An icon, with a word drawn over it or not.

    Attributes:
        row: the icon.
        word: the class word's number; -1 for none.
        below: the word stands at the lower edge, not at the upper one.
    """

    row: int
    word: int = -1
    below: bool = False


@dataclass(frozen=True, eq=False)
class Samples:
    """The samples of a task; a text or a picture may belong to several.

    Attributes:
        texts, pictures: the distinct ones.
        text_of, picture_of: [N], which of them a sample has.
        label: [N].
        split: [N], 0, 1 or 2.
        ids: N names.
        class_names: of the labels.
        spans: for each text the characters ``(start, end)`` of the class word; None without one.
    """

    texts: list[str]
    pictures: list[Picture]
    text_of: NDArray[np.int64]
    picture_of: NDArray[np.int64]
    label: NDArray[np.int64]
    split: NDArray[np.int64]
    ids: list[str]
    class_names: list[str]
    spans: list[tuple[int, int] | None]


def by_category(icons: Collection) -> Samples:
    """One picture of each icon, and its category."""
    rows = _one_each(icons)
    used, label = np.unique(icons.category[rows], return_inverse=True)
    return _plain(icons, rows, label, [icons.category_names[c] for c in used])


def by_style(icons: Collection) -> Samples:
    """All styles of the icons that have all, and which style it is.

    Each text stands with each style exactly once, so it cannot tell them apart.

    Raises:
        ConfigError: the collection has one style, or no icon has all.
    """
    used = np.unique(icons.style)
    styles: dict[str, list[int]] = defaultdict(list)
    for row, base in enumerate(icons.base):
        styles[base].append(row)
    rows = [row for own in styles.values() if len(own) == len(used) for row in own]
    if len(used) < 2 or not rows:
        raise ConfigError(
            f"data.task=style needs icons in several styles; {icons.collection} here has "
            f"{len(used)}. The collection material has six."
        )
    label = np.searchsorted(used, icons.style[rows])
    names = [icons.style_names[s] for s in used]
    samples = _plain(icons, np.array(rows), label, names)
    ids = [f"{one}/{names[s]}" for one, s in zip(samples.ids, label, strict=True)]
    texts, text_of = np.unique(samples.texts, return_inverse=True)
    return Samples(
        texts=texts.tolist(),
        pictures=samples.pictures,
        text_of=text_of,
        picture_of=samples.picture_of,
        label=samples.label,
        split=samples.split,
        ids=ids,
        class_names=names,
        spans=[None] * len(texts),
    )


def by_match(icons: Collection) -> Samples:
    """Each text with its own picture, and with that of another icon of its category and split.

    Each text and each picture stands in either class exactly once, so neither alone says anything.
    Icons whose picture another one has too are left out, as are those alone in their category and
    split.
    """
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    seen: set[bytes] = set()
    for row in _one_each(icons).tolist():
        if icons.drawing[row] not in seen:
            groups[int(icons.split[row]), int(icons.category[row])].append(row)
        seen.add(icons.drawing[row])
    own: list[int] = []
    other: list[int] = []
    for (split, category), rows in sorted(groups.items()):
        if len(rows) > 1:
            draw = np.random.default_rng(derive_seed(0, "icons that do not match", split, category))
            order = draw.permutation(rows)
            own += order.tolist()
            other += np.roll(order, 1).tolist()
    place = {row: number for number, row in enumerate(own)}
    number = np.arange(len(own))
    names = [f"{icons.collection}/{icons.base[row]}" for row in own]
    return Samples(
        texts=[icons.text[row] for row in own],
        pictures=[Picture(row) for row in own],
        text_of=np.concatenate([number, number]),
        picture_of=np.concatenate([number, [place[row] for row in other]]),
        label=np.repeat([1, 0], len(own)),
        split=np.tile(icons.split[own], 2),
        ids=[*names, *(f"{n}~{icons.base[row]}" for n, row in zip(names, other, strict=True))],
        class_names=["other", "match"],
        spans=[None] * len(own),
    )


def by_copy(icons: Collection) -> Samples:
    """A class word written in the text and drawn over the picture of an icon that it is drawn for.

    The word is drawn by lot, equally often in each split, whatever the icon is; it stands at the
    start or the end of the text, and at the upper or lower edge of the picture. Other words of the
    text that are class words are taken out. Either modality alone therefore says all there is, by
    its class word and nothing else.
    """
    label, texts, pictures, spans, used = [], [], [], [], []
    rows = _one_each(icons)
    for split in np.unique(icons.split):
        draw = np.random.default_rng(derive_seed(0, "icons with a word", int(split)))
        for number, row in enumerate(draw.permutation(rows[icons.split[rows] == split]).tolist()):
            turn, word = divmod(number, len(icons.words))
            text, span = _written(icons.text[row], icons.words, word, last=turn % 4 >= 2)
            label.append(word)
            texts.append(text)
            spans.append(span)
            pictures.append(Picture(row, word, below=turn % 2 == 1))
            used.append(row)
    place = np.arange(len(used))
    return Samples(
        texts=texts,
        pictures=pictures,
        text_of=place,
        picture_of=place,
        label=np.array(label),
        split=icons.split[used],
        ids=[f"{icons.collection}/{icons.base[row]}" for row in used],
        class_names=icons.words,
        spans=[*spans],
    )


#: Task -> the collection it is about unless told otherwise, and what makes its samples.
TASKS: Mapping[str, tuple[str, Callable[[Collection], Samples]]] = {
    "category": ("material", by_category),
    "style": ("material", by_style),
    "match": ("tabler", by_match),
    "copy": ("tabler", by_copy),
}


def _written(text: str, words: Sequence[str], word: int, last: bool) -> tuple[str, tuple[int, int]]:
    """A text with a class word before or behind it, and where that stands."""
    taken = {each.lower() for each in words}

    def clean(part: str) -> bool:
        return not taken & set(re.findall(r"[a-z]+", part.lower()))

    name, _, tags = text.partition(": ")
    kept = " ".join(part for part in name.split() if clean(part))
    tags = ", ".join(tag for tag in tags.split(", ") if tag and clean(tag))
    rest = ": ".join(part for part in (kept, tags) if part)
    own = words[word]
    if last:
        start = len(rest) + 1 if rest else 0
        return f"{rest} {own}".strip(), (start, start + len(own))
    return f"{own} {rest}".strip(), (0, len(own))


def _one_each(icons: Collection) -> NDArray[np.int64]:
    """One row of each base name: its usual style, else its first."""
    usual = [icons.style_names.index(name) for name in USUAL if name in icons.style_names]
    best: dict[str, tuple[int, int]] = {}
    for row, (base, style) in enumerate(zip(icons.base, icons.style.tolist(), strict=True)):
        rank = usual.index(style) if style in usual else len(usual)
        if base not in best or rank < best[base][0]:
            best[base] = (rank, row)
    return np.array([row for _, row in best.values()], np.int64)


def _plain(icons: Collection, rows: NDArray[Any], label: NDArray[Any], names: list[str]) -> Samples:
    number = np.arange(len(rows))
    return Samples(
        texts=[icons.text[row] for row in rows],
        pictures=[Picture(int(row)) for row in rows],
        text_of=number,
        picture_of=number,
        label=np.asarray(label, np.int64),
        split=icons.split[rows],
        ids=[f"{icons.collection}/{icons.base[row]}" for row in rows],
        class_names=names,
        spans=[None] * len(rows),
    )
