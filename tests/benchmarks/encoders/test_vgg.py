"""VGG networks: torchvision's, with its published weights or with random ones; never downloaded."""

import dataclasses
import hashlib
import io
from fractions import Fraction

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torchvision.transforms import Normalize

from i2moe_plugin.benchmarks.encoders import vgg
from i2moe_plugin.errors import DatasetError

KEY = "features.0.weight"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


@pytest.fixture(scope="module")
def state():
    """Weights in torchvision's names (without its classifier, which is never used)."""
    network = vgg.frozen(vgg.VGG11, None)
    return dict(network.state_dict())


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
        ours = vgg.frozen(vgg.VGG11, path)(images)
    assert ours.shape == (1, vgg.VGG11.width)
    assert torch.equal(ours, expected)


@pytest.mark.parametrize("network", [vgg.VGG11, vgg.VGG16], ids=lambda network: network.name)
def test_addresses_are_torchvisions(network):
    weights = torchvision.models.get_model_weights(network.name).IMAGENET1K_V1
    assert network.url == weights.url


def small_vgg16(weights=None):
    """Torchvision's class with few channels."""
    with torch.device("meta"):
        model = torchvision.models.VGG(nn.Sequential())
    model.features = nn.Sequential(nn.Conv2d(3, 512, 3), nn.ReLU())
    for place, size in {0: (25088, 40), 3: (40, 30), 6: (30, 10)}.items():
        model.classifier[place] = nn.Linear(*size)
    return model


def test_vgg16_is_torchvisions_up_to_its_last_hidden_layer(tmp_path, monkeypatch):
    whole = small_vgg16().eval()
    path = tmp_path / "weights.pth"
    torch.save(whole.state_dict(), path)
    monkeypatch.setattr(torchvision.models, "vgg16", small_vgg16)
    images = torch.rand(2, 3, 24, 24)
    normal = Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
    activations = []
    whole.classifier[4].register_forward_hook(lambda *args: activations.append(args[-1].clone()))
    with torch.no_grad():
        whole(normal(images))
        ours = vgg.frozen(vgg.VGG16, path)(images)
    torch.testing.assert_close(ours, activations[0], rtol=1e-5, atol=1e-6)
    assert (ours == 0).any(), "rectified"


@pytest.mark.slow
def test_random_vgg16_features_differ_from_image_to_image():
    network = vgg.frozen(vgg.VGG16, None)
    with torch.no_grad():
        features = network(torch.rand(2, 3, 224, 224) * torch.tensor([1, 0.2]).view(2, 1, 1, 1))
    assert features.shape == (2, vgg.VGG16.width)
    assert torch.isfinite(features.half()).all()
    assert 0.05 < (features > 0).float().mean() < 0.95
    assert torch.corrcoef(features)[0, 1] < 0.999


def test_random_weights_are_always_the_same_and_leave_the_generator_alone(state):
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    again = vgg.frozen(vgg.VGG11, None).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(state[key], value) for key, value in again.items())


def saved(content):
    """The bytes of a file of torch's."""
    torch.save(content, stream := io.BytesIO())
    return stream.getvalue()


BAD = {
    "text": (lambda state: b"no weights", "not a readable weights file"),
    "empty": (lambda state: b"", "not a readable weights file"),
    "truncated": (lambda state: saved(state)[:10000], "not a readable weights file"),
    "objects": (lambda state: saved({"x": Fraction(1, 2)}), "not a readable weights file"),
    "safetensors": (lambda state: bytes(20), "not a readable weights file"),
    "tensor": (lambda state: saved(torch.zeros(2)), "holds no state dict"),
    "shapes": (lambda state: saved({**state, KEY: torch.zeros(64, 1, 3, 3)}), "0.weight"),
    "other network": (
        lambda state: saved({"layer1.0.conv1.weight": torch.zeros(2)}),
        "not the weights of torchvision's vgg11_bn",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_weights(tmp_path, state, kind):
    content, reason = BAD[kind]
    path = tmp_path / f"weights.{'safetensors' if kind == 'safetensors' else 'pth'}"
    path.write_bytes(content(state))
    with pytest.raises(DatasetError, match=reason) as error:
        vgg.frozen(vgg.VGG11, path)
    assert str(path) in str(error.value)
    assert len(str(error.value).splitlines()) < 8


def test_weights_are_looked_for_and_never_downloaded(tmp_path):
    from torchvision.models import VGG11_BN_Weights

    with pytest.raises(DatasetError) as error:
        vgg.find_weights(vgg.VGG11)
    message = str(error.value)
    assert str(tmp_path / "torch" / "hub" / "checkpoints") in message
    assert VGG11_BN_Weights.IMAGENET1K_V1.url in message
    assert "--weights FILE" in message
    assert "--weights none" in message
    assert vgg.find_weights(vgg.VGG11, random_allowed=True) is None
    assert vgg.find_weights(vgg.VGG11, "none") is None
    with pytest.raises(DatasetError, match="does not exist"):
        vgg.find_weights(vgg.VGG11, tmp_path / "nowhere.pth", random_allowed=True)


def test_the_published_file_is_found_and_its_checksum_compared(tmp_path, monkeypatch):
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    path = folder / "vgg11_bn-6002323d.pth"
    path.write_bytes(b"cut short")
    assert vgg.find_weights(vgg.VGG11) == path
    with pytest.raises(DatasetError, match="damaged or cut short"):
        vgg.weights_fingerprint(vgg.VGG11, path)
    digest = hashlib.sha256(b"cut short").hexdigest()
    whole = path.rename(folder / f"vgg11_bn-{digest[:8]}.pth")
    network = dataclasses.replace(vgg.VGG11, url=f"https://host/{whole.name}")
    assert vgg.weights_fingerprint(network, whole) == digest
    assert vgg.weights_fingerprint(vgg.VGG11, None) != digest
    with pytest.raises(DatasetError, match="cannot be read"):
        vgg.weights_fingerprint(vgg.VGG11, tmp_path / "gone.pth")
