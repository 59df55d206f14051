"""Players: the pieces of an input whose interactions are looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from i2moe_plugin.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from i2moe_plugin.backbones.latents import LatentSpec


@dataclass(frozen=True)
class Player:
    """A piece of the input that can be masked: a modality, or some of its tokens.

    Attributes:
        modality: its place in the data set's order, from 0.
        tokens: which tokens of the latent [B, T, D], for instance those of a word or of a patch;
            None for the whole modality.

    Raises:
        ConfigError: a place below 0, or no token at all.

    Example:
        >>> Player(0), Player(1, tokens=range(2, 5))
        (Player(modality=0, tokens=None), Player(modality=1, tokens=(2, 3, 4)))
    """

    modality: int
    tokens: tuple[int, ...] | range | None = None

    def __post_init__(self) -> None:
        if self.tokens is not None:
            object.__setattr__(self, "tokens", tuple(sorted(set(self.tokens))))
        if self.modality < 0 or self.tokens == () or any(place < 0 for place in self.tokens or ()):
            raise ConfigError(f"{self} masks nothing: places are counted from 0.")

    def __str__(self) -> str:
        """The place as people count it, with its tokens if it is not the whole: ``2[0,1]``."""
        tokens = "" if self.tokens is None else f"[{','.join(map(str, self.tokens))}]"
        return f"{self.modality + 1}{tokens}"

    def check(self, latents: Sequence[LatentSpec]) -> None:
        """Refuse a player that is not among these latents.

        Raises:
            ConfigError: there is no such modality, or it has no such tokens.
        """
        if self.modality >= len(latents):
            raise ConfigError(f"player {self} is not one of {len(latents)} modalities.")
        count = latents[self.modality].tokens
        if self.tokens is not None and max(self.tokens) >= (count or 0):
            has = "is a vector" if count is None else f"has {count} tokens"
            raise ConfigError(f"player {self}: the latent of modality {self.modality + 1} {has}.")

    def replace(self, latent: Tensor, replacement: Tensor) -> Tensor:
        """Put a replacement where this player stands in its modality's latent.

        Args:
            latent: [B, D] or [B, T, D].
            replacement: [..., B, D] or [..., B, T, D].

        Returns:
            the replacement where this is the whole modality; otherwise a tensor of its shape that
            holds the latent but for this player's tokens.
        """
        if self.tokens is None:
            return replacement
        places = list(self.tokens)
        mixed = latent.expand_as(replacement).clone()
        mixed[..., places, :] = replacement[..., places, :]
        return mixed
