import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from i2moe_plugin.adapters.multiplicative import (
    MatrixInteraction,
    ScalarInteraction,
    ThreeWayInteraction,
    VectorInteraction,
)

sizes = st.integers(1, 4)


@pytest.mark.parametrize(
    ("case", "fusion"),
    [
        ("mi2_matrix", MatrixInteraction([6, 5], 7)),
        ("mi2_matrix3D", MatrixInteraction([6, 5], [3, 4])),
        ("mi2_vector", VectorInteraction([6, 5])),
        ("mi2_scalar", ScalarInteraction([6, 5])),
        ("mi3_affect", ThreeWayInteraction([6, 5, 4], 7)),
    ],
)
def test_recorded_output_and_gradients(recorded, case, fusion):
    def build(_, parameters):
        fusion.load_state_dict(parameters)
        return fusion

    recorded(case, build)


def numbers(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: p.detach().numpy() for name, p in module.named_parameters()}


@given(first=sizes, second=sizes, width=sizes)
def test_matrix_is_bilinear_with_lower_terms(first, second, width):
    fusion = MatrixInteraction([first, second], width).double()
    x, y = torch.randn(first).double(), torch.randn(second).double()
    p = numbers(fusion)
    expected = p["b"].copy()
    for o in range(width):
        for i in range(first):
            expected[o] += x[i] * p["U"][i, o]
            for j in range(second):
                expected[o] += x[i] * y[j] * p["W"][i, j, o]
        for j in range(second):
            expected[o] += y[j] * p["V"][j, o]
    actual = fusion([x.unsqueeze(0), y.unsqueeze(0)])[0].detach().numpy()
    np.testing.assert_allclose(actual, expected, rtol=1e-9)


@pytest.mark.parametrize("cls", [VectorInteraction, ScalarInteraction])
@given(first=sizes, second=sizes, flip=st.booleans())
def test_one_modality_scales_and_shifts_the_other(cls, first, second, flip):
    fusion = cls([first, second], flip=flip).double()
    latents = [torch.randn(1, first).double(), torch.randn(1, second).double()]
    gate, gated = [latent[0].numpy() for latent in (reversed(latents) if flip else latents)]
    # A scalar's parameters, repeated for every feature, are a vector's.
    shape = (len(gate), len(gated))
    p = {k: np.broadcast_to(v.T, shape[::-1]).T for k, v in numbers(fusion).items() if k in "WU"}
    v, shift = (numbers(fusion)[k] * np.ones(len(gated)) for k in "Vb")
    expected = [
        (sum(gate[i] * p["W"][i, j] for i in range(len(gate))) + v[j]) * gated[j]
        + sum(gate[i] * p["U"][i, j] for i in range(len(gate)))
        + shift[j]
        for j in range(len(gated))
    ]
    np.testing.assert_allclose(fusion(latents)[0].detach().numpy(), expected, rtol=1e-9)


@given(dims=st.tuples(sizes, sizes, sizes), width=sizes)
def test_three_way_is_trilinear_with_lower_terms(dims, width):
    fusion = ThreeWayInteraction(dims, width).double()
    x, y, z = (torch.randn(dim).double().numpy() for dim in dims)
    p = numbers(fusion)

    def bilinear(name: str) -> np.ndarray:
        return (
            np.einsum("i,j,ij...->...", x, y, p[f"{name}.W"])
            + np.einsum("i,i...->...", x, p[f"{name}.U"])
            + np.einsum("j,j...->...", y, p[f"{name}.V"])
            + p[f"{name}.b"]
        )

    latents = [torch.from_numpy(v).unsqueeze(0) for v in (x, y, z)]
    expected = z @ bilinear("a") + bilinear("b")
    np.testing.assert_allclose(fusion(latents)[0].detach().numpy(), expected, rtol=1e-9)


def test_three_way_never_mixes_the_batch():
    """MultiBench's class returns [B, B, out] unless its task is 'affect'."""
    fusion = ThreeWayInteraction([3, 4, 2], 5)
    latents = [torch.randn(6, dim) for dim in (3, 4, 2)]
    assert fusion(latents).shape == (6, 5)
    assert_close(fusion([latent[2:3] for latent in latents])[0], fusion(latents)[2])
