"""Experts: which interaction each is there for, and the names of experts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

from i2moe_plugin.errors import ConfigError
from i2moe_plugin.interactions.players import Player

ExpertKind = Literal["uniqueness", "synergy", "redundancy", "member"]
_NAME = re.compile(r"([a-z]+)(?:_([1-9]\d*)(?:\[(\d+(?:,\d+)*)\])?)?")


@dataclass(frozen=True)
class Expert:
    """One expert of a mixture, by what it is there for.

    Attributes:
        kind: the interaction that it learns; a ``member`` of an ensemble learns none.
        player: the piece of the input that a uniqueness expert is about; None for the others.
        number: tells experts of one kind apart, from 1; None where there is only one.

    Raises:
        ConfigError: a uniqueness expert without a player, or another one with a player.

    Example:
        >>> Expert("uniqueness", Player(0)).name, Expert("synergy").name
        ('uniqueness_1', 'synergy')
    """

    kind: ExpertKind
    player: Player | None = None
    number: int | None = None

    def __post_init__(self) -> None:
        if (self.kind == "uniqueness") != (self.player is not None):
            raise ConfigError(f"a uniqueness expert has a player, and no other has: {self!r}.")

    @property
    def name(self) -> str:
        """The name in files and on the command line; :meth:`parse` reads it."""
        about = self.number if self.player is None else self.player
        return self.kind if about is None else f"{self.kind}_{about}"

    def label(self, modalities: Sequence[str]) -> str:
        """Name it for people, who know the modalities by these names.

        >>> Expert("uniqueness", Player(1)).label(["audio", "video"])
        'unique: video'
        """
        if self.player is None or self.player.modality >= len(modalities):
            return self.name
        place = self.player.modality
        return f"unique: {modalities[place]}{str(self.player).removeprefix(str(place + 1))}"

    @classmethod
    def parse(cls, name: str) -> Expert:
        """Make the expert of a :attr:`Expert.name`.

        Raises:
            ConfigError: no expert is called so.

        >>> Expert.parse("uniqueness_2")
        Expert(kind='uniqueness', player=Player(modality=1, tokens=None), number=None)
        """
        match = _NAME.fullmatch(name)
        if match is not None:
            kind, number, tokens = match.groups()
            place = None if number is None else int(number)
            if kind == "uniqueness" and place is not None:
                of = None if tokens is None else tuple(map(int, tokens.split(",")))
                return cls("uniqueness", Player(place - 1, of))
            if kind in get_args(ExpertKind) and kind != "uniqueness" and tokens is None:
                return cls(cast(ExpertKind, kind), number=place)
        raise ConfigError(
            f"no expert is called {name!r}; there are uniqueness_1, ..., synergy, redundancy, and "
            "member_1, ... of an ensemble."
        )


def interaction_experts(modalities: int) -> tuple[Expert, ...]:
    """List the M + 2 experts of the method in their order: one a modality, synergy, redundancy.

    >>> [expert.name for expert in interaction_experts(2)]
    ['uniqueness_1', 'uniqueness_2', 'synergy', 'redundancy']
    """
    unique = (Expert("uniqueness", Player(modality)) for modality in range(modalities))
    return (*unique, Expert("synergy"), Expert("redundancy"))


def expert_names(modalities: int) -> list[str]:
    """List the names of :func:`interaction_experts`.

    >>> expert_names(2)
    ['uniqueness_1', 'uniqueness_2', 'synergy', 'redundancy']
    """
    return [expert.name for expert in interaction_experts(modalities)]
