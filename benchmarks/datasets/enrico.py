"""ENRICO: 1,460 mobile app screens in 20 design topics; screenshot and semantic wireframe.

Format, label order, split and image size are MultiBench's (``datasets/enrico/get_data.py``), which
the I2MoE paper's code shares; where either departs from what it says, see docs/deviations.md.

Source: L. A. Leiva, A. Hota, A. Oulasvirta, MobileHCI Adjunct 2020,
https://github.com/luileito/enrico
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from i2moe_plugin.benchmarks.data.cards import Card, Download, File, Key
from i2moe_plugin.benchmarks.data.contents import Contents
from i2moe_plugin.benchmarks.data.frozen import FrozenPictures, missing_weights
from i2moe_plugin.benchmarks.data.open import dataloader_of
from i2moe_plugin.benchmarks.data.packaged import check_trained
from i2moe_plugin.benchmarks.data.pretrained import Pretrained
from i2moe_plugin.benchmarks.data.registry import register_dataset
from i2moe_plugin.benchmarks.data.source import DataFolder
from i2moe_plugin.benchmarks.data.splits import SPLITS, SplitRows
from i2moe_plugin.benchmarks.datasets.samples import enrico as drawn
from i2moe_plugin.benchmarks.encoders import (
    EncoderSettings,
    PatchEmbedding,
    feature_encoder,
    vgg,
)
from i2moe_plugin.benchmarks.formats.pictures import ImageFiles
from i2moe_plugin.benchmarks.formats.reading import check_ids
from i2moe_plugin.benchmarks.formats.tables import check_number, read_csv
from i2moe_plugin.errors import ConfigError, DatasetError, did_you_mean, listed
from i2moe_plugin.tasks import Classification

TABLE = "design_topics.csv"
#: As in design_topics.csv (the project's README calls the calculator a dialer); a label is the
#: position in this list.
TOPICS = [
    "bare",
    "calculator",
    "camera",
    "chat",
    "editor",
    "form",
    "gallery",
    "list",
    "login",
    "maps",
    "mediaplayer",
    "menu",
    "modal",
    "news",
    "other",
    "profile",
    "search",
    "settings",
    "terms",
    "tutorial",
]
IGNORED = ("50105", "50109")  # their wireframes do not exist
SIZE = (256, 128)  # height, width
FOLDERS = {"screenshots": ".jpg", "wireframes": ".png"}
MODALITIES = ("screenshot", "wireframe")

CARD = Card(
    title="ENRICO: mobile app screens by design topic",
    source="Leiva, Hota, Oulasvirta: Enrico, MobileHCI Adjunct 2020; "
    "https://github.com/luileito/enrico",
    licence="MIT",
    citation="Leiva, Hota, Oulasvirta. Enrico: A Dataset for Topic Modeling of Mobile UI "
    "Designs. MobileHCI 2020 Adjunct.",
    splits="Random(42) shuffle of the csv's order, 65/15/20 %: 947, 219, 292; ids 50105 and "
    "50109 left out",
    files=(
        File(
            "design_topics.csv",
            "one screen a row",
            (
                Key("screen_id", ("N",), "text", "the screen's number in RICO"),
                Key("topic", ("N",), "text", "design topic, one of 20"),
            ),
        ),
        File("screenshots/{id}.jpg", "the screen, resized to 256 x 128"),
        File("wireframes/{id}.png", "its components as coloured blocks, resized alike"),
    ),
    sizes=(("N", 1460),),
    downloads=(
        Download(
            "https://raw.githubusercontent.com/luileito/enrico/master/design_topics.csv",
            "design_topics.csv",
        ),
        Download(
            "http://userinterfaces.aalto.fi/enrico/resources/screenshots.zip",
            "screenshots.zip",
            size=110_000_000,
            unpack="screenshots",
        ),
        Download(
            "http://userinterfaces.aalto.fi/enrico/resources/wireframes.zip",
            "wireframes.zip",
            size=5_000_000,
            unpack="wireframes",
        ),
    ),
    how_to_get="Get design_topics.csv from "
    "https://raw.githubusercontent.com/luileito/enrico/master/design_topics.csv, and unpack "
    "http://userinterfaces.aalto.fi/enrico/resources/screenshots.zip (110 MB) and "
    "http://userinterfaces.aalto.fi/enrico/resources/wireframes.zip (5 MB) beside it. "
    "For a small drawn data set in the same format: i2moe-bench data sample enrico DIR",
)


def draw(folder: Path, seed: int = 0, per_topic: int = 8) -> None:
    """Draw so many screens of each of the 20 topics."""
    if per_topic < 2:
        raise ConfigError(f"a sample needs at least 2 screens a topic, not {per_topic}.")
    # Topics are dealt out split by split, so that each has its share of every split.
    rows = np.concatenate(list(split_rows(len(TOPICS) * per_topic).values())).tolist()
    topics = [""] * len(rows)
    for place, row in enumerate(rows):
        topics[row] = TOPICS[place % len(TOPICS)]
    drawn.write(folder, topics, seed)


def missing(folder: DataFolder) -> Iterable[str]:
    """Return what keeps a run from starting although the folders are there."""
    if not folder.missing():
        try:
            folder.check_files(_pictures(folder, _read_topics(folder)[0]), TABLE)
        except DatasetError as error:
            yield str(error)
    yield from missing_weights(vgg.VGG11, folder)


@register_dataset(
    "enrico",
    card=CARD,
    modalities=MODALITIES,
    draw=draw,
    ready=missing,
    checkout="its 'test' loaders are built from the training split, so no test figure of it could "
    "be trusted (datasets/enrico/get_data.py, mode is never 'test')",
)
def read(
    folder: DataFolder,
    augment: bool = False,
    weights: str | Path = "auto",
    picture_model: str | Path = "",
    picture_size: Annotated[int, Field(ge=1)] = 112,
) -> Contents:
    """ENRICO's screenshots and wireframes; the task is the screen's design topic.

    Both are read by a frozen VGG11-BN, whose features are computed once, unless images are
    augmented.

    Args:
        folder: with design_topics.csv, screenshots/ and wireframes/.
        augment: flip (both ways, each with probability 1/2) and blur (3x3, sigma 0.1 to 2) training
            images, drawn anew each epoch: the paper's augmentation, on training images only.
        weights: of the VGG11-BN: ``auto`` (ImageNet's, from the torch hub cache), ``none`` (random
            features) or a file.
        picture_model: a pretrained model that gives patches in their place, as ``fl-i2moe``
            explains them: a name such as ``dinov2-small``, or a folder; empty: none.
        picture_size: pixels of the shorter side as the picture model sees it.

    Raises:
        DatasetError: missing or damaged files, a malformed csv, a topic without training sample, no
            weights, or a model that cannot be used.
        ConfigError: augmented pictures for ``picture_model``, whose patches are computed once.
    """
    if augment and picture_model:
        raise ConfigError("data.augment=true is of VGG features; patches are computed once.")
    ids, topics = _read_topics(folder)
    labels = np.array([TOPICS.index(topic) for topic in topics], dtype=np.int64)
    splits = folder.split(split_rows(len(ids)), ids, classes=labels)
    check_trained(str(folder / TABLE), labels[splits["train"]], tuple(TOPICS))
    paths = _pictures(folder, ids)
    folder.check_files(paths, TABLE)
    chosen, files = Pretrained(folder), ImageFiles(paths, SIZE)
    facts: dict[str, Any] = {
        "splits": splits,
        "target": torch.from_numpy(labels),
        "task": Classification(len(TOPICS), auroc="ovo"),  # one against one, as in the paper's code
        "class_names": TOPICS,
    }
    if picture_model:
        digest = partial(folder.digest, paths)
        return Contents(
            modalities=chosen.pictures(
                MODALITIES, picture_model, picture_size, files, SIZE, digest
            ),
            notes=chosen.notes,
            decisive=lambda: chosen.decisive,
            **facts,
        )
    pictures = FrozenPictures(
        folder,
        files,
        vgg.VGG11,
        weights,
        transform=f"upright RGB over white, PIL bilinear {SIZE}, [0, 1]",
        digest=partial(folder.digest, paths),
    )
    change = augmented if augment else None
    return Contents(
        modalities=[
            pictures.modality(name, _projection, start, start + len(ids), augment=change)
            for name, start in zip(MODALITIES, (0, len(ids)), strict=True)
        ],
        notes=pictures.notes,
        decisive=lambda: {"weights": pictures.weights_digest, "augment": augment},
        **facts,
    )


#: Batches of images ([B, 3, 256, 128], the same, [B]), which need no weights.
get_dataloader = dataloader_of("enrico", weights="none")


def split_rows(count: int) -> SplitRows:
    """Rows of train, valid and test (65, 15, 20 %), shuffled as MultiBench does."""
    rows = list(range(count))
    random.Random(42).shuffle(rows)
    parts = np.split(np.array(rows), [int(count * 0.65), int(count * (0.65 + 0.15))])
    return dict(zip(SPLITS, parts, strict=True))


def augmented(image: Tensor, seed: int) -> Tensor:
    """The I2MoE code's augmentation of [3, H, W]: a flip each way with probability 1/2; a blur."""
    from torchvision.transforms.functional import gaussian_blur

    draws = torch.rand(3, generator=torch.Generator().manual_seed(seed)).tolist()
    image = image.flip(2) if draws[0] < 0.5 else image
    image = image.flip(1) if draws[1] < 0.5 else image
    sigma = 0.1 + 1.9 * draws[2]
    return gaussian_blur(image, [3, 3], [sigma, sigma])


def _read_topics(folder: DataFolder) -> tuple[list[str], list[str]]:
    """Return the screens that are used, and the topic of each."""
    path = folder / TABLE
    table = read_csv(path, ("screen_id", "topic"))
    if not table["topic"]:
        raise DatasetError(f"{path}: lists no screens.")
    problems = []
    for row, (screen, topic) in enumerate(zip(table["screen_id"], table["topic"], strict=True)):
        try:
            check_number(f"row {row + 1}: screen_id", screen)
        except DatasetError as error:
            problems.append(str(error))
        if topic not in TOPICS:
            problems.append(
                f"row {row + 1}: topic {topic!r} is none of ENRICO's 20."
                f"{did_you_mean(topic, TOPICS)}"
            )
    if problems:
        raise DatasetError(f"{path}:\n{listed(problems)}")
    check_ids(str(path), table["screen_id"])
    used = [row for row, screen in enumerate(table["screen_id"]) if screen not in IGNORED]
    ids, topics = ([table[name][row] for row in used] for name in ("screen_id", "topic"))
    return ids, topics


def _pictures(folder: DataFolder, ids: Sequence[str]) -> list[Path]:
    """Return the screenshots, then the wireframes, in the csv's order."""
    return [folder / f"{name}/{one}{ending}" for name, ending in FOLDERS.items() for one in ids]


def _projection(settings: EncoderSettings) -> nn.Module:
    """VGG features [B, 25088] -> a latent.

    For token backbones they go through one linear layer of ``settings.hidden`` (the paper's code:
    1024) and are then cut into patches.
    """
    width = vgg.VGG11.width
    if settings.latents == "vector" or not settings.hidden:
        return feature_encoder(width, settings)
    return nn.Sequential(
        nn.Dropout(settings.input_dropout),
        nn.Linear(width, settings.hidden),
        nn.Dropout(settings.dropout),
        PatchEmbedding(settings.hidden, settings.patches, settings.dim),
    )
