"""MoE++: zero, copy and constant experts beside feed-forward ones (Jin et al., ICLR 2025)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2moe_plugin.adapters.switchgate import balance_loss
from i2moe_plugin.adapters.tokens import AttentionResidual, JointTokens, require_positive
from i2moe_plugin.backbones.entry import register_backbone
from i2moe_plugin.backbones.latents import LatentSpec
from i2moe_plugin.errors import ConfigError

TOP_K = 2
NUM_CONSTANT = 2


class MoEPlusPlusLayer(nn.Module):
    r"""Every token goes to two of n experts, some of which cost nothing.

    Experts, in order: n - 4 feed-forward ones, D_e (silu(A_e x) * B_e x) (SwiGLU, no biases); 2
    constant ones, a_1 x + a_2 v_e with [a_1, a_2] = softmax(C_e x); copy, x; zero, 0.

    Scores s = W_2 tanh(W_1 x) + G s', with s' the previous layer's scores of the same token (the
    gating residual; none in the first layer). Of the two experts with the highest scores, those
    that are not the zero expert share the token: g = softmax of their scores. So the zero expert
    turns top-2 into top-1; output = sum_e g_e E_e(x).

    The balance loss is (n / 2) sum_e eta_e f_e P_e, where f_e is the share of tokens that choose e,
    P_e the mean of softmax(s)_e, and eta_e = 1 for feed-forward experts and tau for the others (eq.
    7 of the paper, scaled to be 1 at uniform routing and tau = 1). Padding is neither routed nor
    counted.

    All feed-forward experts see all tokens and unused results get weight 0: exact, of static
    shape, and cheap for the few small experts that fusion needs.

    Args:
        dim: width of a token.
        num_experts: n, at least 5.
        hidden_dim: width inside a feed-forward expert.
        tau: below 1, more tokens go to the experts that cost nothing.
        first: there is no layer before it.

    Raises:
        ConfigError: a setting out of range.

    Example:
        >>> layer = MoEPlusPlusLayer(8, num_experts=6, hidden_dim=4, first=True)
        >>> output, scores, balance = layer(torch.zeros(2, 5, 8))
        >>> output.shape, scores.shape, balance.shape
        (torch.Size([2, 5, 8]), torch.Size([2, 5, 6]), torch.Size([]))
    """

    def __init__(
        self, dim: int, *, num_experts: int, hidden_dim: int, tau: float = 0.75, first: bool
    ) -> None:
        super().__init__()
        require_positive(hidden_dim=hidden_dim)
        self.num_ffn = num_experts - NUM_CONSTANT - 2
        if self.num_ffn < 1:
            raise ConfigError(
                f"num_experts={num_experts} leaves no feed-forward expert beside {NUM_CONSTANT} "
                f"constant, one copy and one zero expert; give at least {NUM_CONSTANT + 3}."
            )
        if tau <= 0:
            raise ConfigError(f"tau must be positive, not {tau}.")
        self.num_experts, self.tau = num_experts, tau
        self.router = nn.Sequential(
            nn.Linear(dim, 8 * num_experts, bias=False),
            nn.Tanh(),
            nn.Linear(8 * num_experts, num_experts, bias=False),
        )
        self.residual = None if first else nn.Linear(num_experts, num_experts, bias=False)
        self.up = nn.Parameter(_weights(self.num_ffn, dim, 2 * hidden_dim))
        self.down = nn.Parameter(_weights(self.num_ffn, hidden_dim, dim))
        self.mix = nn.Parameter(_weights(NUM_CONSTANT, dim, 2))
        self.constants = nn.Parameter(torch.randn(NUM_CONSTANT, dim))

    def forward(
        self, tokens: Tensor, padding: Tensor | None = None, scores: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Route and mix.

        Args:
            tokens: [B, N, H].
            padding: [B, N], True where a token is padding.
            scores: the previous layer's, [B, N, n].

        Returns:
            output [B, N, H]; this layer's scores [B, N, n]; balance loss, a scalar.
        """
        logits = self.router(tokens)
        if self.residual is not None and scores is not None:
            logits = logits + self.residual(scores)
        experts = torch.arange(self.num_experts, device=tokens.device)
        chosen = (logits.topk(TOP_K).indices.unsqueeze(-1) == experts).any(-2)
        sharing = chosen & (experts != self.num_experts - 1)
        gates = logits.masked_fill(~sharing, float("-inf")).softmax(-1)
        if padding is not None:
            chosen = chosen & ~padding.unsqueeze(-1)
            gates = gates.masked_fill(padding.unsqueeze(-1), 0)
        eta = torch.where(experts < self.num_ffn, 1.0, self.tau)
        balance = balance_loss(chosen, eta * logits.softmax(-1), padding)
        return self._mix(tokens, gates), logits, balance

    def _mix(self, tokens: Tensor, gates: Tensor) -> Tensor:
        ffn, constant, copy, _ = gates.split([self.num_ffn, NUM_CONSTANT, 1, 1], -1)
        left, right = torch.einsum("bnh,ehf->bnef", tokens, self.up).chunk(2, -1)
        inner = F.silu(left) * right * ffn.unsqueeze(-1)
        output = torch.einsum("bnef,efh->bnh", inner, self.down)
        kept, replaced = torch.einsum("bnh,eha->bnea", tokens, self.mix).softmax(-1).unbind(-1)
        output = output + (constant * replaced) @ self.constants
        return output + ((constant * kept).sum(-1, keepdim=True) + copy) * tokens


class MoEPlusPlusBlock(nn.Module):
    """Pre-norm block with a MoE++ layer for its feed-forward part."""

    def __init__(self, dim: int, num_heads: int, dropout: float, layer: MoEPlusPlusLayer) -> None:
        super().__init__()
        self.attend = AttentionResidual(dim, num_heads, dropout)
        self.norm = nn.LayerNorm(dim)
        self.layer = layer
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, tokens: Tensor, padding: Tensor | None = None, scores: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute [B, N, H], padding [B, N], scores [B, N, n] -> tokens, scores, balance loss."""
        tokens = self.attend(tokens, padding)
        output, scores, balance = self.layer(self.norm(tokens), padding, scores)
        return tokens + self.dropout(output), scores, balance


@register_backbone(
    "moepp",
    latents="tokens",
    padding=True,
    auxiliary=True,
    paper="Jin et al., ICLR 2025 (arXiv 2410.07348); Xin et al., ICML 2025 (arXiv 2505.19190)",
    upstream="I2MoE src/common/modules/moepp_layer.py: MOE; src/common/fusion_models/moepp.py",
)
class MoEPlusPlus(JointTokens):
    r"""The ``transformer`` with a MoE++ layer for every feed-forward layer.

    x = x + A(LN(x)), x = x + M(LN(x)); each layer reads what the one before has made, and its
    router what that layer's router thought. M is :class:`MoEPlusPlusLayer`; the auxiliary loss is
    the sum of the layers' balance losses.

    Args:
        latents: token latents of one width H; numbers of tokens may differ between modalities.
        num_outputs: C.
        num_layers, num_heads, dropout: as in :class:`Transformer`.
        num_experts: n, of which n - 4 are feed-forward; at least 5.
        expert_dim: width inside a feed-forward expert.
        tau: weight of the other experts in the balance loss.

    Raises:
        ConfigError: a setting out of range.
        ShapeError: more tokens came than the backbone was built for.

    Example:
        >>> fusion = MoEPlusPlus([LatentSpec(8, 3), LatentSpec(8, 5)], 2)
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
        num_experts: int = 8,
        expert_dim: int = 64,
        tau: float = 0.75,
    ) -> None:
        super().__init__(latents, num_outputs)
        require_positive(num_layers=num_layers)
        self.blocks = nn.ModuleList(
            MoEPlusPlusBlock(
                self.dim,
                num_heads,
                dropout,
                MoEPlusPlusLayer(
                    self.dim,
                    num_experts=num_experts,
                    hidden_dim=expert_dim,
                    tau=tau,
                    first=layer == 0,
                ),
            )
            for layer in range(num_layers)
        )

    def forward(
        self, latents: Sequence[Tensor], padding_masks: Sequence[Tensor | None] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Fuse M latents [B, T_m, H], masks None or [B, T_m] -> [B, C], balance loss (a scalar)."""
        tokens, padding = self.join(latents, padding_masks)
        scores: Tensor | None = None
        balance = tokens.new_zeros(())
        for block in self.blocks:
            tokens, scores, loss = block(tokens, padding, scores)
            balance = balance + loss
        return self.decide(tokens, latents, padding_masks), balance


def _weights(experts: int, inputs: int, outputs: int) -> Tensor:
    """Draw weights [E, in, out] of E linear layers, each with torch's start."""
    return torch.stack(
        [nn.Linear(inputs, outputs, bias=False).weight.detach().T for _ in range(experts)]
    )
