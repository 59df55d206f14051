"""ENRICO: 1,460 mobile app screens in 20 design topics; screenshot and semantic wireframe.

Format, label order, split and image size are MultiBench's (``datasets/enrico/get_data.py``), which
the I2MoE paper's code shares; where either departs from what it says, see docs/deviations.md.
"""

from __future__ import annotations

import csv
import hashlib
import os
import random
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader, Dataset

from i2moe_plugin.benchmarks.data import frozen as features
from i2moe_plugin.benchmarks.data.base import MultimodalDataset, SplitName, Status
from i2moe_plugin.benchmarks.data.cards import Card, Download, File, Key
from i2moe_plugin.benchmarks.data.files import LazySplit
from i2moe_plugin.benchmarks.data.images import AugmentationSampler, ImageFiles, ImageSplit
from i2moe_plugin.benchmarks.data.registry import register_dataset
from i2moe_plugin.benchmarks.data.samples import is_sample, sample_note, writing_sample
from i2moe_plugin.benchmarks.datasets.samples import enrico as enrico_sample
from i2moe_plugin.benchmarks.encoders import (
    EncoderSettings,
    Frozen,
    PatchEmbedding,
    feature_encoder,
    vgg,
)
from i2moe_plugin.benchmarks.formats.ondisk import Section
from i2moe_plugin.errors import ConfigError, DatasetError, did_you_mean, listed
from i2moe_plugin.tasks import Classification

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
DEFAULT_ROOT = Path("data/enrico")
FOLDERS = {"screenshots": ".jpg", "wireframes": ".png"}


class Screen(NamedTuple):
    """One row of design_topics.csv."""

    id: str
    topic: str


@register_dataset("enrico")
class Enrico(MultimodalDataset):
    """ENRICO's screenshots and wireframes; the task is the screen's design topic.

    Splits hold images until :meth:`prepare` is called, and the features of a frozen VGG11-BN after
    it (unless images are augmented); encoders fit what splits hold.

    Args:
        root: folder with design_topics.csv, screenshots/ and wireframes/; data/enrico if not told.
        augment: flip (both ways, each with probability 1/2) and blur (3x3, sigma 0.1 to 2) training
            images, drawn anew each epoch: the paper's augmentation, on training images only.
        weights: of the VGG11-BN: ``auto`` (ImageNet's, from the torch hub cache), ``none`` (random
            features) or a file.

    Raises:
        DatasetError: missing or damaged files, a malformed csv, a topic without training sample, or
            no weights; all problems at once.

    Source: L. A. Leiva, A. Hota, A. Oulasvirta, MobileHCI Adjunct 2020,
    https://github.com/luileito/enrico
    """

    card = Card(
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
    modalities = ("screenshot", "wireframe")

    def __init__(
        self, root: str | Path | None = None, augment: bool = False, weights: str | Path = "auto"
    ) -> None:
        if not isinstance(augment, bool):
            raise ConfigError(f"data.augment is true or false, not {augment!r}.")
        super().__init__(DEFAULT_ROOT if root is None else root)
        self.augment = augment
        found = _survey(self.folder)
        self.is_sample = is_sample(self.folder)
        try:
            self._weights = vgg.find_weights(vgg.VGG11, weights, random_allowed=self.is_sample)
        except DatasetError as error:
            found.problems.append(str(error))
        if found.problems:
            advice = "" if found.complete else f"\n{self.card.how_to_get}"
            raise DatasetError(
                f"ENRICO cannot be read from {self.folder}:\n{listed(found.problems)}{advice}"
            )
        self._screens = found.screens
        self._labels = np.array([TOPICS.index(s.topic) for s in found.screens], dtype=np.int64)
        self._rows = split_rows(len(found.screens))
        self._check_training_topics()
        self._features: list[Section] | None = None
        if self.is_sample:
            self.notes.append(sample_note("ENRICO"))
        if self._weights is None:
            self.notes.append(vgg.random_note(vgg.VGG11))

    @property
    def folder(self) -> Path:
        """The root."""
        assert self.root is not None
        return self.root

    @property
    def task(self) -> Classification:
        """One of 20 topics; AUROC one against one, as in the paper's code."""
        return Classification(len(TOPICS), auroc="ovo")

    @property
    def class_names(self) -> list[str]:
        return list(TOPICS)

    def prepare(self, device: torch.device | str = "cpu", progress: bool = False) -> None:
        """Compute frozen features, or take them from the cache.

        Where images are augmented there is nothing to keep; every image is read once, so that
        damage shows before training.

        Raises:
            DatasetError: images or weights that are damaged; all damaged images are named.
        """
        if self._features is not None:
            return
        files = ImageFiles([path for paths in self._paths() for path in paths], SIZE)
        if self.augment:
            files.check(progress)
            return
        key = {
            "images": self._images_digest,
            "extractor": "torchvision vgg11_bn features, average pool 7x7",
            "weights": self._weights_digest,
            "transform": f"RGB, PIL bilinear {SIZE}, [0, 1]",
        }
        values = features.frozen_features(
            self.name,
            files,
            partial(vgg.vgg11_features, self._weights),
            key,
            device=device,
            progress=progress,
            cache=self.cache,
        )
        count = len(self._screens)
        self._features = [Section(values, 0, count), Section(values, count, 2 * count)]

    def split(self, name: SplitName) -> Dataset[Any]:
        """Items (screenshot, wireframe, topic): [3, 256, 128] in [0, 1], or features [25088]."""
        rows = self._rows[name]
        if self._features is not None:
            return LazySplit(self._features, torch.from_numpy(self._labels), np.array(rows))
        columns = [ImageFiles([paths[i] for i in rows], SIZE) for paths in self._paths()]
        return ImageSplit(columns, self._labels[rows].tolist())

    def loader(
        self,
        name: SplitName,
        *,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = False,
        **options: Any,
    ) -> DataLoader[Any]:
        if not (self.augment and name == "train"):
            return super().loader(
                name, batch_size=batch_size, seed=seed, shuffle=shuffle, **options
            )
        data = self.split(name)
        sampler = AugmentationSampler(len(self._rows[name]), seed, shuffle)
        return DataLoader(data, batch_size, sampler=sampler, **options)

    @classmethod
    def get_dataloader(
        cls, root: str | Path | None = None, *args: Any, **options: Any
    ) -> tuple[DataLoader[Any], DataLoader[Any], DataLoader[Any]]:
        """MultiBench's call: batches of images ([B, 3, 256, 128], the same, [B])."""
        options.setdefault("weights", "none")  # images alone need none
        return super().get_dataloader(root, *args, **options)

    def labels(self, name: SplitName) -> NDArray[Any]:
        return self._labels[self._rows[name]]

    def sample_ids(self, name: SplitName) -> list[str]:
        return [self._screens[i].id for i in self._rows[name]]

    def encoders(self, settings: EncoderSettings) -> list[nn.Module]:
        """A trained projection for each modality, behind a frozen VGG11-BN if splits hold images.

        For token backbones the 25088 features go through one linear layer of ``settings.hidden``
        (the paper's code: 1024) and are then cut into patches.
        """
        if self._features is not None:
            return [_projection(settings) for _ in self.modalities]
        return [
            nn.Sequential(Frozen(vgg.vgg11_features(self._weights)), _projection(settings))
            for _ in self.modalities
        ]

    def fingerprint(self) -> str:
        """A hash of the csv, every image, the weights and ``augment``."""
        text = "/".join([self._images_digest, self._weights_digest, str(self.augment)])
        digest = hashlib.sha256(text.encode())
        digest.update((self.folder / "design_topics.csv").read_bytes())
        return digest.hexdigest()

    @classmethod
    def status(cls, root: Path | None) -> Status:
        folder = Path(DEFAULT_ROOT if root is None else root).expanduser()
        found = _survey(folder)
        try:
            vgg.find_weights(vgg.VGG11, random_allowed=is_sample(folder))
        except DatasetError as error:
            found.problems.append(str(error))
        return Status(not found.problems, str(folder), found.size, tuple(found.problems))

    @classmethod
    def write_sample(cls, folder: Path, seed: int = 0, per_topic: int = 8) -> None:
        """Draw a small data set in the published format.

        Args:
            folder: a new or empty folder.
            seed: of the drawing.
            per_topic: screens of each of the 20 topics.

        Raises:
            DatasetError: the folder is not empty or cannot be written.
            ConfigError: fewer than 2 screens a topic.
        """
        if per_topic < 2:
            raise ConfigError(f"a sample needs at least 2 screens a topic, not {per_topic}.")
        # Topics are dealt out split by split, so that each has its share of every split.
        rows = [row for part in split_rows(len(TOPICS) * per_topic).values() for row in part]
        topics = [""] * len(rows)
        for turn, row in enumerate(rows):
            topics[row] = TOPICS[turn % len(TOPICS)]
        with writing_sample(folder, "ENRICO", seed) as aside:
            enrico_sample.write(aside, topics, seed)

    @cached_property
    def _images_digest(self) -> str:
        digest = hashlib.sha256()
        for path in (path for paths in self._paths() for path in paths):
            try:
                content = path.read_bytes()
            except OSError as error:
                raise DatasetError(f"{path}: cannot be read ({error.strerror}).") from error
            digest.update(f"{path.name} {len(content)}\n".encode() + content)
        return digest.hexdigest()

    @cached_property
    def _weights_digest(self) -> str:
        return vgg.weights_fingerprint(vgg.VGG11, self._weights)

    def _paths(self) -> list[list[Path]]:
        """The screenshots, and the wireframes, in the csv's order."""
        return [
            [self.folder / name / (screen.id + ending) for screen in self._screens]
            for name, ending in FOLDERS.items()
        ]

    def _check_training_topics(self) -> None:
        present = set(self.labels("train").tolist())
        absent = [topic for label, topic in enumerate(TOPICS) if label not in present]
        if absent:
            raise DatasetError(
                f"{self.folder / 'design_topics.csv'}: no training sample of {', '.join(absent)}. "
                f"{len(self._screens)} screens are listed; the published file has 1460."
            )


get_dataloader = Enrico.get_dataloader


def split_rows(count: int) -> dict[SplitName, list[int]]:
    """Rows of train, valid and test (65, 15, 20 %), shuffled as MultiBench does."""
    rows = list(range(count))
    random.Random(42).shuffle(rows)
    first, second = int(count * 0.65), int(count * (0.65 + 0.15))
    return {"train": rows[:first], "valid": rows[first:second], "test": rows[second:]}


class _Survey(NamedTuple):
    """What lies in a root folder."""

    screens: list[Screen]
    problems: list[str]
    size: int
    complete: bool


def _survey(folder: Path) -> _Survey:
    """Read the csv, and look whether its images are there; their content is not looked at."""
    table = folder / "design_topics.csv"
    if not folder.is_dir():
        parts = [table.name, *(f"{name}/" for name in FOLDERS)]
        return _Survey([], [f"no such folder; it should hold {', '.join(parts)}"], 0, False)
    if table.is_file():
        screens, problems = _read_topics(table)
        size = table.stat().st_size
    else:
        screens, problems, size = [], [f"{table.name} is missing"], 0
    gaps: list[str] = []
    for name, ending in FOLDERS.items():
        if not (folder / name).is_dir():
            gaps.append(f"{name}/ is missing")
            continue
        with os.scandir(folder / name) as entries:
            sizes = {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
        size += sum(sizes.values())
        names = [screen.id + ending for screen in screens]
        gaps += _about(name, "missing", [n for n in names if n not in sizes], len(names))
        gaps += _about(name, "empty", [n for n in names if sizes.get(n) == 0], len(names))
    return _Survey(screens, problems + gaps, size, table.is_file() and not gaps)


def _about(folder: str, what: str, names: Sequence[str], total: int) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return [f"{folder}/: {len(names)} of {total} images {what}: {', '.join(names[:10])}{more}"]


def _read_topics(path: Path) -> tuple[list[Screen], list[str]]:
    """The rows of design_topics.csv that are used, and what is wrong with it."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns = list(reader.fieldnames or [])
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        return [], [f"design_topics.csv cannot be read as UTF-8 csv ({error})"]
    missing = [name for name in ("screen_id", "topic") if name not in columns]
    if missing:
        has = f"it has {', '.join(columns)}" if columns else "it is empty"
        return [], [f"design_topics.csv lacks the column {' and '.join(missing)}; {has}"]
    if not rows:
        return [], ["design_topics.csv lists no screens"]
    screens: list[Screen] = []
    problems: list[str] = []
    seen: set[str] = set()
    for line, row in rows:
        screen = Screen(row["screen_id"] or "", row["topic"] or "")
        where = f"design_topics.csv, line {line}"
        if not (screen.id.isascii() and screen.id.isdigit()):
            problems.append(f"{where}: screen_id {screen.id!r} is not a number")
        elif screen.id in seen:
            problems.append(f"{where}: screen_id {screen.id} is listed twice")
        elif screen.topic not in TOPICS:
            problems.append(
                f"{where}: topic {screen.topic!r} is none of ENRICO's 20."
                f"{did_you_mean(screen.topic, TOPICS)}"
            )
        elif screen.id not in IGNORED:
            screens.append(screen)
        seen.add(screen.id)
    return screens, problems


def _projection(settings: EncoderSettings) -> nn.Module:
    """VGG features [B, 25088] -> a latent; see :meth:`Enrico.encoders`."""
    if settings.latents == "vector" or not settings.hidden:
        return feature_encoder(vgg.VGG11_FEATURES, settings)
    return nn.Sequential(
        nn.Dropout(settings.input_dropout),
        nn.Linear(vgg.VGG11_FEATURES, settings.hidden),
        nn.Dropout(settings.dropout),
        PatchEmbedding(settings.hidden, settings.patches, settings.dim),
    )
