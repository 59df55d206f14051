"""A trained model as it is kept: by a finished run, or in a folder to hand on.

A folder holds ``config.json`` (with a :class:`ModelRecord`), ``model.safetensors`` and, where new
samples can be read, ``preprocessing.safetensors``. Nothing in it is believed before it has been
checked, no file is named by what is read, and nothing is ever unpickled or imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from i2moe_plugin.benchmarks.data.contents import Learned
from i2moe_plugin.benchmarks.formats.reading import is_file
from i2moe_plugin.benchmarks.run.checkpoints import FITTED, WEIGHTS, load_tensors, save_tensors
from i2moe_plugin.benchmarks.run.execute import backbone_digest
from i2moe_plugin.benchmarks.run.files import read_json, write_json
from i2moe_plugin.benchmarks.run.records import Name, Number, check_result, check_settings
from i2moe_plugin.benchmarks.run.settings import RunSettings
from i2moe_plugin.benchmarks.run.store import EVIDENCE, MANIFEST, Run
from i2moe_plugin.errors import ConfigError, RunError, UnknownNameError
from i2moe_plugin.target_scale import TargetScale
from i2moe_plugin.tasks import Task, task_from

#: The files of a model's folder; its preprocessing is called as in a run.
CONFIG, MODEL = "config.json", "model.safetensors"
FORMAT = 1


class _Record(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class _Scale(_Record):
    mean: Annotated[list[Number], Field(min_length=1)]
    deviation: Annotated[list[Annotated[Number, Field(gt=0)]], Field(min_length=1)]


class Figure(_Record):
    """One metric on the test split.

    Attributes:
        metric: its name.
        value: of this model.
        low, high: its 95 % interval over test samples; None where it is undefined.
        mean, deviation: over ``seeds`` runs that differ in the seed alone; the sample deviation.
        seeds: how many.
    """

    metric: Name
    value: Number | None
    low: Number | None
    high: Number | None
    mean: Number | None
    deviation: Number | None
    seeds: Annotated[int, Field(ge=1)]


class CardFacts(_Record):
    """What a model's card says beside the record.

    Attributes:
        run: the name of its run.
        dataset, source, licence, citation: of its data set.
        notes: what must stand beside the figures.
        samples: how many test samples there are.
        figures: what it reached on them; the metric that methods are compared by first.
    """

    run: str
    dataset: str
    source: str
    licence: str
    citation: str
    notes: list[str]
    samples: Annotated[int, Field(ge=1)]
    figures: Annotated[list[Figure], Field(min_length=1)]


class ModelRecord(_Record):
    """What is to know of a trained model beside its tensors; all of it is JSON.

    Attributes:
        format: of this record.
        version: of this package, by which it was trained.
        backbone: hash of the source of its backbone.
        settings: of its run, complete.
        task: what is predicted; empty where an old run does not say.
        class_names, modalities, experts: in order.
        target_scale: the scale that real targets were trained in.
        plan: how experts are run; another one may give other last digits.
        evidence: the calibrations of the evidence method.
        data, splits: hashes of the data and of the split that it was trained on.
        card: what its card says; None of a run, whose own files say it.
    """

    format: Literal[1]
    version: str | None
    backbone: str | None
    settings: dict[str, Any]
    task: dict[str, Any]
    class_names: list[str]
    modalities: Annotated[list[Name], Field(min_length=2)]
    experts: list[Name]
    target_scale: _Scale | None
    plan: dict[str, Any] | None
    evidence: dict[str, Any] | None
    data: str | None
    splits: str | None
    card: CardFacts | None = None


@dataclass(frozen=True)
class SavedModel:
    """A trained model on disk; made by :meth:`of` or :meth:`read`.

    Attributes:
        path: the directory of its run, or its folder.
        name: the run's.
        record: what is to know of it.
        data_root: where its data set lay; None: not known, or in the package.
    """

    path: Path
    name: str
    record: ModelRecord = field(repr=False)
    data_root: str | None = None
    _weights: Path = field(default=Path(), repr=False)
    _fitted: Path | None = field(default=None, repr=False)

    @classmethod
    def of(cls, run: Run) -> SavedModel:
        """Take the model of a finished run.

        Raises:
            RunError: the run is damaged.
        """
        check_settings(run.path, run.settings)
        check_result(run.path, run.result, run.history())
        settings, result, there = run.settings, run.result, run.json("environment.json")
        fields = {
            "format": FORMAT,
            "version": there.get("i2moe_plugin"),
            "backbone": there.get("backbone"),
            "settings": {key: settings[key] for key in RunSettings.model_fields if key in settings},
            "task": result.get("task", {}),
            "class_names": result["class_names"],
            "modalities": result["modalities"],
            "experts": list(result.get("expert_weights", {})),
            "target_scale": result.get("target_scale"),
            "plan": result.get("plan"),
            "evidence": run.json(EVIDENCE) if EVIDENCE in run.files else None,
            "data": settings.get("data"),
            "splits": settings.get("splits"),
        }
        return cls(
            run.path,
            run.name,
            _checked(run.path, fields),
            result.get("data_root"),
            run.file(WEIGHTS),
            run.file(FITTED) if FITTED in run.files else None,
        )

    @classmethod
    def read(cls, folder: str | Path) -> SavedModel:
        """Read a model's folder, as ``i2moe-bench export`` writes it.

        Raises:
            RunError: it is no such folder, or is damaged.
        """
        path = Path(folder).expanduser()
        if not is_file(path / CONFIG):
            raise RunError(
                f"{path}: neither a finished run ({MANIFEST}) nor an exported model ({CONFIG})."
            )
        config = read_json(path / CONFIG)
        fields = config.get("i2moe_plugin")
        if not isinstance(fields, dict):
            raise RunError(
                f"{path / CONFIG}: not of a model that i2moe-bench export wrote: it has no part "
                "'i2moe_plugin'."
            )
        record = _checked(path / CONFIG, fields)
        check_settings(path, record.settings, CONFIG)
        outside = outside_settings(record.settings)
        if outside:
            raise RunError(
                f"{path / CONFIG}: {outside[0]} names a place outside the folder, which is not "
                "looked at."
            )
        for name in (CONFIG, MODEL, FITTED):
            if (path / name).exists() and not is_file(path / name):
                raise RunError(f"{path / name}: not a file.")
        if not is_file(path / MODEL):
            raise RunError(f"{path}: holds no {MODEL}, and so no weights.")
        fitted = path / FITTED if is_file(path / FITTED) else None
        settings = record.settings
        name = f"{settings['dataset']}-{settings['fusion']}-{settings['method']}"
        return cls(path, name, record, None, path / MODEL, fitted)

    @classmethod
    def open(cls, path: str | Path) -> SavedModel:
        """Take the model of a run's directory, or of a model's folder.

        Raises:
            RunError: it is neither, or is damaged.
        """
        place = Path(path).expanduser()
        if is_file(place / MANIFEST):
            return cls.of(Run.load(place))
        return cls.read(place)

    def write(self, folder: Path) -> None:
        """Write the files of a model's folder, which :meth:`read` reads, into an existing one.

        Raises:
            RunError: a file cannot be written.
        """
        save_tensors(folder / MODEL, self.weights())
        if self._fitted is not None:
            tensors, facts = load_tensors(self._fitted)
            save_tensors(folder / FITTED, tensors, facts)
        write_json(folder / CONFIG, {"i2moe_plugin": self.record.model_dump()})

    @property
    def task(self) -> Task:
        """What is predicted.

        Raises:
            RunError: nothing says it.
        """
        try:
            return task_from(self.record.task)
        except (ConfigError, KeyError, TypeError, ValueError) as error:
            raise RunError(f"{self.path}: says no task ({error}).") from error

    @property
    def scale(self) -> TargetScale | None:
        """The scale that its targets were trained in; None: their own units."""
        scale = self.record.target_scale
        if scale is None:
            return None
        return TargetScale(tuple(scale.mean), tuple(scale.deviation))

    def settings(self, device: str | None = None) -> RunSettings:
        """Return the settings of its run.

        Args:
            device: where to compute, in place of where it was trained.

        Raises:
            RunError: they are not those of a run, or its backbone is not known here.
        """
        known = self.record.settings | ({} if device is None else {"device": device})
        try:
            settings = RunSettings(**known)
            backbone_digest(settings.fusion)
        except (ValidationError, TypeError, ConfigError) as error:
            raise RunError(f"{self.path}: not a run's settings ({error}).") from error
        except UnknownNameError as error:
            raise RunError(
                f"{self.path}: {error} Load the file that registers it: --plugin FILE, or "
                "i2moe_plugin.load_plugin(FILE)."
            ) from error
        return settings

    def weights(self) -> dict[str, Tensor]:
        """Read its weights.

        Raises:
            RunError: the file is damaged.
        """
        tensors, _ = load_tensors(self._weights)
        return tensors

    @property
    def reads_new_samples(self) -> bool:
        """Whether it keeps what its data set learned from training rows."""
        return self._fitted is not None

    def learned(self) -> Learned:
        """Read what its data set learned from training rows.

        Raises:
            RunError: it keeps none, or the file is damaged.
        """
        if self._fitted is None:
            raise RunError(
                f"{self.path}: keeps no {FITTED}, so new samples cannot be read as those of "
                "training. Runs of data sets that are folders of one's own keep it, if they were "
                f"trained by this version or a later one. Of {self.record.settings['dataset']} its "
                "own samples can be predicted: leave the data out."
            )
        arrays, facts = load_tensors(self._fitted)
        if not isinstance(facts, Mapping):
            raise RunError(f"{self._fitted}: an object was expected.")
        return Learned(facts, {name: tensor.numpy() for name, tensor in arrays.items()})


def outside_settings(settings: Mapping[str, Any]) -> list[str]:
    """List the settings of a data set or backbone that name a place on a disk, by ``--set`` names.

    Args:
        settings: of a run.
    """
    found = []
    for prefix in ("data", "fusion"):
        for key, value in (settings.get(f"{prefix}_settings") or {}).items():
            if isinstance(value, str) and _is_place(value):
                found.append(f"{prefix}.{key}={value!r}")
    return found


def _is_place(text: str) -> bool:
    return bool(text) and (
        text[0] == "~" or PurePosixPath(text).name != text or PureWindowsPath(text).name != text
    )


def _checked(where: Path, fields: Mapping[str, Any]) -> ModelRecord:
    try:
        return ModelRecord.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part)[:40] for part in first["loc"])
        raise RunError(f"{where}: {place}: {first['msg'].lower()}.") from error
