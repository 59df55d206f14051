import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from i2moe_plugin import BackboneError, LatentSpec, create_backbone
from i2moe_plugin.adapters.concat import Concat


def test_recorded_output_and_gradients(recorded):
    recorded("concat", lambda *_: Concat())


@given(
    shapes=st.lists(
        st.tuples(st.integers(1, 4)) | st.tuples(st.integers(1, 3), st.integers(1, 4)),
        min_size=2,
        max_size=8,
    ),
    batch=st.integers(1, 3),
)
def test_any_mix_of_vectors_and_tokens_stays_in_order(shapes, batch):
    latents = [torch.randn(batch, *shape) for shape in shapes]
    expected = [[value for item in latents for value in item[b].flatten()] for b in range(batch)]
    assert_close(Concat()(latents), torch.tensor(expected))


def test_a_varying_number_of_tokens_is_refused_in_words():
    latents = [LatentSpec(3), LatentSpec(4, tokens=5, padded=True)]
    backbone = create_backbone("concat", latents, num_outputs=2)
    mask = torch.zeros(2, 6, dtype=torch.bool)
    with pytest.raises(BackboneError, match="must pool") as caught:
        backbone([torch.zeros(2, 3), torch.zeros(2, 6, 4)], [None, mask])
    assert "[2, 6, 4] to 27 values a sample; its head was built for 23" in str(caught.value)
