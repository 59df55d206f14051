"""Multiplicative interactions (Jayakumar et al., ICLR 2020)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from i2moe_plugin.adapters.tokens import require_positive
from i2moe_plugin.backbones.entry import register_backbone

_PAPER = "Jayakumar et al., ICLR 2020, Multiplicative Interactions and Where to Find Them"
_UPSTREAM = "MultiBench fusions/common_fusions.py: MultiplicativeInteractions"


@register_backbone(
    "mi-matrix",
    latents="vector",
    max_modalities=2,
    paper=_PAPER,
    upstream=f"{_UPSTREAM}2Modal, matrix and matrix3D",
)
class MatrixInteraction(nn.Module):
    r"""A linear layer on z_2 whose weights and bias are made from z_1 (a hypernetwork).

    fused_o = sum_ij z_1i z_2j W_ijo + sum_i z_1i U_io + sum_j z_2j V_jo + b_o; it is bilinear with
    all lower-order terms, and so treats both modalities alike.

    Args:
        input_dims: [D_1, D_2].
        output_dim: width of the output, or its shape [P, Q] (MultiBench's ``matrix3D``).

    Raises:
        ConfigError: ``output_dim`` below 1.

    Example:
        >>> MatrixInteraction([3, 4], 6)([torch.ones(5, 3), torch.ones(5, 4)]).shape
        torch.Size([5, 6])
    """

    def __init__(self, input_dims: Sequence[int], output_dim: int | Sequence[int] = 64) -> None:
        super().__init__()
        first, second = input_dims
        shape = (output_dim,) if isinstance(output_dim, int) else tuple(output_dim)
        require_positive(output_dim=min(shape))
        self.W = nn.Parameter(nn.init.xavier_normal_(torch.empty(first, second, *shape)))
        self.U = nn.Parameter(nn.init.xavier_normal_(torch.empty(first, *shape)))
        self.V = nn.Parameter(nn.init.xavier_normal_(torch.empty(second, *shape)))
        bias = torch.empty(shape)
        self.b = nn.Parameter(
            nn.init.normal_(bias) if bias.dim() == 1 else nn.init.xavier_normal_(bias)
        )

    def forward(self, latents: Sequence[Tensor]) -> Tensor:
        """Fuse [B, D_1] and [B, D_2] -> [B, output_dim] or [B, P, Q]."""
        first, second = latents
        products = (first.unsqueeze(2) * second.unsqueeze(1)).flatten(1)
        shift_1 = torch.tensordot(first, self.U, 1) + self.b
        shift_2 = torch.tensordot(second, self.V, 1)
        return torch.tensordot(products, self.W.flatten(0, 1), 1) + shift_1 + shift_2


@register_backbone(
    "mi-vector",
    latents="vector",
    max_modalities=2,
    paper=_PAPER,
    upstream=f"{_UPSTREAM}2Modal, vector",
)
class VectorInteraction(nn.Module):
    r"""The first modality scales and shifts each feature of the second.

    fused = (W^T z_1 + V) * z_2 + (U^T z_1 + b): the diagonal form, or gating.

    Args:
        input_dims: [D_1, D_2].
        flip: let the second modality gate the first.

    Example:
        >>> VectorInteraction([3, 4])([torch.ones(5, 3), torch.ones(5, 4)]).shape
        torch.Size([5, 4])
    """

    def __init__(self, input_dims: Sequence[int], *, flip: bool = False) -> None:
        super().__init__()
        self.flip = flip
        gate, gated = reversed(input_dims) if flip else input_dims
        self.W = nn.Parameter(nn.init.xavier_normal_(torch.empty(gate, gated)))
        self.U = nn.Parameter(nn.init.xavier_normal_(torch.empty(gate, gated)))
        self.V = nn.Parameter(torch.randn(gated))
        self.b = nn.Parameter(torch.randn(gated))

    def forward(self, latents: Sequence[Tensor]) -> Tensor:
        """Fuse [B, D_1] and [B, D_2] -> [B, D_2], or [B, D_1] with ``flip``."""
        gate, gated = reversed(latents) if self.flip else latents
        return (gate @ self.W + self.V) * gated + (gate @ self.U + self.b)


@register_backbone(
    "mi-scalar",
    latents="vector",
    max_modalities=2,
    paper=_PAPER,
    upstream=f"{_UPSTREAM}2Modal, scalar",
)
class ScalarInteraction(nn.Module):
    r"""The first modality scales and shifts the second as a whole.

    fused = (w . z_1 + v) z_2 + (u . z_1 + b), with scalars v and b.

    Args:
        input_dims: [D_1, D_2].
        flip: let the second modality scale the first.

    Example:
        >>> ScalarInteraction([3, 4])([torch.ones(5, 3), torch.ones(5, 4)]).shape
        torch.Size([5, 4])
    """

    def __init__(self, input_dims: Sequence[int], *, flip: bool = False) -> None:
        super().__init__()
        self.flip = flip
        gate = input_dims[1 if flip else 0]
        # Unlike MultiBench's N(0, 1), so that the scale does not grow with the gate's width.
        self.W = nn.Parameter(torch.randn(gate) / math.sqrt(gate))
        self.U = nn.Parameter(torch.randn(gate) / math.sqrt(gate))
        self.V = nn.Parameter(torch.randn(1))
        self.b = nn.Parameter(torch.randn(1))

    def forward(self, latents: Sequence[Tensor]) -> Tensor:
        """Fuse [B, D_1] and [B, D_2] -> [B, D_2], or [B, D_1] with ``flip``."""
        gate, scaled = reversed(latents) if self.flip else latents
        scale, shift = gate @ self.W + self.V, gate @ self.U + self.b
        return scale.unsqueeze(1) * scaled + shift.unsqueeze(1)


@register_backbone(
    "mi3",
    latents="vector",
    min_modalities=3,
    max_modalities=3,
    paper=_PAPER,
    upstream=f"{_UPSTREAM}3Modal, task 'affect'",
)
class ThreeWayInteraction(nn.Module):
    r"""A linear layer on z_3 whose weights and bias are matrix interactions of z_1 and z_2.

    fused = A(z_1, z_2)^T z_3 + B(z_1, z_2), with A(z_1, z_2) [D_3, output_dim] and B(z_1, z_2)
    [output_dim]. MultiBench's class mixes samples of a batch unless its task is "affect"; this one
    never does.

    Args:
        input_dims: [D_1, D_2, D_3].
        output_dim: width of the fused vector.

    Example:
        >>> fusion = ThreeWayInteraction([3, 4, 2], output_dim=6)
        >>> fusion([torch.ones(5, 3), torch.ones(5, 4), torch.ones(5, 2)]).shape
        torch.Size([5, 6])
    """

    def __init__(self, input_dims: Sequence[int], output_dim: int = 64) -> None:
        super().__init__()
        *pair, third = input_dims
        self.a = MatrixInteraction(pair, [third, output_dim])
        self.b = MatrixInteraction(pair, output_dim)

    def forward(self, latents: Sequence[Tensor]) -> Tensor:
        """Fuse [B, D_1], [B, D_2] and [B, D_3] -> [B, output_dim]."""
        *pair, third = latents
        weights: Tensor = self.a(pair)
        return (third.unsqueeze(1) @ weights).squeeze(1) + self.b(pair)
