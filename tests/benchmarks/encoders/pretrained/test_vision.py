"""Patches of pictures and their states: against transformers' own call."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from i2moe_plugin.benchmarks.encoders.pretrained import VisionModel, find_model
from i2moe_plugin.errors import DatasetError, ShapeError


def opened(folder, size=0):
    return VisionModel(find_model(str(folder), "image", Path("nowhere")), size)


MEAN, DEVIATION = (torch.tensor(v).view(3, 1, 1) for v in ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)))


@pytest.fixture(scope="module", params=["dinov2", "vit", "clip"])
def folder(request, tmp_path_factory, new_picture_model):
    return new_picture_model(tmp_path_factory.mktemp("models") / request.param, request.param)


@pytest.mark.parametrize("size", [16, 24])
def test_states_are_transformers_own_without_the_class_token(folder, size):
    from transformers import AutoModel

    network = AutoModel.from_pretrained(folder).eval()
    network = getattr(network, "vision_model", network)
    pictures = torch.rand(2, 3, size, size)
    told = {} if "dinov2" in str(folder) else {"interpolate_pos_encoding": True}
    with torch.no_grad():
        expected = network((pictures - MEAN) / DEVIATION, **told).last_hidden_state[:, 1:]
    model = opened(folder, size)
    found = model.network().train()(pictures)
    torch.testing.assert_close(found, expected)
    rows, columns = model.grid(size, size)
    assert found.shape == (2, rows * columns, model.width)


def test_the_size_is_the_folder_s_own_unless_told(picture_folder):
    assert opened(picture_folder).size == 16
    assert opened(picture_folder).patch == 4
    assert opened(picture_folder, 8).size == 8


@pytest.mark.parametrize(
    ("height", "width", "grid"),
    [
        (16, 16, (4, 4)),
        (100, 100, (4, 4)),
        (16, 32, (4, 8)),
        (30, 20, (6, 4)),
        (1, 1, (4, 4)),
        (1, 9, (4, 36)),
    ],
)
def test_pictures_of_other_shapes(height, width, grid, picture_folder):
    model = opened(picture_folder)
    assert model.grid(height, width) == grid
    assert model.network()(torch.rand(1, 3, height, width)).shape == (1, grid[0] * grid[1], 8)


def test_a_picture_of_one_patch(picture_folder):
    assert opened(picture_folder, 4).network()(torch.rand(2, 3, 9, 9)).shape == (2, 1, 8)


def test_patches_come_row_by_row(picture_folder):
    """What is changed in a picture's corner changes that patch most."""
    network = opened(picture_folder).network()
    picture = torch.full((1, 3, 16, 16), 0.5)
    for row, column in ((0, 3), (2, 1)):
        other = picture.clone()
        other[..., 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 1
        change = (network(other) - network(picture)).norm(dim=-1)
        assert change.argmax().item() == 4 * row + column


@pytest.mark.parametrize("size", [15, 18, -4])
def test_a_size_that_is_no_multiple_of_patches(size, picture_folder):
    with pytest.raises(DatasetError, match="multiple of 4 pixels"):
        opened(picture_folder, size)


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 1, 16, 16), (1, 3, 0, 16)])
def test_what_is_no_picture(shape, picture_folder):
    with pytest.raises(ShapeError, match=r"\[B, 3, H, W\]"):
        opened(picture_folder).network()(torch.zeros(shape))


SMALL = {
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": 16,
    "patch_size": 4,
}


def write(kind, folder, **changes):
    """A tiny model of a kind that transformers has."""
    import transformers

    config = getattr(transformers, f"{kind}Config")(**SMALL | changes)
    torch.manual_seed(0)
    getattr(transformers, f"{kind}Model")(config).save_pretrained(folder)
    facts = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4], "size": 16}
    (folder / "preprocessor_config.json").write_text(json.dumps(facts))
    return folder


@pytest.mark.parametrize(
    "kind", ["ViT", "DeiT", "Beit", "Dinov2WithRegisters", "SiglipVision", "CLIPVision"]
)
def test_whatever_tokens_stand_before_the_patches(kind, tmp_path):
    network = opened(write(kind, tmp_path / kind)).network()
    assert network(torch.rand(2, 3, 16, 16)).shape == (2, 16, 8)


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        ("Yolos", {"image_size": [16, 16], "num_detection_tokens": 3}, "not the 4 x 4 patches"),
        ("ViTMAE", {}, "not the 4 x 4 patches"),
        ("ViTMAE", {"mask_ratio": 0.0}, "not the 4 x 4 patches"),
        ("VitDet", {"pretrain_image_size": 16}, "does not show its tokens"),
        ("ResNet", {"hidden_sizes": [8], "depths": [1], "patch_size": None}, "no single patch_"),
    ],
)
def test_tokens_that_are_not_the_patches_row_by_row(kind, changes, reason, tmp_path):
    """Tokens behind the patches, or patches by lot, would put every patch in a wrong place."""
    folder = write(kind, tmp_path / kind, **changes)
    with pytest.raises(DatasetError, match=reason):
        opened(folder).network()


@pytest.mark.parametrize(("height", "width"), [(1, 100_000), (100_000, 1), (4, 40_000)])
def test_pictures_that_are_a_line(height, width, picture_folder):
    with pytest.raises(DatasetError, match="at most 16384 are read"):
        opened(picture_folder).grid(height, width)


def test_a_size_of_too_many_patches(picture_folder):
    with pytest.raises(DatasetError, match="at most 16384 are read"):
        opened(picture_folder, 4_000)


def test_a_text_model_has_no_patches(text_folder):
    with pytest.raises(DatasetError, match="preprocessor_config"):
        opened(text_folder)
