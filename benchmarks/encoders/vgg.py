"""VGG networks of torchvision, used frozen: their weights, and the network up to some layer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from i2moe_plugin.errors import DatasetError, listed
from i2moe_plugin.seeding import seeded


@dataclass(frozen=True)
class Network:
    """A network of torchvision that is used frozen, up to some layer.

    Attributes:
        name: torchvision's function.
        title: for messages.
        url: of its ImageNet weights; ends in the start of their sha256.
        width: F, how many features it gives.
        extractor: what it gives, in words; part of the key of kept features.
        hidden: how many of its classifier's layers belong to it.
        normalise: it takes images with ImageNet's mean and deviation; else as they are, in [0, 1].
    """

    name: str
    title: str
    url: str
    width: int
    extractor: str
    hidden: int
    normalise: bool

    @property
    def weights(self) -> Path:
        """Where torch hub keeps the published weights."""
        return Path(torch.hub.get_dir(), "checkpoints", self.url.rsplit("/", 1)[-1])


# The addresses are those of torchvision's ..._Weights.IMAGENET1K_V1, which take a second to import.
#: As MultiBench and I2MoE use it on ENRICO.
VGG11 = Network(
    "vgg11_bn",
    "VGG11-BN",
    "https://download.pytorch.org/models/vgg11_bn-6002323d.pth",
    width=512 * 7 * 7,
    extractor="torchvision vgg11_bn features, average pool 7x7",
    hidden=0,
    normalise=False,
)
#: Up to its last hidden layer's activations, as in MM-IMDb's published features.
VGG16 = Network(
    "vgg16",
    "VGG16",
    "https://download.pytorch.org/models/vgg16-397923af.pth",
    width=4096,
    extractor="torchvision vgg16, activations of the last hidden layer",
    hidden=5,
    normalise=True,
)


def find_weights(
    network: Network, choice: str | Path = "auto", *, random_allowed: bool = False
) -> Path | None:
    """Find a network's weights: ``auto`` (in the torch hub cache), ``none`` (random), or a file.

    None stands for random weights, which ``auto`` takes where they are allowed without a file.
    Nothing is downloaded.
    """
    if str(choice).lower() == "none":
        return None
    if str(choice).lower() != "auto":
        path = Path(choice).expanduser()
        if not path.is_file():
            raise DatasetError(f"weights file {path} does not exist.")
        return path
    path = network.weights
    if path.is_file():
        return path
    if random_allowed:
        return None
    raise DatasetError(
        f"no ImageNet weights of {network.title} at {path}. Download {network.url} to that place, "
        "or name a file with --weights FILE; --weights none trains on random features, whose "
        "figures are not comparable with published ones."
    )


def weights_fingerprint(network: Network, weights: Path | None) -> str:
    """Return a hash of the weights; for random ones, what decides them."""
    if weights is None:
        return f"random, seed 0, torch {torch.__version__}"
    try:
        with weights.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DatasetError(f"{weights}: cannot be read ({error}).") from error
    if weights.name == network.weights.name and not digest.startswith(weights.stem.split("-")[-1]):
        raise DatasetError(f"{weights}: damaged or cut short; download it again from {network.url}")
    return digest


def random_note(network: Network) -> str:
    """Return the sentence that stands beside every result of random features."""
    return (
        f"The {network.title} has random weights, not ImageNet's: figures are not comparable with "
        "published ones."
    )


def frozen(network: Network, weights: Path | None) -> nn.Module:
    """A network with its weights, in evaluation mode: images [B, 3, H, W] in [0, 1] -> [B, F].

    ``weights`` is a state dict in torchvision's names, as ``.safetensors`` or as a file of
    ``torch.save``; None: random weights, always the same ones.
    """
    from torchvision import models

    with torch.device("meta"):  # classifiers are large, and partly not used
        model = getattr(models, network.name)(weights=None)
    model.classifier = model.classifier[: network.hidden]
    model = model.to_empty(device="cpu").eval()
    if weights is None:
        _draw_weights(model, f"{network.name.removesuffix('_bn')} random features")
    else:
        state = _read_state(weights)
        try:
            model.load_state_dict({k: v for k, v in state.items() if k in model.state_dict()})
        except RuntimeError as error:
            reasons = [line.strip() for line in str(error).splitlines()[1:]]
            raise DatasetError(
                f"{weights}: not the weights of torchvision's {network.name}:\n{listed(reasons, 4)}"
            ) from error
    return nn.Sequential(_Normalise(), model).eval() if network.normalise else model


class _Normalise(nn.Module):
    """Images in [0, 1] with ImageNet's mean and deviation, [B, 3, H, W]."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, values in {
            "mean": (0.485, 0.456, 0.406),
            "deviation": (0.229, 0.224, 0.225),
        }.items():
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> the same."""
        return (x - self.mean) / self.deviation


def _draw_weights(model: nn.Module, purpose: str) -> None:
    with seeded(0, purpose):
        for layer in model.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
            elif isinstance(layer, nn.BatchNorm2d):
                layer.reset_parameters()


def _read_state(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damage surfaces as nearly any exception
        reason = str(error).strip().splitlines()
        raise DatasetError(
            f"{path}: not a readable weights file ({type(error).__name__}"
            f"{': ' + reason[0] if reason else ''})."
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise DatasetError(f"{path}: holds no state dict (a mapping of names to tensors).")
    return dict(state)


class Frozen(nn.Module):
    """A module that is never trained: evaluation mode whatever is asked, no gradient.

    Its buffers (batch norm's running statistics) therefore stay as they are.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Frozen:
        """Stay in evaluation mode."""
        self.training = mode
        self.module.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """The module's output, without gradient."""
        with torch.no_grad():
            out: Tensor = self.module(x)
            return out
