import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from i2moe_plugin import LatentSpec, ShapeError, latent_specs
from i2moe_plugin.backbones.latents import check_latent, pool_tokens, zero_padding


@given(tokens=st.integers(1, 6), seed=st.integers(0, 10**6))
def test_pooling_is_the_mean_over_real_tokens(tokens, seed):
    torch.manual_seed(seed)
    mask = torch.rand(4, tokens) < 0.5
    latent = torch.randn(4, tokens, 3)
    latent[mask] = float("nan")  # what stands in padding is nobody's business
    latent.requires_grad_()
    pooled = pool_tokens(latent, mask)
    for b in range(4):
        real = latent[b][~mask[b]]
        assert_close(pooled[b], real.mean(0) if len(real) else torch.zeros(3))
    pooled.sum().backward()
    assert not latent.grad[mask].any()
    assert_close(pool_tokens(latent.nan_to_num()), latent.nan_to_num().mean(1))


def test_pooling_leaves_vectors_alone_and_refuses_the_rest():
    vector = torch.randn(4, 3)
    assert pool_tokens(vector) is vector
    with pytest.raises(ValueError, match=r"\[B, D\] or \[B, T, D\]; this one is \[4, 3, 2, 1\]"):
        pool_tokens(torch.zeros(4, 3, 2, 1))


def test_zero_padding_touches_padding_only():
    latents = [torch.ones(2, 3), torch.ones(2, 4, 3)]
    mask = torch.tensor([[False, False, True, True], [False] * 4])
    vector, tokens = zero_padding(latents, [None, mask])
    assert vector is latents[0]
    assert tokens.sum(-1).tolist() == [[3, 3, 0, 0], [3, 3, 3, 3]]
    assert latents[1].all()


def test_specs_are_measured_without_training_anything(small):
    problem = small(6, "mixed")
    encoders = problem.encoders()
    encoders[0] = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    assert latent_specs(encoders, problem.inputs()) == problem.latents
    assert encoders[0].training
    assert encoders[0][1].num_batches_tracked == 0
    with pytest.raises(ShapeError, match=r"encoder 1 returned \[2, 3, 4, 5\]"):
        latent_specs([nn.Identity()], [torch.zeros(2, 3, 4, 5)])


@pytest.mark.parametrize("kind", [torch.int64, torch.float32])
def test_an_attention_mask_is_refused_with_what_to_give(kind):
    """Hugging Face's is 1 where a token is real."""

    class Encoder(nn.Module):
        def forward(self, x):
            return x, torch.ones(x.shape[:2], dtype=kind)

    words = "expected torch.bool, True where a token is padding.* give mask == 0"
    with pytest.raises(ShapeError, match=words):
        latent_specs([Encoder()], [torch.randn(2, 3, 4)])
    spec = LatentSpec(4, 3, padded=True)
    with pytest.raises(ShapeError, match=words):
        check_latent(0, spec, *Encoder()(torch.randn(2, 3, 4)))


def test_a_promised_mask_that_does_not_come_is_an_error():
    with pytest.raises(ShapeError, match="returned no padding mask, and its spec is padded"):
        check_latent(0, LatentSpec(4, 3, padded=True), torch.randn(2, 3, 4), None)
