import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from i2moe_plugin import BackboneError, LatentSpec, create_backbone
from i2moe_plugin.adapters.tensor import TensorFusion


@pytest.mark.parametrize("case", ["tensor_2", "tensor_3"])
def test_recorded_output_and_gradients(recorded, case):
    recorded(case, lambda facts, _: TensorFusion([shape[-1] for shape in facts["input_shapes"]]))


@given(dims=st.lists(st.integers(1, 3), min_size=2, max_size=4))
def test_every_entry_is_one_product_of_features_or_ones(dims):
    latents = [torch.randn(2, dim, dtype=torch.float64) for dim in dims]
    fused = TensorFusion(dims)(latents)
    for b in range(2):
        factors = [[1.0, *latent[b].tolist()] for latent in latents]
        expected = [math.prod(picked) for picked in itertools.product(*factors)]
        assert_close(fused[b], torch.tensor(expected, dtype=torch.float64))


def test_projection_comes_first():
    fusion = TensorFusion([30, 40], project_dim=2)
    latents = [torch.randn(3, 30), torch.randn(3, 40)]
    small = [project(z) for project, z in zip(fusion.projections, latents, strict=True)]
    assert_close(fusion(latents), TensorFusion([2, 2])(small))
    assert all(isinstance(projection, nn.Linear) for projection in fusion.projections)


def test_a_tensor_too_wide_is_refused_with_the_way_out():
    latents = [LatentSpec(64)] * 3
    with pytest.raises(BackboneError, match="is 274,625 wide; at most max_width=100,000") as caught:
        create_backbone("tensor", latents, num_outputs=2)
    assert "--set fusion.project_dim=8" in str(caught.value)
    create_backbone("tensor", latents, num_outputs=2, project_dim=8)
