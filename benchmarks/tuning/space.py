"""What a search may choose from, as YAML declares it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    StrictFloat,
    StrictInt,
    ValidationError,
    model_validator,
)

from i2moe_plugin.benchmarks.formats.tables import load_typed_yaml
from i2moe_plugin.benchmarks.run.settings import resolve, yaml_number
from i2moe_plugin.errors import ConfigError
from i2moe_plugin.methods import find_method

#: What decides by which data and which measure trials are judged; to tune it would compare apples
#: with pears.
JUDGES = ("metric", "loader", "standardise_target")
_FORM = "{low: 0.001, high: 0.1, log: true}, {low: 1, high: 4, step: 1} or a list of choices"


class Range(BaseModel):
    """Numbers from ``low`` to ``high``, both included; whole ones where both are.

    Attributes:
        log: as likely in each decade.
        step: between neighbours; by default any number, or any whole number.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    low: StrictInt | StrictFloat
    high: StrictInt | StrictFloat
    log: bool = False
    step: StrictInt | StrictFloat | None = None

    @model_validator(mode="after")
    def _sound(self) -> Range:
        if self.low >= self.high:
            raise ValueError("low is to be below high")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log is for ranges above 0 without a step")
        if self.step is not None and self.step <= 0:
            raise ValueError("step is to be above 0")
        if self.whole and isinstance(self.step, float):
            raise ValueError("a range of whole numbers has a whole step")
        return self

    @property
    def whole(self) -> bool:
        """Whether its numbers are whole."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def probes(self) -> tuple[int | float, ...]:
        """Its ends, and a number between them that is not whole where it has such numbers."""
        if self.whole:
            return (self.low, self.high)
        inner = math.nextafter(self.low, self.high) if self.step is None else self.low + self.step
        return (self.low, self.high, inner) if inner < self.high else (self.low, self.high)


#: By setting: a range, or choices.
Space = dict[str, Range | tuple[Any, ...]]


def load_space(path: Path | None = None) -> Space:
    """Read a space from a file; the one that ships where none is named.

    Raises:
        ConfigError: the file cannot be read, or holds something else; everything that is wrong.
    """
    if path is None:
        file = resources.files("i2moe_plugin.benchmarks.tuning").joinpath("space.yaml")
        text, where = file.read_text(encoding="utf-8"), "the space that ships"
    else:
        where = str(path)
        try:
            text = path.expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: no space can be read here ({error}).") from error
    try:
        found = load_typed_yaml(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(found, dict) or not found:
        raise ConfigError(f"{where} must hold settings, each with {_FORM}.")
    space, problems = {}, []
    for key, value in found.items():
        try:
            space[str(key)] = _entry(str(key), value)
        except ConfigError as error:
            problems += [f"{where}: {problem}" for problem in error.problems]
    if problems:
        raise ConfigError(problems)
    return space


def space_of(space: Space, method: str, given: Mapping[str, Any]) -> Space:
    """Return what a method's trials choose from.

    Args:
        space: what is declared.
        method: its name; what changes nothing in it is left out.
        given: settings that the user has fixed; they are left out.

    Raises:
        ConfigError: no such method.
    """
    left_out = find_method(method).ignored | set(given)
    return {key: entry for key, entry in space.items() if key not in left_out}


def check_space(space: Space, dataset: str, fusion: str, given: Mapping[str, Any]) -> None:
    """Check that the ends of a range, what lies between them, and every choice can be used.

    Args:
        space: what is declared.
        dataset, fusion: names of what is tuned.
        given: the user's settings.

    Raises:
        ConfigError: values or settings that cannot be; all of them.
    """
    problems: dict[str, None] = {}
    for key, entry in space.items():
        for value in entry.probes if isinstance(entry, Range) else entry:
            try:
                devices = resolve(dataset, fusion, {**given, key: value})[0].devices
                if devices > 1:
                    raise ConfigError(f"devices={devices}: a trial is trained on one device alone.")
            except ConfigError as error:
                problems |= dict.fromkeys(f"space: {problem}" for problem in error.problems)
    if problems:
        raise ConfigError(list(problems))


def space_record(space: Space) -> dict[str, Any]:
    """Return a space as its file says it."""
    return {
        key: entry.model_dump(exclude_defaults=True) if isinstance(entry, Range) else list(entry)
        for key, entry in space.items()
    }


def _entry(key: str, value: Any) -> Range | tuple[Any, ...]:
    if key in JUDGES or key.startswith("data."):
        raise ConfigError(
            f"{key} cannot be tuned: it decides what trials are judged by. Choose it for all of "
            f"them, with --set {key}=VALUE."
        )
    if isinstance(value, list):
        choices = tuple(map(yaml_number, value))
        if len(choices) < 2 or any(isinstance(one, (dict, list)) for one in choices):
            raise ConfigError(f"{key} needs at least two choices, which are plain values.")
        if len(set(map(repr, choices))) < len(choices):
            raise ConfigError(f"{key} has a choice twice.")
        return choices
    if not isinstance(value, dict):
        raise ConfigError(f"{key}: {value!r} is not of the form {_FORM}.")
    try:
        return Range(**{str(name): yaml_number(item) for name, item in value.items()})
    except ValidationError as error:
        said = "; ".join(
            ".".join(map(str, [key, *item["loc"]])) + f": {item['msg']}" for item in error.errors()
        )
        raise ConfigError(f"{said}. A space is of the form {_FORM}.") from error
