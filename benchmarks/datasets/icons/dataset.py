"""The data set ``icons``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from i2moe_plugin.benchmarks.data.base import SPLITS, MultimodalDataset, SplitName, Status
from i2moe_plugin.benchmarks.data.cards import Card, Download
from i2moe_plugin.benchmarks.data.files import LazySplit, single
from i2moe_plugin.benchmarks.data.frozen import cache_dir
from i2moe_plugin.benchmarks.data.preview import Preview
from i2moe_plugin.benchmarks.data.registry import register_dataset
from i2moe_plugin.benchmarks.data.tokens import (
    Ragged,
    Repeated,
    model_digest,
    padded,
    picture_states,
    text_states,
)
from i2moe_plugin.benchmarks.datasets.icons.collection import (
    COLLECTIONS,
    SIZE,
    read_collection,
)
from i2moe_plugin.benchmarks.datasets.icons.pictures import PictureRows, Pictures
from i2moe_plugin.benchmarks.datasets.icons.tasks import TASKS
from i2moe_plugin.benchmarks.encoders import EncoderSettings
from i2moe_plugin.benchmarks.encoders.pretrained import (
    KNOWN,
    Projected,
    TextModel,
    TextTokens,
    VisionModel,
    find_model,
    not_installed,
)
from i2moe_plugin.benchmarks.encoders.pretrained.text import LIMIT
from i2moe_plugin.benchmarks.encoders.tokens import TokenEncoder
from i2moe_plugin.errors import ConfigError, DatasetError, did_you_mean
from i2moe_plugin.tasks import Classification

FILE = "icons.npz"
MODELS = ("minilm", "dinov2-small")  # of texts and of pictures
BUILD = "python -m i2moe_plugin.benchmarks.datasets.icons.build"


@dataclass(frozen=True, eq=False)
class Layout:
    """What a sample's tokens stand for.

    Attributes:
        text: the tokens of its text, with words and special tokens.
        grid: rows and columns of the picture's patches, which are tokens row by row.
        truth_text: for each text token, whether it carries the label; None where that is not known.
        truth_image: for each patch, the same.
    """

    text: TextTokens
    grid: tuple[int, int]
    truth_text: tuple[bool, ...] | None = None
    truth_image: tuple[bool, ...] | None = None


def _described(name: str) -> str:
    return f"{name}, {KNOWN[name].origin} ({KNOWN[name].licence})"


@register_dataset("icons")
class IconsDataset(MultimodalDataset):
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
        root: folder of another ``icons.npz``, such as the whole.
        task: ``category``, ``style``, ``match`` or ``copy``.
        collection: ``material`` (names alone) or ``tabler`` (names and tags); by default tabler for
            match and copy, else material.
        text_model, picture_model: a name, a folder or a name on the Hugging Face hub; see
            ``encoders/pretrained``.
        picture_size: pixels of a side as the picture model sees it.
        max_tokens: of a text; the rest is cut off, which is noted beside results.

    Raises:
        DatasetError: a file or a model that is missing or damaged.
        ConfigError: settings that make no sense.
    """

    modalities = ("text", "image")
    card = Card(
        title="Icons of Material Symbols and Tabler with their words",
        source="Material Symbols (Google; npm @iconify-json/material-symbols 1.2.98) and Tabler "
        "Icons (Pawel Kuna; npm @tabler/icons 3.52.0, without brands), drawn by resvg at 112 x 112 "
        f"pixels. The package carries a part; the whole: data fetch, then {BUILD} FOLDER. Encoders "
        f"unless told otherwise: {'; '.join(_described(name) for name in MODELS)}.",
        licence="Apache-2.0 (Material Symbols), MIT (Tabler Icons); class words are drawn in "
        "Aileron (CC0)",
        splits="70, 15 and 15 % of the base names of each category",
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

    def __init__(
        self,
        root: str | Path | None = None,
        task: str = "category",
        collection: str = "",
        text_model: str = MODELS[0],
        picture_model: str = MODELS[1],
        picture_size: int = SIZE,
        max_tokens: int = LIMIT,
    ) -> None:
        super().__init__(root)
        self.asked = _checked(task, collection, picture_size, max_tokens)
        self.path = self._path(self.root)
        if not self.path.is_file():
            raise DatasetError(_missing(self.path))
        self._icons = read_collection(self.path, self.asked["collection"])
        self._samples = TASKS[task][1](self._icons)
        self._rows = {
            name: np.flatnonzero(self._samples.split == i) for i, name in enumerate(SPLITS)
        }
        self._check_samples()
        store = cache_dir() / "models"
        self._text_folder = find_model(text_model, "text", store)
        self._picture_model = VisionModel(find_model(picture_model, "image", store), picture_size)
        self.max_tokens = max_tokens
        # A token is at least a byte, so short texts need not be cut into tokens to know it.
        if max(len(text.encode()) for text in self._samples.texts) + 8 > max_tokens:
            cut = sum(text.left_out > 0 for text in self._tokens)
            if cut:
                self.notes.append(
                    f"{cut} of {len(self._tokens)} texts were cut at {max_tokens} tokens."
                )
        self._states: tuple[Ragged, Any] | None = None

    @property
    def task(self) -> Classification:
        """One of the task's classes."""
        return Classification(len(self._samples.class_names))

    @property
    def class_names(self) -> list[str]:
        return self._samples.class_names

    def prepare(self, device: torch.device | str = "cpu", progress: bool = False) -> None:
        """Compute the states of texts' tokens and pictures' patches, or take them from the cache.

        Raises:
            DatasetError: models that cannot be loaded, or damaged pictures.
        """
        if self._states is None:
            told: dict[str, Any] = {"device": device, "progress": progress, "cache": self.cache}
            content = hashlib.sha256()
            for picture in self._samples.pictures:
                content.update(repr((picture.word, picture.below)).encode())
                content.update(self._icons.drawing[picture.row])
            content.update(b"".join(self._icons.strips))
            self._states = (
                text_states("icons", self._text_model, self._tokens, **told),
                picture_states(
                    "icons", self._picture_model, self._pictures, content.hexdigest(), **told
                ),
            )

    def split(self, name: SplitName) -> LazySplit:
        """Items ((states [T, F], T), states of patches [P, F], class) once prepared.

        Before that ((token numbers [T], T), picture [3, 112, 112], class).
        """
        made = self._samples
        text: Any = self._token_numbers
        picture: Any = PictureRows(self._pictures)
        take: Callable[[Any], Any] = _numbers
        if self._states is not None:
            text, picture = self._states
            take = padded
        return LazySplit(
            [Repeated(text, made.text_of), Repeated(picture, made.picture_of)],
            torch.from_numpy(made.label),
            self._rows[name],
            prepare=[take, single],
        )

    def labels(self, name: SplitName) -> NDArray[Any]:
        return self._samples.label[self._rows[name]]

    def sample_ids(self, name: SplitName) -> list[str]:
        return [self._samples.ids[row] for row in self._rows[name]]

    def encoders(self, settings: EncoderSettings) -> list[nn.Module]:
        """A projection of states for each modality; not prepared, behind the frozen network."""
        text = TokenEncoder(self._text_model.width, settings)
        picture = TokenEncoder(self._picture_model.width, settings)
        if self._states is None:
            return [
                Projected(self._text_model.network(), text),
                Projected(self._picture_model.network(), picture),
            ]
        return [text, picture]

    def features(self, name: SplitName) -> NDArray[Any] | None:
        """The mean state of each text beside that of each picture, [N, F + F], once prepared."""
        if self._states is None:
            return None
        data = self.split(name)
        parts = []
        for start in range(0, len(data), 256):
            (text, lengths), picture, _ = data.__getitems__(
                list(range(start, min(start + 256, len(data))))
            )
            parts.append(torch.cat([text.sum(1) / lengths[:, None], picture.mean(1)], 1).numpy())
        return np.concatenate(parts)

    def show(self, name: SplitName, index: int) -> list[Preview]:
        """The text and the picture themselves."""
        row = self._rows[name][index]
        picture = self._pictures[int(self._samples.picture_of[row])]
        shown = (picture * 255).round().byte().permute(1, 2, 0).numpy()
        return [
            Preview("text", "text", self._samples.texts[self._samples.text_of[row]]),
            Preview("image", "image", np.ascontiguousarray(shown)),
        ]

    def layout(self, name: SplitName, index: int) -> Layout:
        """What one sample's tokens stand for, and, in the task copy, which carry the label."""
        row = self._rows[name][index]
        number = int(self._samples.text_of[row])
        text = self._tokens[number]
        grid = self._picture_model.grid(SIZE, SIZE)
        span = self._samples.spans[number]
        if span is None:
            return Layout(text, grid)
        carries = tuple(
            start < span[1] and end > span[0] and not special
            for (start, end), special in zip(text.spans, text.special, strict=True)
        )
        picture = self._samples.pictures[self._samples.picture_of[row]]
        dark = np.argwhere(self._icons.word_alone(picture.word, picture.below) < 128)
        inked = np.zeros(grid, bool)
        inked[tuple((dark * grid // SIZE).T)] = True
        return Layout(text, grid, carries, tuple(inked.ravel().tolist()))

    def fingerprint(self) -> str:
        facts = {
            **self.asked,
            "file": self._file_digest,
            "text": model_digest(self._text_folder),
            "image": model_digest(self._picture_model.model),
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    @classmethod
    def status(cls, root: Path | None) -> Status:
        path = cls._path(root)
        problems = [] if path.is_file() else [_missing(path)]
        problems += [reason for name in MODELS if (reason := not_installed(name))]
        size = path.stat().st_size if path.is_file() else 0
        where = str(path) if root is not None else "in the package"
        return Status(not problems, where, size, tuple(problems))

    @classmethod
    def _path(cls, root: Path | None) -> Path:
        if root is not None:
            return root / FILE
        folder = resources.files("i2moe_plugin.benchmarks.datasets.embedded")
        return Path(str(folder.joinpath(FILE)))

    def _check_samples(self) -> None:
        trained = set(self._samples.label[self._rows["train"]].tolist())
        lost = [n for i, n in enumerate(self._samples.class_names) if i not in trained]
        empty = [name for name, rows in self._rows.items() if not len(rows)]
        if lost or empty:
            raise DatasetError(
                f"{self.path}: the task {self.asked['task']} cannot be learned: classes without "
                f"training sample: {', '.join(lost) or 'none'}; empty splits: "
                f"{', '.join(empty) or 'none'}."
            )

    @cached_property
    def _text_model(self) -> TextModel:
        return TextModel(self._text_folder, self.max_tokens)

    @cached_property
    def _tokens(self) -> list[TextTokens]:
        return self._text_model.tokens(self._samples.texts)

    @cached_property
    def _token_numbers(self) -> Ragged:
        rows = np.concatenate([np.array(text.ids) for text in self._tokens])
        return Ragged(rows, [len(text.ids) for text in self._tokens])

    @cached_property
    def _file_digest(self) -> str:
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    @property
    def _pictures(self) -> Pictures:
        return Pictures(self._samples, self._icons)


def _numbers(pair: tuple[NDArray[Any], NDArray[np.int64]]) -> tuple[Tensor, Tensor]:
    values, lengths = pair
    return torch.from_numpy(values.astype(np.int64)), torch.from_numpy(lengths)


def _checked(task: str, collection: str, picture_size: int, max_tokens: int) -> dict[str, Any]:
    problems = []
    if task not in TASKS:
        problems.append(
            f"data.task is one of {', '.join(TASKS)}, not {task!r}.{did_you_mean(str(task), TASKS)}"
        )
    if collection and collection not in COLLECTIONS:
        problems.append(f"data.collection is material or tabler, not {collection!r}.")
    for name, value in (("picture_size", picture_size), ("max_tokens", max_tokens)):
        if type(value) is not int or value < 1:
            problems.append(f"data.{name} is a whole number above 0, not {value!r}.")
    if problems:
        raise ConfigError(problems)
    return {
        "task": task,
        "collection": collection or TASKS[task][0],
        "picture_size": picture_size,
        "max_tokens": max_tokens,
    }


def _missing(path: Path) -> str:
    if (path.parent / "tabler").is_dir() and (path.parent / "material-symbols").is_dir():
        return f"{path}: no such file; make it with: {BUILD} {path.parent}"
    return (
        f"{path}: no such file. The whole set is made by: i2moe-bench data fetch icons --data-root "
        f"FOLDER, then {BUILD} FOLDER."
    )


get_dataloader = IconsDataset.get_dataloader
