"""Data sets in their own formats, read by pretrained models: tokens, patches, explanations."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.data.open import open_dataset
from i2moe_plugin.benchmarks.data.registry import datasets
from i2moe_plugin.errors import ConfigError

SIZES = {"enrico": {"per_topic": 3}, "mmimdb-raw": {"films": 60}, "mmhs150k": {}}
TEXTS = {"mmimdb-raw": "language", "mmhs150k": "text"}


@pytest.fixture(scope="module")
def folder(request, tmp_path_factory):
    """A small data set in the format of the data set."""
    path = tmp_path_factory.mktemp("drawn") / request.param
    datasets.get(request.param).write_sample(path, **SIZES[request.param])
    return request.param, path


def told(name, models):
    options = {"picture_model": f"{models}/picture", "picture_size": 28}
    return options | ({"text_model": f"{models}/text"} if name in TEXTS else {})


@pytest.mark.parametrize("folder", SIZES, indirect=True)
def test_tokens_and_patches_in_its_own_format(folder, tiny_models):
    name, path = folder
    data = open_dataset(name, path, **told(name, tiny_models))
    *inputs, _ = next(iter(data.prepare().loader("train", batch_size=3)))
    for modality, layout, x in zip(data.modalities, data.layouts("train", 0), inputs, strict=True):
        states = x[0] if modality == TEXTS.get(name) else x
        assert states.shape[::2] == (3, 8)
        if layout.text is None:
            assert states.shape[1] == layout.grid[0] * layout.grid[1]
        else:
            assert layout.text.text == data.preview("train", 0)[0].value


@pytest.mark.parametrize("folder", ["mmimdb-raw"], indirect=True)
def test_several_labels_are_explained_from_run_to_pair(folder, tiny_models, tmp_path):
    name, path = folder
    data = [f"data.{key}={value}" for key, value in told(name, tiny_models).items()]
    common = [part for one in [*data, "latent_dim=8"] for part in ("--set", one)]
    runs = tmp_path / "runs"
    arguments = ["run", "--method", "fl-i2moe", "--no-vanilla", "--dataset", name]
    arguments += ["--data-root", str(path), "--seeds", "1", "--epochs", "1", "--jobs", "1"]
    done = CliRunner().invoke(main, [*arguments, "--out", str(runs), *common, "--json"])
    assert done.exit_code == 0, done.output
    (run,) = runs.glob("*-fl-i2moe-*")
    sample = open_dataset(name, path, **told(name, tiny_models)).sample_ids("test")[0]
    features = ["explain", str(run), "--features", "--pairs", "4", "--draws", "4", "--json"]
    done = CliRunner().invoke(main, [*features, "--sample", sample])
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert record["target"]
    assert all(0 <= scope["probability"] <= 1 for scope in record["scopes"])
    assert len(record["pairs"]) == 2
    done = CliRunner().invoke(main, [*features, "--samples", "4"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["measure"] == "the target's probability"


@pytest.mark.parametrize("folder", ["enrico"], indirect=True)
def test_augmented_pictures_have_no_kept_patches(folder, tiny_models):
    name, path = folder
    with pytest.raises(ConfigError, match="computed once"):
        open_dataset(name, path, augment=True, **told(name, tiny_models))
