"""Icons: pictures of Material Symbols and Tabler with their words, in four tasks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field

from i2moe_plugin.benchmarks.data.cache import cache_dir
from i2moe_plugin.benchmarks.data.cards import Card, Download, File, Key
from i2moe_plugin.benchmarks.data.contents import Contents
from i2moe_plugin.benchmarks.data.open import dataloader_of
from i2moe_plugin.benchmarks.data.packaged import check_trained
from i2moe_plugin.benchmarks.data.registry import register_dataset
from i2moe_plugin.benchmarks.data.source import DataFolder
from i2moe_plugin.benchmarks.data.splits import coded
from i2moe_plugin.benchmarks.data.tokens import Patches, Texts, model_digest
from i2moe_plugin.benchmarks.datasets.embedded import EMBEDDED
from i2moe_plugin.benchmarks.datasets.icons.collection import (
    SIZE,
    Collection,
    joined,
    read_collection,
)
from i2moe_plugin.benchmarks.datasets.icons.pictures import Pictures
from i2moe_plugin.benchmarks.datasets.icons.tasks import TASKS, Picture, Samples
from i2moe_plugin.benchmarks.encoders.pretrained import (
    KNOWN,
    TextTokens,
    VisionModel,
    find_model,
    not_installed,
)
from i2moe_plugin.benchmarks.encoders.pretrained.text import LIMIT
from i2moe_plugin.errors import DatasetError
from i2moe_plugin.tasks import Classification

FILE = "icons.npz"
MODELS = ("minilm", "dinov2-small")  # of texts and of pictures
BUILD = "python -m i2moe_plugin.benchmarks.datasets.icons.build"
#: Which expert ought to carry the label, where the task is made so.
CARRIED_BY = {"style": "uniqueness_2", "match": "synergy", "copy": "redundancy"}
HOW_TO_GET = (
    "A part ships in the package. The whole: i2moe-bench data fetch icons --data-root FOLDER, "
    f"then {BUILD} FOLDER."
)


def _described(name: str) -> str:
    return f"{name}, {KNOWN[name].origin} ({KNOWN[name].licence})"


CARD = Card(
    title="Icons of Material Symbols and Tabler with their words",
    source="Material Symbols (Google; npm @iconify-json/material-symbols 1.2.98) and Tabler "
    "Icons (Pawel Kuna; npm @tabler/icons 3.52.0, without brands), drawn by resvg at 112 x 112 "
    f"pixels. Encoders unless told otherwise: {'; '.join(map(_described, MODELS))}.",
    licence="Apache-2.0 (Material Symbols), MIT (Tabler Icons); class words are drawn in "
    "Aileron (CC0)",
    splits="70, 15 and 15 % of the base names of each category",
    files=(
        File(
            FILE,
            "icons of both collections, each with its words",
            (
                Key("collection", ("N",), "text", "material or tabler"),
                Key("base", ("N",), "text", "name without style"),
                Key("text", ("N",), "text", "words"),
                Key("style", ("N",), "i", "number in style_names"),
                Key("category", ("N",), "i", "number in category_names"),
                Key("split", ("N",), "i", "0 train, 1 valid, 2 test"),
                Key("style_names", ("S",), "text"),
                Key("category_names", ("C",), "text"),
                Key("word", ("W",), "text", "class words of the task copy"),
                Key("image_webp", ("bytes",), "i", "pictures, back to back"),
                Key("image_offset", ("N+1",), "i", "where each begins, and the end"),
                Key("word_webp", ("bytes of words",), "i", "drawn class words, back to back"),
                Key("word_offset", ("W+1",), "i", "where each begins, and the end"),
            ),
        ),
    ),
    how_to_get=HOW_TO_GET,
    embedded=True,
    extra="pretrained",
    downloads=(
        Download(
            "https://registry.npmjs.org/@iconify-json/material-symbols/-/"
            "material-symbols-1.2.98.tgz",
            "material-symbols.tgz",
            sha256="142d50bf28e7db85362795be335ebc29dac611d73c404fc1e6fc5cc198e2b3d0",
            size=1299274,
            unpack="material-symbols",
        ),
        Download(
            "https://registry.npmjs.org/@tabler/icons/-/icons-3.52.0.tgz",
            "tabler.tgz",
            sha256="626620c7d42afd2f294fba167ce4653b5cb946336d186b4991c70b700e5616af",
            size=1299871,
            unpack="tabler",
        ),
    ),
)


def missing(_: DataFolder) -> Iterable[str]:
    """Which of the usual models are not installed."""
    return [reason for name in MODELS if (reason := not_installed(name))]


@register_dataset(
    "icons",
    card=CARD,
    modalities=("text", "image"),
    locate=lambda root, card: (root or EMBEDDED, card),
    ready=missing,
)
def read(
    folder: DataFolder,
    task: Literal["category", "style", "match", "copy"] = "category",
    collection: Literal["", "material", "tabler"] = "",
    text_model: str | Path = MODELS[0],
    picture_model: str | Path = MODELS[1],
    picture_size: Annotated[int, Field(ge=1)] = SIZE,
    max_tokens: Annotated[int, Field(ge=1)] = LIMIT,
) -> Contents:
    """4,886 pictures of 3,106 icons with their words, by frozen pretrained encoders, as tokens.

    Modalities are (text, image): tokens of the text by ``text_model``, patches of the picture by
    ``picture_model``. Icons are split by their base name, so that styles of one icon, and icons
    that share a drawing, are never in two splits. Tasks:

    * ``category``: of one picture an icon.
    * ``style``: one of six, each icon in all of them: the picture alone can tell.
    * ``match``: does the text belong to the picture? Half are exchanged within category and split;
      each text and picture is in either class once: neither alone says anything.
    * ``copy``: a class word, drawn by lot, is written in the text and drawn over the picture:
      either alone says everything.

    Args:
        folder: with ``icons.npz``.
        task: ``category``, ``style``, ``match`` or ``copy``.
        collection: ``material`` (names alone) or ``tabler`` (names and tags); by default tabler for
            match and copy, else material.
        text_model, picture_model: a name, a folder or a name on the Hugging Face hub; see
            ``encoders/pretrained``.
        picture_size: pixels of a side as the picture model sees it.
        max_tokens: of a text; the rest is cut off, which is noted beside results.

    Raises:
        DatasetError: a file or a model that is missing or damaged.
        ConfigError: a task that the collection does not have.
    """
    path = folder / FILE
    if not path.is_file():
        raise DatasetError(_missing(path))
    usual, make = TASKS[task]
    icons = read_collection(path, collection or usual)
    by_icon = folder.split(
        coded(icons.split),
        [str(row) for row in range(len(icons.base))],
        classes=icons.category,
        groups=joined(icons),
    )
    made = make(replace(icons, split=by_icon.codes()))
    rows = coded(made.split)
    # One text, several pictures: those samples are not independent.
    splits = replace(by_icon, rows=rows, ids=made.ids, groups=made.text_of)
    splits.check(str(folder))
    check_trained(f"{path}, task {task}", made.label[splits["train"]], tuple(made.class_names))
    store = cache_dir() / "models"
    text_folder = find_model(text_model, "text", store)
    picture_folder = find_model(picture_model, "image", store)
    texts = Texts(folder, text_folder, made.texts, max_tokens)
    patches = Patches(
        folder,
        VisionModel(picture_folder, picture_size),
        Pictures(made, icons),
        (SIZE, SIZE),
        cache(lambda: _digest(made, icons)),
    )

    def carrying_tokens(row: int) -> tuple[bool, ...] | None:
        number = made.text_of[row]
        return word_tokens(texts.tokens[number], made.spans[number])

    def carrying_patches(row: int) -> tuple[bool, ...] | None:
        return word_patches(icons, made.pictures[made.picture_of[row]], patches.grid)

    return Contents(
        splits=splits,
        modalities=[
            texts.modality("text", made.text_of, carrying_tokens),
            patches.modality("image", made.picture_of, carrying_patches),
        ],
        target=torch.from_numpy(made.label),
        task=Classification(len(made.class_names)),
        class_names=made.class_names,
        notes=texts.notes,
        carried_by=CARRIED_BY.get(task, ""),
        decisive=lambda: {
            "task": task,
            "collection": collection or usual,
            "picture_size": picture_size,
            "max_tokens": max_tokens,
            "text": model_digest(text_folder),
            "image": model_digest(picture_folder),
        },
    )


get_dataloader = dataloader_of("icons")


def word_tokens(text: TextTokens, span: tuple[int, int] | None) -> tuple[bool, ...] | None:
    """For each token, whether it is of the class word; None where there is none.

    Args:
        text: the tokens of a text.
        span: the characters of the class word.
    """
    if span is None:
        return None
    return tuple(
        start < span[1] and end > span[0] and not special
        for (start, end), special in zip(text.spans, text.special, strict=True)
    )


def word_patches(
    icons: Collection, picture: Picture, grid: tuple[int, int]
) -> tuple[bool, ...] | None:
    """For each patch, whether ink of the class word is in it; None where there is none."""
    if picture.word < 0:
        return None
    dark = np.argwhere(icons.word_alone(picture.word, picture.below) < 128)
    inked = np.zeros(grid, bool)
    inked[tuple((dark * grid // SIZE).T)] = True
    return tuple(inked.ravel().tolist())


def _digest(made: Samples, icons: Collection) -> str:
    content = hashlib.sha256()
    for picture in made.pictures:
        content.update(repr((picture.word, picture.below)).encode())
        content.update(icons.drawing[picture.row])
    content.update(b"".join(icons.strips))
    return content.hexdigest()


def _missing(path: Path) -> str:
    if (path.parent / "tabler").is_dir() and (path.parent / "material-symbols").is_dir():
        return f"{path}: no such file; make it with: {BUILD} {path.parent}"
    return f"{path}: no such file. {HOW_TO_GET}"
