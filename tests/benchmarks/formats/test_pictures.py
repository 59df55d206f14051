"""Pictures of every mode become the colours that a person sees."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from i2moe_plugin.benchmarks.formats.pictures import (
    OWN_FORMATS,
    ImageFiles,
    depth_bounds,
    fit_bounds,
    read_image,
    read_picture,
    upright,
)
from i2moe_plugin.errors import DatasetError

own_image = partial(read_image, formats=OWN_FORMATS)
own_picture = partial(read_picture, formats=OWN_FORMATS)
SIZE = (8, 8)
RAMP = np.linspace(0, 1, 64).reshape(8, 8)


def saved(folder: Path, name: str, image: Image.Image, **options) -> Path:
    image.save(folder / name, **options)
    return folder / name


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("i16.png", (RAMP * 65535).astype(np.uint16)),
        ("i16.tif", (RAMP * 65535).astype("<u2")),
        ("big.tif", (RAMP * 65535).astype(">u2")),
        ("i12.png", (RAMP * 4095).astype(np.uint16)),
        ("i32.tif", (RAMP * 65535).astype(np.int32)),
        ("wide.tif", (RAMP * 2**30).astype(np.int32)),
        ("signed.tif", (RAMP * 3000 - 1000).astype(np.int32)),
        ("unit.tif", RAMP.astype(np.float32)),
        ("bytes.tif", (RAMP * 65535).astype(np.float32)),
        ("negative.tif", (RAMP * 8 - 4).astype(np.float32)),
    ],
)
def test_deep_pictures_keep_their_content(tmp_path, name, values):
    image = Image.fromarray(values)
    found = own_image(saved(tmp_path, name, image), SIZE)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, np.stack([RAMP] * 3), atol=2e-3)
    seen = own_picture(tmp_path / name)
    assert seen.dtype == np.uint8
    np.testing.assert_allclose(seen[..., 0], RAMP * 255, atol=1.5)


def test_deep_pictures_of_a_data_set_have_one_scale(tmp_path):
    paths = [
        saved(tmp_path, f"{level}.png", Image.fromarray(np.full((8, 8), level, np.uint16)))
        for level in (300, 3000, 4000)
    ]
    bounds = fit_bounds(paths, OWN_FORMATS)
    assert bounds == (0, 4095)
    found = ImageFiles(paths, SIZE, bounds=bounds)[np.arange(3)].mean((1, 2, 3))
    np.testing.assert_allclose(found, np.array([300, 3000, 4000]) / 4095, rtol=1e-6)
    eight = saved(tmp_path, "eight.png", Image.new("RGB", (8, 8), (255, 0, 0)))
    assert fit_bounds([eight]) is None
    torch.testing.assert_close(own_image(eight, SIZE, bounds=bounds)[:, 0, 0], torch.eye(3)[0])


def test_deep_pictures_without_finite_values_are_refused(tmp_path):
    path = saved(tmp_path, "nan.tif", Image.fromarray(np.full((8, 8), np.nan, np.float32)))
    with pytest.raises(DatasetError, match="NaN or infinite"):
        own_image(path, SIZE)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 1], (0, 255)),
        ([0, 256], (0, 1023)),
        ([5, 4096], (0, 16383)),
        ([0, 70000], (0, 70000)),
        ([-5, 5], (-5, 5)),
        ([7, 7], (0, 255)),
        ([-7, -7], (-7, -6)),
    ],
)
def test_the_range_of_whole_numbers(values, expected):
    assert depth_bounds(np.array(values)) == expected


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P", "tRNS"])
@pytest.mark.parametrize("ink", ["black", "red"])
def test_what_is_transparent_is_white(tmp_path, mode, ink):
    shape = np.zeros((8, 8), np.uint8)
    shape[2:6, 1:7] = 255
    colour = "black" if mode == "LA" else ink
    image = Image.new("RGB", (8, 8), colour)
    image.putalpha(Image.fromarray(shape))
    expected = Image.new("RGB", (8, 8), "white")
    expected.paste(colour, mask=Image.fromarray(shape))
    if mode == "LA":
        image = image.convert("LA")
    elif mode == "PA":
        image = image.convert("RGB").convert("P")
        image.putalpha(Image.fromarray(shape))
        assert image.mode == "PA"
        np.testing.assert_array_equal(np.asarray(upright(image)), np.asarray(expected))
        return
    if mode == "P":
        flat = Image.fromarray((shape > 0).astype(np.uint8)).convert("P")
        flat.putpalette([9, 9, 9, *Image.new("RGB", (1, 1), ink).getpixel((0, 0))])
        path = saved(tmp_path, "p.png", flat, transparency=0)
    elif mode == "tRNS":
        path = saved(tmp_path, "t.png", Image.composite(
            Image.new("RGB", (8, 8), colour), Image.new("RGB", (8, 8), (1, 2, 3)),
            Image.fromarray(shape),
        ), transparency=(1, 2, 3))  # fmt: skip
    else:
        path = saved(tmp_path, "a.png", image)
    np.testing.assert_array_equal(own_picture(path), np.asarray(expected))
    torch.testing.assert_close(
        own_image(path, SIZE),
        torch.from_numpy(np.asarray(expected) / 255).permute(2, 0, 1).float(),
    )


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr"])
def test_other_modes_are_what_pillow_makes_of_them(mode):
    image = Image.linear_gradient("L").resize((8, 8)).convert("RGB").convert(mode)
    np.testing.assert_array_equal(np.asarray(upright(image)), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "jpg", "webp"])
def test_the_cameras_orientation_is_applied(tmp_path, orientation, ending):
    pixels = np.zeros((16, 24, 3), np.uint8)
    pixels[:8, :8] = 255  # a corner
    turns = {
        1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2), 6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a.transpose(1, 0, 2), 2), 8: lambda a: np.rot90(a, 1),
    }  # fmt: skip
    note = Image.Exif()
    note[0x0112] = orientation
    lossless = {"webp": {"lossless": True}, "jpg": {"quality": 100, "subsampling": 0}}
    path = saved(
        tmp_path, f"turned.{ending}", Image.fromarray(pixels), exif=note, **lossless.get(ending, {})
    )
    expected = turns[orientation](pixels)
    found = own_picture(path)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found.astype(int), expected, atol=8)
    resized = own_image(path, expected.shape[:2])
    np.testing.assert_allclose(resized.permute(1, 2, 0) * 255, expected, atol=8)


def test_a_damaged_note_of_the_camera_is_passed_over(tmp_path):
    path = saved(tmp_path, "x.jpg", Image.new("RGB", (8, 8), "white"), exif=b"Exif\x00\x00garbage")
    assert own_image(path, SIZE).min() > 0.99


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12\n", "Git LFS"),
        (b"<!DOCTYPE html><html><head>", "saved web page"),
        (b"", "empty"),
        (b"PK\x03\x04" + bytes(600), "zip archive"),
    ],
)
def test_files_that_are_no_pictures_are_named(tmp_path, content, reason):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DatasetError, match=rf"a\.png: not a readable image \(it is .*{reason}"):
        own_image(tmp_path / "a.png", SIZE)
