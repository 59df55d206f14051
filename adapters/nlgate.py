"""Non-local gate fusion (MultiBench ``fusions/common_fusions.py``, NLgate)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from i2moe_plugin.adapters.tokens import require_positive
from i2moe_plugin.backbones.entry import register_backbone


@register_backbone(
    "nlgate",
    latents="vector",
    max_modalities=2,
    paper="Wang et al., CVPR 2020 (arXiv 1905.12681), section F4",
    upstream="MultiBench fusions/common_fusions.py: NLgate",
)
class NonLocalGate(nn.Module):
    r"""The first modality attends to the second and keeps itself.

    With Q = W_q z_1 as [P, C], K = W_k z_2 as [C, S] and V = W_v z_2 as [S, C] (each with a bias):
    fused = flatten(Q + softmax(Q K) V), softmax over the S places of the second modality, without
    the scale 1 / sqrt(C) of later attention.

    Args:
        input_dims: [D_1, D_2].
        num_queries: P (``thw_dim`` in MultiBench).
        channels: C (``c_dim``).
        num_keys: S (``tf_dim``).

    Raises:
        ConfigError: a size below 1.

    Example:
        >>> import torch
        >>> fusion = NonLocalGate([6, 5], num_queries=3, channels=4, num_keys=2)
        >>> fusion([torch.ones(7, 6), torch.ones(7, 5)]).shape
        torch.Size([7, 12])
    """

    def __init__(
        self,
        input_dims: Sequence[int],
        *,
        num_queries: int = 8,
        channels: int = 16,
        num_keys: int = 8,
    ) -> None:
        super().__init__()
        require_positive(num_queries=num_queries, channels=channels, num_keys=num_keys)
        first, second = input_dims
        self.num_queries, self.channels, self.num_keys = num_queries, channels, num_keys
        self.query = nn.Linear(first, num_queries * channels)
        self.key = nn.Linear(second, channels * num_keys)
        self.value = nn.Linear(second, num_keys * channels)

    def forward(self, latents: Sequence[Tensor]) -> Tensor:
        """Fuse [B, D_1] and [B, D_2] -> [B, P * C]."""
        first, second = latents
        query: Tensor = self.query(first).unflatten(1, (self.num_queries, self.channels))
        key = self.key(second).unflatten(1, (self.channels, self.num_keys))
        value = self.value(second).unflatten(1, (self.num_keys, self.channels))
        return (query + (query @ key).softmax(-1) @ value).flatten(1)
