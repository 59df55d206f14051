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
from types import NoneType
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from i2moe_plugin.backbones.entry import HEAD_SETTINGS
from i2moe_plugin.benchmarks.data.redraw import Redraw
from i2moe_plugin.benchmarks.data.splits import OWN_SPLIT
from i2moe_plugin.benchmarks.run.recipes import load_recipe, recipe_parts
from i2moe_plugin.deprecation import deprecated
from i2moe_plugin.errors import ConfigError, did_you_mean

#: A name of :data:`i2moe_plugin.methods.METHODS`, such as ``vanilla`` or ``i2moe``.
Method = str
PREFIXES = ("fusion.", "data.", "evidence.")
SHORT = "short"
ValueT = TypeVar("ValueT")
#: A setting that commands take as an option of its own too, such as ``--lr``.
Short = Annotated[ValueT, SHORT]


class EvidenceSettings(BaseModel):
    """The settings of the evidence method."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    joint: int = Field(2, ge=1, description="evidence: joint experts, for accuracy and errors")
    copies: int = Field(
        2, ge=1, description="evidence: unimodal banks; 1 tells no error of training"
    )


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
    split: str = Field(OWN_SPLIT, description="own, or the split that is drawn anew: 3 or 2of5")

    epochs: Short[int] = Field(50, ge=1, description="epochs; the best on validation is kept")
    patience: Short[int | None] = Field(
        None, ge=1, description="stop after so many epochs without a better one; by default never"
    )
    batch_size: Short[int] = Field(32, ge=1, description="samples a step")
    lr: Short[float] = Field(1e-4, gt=0, description="learning rate of Adam")
    schedule: Literal["constant", "cosine"] = Field(
        "constant", description="learning rate over the epochs: constant, or cosine, falling to 0"
    )
    weight_decay: float = Field(0.0, ge=0, description="decoupled weight decay (AdamW)")
    clip_grad_norm: float | None = Field(None, gt=0, description="clip the gradient norm")
    metric: str | None = Field(
        None, description="metric that selects the epoch, or loss; the data set's own by default"
    )
    standardise_target: bool = Field(
        True, description="train regression on targets with mean 0 and deviation 1"
    )

    latent_dim: int = Field(64, ge=1, description="width of every latent")
    encoder_hidden: int = Field(128, ge=0, description="hidden width of encoders; 0: linear")
    encoder_dropout: float = Field(0.0, ge=0, lt=1, description="dropout in encoders")
    input_dropout: float = Field(0.0, ge=0, lt=1, description="dropout on input features")
    patches: int = Field(4, ge=1, description="tokens a vector is cut into, for token backbones")

    interaction_weight: Short[float] = Field(
        0.5, ge=0, description="lambda of the interaction losses"
    )
    masking: Short[str] = Field(
        "random",
        description="what replaces a masked latent: random, mean, zero, matched or marginal",
    )
    temperature: Short[float] = Field(
        1.0, gt=0, description="temperature of the reweighting softmax"
    )
    reweighting_hidden: int = Field(128, ge=1, description="hidden width of the reweighting MLP")
    reweighting_layers: int = Field(2, ge=1, description="linear layers of the reweighting MLP")
    reweighting_dropout: float = Field(
        0.5, ge=0, lt=1, description="dropout in the reweighting MLP"
    )
    expert_init: Literal["copies", "independent"] = Field(
        "copies", description="experts start as copies (the paper) or independent"
    )
    interaction_loss: Literal["classification", "regression", "regression-released"] | None = Field(
        None, description="kind of interaction loss; the task's own by default"
    )
    regularizer_weight: float | None = Field(
        None, ge=0, description="weight of the rep- methods' penalty; the method's own by default"
    )
    auxiliary_weight: float = Field(0.01, ge=0, description="weight of a backbone's own loss")

    loader: Short[Literal["own", "multibench"]] = Field(
        "own", description="who reads the data: ours, or the own loader of a MultiBench checkout"
    )

    fusion_settings: dict[str, Any] = Field(
        default_factory=dict, description="settings of the backbone"
    )
    data_settings: dict[str, Any] = Field(
        default_factory=dict, description="settings of the data set"
    )

    evidence_settings: EvidenceSettings = Field(
        default_factory=EvidenceSettings, description="settings of the evidence method"
    )

    precision: Short[Literal["32", "bf16-mixed", "16-mixed", "auto"]] = Field(
        "32",
        description="number format; auto: bf16-mixed where it is measured faster here, else 32",
    )
    force_precision: Short[bool] = Field(
        False, description="train in bf16-mixed on a processor that only emulates bfloat16 too"
    )
    plan: Short[Literal["auto", "loop", "batched", "shared", "stacked", "fastest"]] = Field(
        "auto", description="how experts and views are run; fastest is deprecated and means auto"
    )
    compile: Short[bool] = Field(False, description="deprecated, without effect")
    memory_budget: Short[int | None] = Field(
        None, gt=0, description="MB for a step's activations; recomputes what exceeds it"
    )
    device: Short[str] = Field("auto", description="where to train: auto, cpu, cuda, cuda:1 or mps")
    devices: Short[int] = Field(
        1, ge=1, description="devices that train one run together, each its share of every batch"
    )
    strategy: Short[Literal["ddp", "fsdp"]] = Field(
        "ddp", description="how devices train together: ddp, each with a whole copy of the model"
    )
    threads: int = Field(0, ge=0, description="CPU threads of a step; 0: 1 for a small model")
    workers: Short[int] = Field(0, ge=0, description="processes that load data")

    @field_validator("method")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in ("vanilla", "i2moe"):
            from i2moe_plugin.methods import find_method

            find_method(name)
        return name

    @field_validator("plan")
    @classmethod
    def _not_by_a_clock(cls, name: str) -> str:
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

    @field_validator("strategy")
    @classmethod
    def _not_sharded(cls, name: str) -> str:
        if name == "fsdp":
            raise ConfigError(
                "experts that are stacked keep their parameters side by side in one tensor, which "
                "fsdp would break up into shards; take ddp"
            )
        return name

    @field_validator("split")
    @classmethod
    def _a_split(cls, name: str) -> str:
        Redraw.of(name)
        return name

    def identity(self, **facts: str) -> str:
        """Return a hash of what decides the numbers: most settings, and the given facts."""
        decisive = self.model_dump(exclude={"workers", "device", "force_precision"})
        # Newer settings, at their defaults, leave the runs of earlier versions finished.
        for name in ("split", "schedule", "devices", "strategy"):
            if decisive[name] == type(self).model_fields[name].default:
                del decisive[name]
        text = json.dumps([decisive, facts], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def setting_names() -> dict[str, str]:
    """Return each plain setting's name and what it means."""
    nested = {"fusion_settings", "data_settings", "evidence_settings"}
    kept_out = {*nested, "dataset", "fusion", "method", "seed", "split"}
    plain = {
        name: field for name, field in RunSettings.model_fields.items() if name not in kept_out
    }
    plain |= {f"evidence.{key}": field for key, field in EvidenceSettings.model_fields.items()}
    return {name: field.description or "" for name, field in plain.items()}


def default_of(name: str) -> Any:
    """Return the default of one of :func:`setting_names`."""
    prefix, _, key = name.rpartition(".")
    return (EvidenceSettings if prefix else RunSettings).model_fields[key].default


def resolve(
    dataset: str,
    fusion: str,
    given: Mapping[str, Any],
    *,
    recipe: Mapping[str, Any] | None = None,
    method: str | None = None,
) -> tuple[RunSettings, dict[str, str]]:
    """Settle the settings for a data set and a backbone, and where each value comes from.

    Args:
        dataset, fusion: names.
        given: what the user says; keys are settings, ``fusion.NAME`` or ``data.NAME``.
        recipe: in place of the data set's own; see :func:`read_recipe`.
        method: whose part of the recipe is taken, where it has parts for methods.

    Returns:
        the settings, with method and seed at their defaults; and the source of each value that is
        not a default, by key.
    """
    problems = _unknown_names(dataset, fusion)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    if recipe is None:
        unknown = any("data set" in problem for problem in problems)
        recipe = {} if unknown else load_recipe(dataset)
    for part in recipe_parts(recipe, fusion, method):
        for key, cell in (part or {}).items():
            values[key], sources[key] = cell["value"], cell["source"]
    for key, value in given.items():
        values[key], sources[key] = value, "given"

    record: dict[str, Any] = {
        "dataset": dataset,
        "fusion": fusion,
        "fusion_settings": {},
        "data_settings": {},
        "evidence_settings": {},
    }
    known = setting_names()
    for key, value in values.items():
        prefix = next((prefix for prefix in PREFIXES if key.startswith(prefix)), None)
        if prefix == "evidence." and key not in known:
            problems.append(
                f"unknown setting {key!r}.{did_you_mean(key, known)} The evidence method has: "
                f"{', '.join(name for name in known if name.startswith(prefix))}."
            )
        elif prefix:
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
        problems += [_problem(item) for item in error.errors()]
    if problems:
        raise ConfigError(problems)
    return settings, sources


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """Read ``["lr=1e-3", "fusion.rank=8"]`` as a dictionary; values are YAML scalars.

    >>> parse_assignments(["lr=1e-3", "fusion.rank=8", "data.augment=true"])
    {'lr': 0.001, 'fusion.rank': 8, 'data.augment': True}
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
        # Settings are kept as JSON, which has no dates.
        value = text.strip() if isinstance(value, datetime.date) else yaml_number(value)
        if key.strip() in values:
            problems.append(f"--set {key.strip()} is given twice; give it once.")
        values[key.strip()] = value
    if problems:
        raise ConfigError(problems)
    return values


def yaml_number(value: Any) -> Any:
    """Return text that is a number as that number: YAML 1.1 reads 1e-3 as text."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return float(value)
    return value


def _unknown_names(dataset: str, fusion: str) -> list[str]:
    from i2moe_plugin.backbones.entry import backbones
    from i2moe_plugin.benchmarks.data.registry import datasets
    from i2moe_plugin.errors import PluginError, UnknownNameError

    problems = []
    for registry, name in ((datasets, dataset), (backbones, fusion)):
        try:
            registry.get(name)
        except (UnknownNameError, PluginError) as error:
            hint = " (--plugin FILE, --multibench PATH)" if registry is backbones else ""
            problems.append(f"{error}{hint}")
    return problems


def _open_ended_problems(record: Mapping[str, Any]) -> list[str]:
    from i2moe_plugin.backbones.create import setting_problems
    from i2moe_plugin.backbones.entry import backbones
    from i2moe_plugin.benchmarks.data.registry import datasets, option_problems
    from i2moe_plugin.interactions.masking import MASKINGS

    problems = []
    if record["fusion"] in backbones:
        problems += setting_problems(backbones.get(record["fusion"]), record["fusion_settings"])
    if record["dataset"] in datasets:
        problems += option_problems(datasets.get(record["dataset"]), record["data_settings"])
    masking = record.get("masking", "random")
    if masking not in MASKINGS:
        problems.append(
            f"masking={masking!r} is not one of {', '.join(MASKINGS)}."
            f"{did_you_mean(str(masking), MASKINGS)}"
        )
    return problems


def _fill_defaults(record: dict[str, Any]) -> None:
    """Write out what the backbone's and the data set's constructors would take by default."""
    from i2moe_plugin.backbones.entry import backbones
    from i2moe_plugin.backbones.wrapper import Backbone
    from i2moe_plugin.benchmarks.data.registry import datasets

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


def _problem(item: Any) -> str:
    place = list(map(str, item["loc"]))
    if len(place) > 1:  # as --set names it
        place[0] = place[0].removesuffix("_settings")
    where = ".".join(place)
    return f"{where}={item['input']!r} cannot be used: {item['msg'].lower()}."
