"""A small drawn data set in ENRICO's format, for trying things out without the published files.

Every topic has a layout of interface components, which the screenshot shows as an app would and
the wireframe as blocks of ENRICO's semantic colours. Positions jitter, components are missing or
out of place. And in each modality three screens in ten have the layout of another topic: always the
same other one, but not the same in both modalities. So either modality alone leaves two topics
open, and both together tell which it is.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from i2moe_plugin.benchmarks.datasets.samples.files import write_csv

UNIT_X, UNIT_Y, COLUMNS, ROWS = 27, 30, 20, 32  # a grid over the published 540 x 960 pixels
MISSING = 0.05
STRAY = 0.5
CONFUSED = 0.3

#: (component, x, y, width, height, columns, rows of repetitions), in grid units; a repetition
#: stands one unit from the last.
Part = tuple[str, int, int, int, int, int, int]
TOOLBAR: Part = ("Toolbar", 0, 0, 20, 3, 1, 1)
LAYOUTS: dict[str, tuple[Part, ...]] = {
    "bare": (TOOLBAR, ("Text", 6, 15, 8, 1, 1, 1)),
    "calculator": (("Input", 1, 2, 18, 4, 1, 1), ("Text Button", 1, 8, 4, 4, 4, 4)),
    "camera": (("Video", 0, 0, 20, 26, 1, 1), ("Icon", 8, 27, 4, 4, 1, 1)),
    "chat": (
        TOOLBAR,
        ("Card", 1, 4, 10, 2, 1, 3),
        ("Card", 9, 14, 10, 2, 1, 4),
        ("Input", 0, 29, 20, 3, 1, 1),
    ),
    "editor": (TOOLBAR, ("Icon", 1, 4, 2, 2, 6, 1), ("Web View", 1, 8, 18, 23, 1, 1)),
    "form": (TOOLBAR, ("Text", 1, 4, 6, 2, 1, 7), ("Input", 8, 4, 11, 2, 1, 7)),
    "gallery": (TOOLBAR, ("Image", 1, 4, 5, 5, 3, 4)),
    "list": (TOOLBAR, ("List Item", 0, 4, 20, 2, 1, 9)),
    "login": (
        ("Image", 6, 3, 8, 6, 1, 1),
        ("Input", 2, 13, 16, 2, 1, 2),
        ("Text Button", 2, 21, 16, 3, 1, 1),
    ),
    "maps": (("Map View", 0, 0, 20, 32, 1, 1), ("Input", 1, 1, 18, 3, 1, 1)),
    "mediaplayer": (
        ("Image", 2, 2, 16, 17, 1, 1),
        ("Slider", 2, 21, 16, 1, 1, 1),
        ("Icon", 4, 24, 4, 4, 3, 1),
    ),
    "menu": (("Drawer", 0, 0, 13, 32, 1, 1), ("List Item", 0, 6, 13, 2, 1, 7)),
    "modal": (
        TOOLBAR,
        ("Modal", 3, 10, 14, 12, 1, 1),
        ("Text", 4, 12, 12, 1, 1, 2),
        ("Text Button", 4, 18, 5, 2, 2, 1),
    ),
    "news": (TOOLBAR, ("Image", 1, 4, 6, 4, 1, 5), ("Text", 8, 4, 11, 4, 1, 5)),
    "other": (("Advertisement", 0, 0, 20, 5, 1, 1), ("Card", 1, 7, 8, 10, 2, 2)),
    "profile": (
        ("Background Image", 0, 0, 20, 10, 1, 1),
        ("Icon", 7, 7, 6, 6, 1, 1),
        ("Multi-Tab", 0, 15, 20, 2, 1, 1),
        ("Text", 2, 19, 16, 1, 1, 5),
    ),
    "search": (("Input", 0, 0, 20, 3, 1, 1), ("Text", 3, 5, 10, 1, 1, 6)),
    "settings": (
        TOOLBAR,
        ("Text", 1, 4, 10, 2, 1, 8),
        ("On/Off Switch", 15, 4, 4, 2, 1, 8),
    ),
    "terms": (("Text", 1, 1, 18, 1, 1, 12), ("Button Bar", 0, 28, 20, 4, 1, 1)),
    "tutorial": (
        ("Image", 3, 4, 14, 13, 1, 1),
        ("Text", 4, 19, 12, 1, 1, 2),
        ("Pager Indicator", 6, 26, 1, 1, 4, 1),
        ("Text Button", 2, 28, 16, 3, 1, 1),
    ),
}
#: The components' colours in ENRICO's wireframes (its component_legend.json).
COLOURS = {
    "Advertisement": "#0D47A1",
    "Background Image": "#D21453",
    "Button Bar": "#FFCDD2",
    "Card": "#D7BDE2",
    "Drawer": "#673AB7",
    "Icon": "#FF8A65",
    "Image": "#F06292",
    "Input": "#90CAF9",
    "List Item": "#FFE0B2",
    "Map View": "#E1BEE7",
    "Modal": "#00FFCC",
    "Multi-Tab": "#FFF176",
    "On/Off Switch": "#4FC3F7",
    "Pager Indicator": "#F8BBD0",
    "Slider": "#CDDBDC",
    "Text": "#4A148C",
    "Text Button": "#CDDC39",
    "Toolbar": "#4DD0E1",
    "Video": "#00CC00",
    "Web View": "#42A5F5",
}
PICTURES = {"Image", "Background Image", "Advertisement", "Map View", "Video"}
Box = tuple[str, float, float, float, float]  # component, x0, y0, x1, y1 in pixels


def write(folder: Path, topics: Sequence[str], seed: int = 0) -> None:
    """Draw a screenshot and a wireframe for each of these topics, and list them in the csv."""
    (folder / "screenshots").mkdir()
    (folder / "wireframes").mkdir()
    ids = random.Random(f"{seed} ids").sample(range(100, 50000), len(topics))
    for screen, topic in zip(ids, topics, strict=True):
        dice = random.Random(f"{seed} {screen}")
        picture = _screenshot(_boxes(_shown(topic, 1, dice), dice), dice)
        picture.save(folder / "screenshots" / f"{screen}.jpg", quality=85)
        picture = _wireframe(_boxes(_shown(topic, len(LAYOUTS) // 2, dice), dice))
        picture.save(folder / "wireframes" / f"{screen}.png", compress_level=1)
    rows = zip(ids, topics, strict=True)
    write_csv(folder / "design_topics.csv", ["screen_id", "topic"], rows)


def _shown(topic: str, distance: int, dice: random.Random) -> str:
    """The topic whose layout is shown: the screen's, or that of its partner at this distance."""
    if dice.random() >= CONFUSED:
        return topic
    names = list(LAYOUTS)
    place = names.index(topic)
    return names[place + distance if place // distance % 2 == 0 else place - distance]


def _boxes(topic: str, dice: random.Random) -> list[Box]:
    """The components of one screen: the topic's, jittered, some missing, perhaps a stray one."""
    parts = list(LAYOUTS[topic])
    if dice.random() < STRAY:
        stray = dice.choice(LAYOUTS[dice.choice(list(LAYOUTS))])
        parts.append((*stray[:5], 1, 1))
    boxes = []
    for kind, x, y, width, height, columns, rows in parts:
        shift_x, shift_y = dice.uniform(-0.5, 0.5), dice.uniform(-0.5, 0.5)
        for row in range(rows):
            for column in range(columns):
                if dice.random() < MISSING:
                    continue
                left = (x + column * (width + 1) + shift_x) * UNIT_X
                top = (y + row * (height + 1) + shift_y) * UNIT_Y
                boxes.append((kind, left, top, left + width * UNIT_X, top + height * UNIT_Y))
    return boxes


def _wireframe(boxes: Sequence[Box]) -> Image.Image:
    image = Image.new("RGB", (COLUMNS * UNIT_X, ROWS * UNIT_Y), "white")
    draw = ImageDraw.Draw(image)
    for kind, *place in boxes:
        draw.rectangle(place, fill=COLOURS[kind], outline="black")
    return image


def _screenshot(boxes: Sequence[Box], dice: random.Random) -> Image.Image:
    back, ink, field = "#FAFAFA", "#404040", "#E0E0E0"
    accent = f"hsl({dice.randrange(360)}, 60%, 45%)"
    image = Image.new("RGB", (COLUMNS * UNIT_X, ROWS * UNIT_Y), back)
    draw = ImageDraw.Draw(image)
    for kind, x0, y0, x1, y1 in boxes:
        place = (x0, y0, x1, y1)
        if kind in PICTURES:
            colours = [f"hsl({dice.randrange(360)}, 50%, {light}%)" for light in (40, 65)]
            draw.rectangle(place, fill=colours[0])
            draw.ellipse((x0 + (x1 - x0) / 4, y0, x1, y1 - (y1 - y0) / 4), fill=colours[1])
        elif kind in ("Toolbar", "Text Button", "Button Bar", "Drawer"):
            draw.rectangle(place, fill=accent)
        elif kind in ("Icon", "Pager Indicator", "On/Off Switch"):
            draw.ellipse(place, fill=accent, outline=ink)
        elif kind in ("Input", "Slider", "Modal", "Card", "Multi-Tab"):
            draw.rectangle(place, fill=field, outline=ink, width=3)
        else:  # text, list items, a page: lines of writing
            for y in range(int(y0) + 6, int(y1), 20):
                draw.rectangle((x0 + 6, y, x0 + (x1 - x0) * dice.uniform(0.5, 1), y + 9), fill=ink)
    return image
