"""Recipes: settings with the source of each, of a data set that ships or in a file of one's own.

A recipe is YAML. ``settings`` holds for every backbone and method, ``fusions`` for a backbone,
``methods`` for a method; each value has a source. What ``i2moe-bench tune`` writes also says, under
``tuned``, how its values were found. Nothing in a recipe is ever imported or executed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from i2moe_plugin.benchmarks.formats.tables import load_typed_yaml
from i2moe_plugin.errors import ConfigError

_PLACE = "i2moe_plugin.benchmarks.recipes"
#: In place of a file: the recipe of :func:`tuned_recipe`.
TUNED = "tuned"


def load_recipe(dataset: str) -> dict[str, Any]:
    """Read the recipe of a data set that the package ships; empty where there is none.

    ``like: NAME`` takes over the parts of another data set's recipe that it does not have itself.
    The sets of one source, such as ``synthetic:NAME``, share the recipe of that source.
    """
    file = resources.files(_PLACE).joinpath(f"{dataset.partition(':')[0]}.yaml")
    if not file.is_file():
        return {}
    return _parse(file.read_text(encoding="utf-8"), f"recipe {dataset}.yaml")


def tuned_recipes() -> dict[tuple[str, str], dict[str, Any]]:
    """Read the recipes that ``i2moe-bench tune`` found and the package ships.

    Returns:
        the recipes, by data set and backbone.
    """
    files = resources.files(_PLACE).joinpath(TUNED).iterdir()
    named = sorted((file.name, file) for file in files if file.name.endswith(".yaml"))
    read = [
        _parse(file.read_text(encoding="utf-8"), f"tuned recipe {name}") for name, file in named
    ]
    return {(recipe["tuned"]["dataset"], recipe["tuned"]["fusion"]): recipe for recipe in read}


def tuned_recipe(dataset: str, fusion: str) -> dict[str, Any]:
    """Return the recipe that ``i2moe-bench tune`` found for a data set and backbone, as shipped.

    Raises:
        ConfigError: none ships for them.
    """
    recipes = tuned_recipes()
    if (dataset, fusion) not in recipes:
        there = ", ".join(f"{other} on {one}" for one, other in recipes)
        raise ConfigError(
            f"no tuned recipe of {fusion} on {dataset} ships; there are {there}. i2moe-bench "
            f"tune --fusion {fusion} --dataset {dataset} writes one."
        )
    return recipes[dataset, fusion]


def read_recipe(path: str | Path) -> dict[str, Any]:
    """Read a recipe of one's own, such as ``i2moe-bench tune`` writes.

    Raises:
        ConfigError: the file cannot be read, or is no recipe.
    """
    place = Path(path).expanduser()
    try:
        text = place.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{place}: no recipe can be read here ({error}).") from error
    return _parse(text, str(place))


def recipe_parts(
    recipe: Mapping[str, Any], fusion: str, method: str | None = None
) -> Iterator[Mapping[str, Any]]:
    """Give the parts of a recipe that hold for a backbone and a method; later ones win."""
    yield recipe.get("settings") or {}
    yield (recipe.get("fusions") or {}).get(fusion) or {}
    yield (recipe.get("methods") or {}).get(method) or {}


def check_fits(recipe: Mapping[str, Any], dataset: str, fusion: str, method: str) -> None:
    """Check that a recipe was made for what is to be run.

    Args:
        recipe: as :func:`read_recipe` gives it.
        dataset, fusion, method: names of what is to be run.

    Raises:
        ConfigError: it was tuned for another data set or backbone, or not for this method.
    """
    tuned, methods = recipe.get("tuned") or {}, recipe.get("methods") or {}
    if tuned and (tuned["dataset"], tuned["fusion"]) != (dataset, fusion):
        raise ConfigError(
            f"the recipe was tuned for {tuned['fusion']} on {tuned['dataset']}, not for {fusion} "
            f"on {dataset}: --fusion {tuned['fusion']} --dataset {tuned['dataset']}, or tune again."
        )
    if methods and method not in methods:
        raise ConfigError(
            f"the recipe has settings for {', '.join(methods)}, and none for {method}, which would "
            f"be compared untuned with tuned ones: i2moe-bench tune --method {method} tunes it."
        )


def tuned_notes(tuned: Mapping[str, Any], data: str, seeds: Sequence[int]) -> tuple[str, ...]:
    """Say what makes figures of a tuned recipe doubtful.

    Args:
        tuned: how its values were found.
        data: the fingerprint of the data that is run on.
        seeds: of the runs.
    """
    notes = []
    if tuned["data"] != data:
        notes.append("the recipe was tuned on other data than this.")
    if shared := sorted({*tuned["seeds"]} & {*seeds}):
        listed = ", ".join(map(str, shared))
        notes.append(f"the recipe was tuned with seeds {listed}, which are among these.")
    return tuple(notes)


class _Setting(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    value: Any
    source: str


class _Tuned(BaseModel):
    """What is looked at of what tune writes."""

    model_config = ConfigDict(strict=True)

    dataset: str
    fusion: str
    data: str
    seeds: list[int]


_Settings = dict[str, _Setting]


class _Recipe(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    about: str | None = None
    like: str | None = None
    settings: _Settings | None = None
    fusions: dict[str, _Settings | None] | None = None
    methods: dict[str, _Settings | None] | None = None
    tuned: _Tuned | None = None


#: What each part of a recipe has to be.
_FORMS = {
    "tuned": f"tuned must hold {', '.join(_Tuned.model_fields)}, as tune writes them",
    "like": "like names the data set whose recipe has the rest",
    "about": "about is a text",
}
_A_SETTING = (
    'each setting needs a value and its source, such as lr: {value: 0.001, source: "validation"}'
)


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        recipe = load_typed_yaml(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not YAML: {' '.join(str(error).split())}.") from error
    *most, last = _Recipe.model_fields
    if not isinstance(recipe, dict) or not set(recipe) <= {*most, last}:
        raise ConfigError(f"{where} must hold {', '.join(most)} and {last} only.")
    try:
        _Recipe.model_validate(recipe)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"] if part != "[key]")
        form = _FORMS.get(str(first["loc"][0]), _A_SETTING)
        raise ConfigError(f"{where}: {form}; {place}: {first['msg'].lower()}.") from error
    like = recipe.pop("like", None)
    if not like:
        return recipe
    if not (other := load_recipe(like)):
        raise ConfigError(f"{where}: like: {like}: no recipe of that data set ships.")
    return {**other, **recipe}
