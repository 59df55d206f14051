import torch
from torch import nn


class Concat(nn.Module):
    """Concatenates what is flattened."""

    def forward(self, modalities):
        return torch.cat([m.flatten(1) for m in modalities], 1)


class ConcatEarly(nn.Module):
    def forward(self, modalities):
        return torch.cat(modalities, 2)


class Stack(nn.Module):
    def forward(self, modalities):
        return torch.stack([m.flatten(1) for m in modalities], 2)


class ConcatWithLinear(nn.Module):
    def __init__(self, input_dim, output_dim, concat_dim=1):
        super().__init__()
        self.concat_dim, self.fc = concat_dim, nn.Linear(input_dim, output_dim)

    def forward(self, modalities):
        return self.fc(torch.cat(modalities, self.concat_dim))


class TensorFusion(nn.Module):
    def forward(self, modalities):
        fused = torch.ones_like(modalities[0][..., :1])
        for m in modalities:
            one = torch.ones_like(m[..., :1])
            fused = (fused.unsqueeze(-1) * torch.cat([one, m], -1).unsqueeze(-2)).flatten(-2)
        return fused


class LowRankTensorFusion(nn.Module):
    """Trap: factors in a plain list; what is moved to a device is no parameter any more."""

    def __init__(self, input_dims, output_dim, rank, flatten=True):
        super().__init__()
        self.output_dim = output_dim
        self.factors = []
        for dim in input_dims:
            factor = nn.Parameter(torch.empty(rank, dim + 1, output_dim)).to("cpu")
            nn.init.xavier_normal(factor)  # trap: deprecated
            self.factors.append(factor)
        self.fusion_weights = nn.Parameter(torch.empty(1, rank)).to("cpu")
        self.fusion_bias = nn.Parameter(torch.zeros(1, output_dim)).to("cpu")
        nn.init.xavier_normal(self.fusion_weights)

    def forward(self, modalities):
        product = 1
        for m, factor in zip(modalities, self.factors, strict=True):
            flat = m.flatten(1)
            product = product * (torch.cat([torch.ones_like(flat[:, :1]), flat], 1) @ factor)
        fused = (self.fusion_weights @ product.permute(1, 0, 2)).squeeze() + self.fusion_bias
        return fused.view(-1, self.output_dim)


class MultiplicativeInteractions2Modal(nn.Module):
    def __init__(
        self, input_dims, output_dim, output, flatten=False, clip=None, grad_clip=None, flip=False
    ):
        super().__init__()
        shape = output_dim if output == "matrix3D" else [output_dim]
        self.W, self.flatten = nn.Parameter(torch.randn(*input_dims, *shape) / 8), flatten

    def forward(self, modalities):
        if self.flatten:
            modalities = [m.flatten(1) for m in modalities]
        return torch.einsum("bn,bm,nm...->b...", *modalities, self.W)


class MultiplicativeInteractions3Modal(nn.Module):
    """Trap: without a task, every sample meets every other one."""

    def __init__(self, input_dims, output_dim, task=None):
        super().__init__()
        self.a = MultiplicativeInteractions2Modal(
            input_dims[:2], [input_dims[2], output_dim], "matrix3D"
        )
        self.task = task

    def forward(self, modalities):
        pattern = "bm,bmp->bp" if self.task == "affect" else "cm,bmp->bcp"
        return torch.einsum(pattern, modalities[2], self.a(modalities[:2]))


class NLgate(nn.Module):
    """Trap: without the linear layers, a width that does not fit mixes samples."""

    def __init__(self, thw_dim, c_dim, tf_dim, q_linear=None, k_linear=None, v_linear=None):
        super().__init__()
        pairs = (q_linear, k_linear, v_linear)
        self.q, self.k, self.v = (nn.Linear(*pair) if pair else nn.Identity() for pair in pairs)
        self.dims = thw_dim, c_dim, tf_dim

    def forward(self, x):
        thw, c, tf = self.dims
        q, k = self.q(x[0]).view(-1, thw, c), self.k(x[1]).view(-1, c, tf)
        v = self.v(x[1]).view(-1, tf, c)
        return (q + (q @ k).softmax(2) @ v).flatten(1)


def _encoder(width):
    layer = nn.TransformerEncoderLayer(width, 3, dim_feedforward=16)
    return nn.TransformerEncoder(layer, 1)  # trap: warns of its layout


class EarlyFusionTransformer(nn.Module):
    """Trap: takes a tensor."""

    embed_dim = 9

    def __init__(self, n_features):
        super().__init__()
        self.conv, self.transformer = nn.Conv1d(n_features, 9, 1, bias=False), _encoder(9)
        self.linear = nn.Linear(9, 1)

    def forward(self, x):
        return self.linear(self.transformer(self.conv(x.mT).permute(2, 0, 1))[-1])


class LateFusionTransformer(nn.Module):
    """Trap: takes a tensor."""

    def __init__(self, embed_dim=9):
        super().__init__()
        self.conv, self.transformer = nn.Conv1d(1, embed_dim, 1, bias=False), _encoder(embed_dim)

    def forward(self, x):
        return self.transformer(self.conv(x.view(len(x), 1, -1)).permute(2, 0, 1))[-1]
