"""Switch routing: a transformer whose feed-forward layers are sparse mixtures of experts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2moe_plugin.adapters.tokens import AttentionResidual, JointTokens, require_positive
from i2moe_plugin.adapters.transformer import TransformerBlock
from i2moe_plugin.backbones.entry import register_backbone
from i2moe_plugin.backbones.latents import LatentSpec
from i2moe_plugin.errors import ConfigError


class SwitchFeedForward(nn.Module):
    r"""Every token goes to one of E feed-forward networks, the router's first choice.

    p = softmax(R x'), with x' = x * U(1 - jitter, 1 + jitter) in training and x' = x otherwise;
    e = argmax p; output = p_e F_e(x), F_e being Linear-GELU-Linear. An expert takes at most
    ceil(capacity * n / E) of a sample's n tokens, the most probable first; the others get 0, and so
    pass by on the residual.

    **Capacity is counted within each sample**, over the tokens of all its modalities. Counted over
    the batch, as in the Switch paper and the release, a token would be dropped or kept depending on
    the other samples of its batch, and a prediction would change with its company (in evaluation),
    or with how views are batched together (in training). **The most probable tokens go first**
    (batch prioritised routing, Riquelme et al., NeurIPS 2021), not the earliest: tokens are ordered
    by modality, so that overflow would always fall on the last one.

    The balance loss is E sum_e f_e P_e, where f_e is the share of the batch's tokens whose first
    choice is e, before any is dropped, and P_e the mean of p_e: 1 where tokens spread evenly, E
    where all go to one expert for sure. Its gradient runs through P. Padding is neither routed nor
    counted. No state is kept between calls.

    Args:
        dim: width of a token.
        hidden_dim: width inside an expert.
        num_experts: E.
        capacity, eval_capacity: capacity factors of training and evaluation.
        jitter: half width of the noise on the router's input in training.

    Raises:
        ConfigError: a setting out of range.

    Example:
        >>> layer = SwitchFeedForward(8, 16, num_experts=4)
        >>> output, balance = layer(torch.zeros(2, 5, 8))
        >>> output.shape, balance.shape
        (torch.Size([2, 5, 8]), torch.Size([]))
    """

    def __init__(
        self,
        dim: int,
        hidden_dim: int,
        *,
        num_experts: int,
        capacity: float = 1.2,
        eval_capacity: float = 2.4,
        jitter: float = 0.1,
    ) -> None:
        super().__init__()
        require_positive(hidden_dim=hidden_dim, num_experts=num_experts)
        if capacity <= 0 or eval_capacity <= 0 or not 0 <= jitter < 1:
            raise ConfigError(
                "capacity and eval_capacity must be positive and jitter in [0, 1), not "
                f"{capacity}, {eval_capacity} and {jitter}."
            )
        self.num_experts = num_experts
        self.capacity, self.eval_capacity, self.jitter = capacity, eval_capacity, jitter
        self.router = nn.Linear(dim, num_experts)
        self.up_weight, self.up_bias = _linears(num_experts, dim, hidden_dim)
        self.down_weight, self.down_bias = _linears(num_experts, hidden_dim, dim)

    def forward(self, tokens: Tensor, padding: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Route [B, N, H], padding [B, N] -> output [B, N, H], balance loss (a scalar)."""
        routed = tokens
        if self.training and self.jitter:
            routed = tokens * (1 + self.jitter * (2 * torch.rand_like(tokens) - 1))
        probabilities = self.router(routed).softmax(-1)
        probability, choice = probabilities.max(-1)
        chosen = choice.unsqueeze(-1) == torch.arange(self.num_experts, device=choice.device)
        if padding is not None:
            chosen = chosen & ~padding.unsqueeze(-1)
        slots = self._slots(choice, probability, padding)
        # [B, N, E, S]: one-hot over (expert, slot), all zero for tokens that nobody takes.
        seat = (chosen.unsqueeze(3) & slots.unsqueeze(2)).to(tokens.dtype)
        taken = torch.einsum("bnes,bnh->besh", seat, tokens)
        inner = torch.einsum("besh,ehf->besf", taken, self.up_weight) + self.up_bias.unsqueeze(1)
        made = torch.einsum("besf,efh->besh", F.gelu(inner), self.down_weight)
        made = made + self.down_bias.unsqueeze(1)
        output = torch.einsum("bnes,besh->bnh", seat, made) * probability.unsqueeze(-1)
        return output, balance_loss(chosen, probabilities, padding)

    def slots_for(self, tokens: int) -> int:
        """Count how many of a sample's tokens one expert takes."""
        factor = self.capacity if self.training else self.eval_capacity
        # 1e-9: a product such as 1.2 * 5 / 3 may come out a hair above 2.
        return min(tokens, math.ceil(factor * tokens / self.num_experts - 1e-9))

    def _slots(self, choice: Tensor, probability: Tensor, padding: Tensor | None) -> Tensor:
        """Tell which slot of its expert each token gets, if any: one-hot bool [B, N, S]."""
        tokens = choice.shape[1]
        places = torch.arange(tokens, device=choice.device)
        mine, other = probability.unsqueeze(2), probability.unsqueeze(1)
        # [B, n, m]: m stands before n in the queue of one expert; equals queue in order.
        ahead = (other > mine) | ((other == mine) & (places < places.unsqueeze(1)))
        ahead = ahead & (choice.unsqueeze(2) == choice.unsqueeze(1))
        limit: int | Tensor = self.slots_for(tokens)
        if padding is not None:
            ahead = ahead & ~padding.unsqueeze(1)
            # A sample's capacity follows its own number of tokens, however far it was padded.
            table = [self.slots_for(count) for count in range(tokens + 1)]
            counts = (~padding).sum(1, keepdim=True)
            limit = torch.tensor(table, device=choice.device)[counts]
        rank = ahead.sum(-1)
        slots = torch.arange(self.slots_for(tokens), device=choice.device)
        return (rank.unsqueeze(-1) == slots) & (rank < limit).unsqueeze(-1)


def balance_loss(chosen: Tensor, probabilities: Tensor, padding: Tensor | None = None) -> Tensor:
    """Compute (E / K) sum_e f_e P_e over the tokens of a batch that are not padding.

    Args:
        chosen: bool [B, N, E], K experts for each token, none for padding.
        probabilities: [B, N, E].
        padding: [B, N].

    Returns:
        A scalar; 1 at uniform routing. Gradient runs through the probabilities.
    """
    count: int | Tensor = chosen.shape[0] * chosen.shape[1]
    if padding is not None:
        probabilities = probabilities.masked_fill(padding.unsqueeze(-1), 0)
        count = (~padding).sum().clamp_min(1)
    share = chosen.sum((0, 1)) / chosen.sum().clamp_min(1)  # f / K
    return chosen.shape[-1] * (share * probabilities.sum((0, 1)) / count).sum()


@register_backbone(
    "switchgate",
    latents="tokens",
    padding=True,
    auxiliary=True,
    paper="Fedus et al., JMLR 2022 (arXiv 2101.03961); Xin et al., ICML 2025 (arXiv 2505.19190)",
    upstream="I2MoE src/common/modules/moe.py: SwitchGate, FMoETransformerMLP",
)
class SwitchTransformer(JointTokens):
    r"""The ``transformer`` with every other feed-forward layer, from the first, a Switch layer.

    x = x + A(LN(x)), then x = x + S(LN(x)) in layers 1, 3, ... and x + F(LN(x)) in the others; S is
    :class:`SwitchFeedForward` over the tokens of all modalities. The auxiliary loss is the sum of
    the Switch layers' balance losses.

    Args:
        latents: token latents of one width H; numbers of tokens may differ between modalities.
        num_outputs: C.
        num_layers, num_heads, dropout: as in :class:`Transformer`.
        num_experts: E of each Switch layer.
        capacity, eval_capacity, jitter: see :class:`SwitchFeedForward`.

    Raises:
        ConfigError: a setting out of range.
        ShapeError: more tokens came than the backbone was built for.

    Example:
        >>> fusion = SwitchTransformer([LatentSpec(8, 3), LatentSpec(8, 5)], 2)
        >>> output, balance = fusion([torch.zeros(6, 3, 8), torch.zeros(6, 5, 8)])
        >>> output.shape, balance.shape
        (torch.Size([6, 2]), torch.Size([]))
    """

    def __init__(
        self,
        latents: Sequence[LatentSpec],
        num_outputs: int,
        *,
        num_layers: int = 2,
        num_heads: int = 4,
        dropout: float = 0.5,
        num_experts: int = 4,
        capacity: float = 1.2,
        eval_capacity: float = 2.4,
        jitter: float = 0.1,
    ) -> None:
        super().__init__(latents, num_outputs)
        require_positive(num_layers=num_layers)
        self.blocks = nn.ModuleList(
            TransformerBlock(self.dim, num_heads, dropout)
            if layer % 2
            else SwitchBlock(
                self.dim,
                num_heads,
                dropout,
                SwitchFeedForward(
                    self.dim,
                    2 * self.dim,
                    num_experts=num_experts,
                    capacity=capacity,
                    eval_capacity=eval_capacity,
                    jitter=jitter,
                ),
            )
            for layer in range(num_layers)
        )

    def forward(
        self, latents: Sequence[Tensor], padding_masks: Sequence[Tensor | None] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Fuse M latents [B, T_m, H], masks None or [B, T_m] -> [B, C], balance loss (a scalar)."""
        tokens, padding = self.join(latents, padding_masks)
        balance = tokens.new_zeros(())
        for block in self.blocks:
            if isinstance(block, SwitchBlock):
                tokens, loss = block(tokens, padding)
                balance = balance + loss
            else:
                tokens = block(tokens, padding)
        return self.decide(tokens, latents, padding_masks), balance


class SwitchBlock(nn.Module):
    """Pre-norm block with a Switch layer for its feed-forward part."""

    def __init__(
        self, dim: int, num_heads: int, dropout: float, feed_forward: SwitchFeedForward
    ) -> None:
        super().__init__()
        self.attend = AttentionResidual(dim, num_heads, dropout)
        self.norm = nn.LayerNorm(dim)
        self.feed_forward = feed_forward
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, padding: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute [B, N, H], padding [B, N] -> [B, N, H], balance loss."""
        tokens = self.attend(tokens, padding)
        output, balance = self.feed_forward(self.norm(tokens), padding)
        return tokens + self.dropout(output), balance


def _linears(experts: int, inputs: int, outputs: int) -> tuple[nn.Parameter, nn.Parameter]:
    """Draw weights [E, in, out] and biases [E, out] of E linear layers, with torch's start."""
    layers = [nn.Linear(inputs, outputs) for _ in range(experts)]
    weight = torch.stack([layer.weight.detach().T for layer in layers])
    bias = torch.stack([layer.bias.detach() for layer in layers])
    return nn.Parameter(weight), nn.Parameter(bias)
