"""What a run runs on: its device, its CPU threads, and what is recorded of both."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from i2moe_plugin import __version__
from i2moe_plugin.benchmarks.run.settings import RunSettings
from i2moe_plugin.errors import ConfigError
from i2moe_plugin.training import count_parameters

_CPU_INFO = Path("/proc/cpuinfo")
#: What Linux calls bfloat16 arithmetic, on processors of Intel and AMD and on those of Arm.
_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}
#: Below this many parameters one thread is fastest: an operator's work does not pay for waking
#: others, and threads that wait for each other stall on a busy machine. A fixed rule, and not a
#: measurement, since the number of threads decides the last bits of a sum.
SMALL_MODEL = 2_000_000


def resolve_device(name: str) -> torch.device:
    """Return the device of that name; ``auto`` is the best there is."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device {name!r} is not one of auto, cpu, cuda, cuda:N, mps.") from error
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(device.type, False):
        raise ConfigError(
            f"device {name!r} is not available here; --device auto takes the best there is."
        )
    return device


def device_kind(name: str) -> str:
    """Return ``cpu``, ``cuda`` or ``mps``; a device that is named need not be here."""
    return resolve_device(name).type if name == "auto" else name.partition(":")[0]


def multiplies_bfloat16() -> bool | None:
    """Whether this processor has bfloat16 arithmetic; None where the system does not tell."""
    try:
        lines = _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    listed = [line for line in lines if line.lower().startswith(("flags", "features"))]
    return bool(_BFLOAT16.intersection(listed[0].split())) if listed else None


def check_precision(settings: RunSettings) -> None:
    """Refuse bfloat16 where the processor only emulates it, unless it is forced.

    Raises:
        ConfigError: it is refused.
    """
    if settings.precision != "bf16-mixed" or settings.force_precision:
        return
    if resolve_device(settings.device).type == "cpu" and multiplies_bfloat16() is False:
        raise ConfigError(
            "precision=bf16-mixed would be far slower here than 32: this processor has no bfloat16 "
            "arithmetic (avx512_bf16 or amx_bf16) and emulates it. Leave it out, or train so all "
            "the same with --force-precision."
        )


def create_fabric(settings: RunSettings) -> Fabric:
    """Return Fabric on the settings' device and precision.

    Raises:
        ConfigError: the device is not here, or only emulates the precision.
    """
    device = resolve_device(settings.device)
    check_precision(settings)
    precision: Any = "32-true" if settings.precision == "32" else settings.precision
    if device.type == "cuda":
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
    # It would tell of the precision, once a run, what the user has asked for.
    logging.getLogger("lightning_fabric.utilities.rank_zero").setLevel(logging.WARNING)
    devices: Any = [device.index or 0] if device.type == "cuda" else 1
    return Fabric(accelerator=device.type, devices=devices, precision=precision)


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Run the block on that many CPU threads; 0 leaves them as they are."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def training_threads(
    settings: RunSettings, model: nn.Module, most: int | None = None
) -> Iterator[None]:
    """Run the block on ``settings.threads`` threads; 0: on one for a small model, else on all."""
    small = count_parameters(model) < SMALL_MODEL
    count = settings.threads or (1 if small else torch.get_num_threads())
    with cpu_threads(count if most is None else min(count, most)):
        yield


def load_what_runs_need() -> None:
    """Import what a run would import when it first needs it, so that no run's time counts that."""
    import h5py  # noqa: F401
    import sklearn.metrics  # noqa: F401


def environment(settings: RunSettings) -> dict[str, Any]:
    """Return what a run ran on: versions, device, threads, and the working folder's git commit."""
    device = resolve_device(settings.device)
    packages = ("torch", "torchvision", "lightning-fabric", "numpy", "scikit-learn", "scipy")
    commit = None
    try:
        git = ["git", "rev-parse", "HEAD"]
        done = subprocess.run(git, capture_output=True, encoding="utf-8", timeout=5, check=False)
        commit = done.stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        pass
    return {
        "i2moe_plugin": __version__,
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in packages},
        "platform": platform.platform(),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "git_commit": commit,
    }
