"""Views: what an expert sees, as the set of players that are masked."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from i2moe_plugin.errors import ConfigError
from i2moe_plugin.interactions.players import Player
from i2moe_plugin.shares import shared_draw


class View(frozenset[Player]):
    """What an expert sees of a sample: everything but this set of masked players.

    Example:
        >>> View().player, View([Player(1)]).player
        (None, Player(modality=1, tokens=None))
    """

    @property
    def player(self) -> Player | None:
        """The player that alone is masked; None where none or several are."""
        return next(iter(self)) if len(self) == 1 else None


#: The view of everything, with which every other is compared.
COMPLETE = View()


def one_masked(modalities: int) -> tuple[View, ...]:
    """List the views that mask one whole modality each, in the modalities' order.

    >>> [view.player.modality for view in one_masked(3)]
    [0, 1, 2]
    """
    return tuple(View([Player(modality)]) for modality in range(modalities))


@dataclass(frozen=True)
class MaskedViews:
    """The views that experts get in training beside the complete one.

    Attributes:
        views: each masks one player; their modalities differ and come in ascending order, as the
            expert bank takes them.
        drawn: how many of them there are at a step, drawn anew each time; None: all.

    Raises:
        ConfigError: views that the bank does not take.
    """

    views: tuple[View, ...]
    drawn: int | None = None

    def __post_init__(self) -> None:
        players = [view.player for view in self.views]
        places = [player.modality for player in players if player is not None]
        if None in players or places != sorted(set(places)):
            raise ConfigError(
                "each view in training masks one player, and the players' modalities differ and "
                f"ascend; got {', '.join(map(str, self.views))}."
            )

    def draw(self) -> tuple[View, ...]:
        """Take the views of one step, in their order; from torch's global generator.

        Where a batch is shared out, all ranks take those that the first one has drawn.
        """
        if self.drawn is None or self.drawn >= len(self.views):
            return self.views
        chosen = shared_draw(torch.randperm(len(self.views))[: self.drawn].tolist())
        return tuple(self.views[place] for place in sorted(chosen))
