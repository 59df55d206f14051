"""InterpretCC: modalities behind gates that open or close for each sample."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from i2moe_plugin.backbones.entry import register_backbone
from i2moe_plugin.errors import ConfigError


class GumbelSigmoid(nn.Module):
    r"""A relaxed coin flip for each logit, in training; its most likely side, in evaluation.

    soft = sigmoid((logit + L) / tau), with L the difference of two Gumbel variables, which is
    logistic: L = log u - log(1 - u); L = 0 in evaluation. Hence P(soft > 1/2) = sigmoid(logit), one
    half at logit 0. The released code adds one Gumbel, in evaluation too: its gate opens with 0.63
    at logit 0, and its predictions differ from call to call.

    A hard gate is 1[soft > threshold] with the gradient of soft (straight through).

    Args:
        tau: temperature.
        threshold: above which a hard gate is open.
        hard: gates are 0 or 1.

    Raises:
        ConfigError: ``tau`` is not positive, or ``threshold`` not between 0 and 1.

    Example:
        >>> GumbelSigmoid().eval()(torch.tensor([-1.0, 1.0]))
        tensor([0., 1.])
    """

    def __init__(self, tau: float = 1.0, threshold: float = 0.5, hard: bool = True) -> None:
        super().__init__()
        if tau <= 0 or not 0 < threshold < 1:
            raise ConfigError(
                f"tau must be positive and threshold between 0 and 1, not {tau} and {threshold}."
            )
        self.tau, self.threshold, self.hard = tau, threshold, hard

    def forward(self, logits: Tensor) -> Tensor:
        """Compute gates of the logits' shape, in [0, 1]."""
        if self.training:
            # eps keeps a draw of exactly 0 or 1 finite.
            logits = logits + torch.rand_like(logits).logit(eps=1e-6)
        soft = torch.sigmoid(logits / self.tau)
        if not self.hard:
            return soft
        return (soft > self.threshold).to(soft.dtype) - soft.detach() + soft


@register_backbone(
    "interpretcc",
    latents="vector",
    paper="Swamy et al., 2024 (arXiv 2402.02933); Xin et al., ICML 2025 (arXiv 2505.19190)",
    upstream="I2MoE src/common/fusion_models/interpretcc.py: InterpretCC",
)
class InterpretCC(nn.Module):
    r"""Each modality passes a gate of its own, computed from that modality alone.

    g_m = GumbelSigmoid(w_m . ReLU(W_m z_m + c_m) + b_m); h = Dropout(ReLU(W [g_1 z_1; ...;
    g_M z_M] + b)); output = Linear(H, H/2)-ReLU-Linear(H/2, C) of h. Evaluation is deterministic;
    see :class:`GumbelSigmoid`.

    Args:
        input_dims: D_m of each modality; they may differ.
        num_outputs: C.
        hidden_dim: H, at least 2.
        dropout: on h.
        tau, threshold, hard: of the gates.

    Raises:
        ConfigError: a setting out of range.

    Example:
        >>> fusion = InterpretCC([3, 4], num_outputs=2).eval()
        >>> latents = [torch.ones(5, 3), torch.ones(5, 4)]
        >>> fusion(latents).shape, fusion.gates(latents).shape
        (torch.Size([5, 2]), torch.Size([5, 2]))
    """

    def __init__(
        self,
        input_dims: Sequence[int],
        num_outputs: int,
        *,
        hidden_dim: int = 64,
        dropout: float = 0.5,
        tau: float = 1.0,
        threshold: float = 0.5,
        hard: bool = True,
    ) -> None:
        super().__init__()
        if hidden_dim < 2:
            raise ConfigError(f"hidden_dim must be at least 2, not {hidden_dim}.")
        self.scores = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, 1)) for dim in input_dims
        )
        self.gate = GumbelSigmoid(tau, threshold, hard)
        self.fusion = nn.Sequential(
            nn.Linear(sum(input_dims), hidden_dim), nn.ReLU(), nn.Dropout(dropout)
        )
        self.classifier = nn.Sequential(
            nn.Linear(hidden_dim, hidden_dim // 2),
            nn.ReLU(),
            nn.Linear(hidden_dim // 2, num_outputs),
        )

    def gates(self, latents: Sequence[Tensor]) -> Tensor:
        """Compute how far each modality is let through, [B, M]."""
        scores = [score(z) for score, z in zip(self.scores, latents, strict=True)]
        return self.gate(torch.cat(scores, 1))

    def forward(self, latents: Sequence[Tensor]) -> Tensor:
        """Fuse M latents [B, D_m] -> [B, C]."""
        gates = self.gates(latents).unbind(1)
        gated = [z * gate.unsqueeze(1) for z, gate in zip(latents, gates, strict=True)]
        output: Tensor = self.classifier(self.fusion(torch.cat(gated, 1)))
        return output
