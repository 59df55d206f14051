"""Emoji on tokens and patches of pretrained models."""

import numpy as np
import torch

from i2moe_plugin.benchmarks.data.open import open_dataset

ROWS = [0, 3, 700]


def told(models):
    return {"text_model": f"{models}/text", "picture_model": f"{models}/picture"}


def test_tokens_and_patches_take_the_place_of_vectors(tiny_models):
    data = open_dataset("emoji", **told(tiny_models))
    patches, (text, lengths), label = next(iter(data.prepare().loader("train", batch_size=4)))
    assert patches.shape == (4, 64, 8)
    assert text.shape == (4, int(text.shape[1]), 8)
    assert (lengths >= 1).all()
    assert label.dtype == torch.int64
    plain = open_dataset("emoji")
    for row in ROWS:
        image, words = data.layouts("test", row % 100)
        assert image.grid == (8, 8)
        assert words.text.text == plain.preview("test", row % 100)[1].value
        shown = [one.preview("test", row % 100)[0].value for one in (data, plain)]
        np.testing.assert_array_equal(shown[0], np.asarray(shown[1]).reshape(shown[0].shape))


def test_models_and_sizes_decide_the_data(tiny_models):
    models = told(tiny_models)
    found = {
        open_dataset("emoji", **options).fingerprint
        for options in ({}, models, {"text_model": models["text_model"]})
    }
    assert len(found) == 3
    smaller = open_dataset("emoji", **models, picture_size=56)
    assert smaller.layouts("test", 0)[0].grid == (4, 4)
    assert smaller.fingerprint not in found
