"""Frozen features: cached by what decides them, never trusted when damaged; VGG11's weights."""

from __future__ import annotations

import hashlib
import logging

import h5py
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from i2moe_plugin.benchmarks import features
from i2moe_plugin.errors import DatasetError

KEY = {"images": "a", "weights": "b"}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("I2MOE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "cache"


class Extractor:
    """Builds a small network and counts how often."""

    def __init__(self, factor=1.0):
        self.calls, self.factor = 0, factor

    def __call__(self):
        self.calls += 1
        network = nn.Sequential(nn.Flatten(), nn.Linear(12, 5, bias=False))
        nn.init.constant_(network[1].weight, self.factor)
        return network


INPUTS = torch.arange(7 * 12).reshape(7, 3, 2, 2) / 12


def compute(extractor, inputs=INPUTS, key=KEY):
    return features.frozen_features("test", inputs, extractor, key, batch_size=3)


def test_features_are_those_of_the_network_and_are_computed_once(cache):
    extractor = Extractor()
    first = compute(extractor)
    expected = INPUTS.flatten(1).sum(1, keepdim=True).expand(7, 5)
    assert first.dtype == torch.float16
    torch.testing.assert_close(first.float(), expected, rtol=1e-3, atol=0)
    assert torch.equal(compute(extractor), first)
    assert extractor.calls == 1
    assert [path.suffix for path in (cache / "features").iterdir()] == [".h5"]


@pytest.mark.parametrize("name", KEY)
def test_another_key_is_another_cache(name):
    compute(Extractor())
    other = Extractor(2.0)
    compute(other, key={**KEY, name: "else"})
    assert other.calls == 1


def test_fewer_inputs_are_another_cache():
    compute(Extractor())
    assert len(compute(Extractor(), INPUTS[:3])) == 3


def test_the_network_is_left_in_evaluation_mode():
    network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(12), nn.Dropout(0.9))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    values = compute(lambda: network)
    torch.testing.assert_close(values.float(), INPUTS.flatten(1), rtol=1e-3, atol=1e-3)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def replace_with_text(path):
    path.write_text("not HDF5")


def empty(path):
    path.write_bytes(b"")


def change_a_value(path):
    with h5py.File(path, "r+") as file:
        file["features"][0, 0] = 1000


def drop_the_checksum(path):
    with h5py.File(path, "r+") as file:
        del file.attrs["sha256"]


def claim_another_key(path):
    with h5py.File(path, "r+") as file:
        file.attrs["key"] = "0" * 64


@pytest.mark.parametrize(
    "damage",
    [truncate, replace_with_text, empty, change_a_value, drop_the_checksum, claim_another_key],
)
def test_a_damaged_cache_is_computed_again_and_mended(damage, cache, caplog):
    extractor = Extractor()
    right = compute(extractor)
    (path,) = (cache / "features").iterdir()
    damage(path)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(compute(extractor), right)
    assert extractor.calls == 2
    assert "is damaged" in caplog.text
    compute(extractor)
    assert extractor.calls == 2


def test_a_cache_that_cannot_be_written_costs_a_warning(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("I2MOE_CACHE", str(tmp_path / "file" / "cache"))
    extractor = Extractor()
    with caplog.at_level(logging.WARNING):
        assert len(compute(extractor)) == len(INPUTS)
    assert "I2MOE_CACHE" in caplog.text


def test_a_full_disk_leaves_no_half_file(cache, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    compute(Extractor())
    assert list((cache / "features").iterdir()) == []


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("I2MOE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert features.cache_dir() == tmp_path / "i2moe-plugin"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert features.cache_dir() == tmp_path / ".cache" / "i2moe-plugin"


class Damaged:
    """Inputs of which some cannot be read."""

    def __init__(self, bad):
        self.bad = bad

    def __len__(self):
        return len(INPUTS)

    def __getitem__(self, index):
        if index in self.bad:
            raise DatasetError(f"{index}.png: not a readable image")
        return INPUTS[index]


def test_every_damaged_input_is_named(cache):
    with pytest.raises(DatasetError, match=r"2 inputs(.|\n)*1\.png(.|\n)*5\.png"):
        compute(Extractor(), Damaged({1, 5}))
    assert not cache.exists()


def test_features_that_are_not_finite_are_refused(cache):
    with pytest.raises(DatasetError, match="NaN"):
        compute(Extractor(float("nan")))
    assert not cache.exists()


def test_no_bar_without_a_terminal(capsys):
    with features.progress_bar("work", 3, show=True) as advance:
        advance(3)
    assert capsys.readouterr() == ("", "")


# VGG11


@pytest.fixture(scope="module")
def state():
    """Weights in torchvision's names (without its classifier, which is never used)."""
    network = features.vgg11_features(None)
    return {f"features.{key}": value for key, value in network[0].state_dict().items()}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_vgg11_is_torchvisions(tmp_path, state, suffix):
    from torchvision.models import vgg11_bn

    changed = {key: value * 1.5 for key, value in state.items()}
    path = tmp_path / f"weights{suffix}"
    torch.save(changed, path) if suffix == ".pth" else save_file(changed, path)
    with torch.device("meta"):
        whole = vgg11_bn(weights=None)
    whole.features.to_empty(device="cpu")
    whole.load_state_dict(changed, strict=False)
    whole.eval()
    images = torch.rand(1, 3, 64, 32)
    with torch.no_grad():
        expected = torch.flatten(whole.avgpool(whole.features(images)), 1)
        ours = features.vgg11_features(path)(images)
    assert ours.shape == (1, features.VGG11_FEATURES)
    assert torch.equal(ours, expected)


def test_random_weights_are_always_the_same_and_leave_the_generator_alone(state):
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    again = features.vgg11_features(None)[0].state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(state[f"features.{key}"], value) for key, value in again.items())


def bad_weights(tmp_path, state, kind):
    path = tmp_path / f"{kind}.pth"
    if kind == "text":
        path.write_text("no weights")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "truncated":
        torch.save(state, path)
        path.write_bytes(path.read_bytes()[:10000])
    elif kind == "objects":
        torch.save({"features.0.weight": Damaged(set())}, path)
    elif kind == "tensor":
        torch.save(torch.zeros(2), path)
    elif kind == "shapes":
        torch.save({**state, "features.0.weight": torch.zeros(64, 1, 3, 3)}, path)
    elif kind == "other network":
        torch.save({"layer1.0.conv1.weight": torch.zeros(2)}, path)
    elif kind == "safetensors":
        path = path.with_suffix(".safetensors")
        path.write_bytes(b"\x00" * 20)
    return path


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("text", "not a readable weights file"),
        ("empty", "not a readable weights file"),
        ("truncated", "not a readable weights file"),
        ("objects", "not a readable weights file"),
        ("safetensors", "not a readable weights file"),
        ("tensor", "holds no state dict"),
        ("shapes", "0.weight"),
        ("other network", "not the weights of torchvision's vgg11_bn"),
    ],
)
def test_bad_weights(tmp_path, state, kind, reason):
    path = bad_weights(tmp_path, state, kind)
    with pytest.raises(DatasetError, match=reason) as error:
        features.vgg11_features(path)
    assert str(path) in str(error.value)
    assert len(str(error.value).splitlines()) < 8


def test_weights_are_looked_for_and_never_downloaded(tmp_path):
    from torchvision.models import VGG11_BN_Weights

    with pytest.raises(DatasetError) as error:
        features.find_vgg11_weights()
    message = str(error.value)
    assert str(tmp_path / "torch" / "hub" / "checkpoints") in message
    assert VGG11_BN_Weights.IMAGENET1K_V1.url in message
    assert "--weights FILE" in message
    assert "--weights none" in message
    assert features.find_vgg11_weights(random_allowed=True) is None
    assert features.find_vgg11_weights("none") is None
    with pytest.raises(DatasetError, match="does not exist"):
        features.find_vgg11_weights(tmp_path / "nowhere.pth", random_allowed=True)


def test_the_published_file_is_found_and_its_checksum_compared(tmp_path, monkeypatch):
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    path = folder / "vgg11_bn-6002323d.pth"
    path.write_bytes(b"cut short")
    assert features.find_vgg11_weights() == path
    with pytest.raises(DatasetError, match="damaged or cut short"):
        features.vgg11_fingerprint(path)
    digest = hashlib.sha256(b"cut short").hexdigest()
    whole = path.rename(folder / f"vgg11_bn-{digest[:8]}.pth")
    monkeypatch.setattr(features, "VGG11_URL", f"https://host/{whole.name}")
    assert features.vgg11_fingerprint(whole) == digest
    assert features.vgg11_fingerprint(None) != digest
    with pytest.raises(DatasetError, match="cannot be read"):
        features.vgg11_fingerprint(tmp_path / "gone.pth")
