import torch
from torch import nn


class MULTModel(nn.Module):
    class DefaultHyperParams:
        num_heads = 3
        layers = 3
        embed_dim = 9
        output_dim = 1
        all_steps = False

    def __init__(self, n_modalities, n_features, hyp_params=DefaultHyperParams):
        super().__init__()
        assert len(n_features) == n_modalities
        self.proj = nn.ModuleList(nn.Linear(width, hyp_params.embed_dim) for width in n_features)
        self.trans = nn.MultiheadAttention(hyp_params.embed_dim, hyp_params.num_heads)
        self.out_layer = nn.Linear(n_modalities * hyp_params.embed_dim, hyp_params.output_dim)

    def forward(self, x):
        tokens = [proj(v).transpose(0, 1) for proj, v in zip(self.proj, x, strict=True)]
        last = [self.trans(v, tokens[0], tokens[0])[0][-1] for v in tokens]
        return self.out_layer(torch.cat(last, 1))
