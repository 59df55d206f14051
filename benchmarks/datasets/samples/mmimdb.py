"""Films drawn in MM-IMDb's formats, for trying things out without the published files.

A plot has words of its film's genres, a poster an emblem for each. In three of ten cases the plot
tells of a genre's neighbour in its place, and the poster shows another partner's emblem: either
alone leaves open which of two genres it is, and both together tell.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from i2moe_plugin.benchmarks.data.splits import SplitRows
from i2moe_plugin.benchmarks.formats.hdf5_writing import writing_hdf5

#: Words that plots of a genre have, in the order of the published genres.
VOCABULARY = {
    "Drama": "grief marriage struggle forgiveness",
    "Comedy": "prank clumsy misunderstanding hilarious",
    "Romance": "lovers kiss wedding heartbreak",
    "Thriller": "conspiracy hostage paranoid deadline",
    "Crime": "robbery gangster detective heist",
    "Action": "explosion chase mercenary showdown",
    "Adventure": "expedition treasure jungle voyage",
    "Horror": "haunted vampire scream cursed",
    "Documentary": "interviews archive footage filmmaker",
    "Mystery": "clue vanished riddle secret",
    "Sci-Fi": "spaceship robot galaxy android",
    "Fantasy": "wizard dragon kingdom spell",
    "Family": "children puppy holiday grandmother",
    "Biography": "portrait childhood fame inventor",
    "War": "soldiers battle invasion trenches",
    "History": "empire revolution century queen",
    "Music": "band concert singer guitar",
    "Animation": "animated talking toys cartoon",
    "Musical": "broadway chorus dancing songs",
    "Western": "cowboy sheriff saloon ranch",
    "Sport": "coach championship boxing team",
    "Short": "brief minutes vignette moment",
    "Film-Noir": "femme shadows cigarette alley",
}
FILLERS = "a man woman finds the of in city with who must and before their life is"
NAMES = list(VOCABULARY)
CONFUSED = 0.3
WIDTH, HEIGHT = 160, 256
CELL = 40  # pixels of an emblem's place in a grid of 4 by 6


class Film(NamedTuple):
    """A drawn film; genres by number."""

    id: str
    genres: list[int]
    plot: str
    poster: Image.Image


def draw(seed: int, count: int) -> list[Film]:
    """Draw so many films; equal seeds draw equal ones."""
    ids = random.Random(f"{seed} ids").sample(range(10000, 2000000), count)
    films = []
    for number in ids:
        dice = random.Random(f"{seed} {number}")
        genres = sorted(dice.sample(range(len(NAMES)), dice.choice((1, 2, 2, 3))))
        plot = _plot([_genre_shown(genre, 1, dice) for genre in genres], dice)
        poster = _poster([_genre_shown(genre, 11, dice) for genre in genres], dice)
        films.append(Film(f"{number:07d}", genres, plot, poster))
    return films


def _genre_shown(genre: int, distance: int, dice: random.Random) -> int:
    """Return the genre that is shown: the film's, or its partner at that distance."""
    if dice.random() >= CONFUSED:
        return genre
    partner = genre + distance if genre // distance % 2 == 0 else genre - distance
    return partner if partner < len(NAMES) else genre


def _plot(genres: list[int], dice: random.Random) -> str:
    words = [word for genre in genres for word in VOCABULARY[NAMES[genre]].split()]
    words = dice.sample(words, len(words) - 1) + dice.sample(FILLERS.split(), 8)
    dice.shuffle(words)
    return " ".join(words).capitalize() + "."


def _poster(genres: list[int], dice: random.Random) -> Image.Image:
    image = Image.new("RGB", (WIDTH, HEIGHT), f"hsl({dice.randrange(360)}, 20%, 25%)")
    pen = ImageDraw.Draw(image)
    for genre in genres:
        left, top = CELL * (genre % 4), CELL * (genre // 4)
        left, top = left + dice.randint(-6, 6), top + dice.randint(-6, 6)
        place = (left, top, left + CELL, top + CELL)
        colour = f"hsl({genre * 360 // len(NAMES)}, 90%, 60%)"
        if genre % 2:
            pen.ellipse(place, fill=colour)
        else:
            pen.rectangle(place, fill=colour)
    pen.rectangle((10, 246, dice.randint(60, 150), 251), fill="white")  # the title
    return image


def write_hdf5(path: Path, seed: int, count: int) -> None:
    """Write the published file's keys, types and shapes, with features of plots and posters."""
    films = draw(seed, count)
    vectors = _vectors(seed)
    with writing_hdf5(path) as file:
        plots = [film.plot.lower().rstrip(".").split() for film in films]
        features = np.stack([np.mean([vectors[word] for word in plot], axis=0) for plot in plots])
        file["features"] = features.astype(np.float32)
        file["vgg_features"] = _picture_features([film.poster for film in films], seed)
        genres = np.zeros((count, len(NAMES)), dtype=np.int32)
        for row, film in enumerate(films):
            genres[row, film.genres] = 1
        file["genres"] = genres
        file["genres"].attrs["target_names"] = json.dumps(NAMES)
        file["imdb_ids"] = np.array([film.id for film in films], dtype="S7")
        images = file.create_dataset(
            "images",
            (count, 3, HEIGHT, WIDTH),
            dtype="i4",
            chunks=(1, 3, HEIGHT, WIDTH),
            compression="gzip",
            compression_opts=1,
            shuffle=True,
        )
        for row, film in enumerate(films):
            blue_first = np.asarray(film.poster)[..., ::-1] - np.array([103.939, 116.779, 123.68])
            images[row] = blue_first.transpose(2, 0, 1).astype(np.int32)


def write_raw(folder: Path, seed: int, count: int, vectors: str, splits: SplitRows) -> None:
    """Write the raw archive's files; ``splits`` are the films of each split, by number."""
    films = draw(seed, count)
    (folder / "dataset").mkdir()
    for film in films:
        facts = {"plot": ["Not told.", film.plot], "genres": [NAMES[g] for g in film.genres]}
        place = folder / "dataset" / film.id
        place.with_suffix(".json").write_text(json.dumps(facts), encoding="utf-8")
        film.poster.save(place.with_suffix(".jpeg"), quality=85)
    parts = zip(("train", "dev", "test"), splits.values(), strict=True)
    split = {name: [films[row].id for row in rows] for name, rows in parts}
    (folder / "split.json").write_text(json.dumps(split), encoding="utf-8")
    known = _vectors(seed)
    with (folder / vectors).open("wb") as file:
        file.write(f"{len(known)} 300\n".encode())
        for word, vector in known.items():
            file.write(word.encode() + b" " + vector.tobytes() + b"\n")


def _vectors(seed: int) -> dict[str, NDArray[np.float32]]:
    generator = np.random.default_rng([seed, 300])
    words = [word for words in VOCABULARY.values() for word in words.split()]
    words += FILLERS.split()
    return {word: generator.normal(0, 0.2, 300).astype(np.float32) for word in words}


def _picture_features(posters: list[Image.Image], seed: int) -> NDArray[np.float32]:
    """Return what a random layer of 4096 rectified units makes of thumbnails."""
    thumbs = np.stack([np.asarray(poster.resize((20, 32)), np.float32) for poster in posters])
    flat = thumbs.reshape(len(posters), -1) / 255 - 0.5
    weights = np.random.default_rng([seed, 4096]).normal(0, 1, (flat.shape[1], 4096))
    units: NDArray[np.float32] = np.maximum(flat @ weights / 8, 0).astype(np.float32)
    return units
