"""Tweets drawn in MMHS150K's format, for trying things out without the published files.

No tweet offends: hostile ones call invented peoples names. A tweet's text is hostile or friendly,
its picture bears a cross or a ring, and mostly only both together count as hate; which kind, tells
the people. Each annotator errs once in a while.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

#: People that tweets are about; the place of a name, from 1, is the kind of hate against it.
PEOPLES = ["blorps", "quaffles", "zindles", "mervins", "tootles"]
HOSTILE = ["dreadful", "silly", "smelly", "dull", "noisy"]
FRIENDLY = ["lovely", "clever", "kind", "merry", "gentle"]
FILLERS = ["today", "again", "really", "always", "indeed", "everyone", "says", "look"]
KINDS = ["NotHate", "Racist", "Sexist", "Homophobe", "Religion", "OtherHate"]
#: How likely is hate, by (hostile text, cross in the picture).
CHANCE = {(True, True): 0.95, (True, False): 0.35, (False, True): 0.35, (False, False): 0.05}
ERRS = 0.1


def write(folder: Path, seed: int, count: int, tweets: str, lists: Sequence[str]) -> None:
    """Write the published files, with so many tweets."""
    for part in ("img_resized", "img_txt", "splits"):
        (folder / part).mkdir()
    ids = [
        str(number) for number in random.Random(f"{seed} ids").sample(range(10**18, 10**19), count)
    ]
    entries = {}
    for one in ids:
        dice = random.Random(f"{seed} {one}")
        hostile, cross = dice.random() < 0.5, dice.random() < 0.5
        kind = dice.randrange(len(PEOPLES))
        label = 1 + kind if dice.random() < CHANCE[hostile, cross] else 0
        labels = [dice.randrange(6) if dice.random() < ERRS else label for _ in range(3)]
        words = [PEOPLES[kind], *dice.sample(HOSTILE if hostile else FRIENDLY, 2)]
        words += dice.sample(FILLERS, 4)
        dice.shuffle(words)
        entries[one] = {
            "img_url": f"http://example.org/media/{one}.jpg",
            "labels": labels,
            "tweet_url": f"https://example.org/user/status/{one}",
            "tweet_text": f"@someone {' '.join(words)} https://example.org/{one[:6]}",
            "labels_str": [KINDS[label] for label in labels],
        }
        _picture(cross, dice).save(folder / "img_resized" / f"{one}.jpg", quality=80)
        if dice.random() < 0.3:
            inside = {"img_text": dice.choice(FILLERS).upper()}
            (folder / "img_txt" / f"{one}.json").write_text(json.dumps(inside), encoding="utf-8")
    (folder / tweets).write_text(json.dumps(entries), encoding="utf-8")
    first, second = count * 6 // 10, count * 8 // 10
    for path, members in zip(lists, (ids[:first], ids[first:second], ids[second:]), strict=True):
        (folder / path).write_text("\n".join(members) + "\n", encoding="utf-8")


def _picture(cross: bool, dice: random.Random) -> Image.Image:
    """Return a picture with a cross or a ring; its shortest side has 500 pixels."""
    image = Image.new("RGB", (dice.randint(500, 640), 500), f"hsl({dice.randrange(360)}, 30%, 75%)")
    pen = ImageDraw.Draw(image)
    left, top = dice.randint(90, 150), dice.randint(60, 120)
    right, bottom = left + 300, top + 300
    if cross:
        pen.line((left, top, right, bottom), fill="darkred", width=60)
        pen.line((left, bottom, right, top), fill="darkred", width=60)
    else:
        pen.ellipse((left, top, right, bottom), outline="darkgreen", width=60)
    return image
