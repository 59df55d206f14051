"""What a model's folder says of it: refused where it asks for programs, or makes no sense."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

#: More than any model has; a network is built layer by layer before its weights are looked at.
MOST_LAYERS = 1000
#: Ways to compute attention that come with PyTorch. Others are programs that a package or the hub
#: brings.
ATTENTION = (None, "eager", "sdpa")
_LAYERS = re.compile(r"(^|_)(layers?|depths?)$")


def wrong_with(config: Mapping[str, Any]) -> Iterator[str]:
    """Why a ``config.json`` is refused, before anything else is read."""
    if not isinstance(config.get("model_type"), str):
        yield "config.json names no model_type: it is not a Hugging Face model's"
    for tower in ("text_config", "vision_config"):
        if not isinstance(config.get(tower) or {}, dict):
            yield f"config.json: {tower} should hold an object"
    for name, value in _everything(config):
        if name == "auto_map" and value:
            yield "config.json asks for code of its own (auto_map), which is not run"
        elif name.removeprefix("_") == "attn_implementation" and value not in ATTENTION:
            yield (
                f"config.json asks for a program to compute attention with ({name} {value!r}), "
                "which is not run; take the entry out"
            )
        elif name == "quantization_config" and value:
            yield (
                "config.json says that the weights are quantised, which are not read: save the "
                "model in full precision"
            )
        elif _LAYERS.search(name) and any(
            isinstance(each, (int, float)) and not each <= MOST_LAYERS for each in _listed(value)
        ):
            yield f"config.json: {name} is {value!r:.40}; a model has at most {MOST_LAYERS} layers"


def wrong_with_pictures(facts: Mapping[str, Any]) -> Iterator[str]:
    """Why a ``preprocessor_config.json`` is refused."""
    for name, expected, least in (
        ("image_mean", "three numbers", -math.inf),
        ("image_std", "three numbers above 0", 0.0),
    ):
        value = facts.get(name)
        if not (
            isinstance(value, list)
            and len(value) == 3
            and all(type(v) in (int, float) and least < v and abs(v) < 1e6 for v in value)
        ):
            yield f"preprocessor_config.json: {name} should be {expected}"


def whole(config: Any, name: str) -> int | None:
    """A positive whole number of a configuration; None where it has none of that name."""
    value = getattr(config, name, None)
    return value if type(value) is int and value > 0 else None


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _everything(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """All entries, those of objects inside too."""
    pending = [config]
    while pending:
        for name, value in pending.pop().items():
            yield name, value
            if isinstance(value, dict):
                pending.append(value)
