"""Make ``icons.npz`` from the published icon sets: the file that ships, or the whole.

    i2moe-bench data fetch icons --data-root icons
    python -m i2moe_plugin.benchmarks.datasets.icons.build icons
    i2moe-bench run --dataset icons --data-root icons

needs the package resvg-py, which draws the icons. The same files give the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.datasets.icons.collection import SIZE
from i2moe_plugin.errors import DatasetError, I2MoEError

GREYS = 16
PARTS = (0.70, 0.15)  # of training and validation
LEAST = 20  # base names of a category; smaller ones are left out
#: What ships in the package: base names with all styles, and base names with one picture.
STYLED, MATERIAL, TABLER = 360, 1500, 1800
STRIP = (SIZE, SIZE // 4)  # a class word drawn: two rows of patches
WORDS = ("Arrows", "Design", "Devices", "Document", "Letters", "Map", "System", "Text")
#: Logos belong to others, whatever the licence of their drawing.
LEFT_OUT = "Brand"


@dataclass(frozen=True)
class Icon:
    """One icon in one style.

    Attributes:
        collection: ``material`` or ``tabler``.
        base: its name without the style.
        style, category: as published.
        text: its name, and its tags where there are any.
        svg: its drawing.
    """

    collection: str
    base: str
    style: str
    category: str
    text: str
    svg: str


def read_material(folder: Path) -> list[Icon]:
    """Material Symbols from the npm package @iconify-json/material-symbols.

    Raises:
        DatasetError: files that are missing or of another form.
    """
    icons, facts = _json(folder / "icons.json"), _json(folder / "metadata.json")
    try:
        category = {name: group for group, names in facts["categories"].items() for name in names}
        styles = {f"-{end}": end for end in sorted(facts["suffixes"], key=len, reverse=True) if end}
        found = []
        for name, icon in icons["icons"].items():
            end = next((end for end in styles if name.endswith(end)), "")
            base = name.removesuffix(end)
            if name in category:
                found.append(
                    Icon(
                        "material",
                        base,
                        styles.get(end, "regular"),
                        category[name],
                        base.replace("-", " "),
                        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" color="black">'
                        f"{icon['body']}</svg>",
                    )
                )
    except (KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{folder}: not the files of @iconify-json/material-symbols.") from error
    return found


def read_tabler(folder: Path) -> list[Icon]:
    """Tabler from the npm package @tabler/icons, without logos.

    Raises:
        DatasetError: files that are missing or of another form.
    """
    found = []
    try:
        for name, facts in _json(folder / "icons.json").items():
            if facts["category"] == LEFT_OUT:
                continue
            tags = ", ".join(str(tag) for tag in facts["tags"])
            for style in facts["styles"]:
                svg = (folder / "icons" / style / f"{name}.svg").read_text(encoding="utf-8")
                found.append(
                    Icon(
                        "tabler",
                        name,
                        style,
                        facts["category"],
                        f"{name.replace('-', ' ')}: {tags}",
                        svg.replace("currentColor", "black"),
                    )
                )
    except (KeyError, TypeError, AttributeError, OSError) as error:
        raise DatasetError(f"{folder}: not the files of @tabler/icons ({error}).") from error
    return found


def select(icons: Iterable[Icon], whole: bool) -> list[Icon]:
    """The icons to keep, in a fixed order; categories with too few base names are left out.

    Args:
        icons: all icons.
        whole: keep all styles of all icons; else what ships in the package.
    """
    names: dict[tuple[str, str], dict[str, Icon]] = defaultdict(dict)
    for icon in icons:
        names[icon.collection, icon.base][icon.style] = icon
    kept: list[Icon] = []
    for collection, most in (("material", MATERIAL), ("tabler", TABLER)):
        mine = {base: names[c, base] for c, base in sorted(names) if c == collection}
        styles = {style for own in mine.values() for style in own}
        order = sorted(mine, key=lambda base: _number(collection, base))
        if not whole:
            full = [base for base in order if len(mine[base]) == len(styles)]
            styled = set(full[:STYLED] if collection == "material" else [])
            order = [*styled, *(base for base in order if base not in styled)][:most]
            mine = {
                base: mine[base] if base in styled else _one_style(mine[base])
                for base in sorted(order)
            }
        count = Counter(next(iter(own.values())).category for own in mine.values())
        kept += [
            own[style]
            for own in mine.values()
            for style in sorted(own)
            if count[own[style].category] >= LEAST
        ]
    return kept


def _one_style(own: dict[str, Icon]) -> dict[str, Icon]:
    usual = next((s for s in ("regular", "outline") if s in own), min(own))
    return {usual: own[usual]}


def split_of(icons: Sequence[Icon]) -> NDArray[np.uint8]:
    """0, 1 or 2 for each icon: 70, 15 and 15 % of the base names of each category.

    All styles of a base name lie in one split, and so do base names that share a drawing.
    """
    group = _groups(icons)
    members: dict[tuple[str, str], list[str]] = defaultdict(list)
    for icon in icons:
        key = group[icon.collection, icon.base]
        if key not in members[icon.collection, icon.category]:
            members[icon.collection, icon.category].append(key)
    place: dict[str, int] = {}
    for keys in members.values():
        keys = sorted(
            (key for key in keys if key not in place), key=lambda key: _number("split", key)
        )
        ends = [round(len(keys) * PARTS[0]), round(len(keys) * sum(PARTS))]
        place |= {key: int(np.searchsorted(ends, n, "right")) for n, key in enumerate(keys)}
    return np.array([place[group[icon.collection, icon.base]] for icon in icons], np.uint8)


def _groups(icons: Sequence[Icon]) -> dict[tuple[str, str], str]:
    """For each base name the first one that it is joined to by a drawing that both have."""
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def root(name: tuple[str, str]) -> tuple[str, str]:
        parent.setdefault(name, name)
        while parent[name] != name:
            name = parent[name]
        return name

    first: dict[str, tuple[str, str]] = {}
    for icon in icons:
        mine = root((icon.collection, icon.base))
        other = root(first.setdefault(icon.svg, mine))
        parent[max(mine, other)] = min(mine, other)
    return {name: "/".join(root(name)) for name in list(parent)}


def draw(icon: Icon) -> NDArray[np.uint8]:
    """Black on white, [112, 112], in 16 greys."""
    import resvg_py
    from PIL import Image

    content = resvg_py.svg_to_bytes(
        svg_string=icon.svg, width=SIZE, height=SIZE, background="white"
    )
    with Image.open(io.BytesIO(bytes(content))) as image:
        return _greys(np.asarray(image.convert("L")))


def draw_word(word: str) -> NDArray[np.uint8]:
    """A word in the middle of a white strip, [28, 112], in 16 greys."""
    from PIL import Image, ImageDraw, ImageFont

    strip = Image.new("L", STRIP, "white")
    font = ImageFont.load_default(size=22)
    middle = (STRIP[0] // 2, STRIP[1] // 2)
    ImageDraw.Draw(strip).text(middle, word, fill="black", font=font, anchor="mm")
    return _greys(np.asarray(strip))


def _greys(picture: NDArray[Any]) -> NDArray[np.uint8]:
    step = 255 // (GREYS - 1)
    return (np.rint(picture / step) * step).astype(np.uint8)


def write(path: Path, icons: Sequence[Icon], advance: Callable[[], object] = lambda: None) -> None:
    """Draw the icons and write the file.

    Raises:
        DatasetError: resvg-py is not installed, or the file cannot be written.
    """
    try:
        import resvg_py  # noqa: F401
    except ImportError as error:
        raise DatasetError("icons are drawn by resvg-py: pip install resvg-py.") from error
    pictures = []
    for icon in icons:
        pictures.append(_packed(draw(icon)))
        advance()
    strips = [_packed(draw_word(word)) for word in WORDS]
    styles = sorted({icon.style for icon in icons})
    categories = sorted({(icon.collection, icon.category) for icon in icons})
    try:
        np.savez_compressed(
            path,
            collection=np.array([icon.collection for icon in icons]),
            base=np.array([icon.base for icon in icons]),
            text=np.array([icon.text for icon in icons]),
            style=np.array([styles.index(icon.style) for icon in icons], np.uint8),
            style_names=np.array(styles),
            category=np.array(
                [categories.index((icon.collection, icon.category)) for icon in icons], np.uint8
            ),
            category_names=np.array([name for _, name in categories]),
            split=split_of(icons),
            image_webp=np.frombuffer(b"".join(pictures), np.uint8),
            image_offset=np.cumsum([0, *map(len, pictures)]),
            word=np.array(WORDS),
            word_webp=np.frombuffer(b"".join(strips), np.uint8),
            word_offset=np.cumsum([0, *map(len, strips)]),
        )
    except OSError as error:
        raise DatasetError(f"{path}: cannot be written ({error.strerror or error}).") from error


def _packed(picture: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(picture).save(content, "WEBP", lossless=True, quality=100, method=4)
    return content.getvalue()


def _number(*place: str) -> str:
    """An order that has nothing to do with names' own."""
    return hashlib.sha256("/".join(place).encode()).hexdigest()


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: cannot be read ({error}).") from error


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--shipped", is_flag=True, help="Make the small file that ships in the package.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="The file; FOLDER/icons.npz if not told."
)
def main(folder: Path, shipped: bool, out: Path | None) -> None:
    """Draw the icons in FOLDER/material-symbols and FOLDER/tabler, and write icons.npz."""
    try:
        icons = [*read_material(folder / "material-symbols"), *read_tabler(folder / "tabler")]
        chosen = select(icons, whole=not shipped)
        path = out or folder / "icons.npz"
        with click.progressbar(length=len(chosen), label="drawing") as bar:
            write(path, chosen, lambda: bar.update(1))
    except I2MoEError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{path}: {len(chosen)} pictures, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
