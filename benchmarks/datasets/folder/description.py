"""``dataset.yaml``: what a folder of the user's own data says of itself."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from i2moe_plugin.benchmarks.data.registry import SELF_DESCRIBED
from i2moe_plugin.benchmarks.formats.tables import read_yaml
from i2moe_plugin.errors import DatasetError, did_you_mean, listed

ENDINGS = (".npz", ".npy", ".h5", ".hdf5", ".csv", ".parquet")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ArrayPlace(_Part):
    """The place of an array: a file, and what of it.

    Attributes:
        file: relative to the folder; csv, parquet, npz, npy, h5 or hdf5.
        key: the array in an npz or HDF5 file.
        column: one column of a csv or parquet file.
        columns: several columns, or a pattern such as ``mfcc_*``: [N, F].
    """

    file: str
    key: str | None = None
    column: str | None = None
    columns: list[str] | str | None = None

    @field_validator("file")
    @classmethod
    def _inside(cls, value: str) -> str:
        path = Path(value)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError("must lie inside the folder")
        if path.suffix.lower() not in ENDINGS:
            raise ValueError(f"must end in one of {', '.join(ENDINGS)}")
        return value

    @model_validator(mode="after")
    def _named(self) -> ArrayPlace:
        ending = Path(self.file).suffix.lower()
        table = ending in (".csv", ".parquet")
        if table and (self.key or not (self.column or self.columns)):
            raise ValueError("a table needs column or columns, and no key")
        if table and self.column and self.columns:
            raise ValueError("give column or columns, not both")
        if not table and (self.column or self.columns):
            raise ValueError("only csv and parquet files have columns; give key")
        if ending in (".npz", ".h5", ".hdf5") and not self.key:
            raise ValueError("needs key, the array's name in the file")
        return self


class ModalityEntry(ArrayPlace):
    """One modality.

    Attributes:
        kind: ``features`` [N, F]; ``tokens`` or ``series`` [N, T, F]; ``text``, a column of
            strings; ``image``, a column of file names or pixels [N, H, W, 3] or [N, 3, H, W].
        lengths: key or column of the same file with each sample's number of tokens or steps [N].
        size: [height, width] that image files are resized to.
        words: number of words that text is described by.
        missing: true: a sample without any value (empty cells, NaN throughout, an empty file name)
            lacks the modality; or the key or column of the same file that is 1 or true where it is
            lacking. Otherwise every sample has it, and empty cells are single missing values.
    """

    kind: Literal["features", "tokens", "series", "text", "image"]
    lengths: str | None = None
    size: tuple[int, int] = (64, 64)
    words: int = Field(1000, ge=1, le=100_000)
    missing: bool | str = False

    @field_validator("missing", mode="before")
    @classmethod
    def _truth(cls, value: Any) -> Any:
        """Take true and false for themselves: the file's words come as they are written."""
        return {"true": True, "false": False}.get(str(value).lower(), value)

    @model_validator(mode="after")
    def _fits(self) -> ModalityEntry:
        if self.lengths and self.kind not in ("tokens", "series"):
            raise ValueError("lengths are of tokens and series only")
        if self.kind == "text" and not (self.column or self.key):
            raise ValueError("text is one column")
        if min(self.size) < 8 or max(self.size) > 4096:
            raise ValueError("size is [height, width], each from 8 to 4096")
        return self


class Fractions(_Part):
    """A drawn split."""

    train: float = Field(gt=0, lt=1)
    valid: float = Field(gt=0, lt=1)
    test: float = Field(gt=0, lt=1)
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _whole(self) -> Fractions:
        if abs(self.train + self.valid + self.test - 1) > 1e-6:
            raise ValueError("train, valid and test must add up to 1")
        return self


def _kind_of_split(value: Any) -> str:
    """Tell whether a split, as written or as read, is drawn by fractions or stands in a file."""
    if isinstance(value, dict):
        return "fractions" if value.keys() & Fractions.model_fields.keys() else "place"
    return "fractions" if isinstance(value, Fractions) else "place"


Split = Annotated[
    Annotated[ArrayPlace, Tag("place")] | Annotated[Fractions, Tag("fractions")],
    Discriminator(_kind_of_split),
]


class Description(_Part):
    """The whole file.

    Attributes:
        name: letters, digits, ``-`` and ``_``.
        modalities: at least two, in order.
        target: class names or numbers; [N, C] of 0 and 1 for multilabel; numbers for regression.
        task: what is predicted.
        metric: what methods are compared by.
        classes: names of the classes or outputs, in the order of their numbers; where the target
            holds none of these names, it holds their places, from 0.
        ids: the samples' names; their row numbers if not told.
        split: a column of train, valid and test; or fractions to draw it by.
        groups: each row's group, such as its patient or video: a group stays in one split where
            splits are drawn.
        drop_unlabelled: leave out rows whose target is missing, which are an error otherwise.
        standardise: give features, tokens and series mean 0 and deviation 1 on training rows.
        title, source, licence, citation: for people.
    """

    name: str
    modalities: dict[str, ModalityEntry]
    target: ArrayPlace
    task: Literal["classification", "multilabel", "regression"]
    metric: str | None = None
    classes: list[str] | None = None
    ids: ArrayPlace | None = None
    split: Split
    groups: ArrayPlace | None = None
    drop_unlabelled: bool = False
    standardise: bool = True
    title: str = ""
    source: str = ""
    licence: str = ""
    citation: str = ""

    @field_validator("name")
    @classmethod
    def _plain(cls, value: str) -> str:
        if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9_-]*", value):
            raise ValueError(
                f"{value!r} is not letters, digits, - and _ alone, beginning with one "
                "of the first two"
            )
        return value

    @field_validator("classes")
    @classmethod
    def _distinct(cls, value: list[str] | None) -> list[str] | None:
        twice = [name for name, count in Counter(value or ()).items() if count > 1]
        if twice:
            raise ValueError(f"{', '.join(twice)} is listed twice")
        if "" in (value or ()):
            raise ValueError("a class has no name")
        return value

    @field_validator("modalities")
    @classmethod
    def _enough(cls, value: dict[str, ModalityEntry]) -> dict[str, ModalityEntry]:
        if len(value) < 2:
            raise ValueError("at least two modalities are needed")
        return value

    @property
    def places(self) -> dict[str, ArrayPlace]:
        """Every array that is read, by what it is."""
        found: dict[str, ArrayPlace] = dict(self.modalities)
        found["target"] = self.target
        if self.ids is not None:
            found["ids"] = self.ids
        if isinstance(self.split, ArrayPlace):
            found["split"] = self.split
        if self.groups is not None:
            found["groups"] = self.groups
        return found


def read_description(folder: Path) -> Description:
    """Read the ``dataset.yaml`` of a folder, whose words are taken as they are written.

    Raises:
        DatasetError: missing, not YAML, or not of this form; all problems.
    """
    path = folder / SELF_DESCRIBED
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: must hold name, modalities, target, task and split.")
    try:
        return Description(**{str(key): value for key, value in content.items()})
    except ValidationError as error:
        problems = [_say(item) for item in error.errors()]
        raise DatasetError(f"{path}:\n{listed(problems)}") from error


#: What may stand in each part of the file.
_PARTS: dict[str, type[_Part]] = {
    "modalities": ModalityEntry,
    "target": ArrayPlace,
    "ids": ArrayPlace,
    "groups": ArrayPlace,
}
#: What is expected where something else stands than a mapping or a pair.
_FORMS = {
    "model_type": "expected a file and what of it, such as {file: table.csv, column: x}",
    "dict_type": "expected names, each with what it is, such as sound: {file: sound.npz, key: x}",
    "tuple_type": "expected two numbers, such as [64, 64]",
}


def _say(item: Any) -> str:
    place = [str(part) for part in item["loc"]]
    part = _PARTS.get(place[0], Description) if place else Description
    if place[:1] == ["split"] and len(place) > 1:
        part = Fractions if place.pop(1) == "fractions" else ArrayPlace
    where = ".".join(place)
    if item["type"] == "extra_forbidden":
        if len(place) > 1 and place[-1] in Description.model_fields:
            return f"{where}: {place[-1]} stands beside {place[0]}, not in it"
        return f"{where}: no such setting.{did_you_mean(place[-1], part.model_fields)}"
    if item["type"] == "missing":
        return f"{where} is missing"
    message = _FORMS.get(item["type"], item["msg"].removeprefix("Value error, "))
    hint = "; put null and ~ in quotes where they are names" if item["input"] is None else ""
    return f"{where or 'the file'}: {message[:1].lower()}{message[1:]}{hint}"
