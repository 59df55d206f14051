import numpy as np
import pytest
import torch

from i2moe_plugin.benchmarks.data.preview import preview_of


@pytest.mark.parametrize("value", [np.float32(2.5), torch.tensor([1.0, 2.0]), np.arange(3)])
def test_vectors_are_features(value):
    found = preview_of("x", value)
    assert found.kind == "features"
    assert found.value.tolist() == np.atleast_1d(np.asarray(value)).tolist()


def test_matrices_are_series_without_their_padding():
    series = torch.arange(12.0).reshape(6, 2)
    assert preview_of("x", series).value.shape == (6, 2)
    assert preview_of("x", (series, torch.tensor(4))).value.tolist() == series[:4].tolist()
    padded = torch.tensor([False, False, False, True, True, True])
    assert preview_of("x", (series, padded)).value.tolist() == series[:3].tolist()


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_become_bytes_in_colour(channels):
    picture = torch.rand(channels, 5, 7)
    found = preview_of("x", picture)
    assert (found.kind, found.value.shape, found.value.dtype) == ("image", (5, 7, 3), np.uint8)
    expected = (picture.numpy() * 255).round()
    np.testing.assert_array_equal(found.value[:, :, 0], expected[0])
    np.testing.assert_array_equal(found.value[:, :, 2], expected[-1])
    whole = (picture * 255).to(torch.uint8)
    np.testing.assert_array_equal(preview_of("x", whole).value[:, :, 0], whole[0].numpy())


def test_other_ranges_are_stretched_and_no_number_is_black():
    picture = torch.tensor([[[-2.0, 0.0], [2.0, float("nan")]]])
    assert preview_of("x", picture).value[:, :, 1].tolist() == [[0, 128], [255, 0]]


def test_of_a_volume_the_slice_in_the_middle():
    volume = torch.zeros(1, 9, 4, 6)
    volume[0, 4] = 1
    found = preview_of("x", volume)
    assert found.kind == "image"
    assert found.value.shape == (4, 6, 3)
    assert found.value.min() == 255
