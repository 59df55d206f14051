import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from i2moe_plugin.adapters.lrtf import LowRankTensorFusion
from i2moe_plugin.backbones.wrapper import MLPHead


@pytest.mark.parametrize("case", ["lrtf_2", "lrtf_3", "released_lrtf_2"])
def test_recorded_output_and_gradients(recorded, case):
    """MultiBench's class, and the official repository's, which is the same one and our head."""

    def build(facts, parameters):
        names = sorted(name for name in parameters if name.startswith("factors."))
        rank, _, width = parameters[names[0]].shape
        dims = [parameters[name].shape[1] - 1 for name in names]
        fusion = LowRankTensorFusion(dims, output_dim=width, rank=rank)
        own = (*names, "fusion_weights", "fusion_bias")
        fusion.load_state_dict({name: parameters[name] for name in own})
        if not case.startswith("released"):
            return fusion
        head = MLPHead(facts["ir_dim"], facts["output_dim"], hidden=128, dropout=0.0)
        head.load_state_dict(
            {
                f"{ours}.{part}": parameters[f"cls_head.{theirs}.{part}"]
                for ours, theirs in (("0", "0"), ("3", "2"))
                for part in ("weight", "bias")
            }
        )
        return nn.Sequential(fusion, head)

    recorded(case, build)


@given(
    dims=st.lists(st.integers(1, 4), min_size=2, max_size=5),
    width=st.integers(1, 4),
    rank=st.integers(1, 3),
)
def test_it_is_the_full_outer_product_contracted_with_a_low_rank_tensor(dims, width, rank):
    """Oracle: build the [D_1+1, ..., D_M+1, width] weight tensor and the outer product."""
    fusion = LowRankTensorFusion(dims, output_dim=width, rank=rank).double()
    latents = [torch.randn(2, dim, dtype=torch.float64) for dim in dims]
    factors = [factor.detach().numpy() for factor in fusion.factors]
    for b in range(2):
        outer, weight = np.ones(()), np.zeros((*(dim + 1 for dim in dims), width))
        for latent in latents:
            outer = np.multiply.outer(outer, np.concatenate([[1.0], latent[b].numpy()]))
        for r in range(rank):
            for o in range(width):
                term = np.array(fusion.fusion_weights[0, r].item())
                for factor in factors:
                    term = np.multiply.outer(term, factor[r, :, o])
                weight[..., o] += term
        expected = np.tensordot(outer, weight, len(dims)) + fusion.fusion_bias[0].detach().numpy()
        np.testing.assert_allclose(fusion(latents)[b].detach().numpy(), expected, rtol=1e-9)


def test_d1_m1_all_factors_are_trained_saved_and_cast():
    """D1, M1: upstream keeps the factors in a plain list, out of parameters() and state_dict()."""
    fusion = LowRankTensorFusion([3, 4], output_dim=5, rank=2)
    assert sum(p.numel() for p in fusion.parameters()) == 2 * 4 * 5 + 2 * 5 * 5 + 2 + 5
    assert {"factors.0", "factors.1"} <= set(fusion.state_dict())
    before = {name: tensor.clone() for name, tensor in fusion.state_dict().items()}
    optimizer = torch.optim.Adam(fusion.parameters(), lr=0.1)
    latents = [torch.randn(6, 3), torch.randn(6, 4)]
    fusion(latents).square().sum().backward()
    optimizer.step()
    for name, tensor in fusion.state_dict().items():
        assert (tensor != before[name]).all(), name
    double = fusion.double()([latent.double() for latent in latents])
    assert double.dtype == torch.float64
