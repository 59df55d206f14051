"""Features of a frozen network, computed once and kept on disk; and the network, VGG11-BN."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from i2moe_plugin.benchmarks.datasets.base import ArraySplit
from i2moe_plugin.errors import DatasetError, listed
from i2moe_plugin.seeding import seeded

log = logging.getLogger(__name__)

FORMAT = 1  # of the cache files; part of their key
VGG11_FEATURES = 25088  # 512 channels x 7 x 7
#: torchvision's VGG11_BN_Weights.IMAGENET1K_V1, which takes a second to import.
VGG11_URL = "https://download.pytorch.org/models/vgg11_bn-6002323d.pth"


class Inputs(Protocol):
    """Tensors of one shape, by number; reading one may raise DatasetError."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Tensor: ...


def cache_dir() -> Path:
    """The user's cache folder: ``$I2MOE_CACHE``, else ``i2moe-plugin`` in ``$XDG_CACHE_HOME``."""
    own = os.environ.get("I2MOE_CACHE")
    if own:
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "i2moe-plugin"


def frozen_features(
    name: str,
    inputs: Inputs,
    extractor: Callable[[], nn.Module],
    key: Mapping[str, str],
    *,
    device: torch.device | str = "cpu",
    batch_size: int = 16,
    progress: bool = False,
) -> Tensor:
    """The extractor's output for every input: from the cache, or computed and put there.

    They are kept in half precision, whose rounding (a relative 5e-4) is far below the difference
    between two seeds, and held in memory.

    Args:
        name: what the cache file's name starts with.
        inputs: N tensors [...].
        extractor: builds the network, [B, ...] -> [B, F]; called only where there is no cache.
        key: everything that decides the features: data, extractor, weights, transform.
        device: where to compute; features of one kind of device are not taken for another's.
        batch_size: inputs at once.
        progress: show a progress bar, if standard error is a terminal.

    Returns:
        [N, F], float16.

    Raises:
        DatasetError: inputs that cannot be read (all of them are named), or features that are not
            finite.
    """
    device = torch.device(device)
    facts = {**key, "device": device.type, "count": str(len(inputs)), "format": str(FORMAT)}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    path = cache_dir() / "features" / f"{name}-{digest[:16]}.h5"
    features = _read(path, digest)
    if features is None:
        features = _compute(name, inputs, extractor, device, batch_size, progress)
        _write(path, digest, features)
    return features


class FeatureSplit(ArraySplit):
    """A split of features that are kept in half precision and given in single precision."""

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, ...]:
        return _single(super().__getitems__(indices))


def _single(columns: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(column.float() if column.is_floating_point() else column for column in columns)


@contextmanager
def progress_bar(title: str, total: int, show: bool) -> Iterator[Callable[[int], None]]:
    """A bar on standard error, where that is a terminal; gives what tells it of steps done."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not (show and console.is_terminal):
        yield lambda steps: None
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda steps: bar.advance(task, steps)


def _compute(
    name: str,
    inputs: Inputs,
    extractor: Callable[[], nn.Module],
    device: torch.device,
    batch_size: int,
    progress: bool,
) -> Tensor:
    # Channels last: a fifth faster on a CPU, and what tensor cores want.
    network = extractor().eval().to(device).to(memory_format=torch.channels_last)
    problems: list[str] = []
    rows: list[Tensor] = []
    with torch.no_grad(), progress_bar(f"{name}: features", len(inputs), progress) as advance:
        for start in range(0, len(inputs), batch_size):
            batch = []
            for index in range(start, min(start + batch_size, len(inputs))):
                try:
                    batch.append(inputs[index])
                except DatasetError as error:
                    problems.append(str(error))
            if not problems:  # after the first bad input the rest is only checked
                rows.append(network(torch.stack(batch).to(device)).half().cpu())
            advance(len(batch))
    if problems:
        raise DatasetError(f"{len(problems)} inputs cannot be read:\n{listed(problems)}")
    features = torch.cat(rows)
    if not torch.isfinite(features).all():
        raise DatasetError(
            f"{name}: features hold NaN or infinite values: the extractor's weights are damaged."
        )
    return features


def _read(path: Path, digest: str) -> Tensor | None:
    """What the file holds, if it is whole and was written for this key."""
    import h5py

    if not path.is_file():
        return None
    try:
        with h5py.File(path, "r") as file:
            array = file["features"][()]
            if file.attrs["key"] == digest and file.attrs["sha256"] == _hash(array):
                return torch.from_numpy(array)
        reason = "its content does not match its checksum"
    except Exception as error:  # h5py meets damage with nearly any exception
        reason = f"{type(error).__name__}: {error}"
    log.warning("%s is damaged and is computed again (%s).", path, reason)
    return None


def _write(path: Path, digest: str, features: Tensor) -> None:
    """Write aside and rename; a folder that cannot be written costs the cache, not the run."""
    import h5py

    array = features.numpy()
    aside: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        with h5py.File(aside, "w") as file:
            file["features"] = array
            file.attrs["key"], file.attrs["sha256"] = digest, _hash(array)
        os.replace(aside, path)
    except OSError as error:
        log.warning(
            "features cannot be kept in %s (%s); they will be computed again next time. "
            "Another folder is chosen with the environment variable I2MOE_CACHE.",
            path.parent,
            error,
        )
        if aside is not None:
            with suppress(OSError):
                os.unlink(aside)


def _hash(array: Any) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()


def find_vgg11_weights(choice: str | Path = "auto", *, random_allowed: bool = False) -> Path | None:
    """The file with VGG11-BN's weights; None for random weights. Nothing is downloaded.

    Args:
        choice: ``auto`` (ImageNet weights in the torch hub cache), ``none`` (random), or a file.
        random_allowed: with ``auto`` and no file in the cache, take random weights.

    Raises:
        DatasetError: there is no such file; says where to get it.
    """
    if str(choice).lower() == "none":
        return None
    if str(choice).lower() != "auto":
        path = Path(choice).expanduser()
        if not path.is_file():
            raise DatasetError(f"weights file {path} does not exist.")
        return path
    path = _published_vgg11()
    if path.is_file():
        return path
    if random_allowed:
        return None
    raise DatasetError(
        f"no ImageNet weights of VGG11-BN at {path}. Download {VGG11_URL} to that place, or name a "
        "file with --weights FILE; --weights none trains on random features, whose figures are not "
        "comparable with published ones."
    )


def vgg11_fingerprint(weights: Path | None) -> str:
    """A hash of the weights; for random ones, what decides them.

    Raises:
        DatasetError: the published file's content does not have the checksum in its name.
    """
    if weights is None:
        return f"random, seed 0, torch {torch.__version__}"
    try:
        with weights.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DatasetError(f"{weights}: cannot be read ({error}).") from error
    name = _published_vgg11().name
    if weights.name == name and not digest.startswith(weights.stem.split("-")[-1]):
        raise DatasetError(f"{weights}: damaged or cut short; download it again from {VGG11_URL}")
    return digest


def vgg11_features(weights: Path | None) -> nn.Module:
    """VGG11-BN up to its classifier: [B, 3, H, W] -> [B, 25088] (512 x 7 x 7, flattened).

    Args:
        weights: a state dict of torchvision's ``vgg11_bn``, as ``.safetensors`` or as a file of
            ``torch.save``; None for random weights, always the same ones.

    Raises:
        DatasetError: the file is damaged, holds anything but tensors, or does not fit.
    """
    from torchvision.models import vgg11_bn

    with torch.device("meta"):  # the classifier alone would be 500 MB
        layers = vgg11_bn(weights=None).features
    layers = layers.to_empty(device="cpu")
    if weights is None:
        _draw_weights(layers)
    else:
        state = _read_state(weights)
        try:
            layers.load_state_dict(
                {k.removeprefix("features."): v for k, v in state.items() if "features." in k}
            )
        except RuntimeError as error:
            reasons = [line.strip() for line in str(error).splitlines()[1:]]
            raise DatasetError(
                f"{weights}: not the weights of torchvision's vgg11_bn:\n{listed(reasons, 4)}"
            ) from error
    return nn.Sequential(layers, nn.AdaptiveAvgPool2d(7), nn.Flatten()).eval()


def _draw_weights(layers: nn.Module) -> None:
    with seeded(0, "vgg11 random features"):
        for layer in layers.modules():
            if isinstance(layer, nn.Conv2d):
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


def _published_vgg11() -> Path:
    """Where torch hub keeps the published weights; the name ends in the start of their sha256."""
    return Path(torch.hub.get_dir(), "checkpoints", VGG11_URL.rsplit("/", 1)[-1])
