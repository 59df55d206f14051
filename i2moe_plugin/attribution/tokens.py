"""A trained model from its token latents on: what attribution looks at.

Encoders run once a sample; everything after that starts from the latents.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from i2moe_plugin.attribution.faithfulness import filled
from i2moe_plugin.attribution.names import MIXTURE
from i2moe_plugin.backbones.attention import seen_attention
from i2moe_plugin.backbones.latents import encode_one, pool_tokens, zero_padding
from i2moe_plugin.errors import BackboneError, ConfigError, ShapeError, did_you_mean
from i2moe_plugin.incomplete import Incomplete, has_modality, rows_with
from i2moe_plugin.methods import PooledTokens
from i2moe_plugin.model import I2MoE, Vanilla
from i2moe_plugin.multimodal import MultimodalModel
from i2moe_plugin.target_scale import TargetScale


@dataclass(frozen=True, eq=False)
class Tokens:
    """The token latents of a batch.

    Attributes:
        latents: M tensors [B, T_m, D].
        padding: M tensors [B, T_m], True where a token is padding.
        candidates: M tensors [B, T_m], True where a token may be chosen: no padding, no special
            token such as the mark of a text's start.
    """

    latents: tuple[Tensor, ...]
    padding: tuple[Tensor, ...]
    candidates: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.latents[0])

    @property
    def sizes(self) -> tuple[int, ...]:
        """The numbers of tokens T_m."""
        return tuple(latent.shape[1] for latent in self.latents)

    def rows(self, rows: slice | Tensor) -> Tokens:
        """Some of the samples, without tokens that are padding in all of them."""
        kept = [_trimmed(padding[rows]) for padding in self.padding]
        return Tokens(
            *(
                tuple(x[rows][:, :size] for x, size in zip(part, kept, strict=True))
                for part in (self.latents, self.padding, self.candidates)
            )
        )

    def lengths(self) -> Tensor:
        """How many tokens of each sample are no padding, [B]."""
        return torch.stack([(~mask).sum(1) for mask in self.padding]).sum(0)

    def chunks(self, size: int) -> Iterator[tuple[slice, Tokens]]:
        """All samples, so many at a time, with all their tokens."""
        for start in range(0, len(self), size):
            at = slice(start, start + size)
            parts = (self.latents, self.padding, self.candidates)
            yield at, Tokens(*(tuple(x[at] for x in part) for part in parts))

    def without(self, masks: Sequence[Tensor], fill: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The latents with others in the place of those that are masked.

        Args:
            masks: M tensors [B, T_m], True where a token is taken away.
            fill: for each modality what stands there, [D].
        """
        return tuple(map(filled, self.latents, masks, fill))


def _trimmed(padding: Tensor) -> int:
    there = (~padding).any(0).nonzero()
    return int(there.max()) + 1 if len(there) else 1


class TokenModel:
    """A model whose latents are tokens, as functions of these tokens.

    Args:
        model: I2MoE or vanilla, on tokens or on one pooled token a modality: then tokens are
            masked and attributed to before they are pooled. Put into evaluation mode.
        scale: of the targets that it was trained on: outputs are turned back to their units, in
            double precision, so that what masking changes is not rounded away beside the mean.

    Attributes:
        scopes: what can be explained: ``mixture``, and each expert by its name.

    Raises:
        ConfigError: latents that are vectors: there are no tokens to explain by.
    """

    def __init__(self, model: MultimodalModel, scale: TargetScale | None = None) -> None:
        vectors = [str(m + 1) for m, spec in enumerate(model.latents) if spec.kind != "tokens"]
        if vectors:
            raise ConfigError(
                f"modality {', '.join(vectors)} comes to the experts as one vector: there are no "
                "tokens to explain by. Train with a backbone that takes tokens, for instance the "
                "method fl-i2moe on icons."
            )
        if not isinstance(model, (I2MoE, Vanilla)):
            raise ConfigError(
                f"a model of the kind {type(model).__name__} is not explained by its tokens. I2MoE "
                "and its controls are, such as the methods fl-i2moe, dense, sparse-gate and "
                "vanilla with a backbone that takes tokens."
            )
        self.model = model.eval()
        self.task, self.scale = model.task, scale
        self._pooled = [isinstance(encoder, PooledTokens) for encoder in model.encoders]
        self.scopes = (MIXTURE, *model.expert_names)

    def encode(self, inputs: Sequence[Any], special: Sequence[Tensor | None] = ()) -> Tokens:
        """Encode a batch.

        Args:
            inputs: M batches. What stands for a modality that a sample lacks is no candidate.
            special: for each modality None or [B, T_m], True where a token stands for nothing that
                the sample shows.

        Raises:
            ShapeError: special tokens of another shape.
        """
        with torch.no_grad():
            latents, masks = self._encoded(inputs)
        padding = tuple(
            latent.new_zeros(latent.shape[:2], dtype=torch.bool) if mask is None else mask
            for latent, mask in zip(latents, masks, strict=True)
        )
        own = [*special] or [None] * len(latents)
        for mask, given in zip(padding, own, strict=True):
            if given is not None and given.shape != mask.shape:
                raise ShapeError(
                    f"special tokens must be {list(mask.shape)}, not {list(given.shape)}."
                )
        candidates = tuple(
            (~mask if given is None else ~(mask | given)) & there[:, None]
            for mask, given, there in zip(padding, own, _present(inputs, padding), strict=True)
        )
        return Tokens(tuple(zero_padding(latents, padding)), padding, candidates)

    def _encoded(self, inputs: Sequence[Any]) -> tuple[Sequence[Tensor], Sequence[Tensor | None]]:
        """The latents with their masks; of pooled modalities before they are pooled."""
        if not any(self._pooled):
            encoded = self.model.encode(inputs)
            return encoded.latents, encoded.padding_masks or [None] * len(inputs)
        pairs = [
            _all_tokens(encoder, x, spec.dim)
            for encoder, x, spec in zip(
                self.model.encoders, inputs, self.model.latents, strict=True
            )
        ]
        vectors = [str(m + 1) for m, (latent, _) in enumerate(pairs) if latent.ndim != 3]
        if vectors:
            raise ConfigError(
                f"the encoder of modality {', '.join(vectors)} gives one vector: there are no "
                "tokens to explain by."
            )
        return [latent for latent, _ in pairs], [mask for _, mask in pairs]

    def weights(self, latents: Sequence[Tensor], padding: Sequence[Tensor]) -> Tensor:
        """The experts' weights, [B, E]; of vanilla [B, 1], all 1."""
        if isinstance(self.model, Vanilla):
            return latents[0].new_ones(len(latents[0]), 1)
        weights: Tensor = self.model.reweighting(*self._given(latents, padding))
        return weights

    def outputs(self, scope: str, latents: Sequence[Tensor], padding: Sequence[Tensor]) -> Tensor:
        """What a scope says of tokens, [B, C]; the mixture weights experts by these tokens.

        Raises:
            ConfigError: no such scope.
        """
        if scope != MIXTURE:
            return self.expert(self.place(scope), latents, padding)
        experts = [self.expert(e, latents, padding) for e in range(self.experts)]
        weights = self.weights(latents, padding)
        return (torch.stack(experts) * weights.T[..., None]).sum(0)

    @property
    def experts(self) -> int:
        """E; 1 of vanilla."""
        return max(1, len(self.scopes) - 1)

    def place(self, scope: str) -> int:
        """The number of an expert.

        Raises:
            ConfigError: no such expert.
        """
        if scope not in self.scopes[1:]:
            raise ConfigError(
                f"{scope!r} is nothing that can be explained here."
                f"{did_you_mean(scope, self.scopes)} There are: {', '.join(self.scopes)}."
            )
        return self.scopes.index(scope) - 1

    def expert(self, number: int, latents: Sequence[Tensor], padding: Sequence[Tensor]) -> Tensor:
        """What one expert says, [B, C]."""
        given = self._given(latents, padding)
        if isinstance(self.model, Vanilla):
            found, _ = self.model.backbone(*given)
        else:
            found, _ = self.model.bank.experts[number](*given)
        output: Tensor = found[:, : self.task.num_outputs]  # what heads read may follow
        return output if self.scale is None else self.scale.restore(output.double())

    def expert_with_attention(
        self, number: int, latents: Sequence[Tensor], padding: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """What one expert says, and the attention of its layers, [B, heads, N, N] each.

        Raises:
            BackboneError: its attention is not over the tokens of all modalities, in order.
        """
        backbone = (
            self.model.backbone
            if isinstance(self.model, Vanilla)
            else self.model.bank.experts[number]
        )
        with seen_attention(backbone) as seen:
            output = self.expert(number, latents, padding)
        total = sum(latent.shape[1] for latent in latents)
        wanted = (len(latents[0]), total, total)
        if not seen or any((len(x), *x.shape[2:]) != wanted for x in seen):
            raise BackboneError(
                "this backbone shows no attention over the tokens of all modalities, so there is "
                "no attention rollout; explain it by integrated-gradients, or choose "
                "token-transformer."
            )
        return output, seen

    def can_roll_out(self, tokens: Tokens) -> bool:
        """Whether the experts show attention over all these tokens, which rollouts need."""
        one = tokens.rows(slice(0, 1))
        try:
            with torch.no_grad():
                self.expert_with_attention(0, one.latents, one.padding)
        except BackboneError:
            return False
        return True

    def _given(
        self, latents: Sequence[Tensor], padding: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor | None] | None]:
        """What experts and weights are given: tokens, or the one token that they are pooled to."""
        if not any(self._pooled):
            return list(latents), self._masks(padding)
        pooled = [
            pool_tokens(latent, mask)[:, None] if own else latent
            for latent, mask, own in zip(latents, padding, self._pooled, strict=True)
        ]
        return pooled, self._masks(padding)

    def _masks(self, padding: Sequence[Tensor]) -> list[Tensor | None] | None:
        # Without padding, backbones do not go over their attention to block it.
        masks = [
            mask if spec.padded and mask.any() else None
            for mask, spec in zip(padding, self.model.latents, strict=True)
        ]
        return masks if any(mask is not None for mask in masks) else None


def _all_tokens(encoder: nn.Module, x: Any, dim: int) -> tuple[Tensor, Tensor | None]:
    """The latent of a modality before it is pooled; zeros for samples that lack it."""
    inner = encoder.encoder if isinstance(encoder, PooledTokens) else encoder
    if not isinstance(x, Incomplete):
        return encode_one(inner, x)
    if x.x is None:
        return torch.zeros(x.size, 1, dim), None
    latent, mask = encode_one(inner, x.x)
    rows = x.rows.to(latent.device)
    whole = latent.new_zeros(x.size, *latent.shape[1:]).index_copy(0, rows, latent)
    if mask is None:
        return whole, None
    return whole, mask.new_zeros(x.size, *mask.shape[1:]).index_copy(0, rows, mask)


def _present(inputs: Sequence[Any], padding: Sequence[Tensor]) -> Tensor:
    """Which samples have which modality, [M, B]."""
    return has_modality(rows_with(inputs), len(padding[0]), padding[0].device)


def mean_tokens(model: TokenModel, batches: Iterable[Sequence[Any]]) -> list[Tensor]:
    """The mean token of each modality over all batches: M tensors [D].

    Padding is left out, and what stands for a modality that a sample lacks.

    Args:
        model: encodes.
        batches: ``(x_1, ..., x_M, y)``, of the training split.

    Raises:
        ShapeError: no batch.
    """
    sums: list[Tensor] = []
    for *inputs, _ in batches:
        tokens = model.encode(inputs)
        present = _present(inputs, tokens.padding)
        shown = [~mask & has[:, None] for mask, has in zip(tokens.padding, present, strict=True)]
        parts = [
            torch.cat([(x * there[..., None]).sum((0, 1)), there.sum()[None]]).double()
            for x, there in zip(tokens.latents, shown, strict=True)
        ]
        sums = [a + b for a, b in zip(sums, parts, strict=True)] if sums else parts
    if not sums:
        raise ShapeError("there is no batch to take the mean token of.")
    return [(total[:-1] / total[-1].clamp_min(1)).float() for total in sums]
