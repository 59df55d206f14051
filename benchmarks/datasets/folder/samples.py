"""New samples of a user's folder, read by what its training rows taught."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from i2moe_plugin.benchmarks.data.contents import Learned
from i2moe_plugin.benchmarks.data.registry import SELF_DESCRIBED
from i2moe_plugin.benchmarks.data.samples import Part, Samples, Source, samples_from
from i2moe_plugin.benchmarks.datasets.folder.arrays import TABLES, FolderFiles
from i2moe_plugin.benchmarks.datasets.folder.description import (
    ENDINGS,
    ArrayPlace,
    Description,
    read_description,
)
from i2moe_plugin.benchmarks.datasets.folder.fitted import (
    FittedModality,
    Given,
    check_rows,
    restore,
)
from i2moe_plugin.benchmarks.datasets.folder.missing import modality_of
from i2moe_plugin.benchmarks.datasets.folder.modalities import (
    given,
    unknown_words,
)
from i2moe_plugin.benchmarks.datasets.folder.splits import read_groups, read_ids, split_rows
from i2moe_plugin.benchmarks.datasets.folder.target import read_target
from i2moe_plugin.benchmarks.formats.cells import as_texts, is_missing
from i2moe_plugin.benchmarks.formats.reading import Rows, is_file
from i2moe_plugin.errors import DatasetError, did_you_mean
from i2moe_plugin.tasks import Task

WHERE = "what was fitted in training"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Numbers(_Record):
    kind: Literal["features", "series", "tokens"]
    steps: Annotated[int, Field(ge=1)] | None
    varying: bool


class _Text(_Record):
    kind: Literal["text"]
    words: Annotated[list[str], Field(min_length=1, max_length=100_000)]
    letters: bool


class _Pictures(_Record):
    kind: Literal["image"]
    files: bool
    size: tuple[Annotated[int, Field(ge=1, le=65_500)], Annotated[int, Field(ge=1, le=65_500)]]
    whole: bool
    bounds: tuple[float, float] | None


class _Facts(_Record):
    """What a run keeps of a folder.

    Attributes:
        description: its ``dataset.yaml``; columns by their names.
        modalities: what each learned, but for arrays.
    """

    description: Description
    modalities: dict[str, Annotated[_Numbers | _Text | _Pictures, Field(discriminator="kind")]]


def kept(
    description: Description,
    files: FolderFiles,
    fitted: Mapping[str, FittedModality],
    names: Sequence[str] | None = None,
) -> Learned:
    """Return what a run keeps, for :func:`reread`.

    Args:
        description, files: of the folder.
        fitted: what each modality learned.
        names: the modalities that are read; all by default.
    """
    named = {
        name: entry.model_copy(update={"columns": files.columns(entry) or None})
        for name, entry in description.modalities.items()
        if names is None or name in names
    }
    facts = {
        "description": description.model_copy(update={"modalities": named}).model_dump(mode="json"),
        "modalities": {name: fitted[name].facts() for name in named},
    }
    arrays = {
        f"{name}/{key}": array for name in named for key, array in fitted[name].arrays().items()
    }
    return Learned(facts, arrays)


def reread(
    source: Source | None, part: Part, learned: Learned, task: Task, class_names: Sequence[str]
) -> Samples:
    """Read new samples as those of training.

    Args:
        source: a folder with files as in training, or as a ``dataset.yaml`` of its own says; or
            the one file that holds all modalities; or each modality's values, by its name.
        part: all samples, or those that the description's split gives to one split.
        learned: what training taught.
        task, class_names: of the model.

    Raises:
        DatasetError: files that are missing or damaged, values that are not of the form of
            training, labels that are none of the classes.
    """
    try:
        facts = _Facts.model_validate(learned.facts)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise DatasetError(f"{WHERE}: {place}: {first['msg'].lower()}.") from error
    names, records = list(facts.description.modalities), facts.modalities
    if set(names) != set(records):
        raise DatasetError(f"{WHERE}: other modalities than the description has.")
    fitted = {
        name: restore(f"{WHERE}: {name}", records[name].model_dump(), _arrays(learned, name))
        for name in names
    }
    if source is None:
        return Samples(
            ids=[],
            batches=lambda _: [],
            encoders=lambda settings: [one.encoder()(settings) for one in fitted.values()],
            example=lambda: _examples(facts.description, fitted),
        )
    if isinstance(source, Mapping):
        if part != "all":
            raise DatasetError(f"values have no splits; take all of them, not {part}.")
        return _of_values(source, facts.description, fitted, task)
    return _Files(source, facts.description, class_names).samples(part, fitted, task)


def _examples(description: Description, fitted: Mapping[str, FittedModality]) -> list[Any]:
    return [fitted[name].example() for name in description.modalities]


def _arrays(learned: Learned, name: str) -> dict[str, NDArray[Any]]:
    prefix = f"{name}/"
    return {
        key.removeprefix(prefix): array
        for key, array in learned.arrays.items()
        if key.startswith(prefix)
    }


def _read(
    values: Mapping[str, Given],
    description: Description,
    fitted: Mapping[str, FittedModality],
    rows: NDArray[np.int64],
    task: Task,
    target: Tensor | None,
    notes: list[str],
    **facts: Any,
) -> Samples:
    modalities = []
    for name, entry in description.modalities.items():
        check_rows(entry, values[name], rows)
        modalities.append(modality_of(fitted[name], name, values[name]))
        notes += unknown_words(name, fitted[name], modalities[-1], values[name].present(rows), "")
    return samples_from(
        modalities,
        rows,
        task,
        target,
        example=lambda: _examples(description, fitted),
        notes=tuple(notes),
        **facts,
    )


def _of_values(
    source: Mapping[str, Any],
    description: Description,
    fitted: Mapping[str, FittedModality],
    task: Task,
) -> Samples:
    """Read values that a caller holds; sequences of varying length come with their lengths."""
    wanted = description.modalities
    unknown = [name for name in source if name not in wanted]
    missing = [name for name in wanted if name not in source]
    if unknown or missing:
        said = f"lacks {', '.join(missing)}" if missing else f"has {unknown[0]!r}, which is none"
        raise DatasetError(
            f"the data {said}; the modalities are {', '.join(wanted)}."
            f"{did_you_mean(unknown[0], missing) if unknown and missing else ''}"
        )
    values = {}
    for name, entry in wanted.items():
        found, lengths = source[name], None
        if entry.lengths:
            if not isinstance(found, tuple) or len(found) != 2:
                raise DatasetError(f"{name}: give values [N, T, F] and lengths [N], as a tuple.")
            found, lengths = found
        array = np.asarray(found, dtype=object if entry.kind == "text" else None)
        plain = entry.model_copy(update={"missing": bool(entry.missing)})
        if not array.ndim or not len(array):
            raise DatasetError(f"{name}: no samples.")
        ends = None if lengths is None else np.atleast_1d(np.asarray(lengths))
        values[name] = given(FolderFiles(Path()), name, plain, array, name, ends)
    _same_count(counts := {name: len(one.values) for name, one in values.items()})
    rows = np.arange(max(counts.values()))
    return _read(values, description, fitted, rows, task, None, [], ids=[str(row) for row in rows])


def _same_count(counts: Mapping[str, int]) -> None:
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise DatasetError(f"the data has different numbers of samples: {said}.")


class _Files:
    """A folder, or one file, of new samples.

    Args:
        source: the folder or the file.
        trained: the description of training.
        class_names: of the model.
    """

    def __init__(
        self, source: str | Path, trained: Description, class_names: Sequence[str]
    ) -> None:
        path = Path(source).expanduser()
        self.class_names = class_names
        if path.is_dir():
            self.files = FolderFiles(path)
            described = is_file(path / SELF_DESCRIBED)
            self.description = _own(path, trained) if described else trained
        elif is_file(path):
            self.files = FolderFiles(path.parent)
            self.description = _in_one_file(path, trained)
        else:
            raise DatasetError(f"{path}: no such file or folder.")

    def samples(self, part: Part, fitted: Mapping[str, FittedModality], task: Task) -> Samples:
        """Read them; see :func:`reread`."""
        description, files = self.description, self.files
        arrays = {name: files.open(entry) for name, entry in description.modalities.items()}
        counts = {name: len(array) for name, array in arrays.items()}
        beside = {
            what: files.open(place)
            for what, place in description.places.items()
            if what not in arrays and files.has(place)
        }
        _same_count(counts | {what: len(array) for what, array in beside.items()})
        count = next(iter(counts.values()))
        if not count:
            raise DatasetError(f"{files.folder}: has no rows.")
        notes: list[str] = []
        rows = self._rows(part, beside, count)
        ids = [str(row) for row in range(count)]
        if description.ids is not None and "ids" in beside:
            ids = read_ids(files, description.ids, beside["ids"])
            twice = [name for name, times in Counter(ids).items() if times > 1]
            if twice:
                raise DatasetError(
                    f"{files.where(description.ids)}: the id {twice[0]!r} stands there "
                    "more than once."
                )
        elif description.ids is not None:
            notes.append(
                f"{files.where(description.ids)} is not there: samples are called by their row."
            )
        target, missing = self._target(beside.get("target"))
        return _read(
            {
                name: given(files, name, description.modalities[name], arrays[name])
                for name in arrays
            },
            description,
            fitted,
            rows,
            task,
            target,
            notes,
            ids=[ids[row] for row in rows],
            unlabelled=np.flatnonzero(np.isin(rows, missing)),
        )

    def _rows(self, part: Part, beside: Mapping[str, Rows], count: int) -> NDArray[np.int64]:
        split = self.description.split
        if part == "all":
            return np.arange(count)
        if isinstance(split, ArrayPlace) and "split" not in beside:
            raise DatasetError(
                f"{self.files.where(split)} is not there, so nothing tells the {part} samples; "
                "take all of them, without --split."
            )
        place, groups = self.description.groups, None
        if place is not None and "groups" in beside:
            groups = read_groups(self.files, place, beside["groups"])
        rows = split_rows(self.files, split, beside.get("split"), count, groups)
        if not len(rows[part]):
            raise DatasetError(f"{self.files.folder}: no sample is in the {part} split.")
        return rows[part]

    def _target(self, array: Rows | None) -> tuple[Tensor | None, NDArray[np.int64]]:
        """Return the targets, and the rows that have none; None where no row has one."""
        nothing = np.zeros(0, dtype=np.int64)
        if array is None:
            return None, nothing
        description = self.description
        where = self.files.where(description.target)
        names = list(self.class_names)
        if len(array.shape) == 1:
            words = as_texts(where, array)
            if all(is_missing(word, names) for word in words):
                return None, nothing
            if description.task == "classification" and description.classes is None:
                unseen = sorted(
                    {str(word) for word in words if not is_missing(word, names)} - set(names)
                )
                if unseen:
                    raise DatasetError(
                        f"{where}: {', '.join(map(repr, unseen[:5]))}: none of the classes that "
                        f"the run was trained on, {', '.join(names[:20])}."
                    )
        changes: dict[str, Any] = {"drop_unlabelled": True}
        if description.task == "classification":
            changes["classes"] = names
        target = read_target(description.model_copy(update=changes), array, where)
        return target.values, target.unlabelled


def _own(path: Path, trained: Description) -> Description:
    """Return the description of a folder of its own, with the columns of training."""
    own = read_description(path)
    modalities = {}
    where = path / SELF_DESCRIBED
    for name, entry in trained.modalities.items():
        found = own.modalities.get(name)
        if found is None:
            raise DatasetError(
                f"{where}: lacks the modality {name!r}.{did_you_mean(name, own.modalities)}"
            )
        if found.kind != entry.kind:
            raise DatasetError(
                f"{where}: {name} is {found.kind}; the run was trained on {entry.kind}."
            )
        by_name = found.columns and entry.columns
        modalities[name] = found.model_copy(update={"columns": entry.columns}) if by_name else found
    if own.task != trained.task:
        raise DatasetError(f"{where}: the task is {own.task}; the run's is {trained.task}.")
    return own.model_copy(update={"modalities": modalities, "classes": trained.classes})


def _in_one_file(path: Path, trained: Description) -> Description:
    """Return the description of training, with one file in the place of the modalities'."""
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise DatasetError(f"{path}: the file must end in one of {', '.join(ENDINGS)}.")
    names = list(dict.fromkeys(entry.file for entry in trained.modalities.values()))
    if len(names) > 1:
        raise DatasetError(
            f"{path}: the modalities lie in {len(names)} files ({', '.join(names)}); give a folder "
            "that holds them all."
        )
    if (ending in TABLES) != (Path(names[0]).suffix.lower() in TABLES):
        raise DatasetError(f"{path}: a file such as {names[0]} is needed.")
    moved = partial(_moved, old=names[0], new=path.name)
    split = trained.split
    return trained.model_copy(
        update={
            "modalities": {name: moved(entry) for name, entry in trained.modalities.items()},
            "target": moved(trained.target),
            "ids": trained.ids and moved(trained.ids),
            "groups": trained.groups and moved(trained.groups),
            "split": moved(split) if isinstance(split, ArrayPlace) else split,
        }
    )


def _moved(place: Any, old: str, new: str) -> Any:
    return place.model_copy(update={"file": new}) if place.file == old else place
