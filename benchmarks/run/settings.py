"""The settings of a run: one flat, complete, checked record, and where each value comes from.

Later sources win: the defaults below, the data set's recipe, its part for the backbone, then what
the user says. Nothing in a settings file is ever imported or executed.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import inspect
import json
from collections.abc import Iterable, Mapping
from importlib import resources
from types import NoneType
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from i2moe_plugin.deprecation import deprecated
from i2moe_plugin.errors import ConfigError, did_you_mean
from i2moe_plugin.registry import HEAD_SETTINGS

#: A name of :data:`i2moe_plugin.methods.METHODS`, such as ``vanilla`` or ``i2moe``.
Method = str
PREFIXES = ("fusion.", "data.")


class RunSettings(BaseModel):
    """Everything that decides a run's numbers, and where it runs.

    Settings of the backbone and of the data set are open: ``--set fusion.NAME=VALUE`` and
    ``--set data.NAME=VALUE``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    dataset: str = Field(description="name of the data set")
    fusion: str = Field(description="name of the backbone")
    method: Method = Field("i2moe", description="vanilla, i2moe, or a variant of it")
    seed: int = Field(0, ge=0, description="what everything random derives from")

    epochs: int = Field(50, ge=1, description="epochs; the best on validation is kept")
    batch_size: int = Field(32, ge=1, description="samples a step")
    lr: float = Field(1e-4, gt=0, description="learning rate of Adam")
    weight_decay: float = Field(0.0, ge=0, description="decoupled weight decay (AdamW)")
    clip_grad_norm: float | None = Field(None, gt=0, description="clip the gradient norm")
    metric: str | None = Field(
        None, description="metric that selects the epoch, or loss; the data set's own by default"
    )

    latent_dim: int = Field(64, ge=1, description="width of every latent")
    encoder_hidden: int = Field(128, ge=0, description="hidden width of encoders; 0: linear")
    encoder_dropout: float = Field(0.0, ge=0, lt=1, description="dropout in encoders")
    input_dropout: float = Field(0.0, ge=0, lt=1, description="dropout on input features")
    patches: int = Field(4, ge=1, description="tokens a vector is cut into, for token backbones")

    interaction_weight: float = Field(0.5, ge=0, description="lambda of the interaction losses")
    masking: str = Field("random", description="random, mean, zero, matched or marginal")
    temperature: float = Field(1.0, gt=0, description="of the reweighting softmax")
    reweighting_hidden: int = Field(128, ge=1, description="hidden width of the reweighting MLP")
    reweighting_layers: int = Field(2, ge=1, description="linear layers of the reweighting MLP")
    reweighting_dropout: float = Field(0.5, ge=0, lt=1, description="dropout in it")
    expert_init: Literal["copies", "independent"] = Field(
        "copies", description="experts start as copies (the paper) or independent"
    )
    interaction_loss: Literal["classification", "regression", "regression-released"] | None = Field(
        None, description="kind of interaction loss; the task's own by default"
    )
    regularizer_weight: float | None = Field(
        None, ge=0, description="of the rep- methods' penalty; the method's own by default"
    )
    auxiliary_weight: float = Field(0.01, ge=0, description="weight of a backbone's own loss")

    loader: Literal["own", "multibench"] = Field(
        "own", description="who reads the data: ours, or a MultiBench checkout's own loader"
    )

    fusion_settings: dict[str, Any] = Field(default_factory=dict, description="of the backbone")
    data_settings: dict[str, Any] = Field(default_factory=dict, description="of the data set")

    precision: Literal["32", "bf16-mixed", "16-mixed"] = Field("32", description="number format")
    plan: Literal["auto", "loop", "batched", "shared", "stacked"] = Field(
        "auto", description="how experts and views are run; the numbers are the same"
    )
    compile: bool = Field(False, description="deprecated, without effect")
    memory_budget: int | None = Field(
        None, gt=0, description="MB for a step's activations; recomputes what exceeds it"
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps")
    threads: int = Field(0, ge=0, description="CPU threads of a step; 0: 1 for a small model")
    workers: int = Field(0, ge=0, description="processes that load data")

    @field_validator("method")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in ("vanilla", "i2moe"):
            from i2moe_plugin.methods import find_method

            find_method(name)
        return name

    @field_validator("plan", mode="before")
    @classmethod
    def _not_by_a_clock(cls, name: Any) -> Any:
        if name != "fastest":
            return name
        deprecated("plan=fastest", "plan=auto, which it is now")
        return "auto"

    @field_validator("compile")
    @classmethod
    def _not_compiled(cls, asked: bool) -> bool:
        if asked:
            deprecated("compile", "the same without it: steps are not compiled any more")
        return False

    def identity(self, **facts: str) -> str:
        """A hash of what decides the numbers: settings but for the workers, and given facts."""
        decisive = self.model_dump(exclude={"workers", "device"})
        text = json.dumps([decisive, facts], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def setting_names() -> dict[str, str]:
    """Each plain setting's name and what it means."""
    open_ended = {"fusion_settings", "data_settings", "dataset", "fusion", "method", "seed"}
    return {
        name: field.description or ""
        for name, field in RunSettings.model_fields.items()
        if name not in open_ended
    }


def load_recipe(dataset: str) -> dict[str, Any]:
    """The recipe of a data set as published in the package; empty where there is none.

    ``like: NAME`` takes over the parts of another data set's recipe that it does not have itself.

    Raises:
        ConfigError: the file is not a recipe.
    """
    file = resources.files("i2moe_plugin.benchmarks.recipes").joinpath(f"{dataset}.yaml")
    if not file.is_file():
        return {}
    recipe = yaml.safe_load(file.read_text(encoding="utf-8"))
    if not isinstance(recipe, dict) or not set(recipe) <= {"about", "like", "settings", "fusions"}:
        raise ConfigError(
            f"recipe {dataset}.yaml must hold about, like, settings and fusions only."
        )
    like = recipe.pop("like", None)
    return {**load_recipe(like), **recipe} if like else recipe


def resolve(
    dataset: str, fusion: str, given: Mapping[str, Any]
) -> tuple[RunSettings, dict[str, str]]:
    """Settings for a data set and a backbone, with the source of each value that is not a default.

    Args:
        dataset, fusion: names.
        given: what the user says; keys are settings, ``fusion.NAME`` or ``data.NAME``.

    Returns:
        the settings, with method and seed at their defaults; key -> source.

    Raises:
        ConfigError: every unknown name, unknown key and unusable value, all at once.
    """
    problems = _unknown_names(dataset, fusion)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    recipe = {} if any("data set" in problem for problem in problems) else load_recipe(dataset)
    for part in (recipe.get("settings"), (recipe.get("fusions") or {}).get(fusion)):
        for key, cell in (part or {}).items():
            values[key], sources[key] = cell["value"], cell["source"]
    for key, value in given.items():
        values[key], sources[key] = value, "given"

    record: dict[str, Any] = {
        "dataset": dataset,
        "fusion": fusion,
        "fusion_settings": {},
        "data_settings": {},
    }
    known = setting_names()
    for key, value in values.items():
        prefix = next((prefix for prefix in PREFIXES if key.startswith(prefix)), None)
        if prefix:
            record[f"{prefix[:-1]}_settings"][key.removeprefix(prefix)] = value
        elif key in known:
            record[key] = value
        else:
            problems.append(
                f"unknown setting {key!r}.{did_you_mean(key, known)} Known: {', '.join(known)}, "
                "fusion.NAME, data.NAME."
            )
    problems += _open_ended_problems(record)
    _fill_defaults(record)
    try:
        settings = RunSettings(**record)
    except ValidationError as error:
        problems += [_say(item) for item in error.errors()]
    if problems:
        raise ConfigError(problems)
    return settings, sources


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """``["lr=1e-3", "fusion.rank=8"]`` as a dictionary; values are read as YAML scalars.

    >>> parse_assignments(["lr=1e-3", "fusion.rank=8", "data.augment=true"])
    {'lr': 0.001, 'fusion.rank': 8, 'data.augment': True}

    Raises:
        ConfigError: an item without ``=``, or an unreadable value; all at once.
    """
    values: dict[str, Any] = {}
    problems = []
    for item in assignments:
        key, sign, text = item.partition("=")
        if not sign or not key.strip():
            problems.append(f"--set {item!r} is not of the form key=value.")
            continue
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            problems.append(f"--set {item!r}: the value is not readable ({error}).")
            continue
        if isinstance(value, datetime.date):  # settings are kept as json
            value = text.strip()
        elif isinstance(value, str):  # YAML 1.1 reads 1e-3 as text
            with contextlib.suppress(ValueError):
                value = float(value)
        values[key.strip()] = value
    if problems:
        raise ConfigError(problems)
    return values


def _unknown_names(dataset: str, fusion: str) -> list[str]:
    from i2moe_plugin.benchmarks.datasets import datasets
    from i2moe_plugin.errors import PluginError, UnknownNameError
    from i2moe_plugin.registry import backbones

    problems = []
    for registry, name in ((datasets, dataset), (backbones, fusion)):
        try:
            registry.get(name)
        except (UnknownNameError, PluginError) as error:
            hint = " (--plugin FILE, --multibench PATH)" if registry is backbones else ""
            problems.append(f"{error}{hint}")
    return problems


def _open_ended_problems(record: Mapping[str, Any]) -> list[str]:
    from i2moe_plugin.benchmarks.data.base import dataset_option_problems
    from i2moe_plugin.benchmarks.datasets import datasets
    from i2moe_plugin.interactions.masking import MASKINGS
    from i2moe_plugin.registry import backbones, setting_problems

    problems = []
    if record["fusion"] in backbones:
        problems += setting_problems(backbones.get(record["fusion"]), record["fusion_settings"])
    if record["dataset"] in datasets:
        problems += dataset_option_problems(
            datasets.get(record["dataset"]), record["data_settings"]
        )
    masking = record.get("masking", "random")
    if masking not in MASKINGS:
        problems.append(
            f"masking={masking!r} is not one of {', '.join(MASKINGS)}."
            f"{did_you_mean(str(masking), MASKINGS)}"
        )
    return problems


def _fill_defaults(record: dict[str, Any]) -> None:
    """Write out what the backbone's and the data set's constructors would take by default."""
    from i2moe_plugin.backbones.wrapper import Backbone
    from i2moe_plugin.benchmarks.datasets import datasets
    from i2moe_plugin.registry import backbones

    parameters = []
    if record["fusion"] in backbones:
        entry = backbones.get(record["fusion"])
        parameters += [("fusion_settings", p) for p in entry.settings.values()]
        if "num_outputs" not in entry.parameters:
            head = inspect.signature(Backbone).parameters
            parameters += [("fusion_settings", head[key]) for key in HEAD_SETTINGS]
    if record["dataset"] in datasets:
        known = datasets.get(record["dataset"]).settings.values()
        parameters += [("data_settings", p) for p in known]
    for part, parameter in parameters:
        if isinstance(parameter.default, (bool, int, float, str, NoneType)):
            record[part].setdefault(parameter.name, parameter.default)


def _say(item: Any) -> str:
    where = ".".join(map(str, item["loc"]))
    return f"{where}={item['input']!r} cannot be used: {item['msg'].lower()}."
