"""Folders of models with any one entry of their files changed: an error that says so, or states."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from i2moe_plugin.benchmarks.encoders.pretrained import TextModel, VisionModel, find_model
from i2moe_plugin.errors import DatasetError

TEXTS = ["seat heaters", "", "map: arrow left, a-b!", "中文"]
VALUES = [
    *(None, True, False, 0, 1, -1, 3, 10**18, -(10**18), 0.5, 1e308, float("nan"), "", "x"),
    *("../x", "relu", [], {}, [1, 2], {"a": 1}),
]
NO_VALUE = object()
patient = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def entries(content, at=()):
    """Where there is an entry: keys and places, the first few of a list or of a vocabulary."""
    inside = content.items() if isinstance(content, dict) else enumerate(content)
    for number, (key, value) in enumerate(inside):
        if number < 30:
            yield (*at, key)
            if isinstance(value, (dict, list)):
                yield from entries(value, (*at, key))


def change(path, data):
    """Change one entry of a json file, or take it out."""
    content = json.loads(path.read_text())
    *way, last = data.draw(st.sampled_from(sorted(entries(content), key=str)))
    inside = content
    for key in way:
        inside = inside[key]
    value = data.draw(st.sampled_from([*VALUES, NO_VALUE]))
    if value is NO_VALUE:
        del inside[last]
    else:
        inside[last] = value
    path.write_text(json.dumps(content))


def fresh(folder, tmp_path):
    shutil.rmtree(tmp_path / "model", ignore_errors=True)
    return Path(shutil.copytree(folder, tmp_path / "model"))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
@patient
@given(data=st.data())
def test_text_models(name, data, text_folder, tmp_path):
    folder = fresh(text_folder, tmp_path)
    change(folder / name, data)
    try:
        model = TextModel(find_model(str(folder), "text", Path("nowhere")))
        tokens = model.tokens(TEXTS)
        states = np.concatenate(list(model.states(tokens)))
    except DatasetError:
        return
    assert states.shape == (sum(len(text.ids) for text in tokens), model.width)
    assert np.isfinite(states).all()


@pytest.mark.parametrize("kind", ["dinov2", "vit", "clip"])
@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
@patient
@given(data=st.data())
def test_picture_models(name, kind, data, tmp_path, new_picture_model):
    if not (tmp_path / "whole").exists():
        new_picture_model(tmp_path / "whole", kind)
    folder = fresh(tmp_path / "whole", tmp_path)
    change(folder / name, data)
    try:
        model = VisionModel(find_model(str(folder), "image", Path("nowhere")))
        states = model.network()(torch.rand(2, 3, 16, 24))
    except DatasetError:
        return
    rows, columns = model.grid(16, 24)
    assert states.shape == (2, rows * columns, model.width)
