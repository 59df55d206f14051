"""Data sets that are drawn, whose truth in bits is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any, Protocol

from i2moe_plugin.benchmarks.datasets.synthetic.boolean import FUNCTIONS, Boolean
from i2moe_plugin.benchmarks.datasets.synthetic.drawn import Drawn, Truth
from i2moe_plugin.benchmarks.datasets.synthetic.hdxor import HDXOR, MOST_MODALITIES
from i2moe_plugin.benchmarks.datasets.synthetic.latent_sum import SETTINGS, LatentSum
from i2moe_plugin.errors import ConfigError, UnknownNameError, did_you_mean


class Generator(Protocol):
    """Settings that draw a data set."""

    def draw(self, seed: int) -> Drawn:
        """Draw the data set; equal settings and seeds give equal arrays."""

    def truth(self, seed: int = 0) -> Truth:
        """What the modalities of that seed's data set tell of its target."""


def _names() -> dict[str, tuple[Callable[..., Generator], str]]:
    known: dict[str, tuple[Callable[..., Generator], str]] = {}
    for setting in HDXOR.settings(MOST_MODALITIES):
        known[f"hdxor-{setting}"] = HDXOR, setting
    for setting in SETTINGS:
        known[setting if setting.startswith("ring") else f"pid-{setting}"] = LatentSum, setting
    for function in FUNCTIONS:
        known[f"bool-{function}"] = Boolean, function
    return known


#: Name -> the class of its settings, and which of the class's data sets it is.
GENERATORS: Mapping[str, tuple[Callable[..., Generator], str]] = MappingProxyType(_names())


def generator(name: str, **options: Any) -> Generator:
    """The settings of a data set by its name.

    Args:
        name: one of ``GENERATORS``, such as ``hdxor-synergy`` or ``ring``; of HD-XOR the modality
            of ``hdxor-uniqueness-2`` is there although two modalities are the default.
        options: fields of its class, such as ``samples`` or ``label_noise``.

    Raises:
        UnknownNameError: no such name.
        ConfigError: an option that the class does not have, or out of range.

    Example:
        >>> xor = generator("bool-xor", samples=200)
        >>> [x.shape for x in xor.draw(seed=1).modalities], xor.truth().target
        ([(200, 10), (200, 10)], 'synergy')
    """
    if name not in GENERATORS:
        raise UnknownNameError("synthetic data set", name, GENERATORS)
    kind, setting = GENERATORS[name]
    place = setting.partition("uniqueness-")[2]
    if kind is HDXOR and place and int(place) > 1:  # there must be that modality
        options = {"modalities": int(place) + 1, **options}
    known = [field.name for field in fields(kind)][1:]  # type: ignore[arg-type]
    problems = [
        f"{name} has no option {option!r}.{did_you_mean(option, known)} It has {', '.join(known)}."
        for option in options
        if option not in known
    ]
    if problems:
        raise ConfigError(problems)
    return kind(setting, **options)
