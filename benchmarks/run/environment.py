"""What a run runs on: its device, its CPU threads, and what is recorded of both."""

from __future__ import annotations

import importlib.metadata
import inspect
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from i2moe_plugin import __version__
from i2moe_plugin.benchmarks.run.ranks import in_rank
from i2moe_plugin.benchmarks.run.settings import RunSettings
from i2moe_plugin.errors import ConfigError
from i2moe_plugin.training import count_parameters

#: How torch calls the option that ranks take the first one's buffers at every step, newest first.
_SYNC_BUFFERS = ("forward_sync_buffers", "broadcast_buffers")
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
    """Refuse float16 on a CPU, and bfloat16 where it only emulates it, unless that is forced.

    Raises:
        ConfigError: it is refused.
    """
    if settings.precision == "16-mixed" and resolve_device(settings.device).type == "cpu":
        raise ConfigError(
            "precision=16-mixed is for GPUs: on a CPU, Lightning trains in bf16-mixed in its "
            "place. Take bf16-mixed, 32 or auto."
        )
    if settings.precision != "bf16-mixed" or settings.force_precision:
        return
    if resolve_device(settings.device).type == "cpu" and multiplies_bfloat16() is False:
        raise ConfigError(
            "precision=bf16-mixed would be far slower here than 32: this processor has no bfloat16 "
            "arithmetic (avx512_bf16 or amx_bf16) and emulates it. Leave it out, or train so all "
            "the same with --force-precision."
        )


def settings_to_predict(settings: RunSettings) -> RunSettings:
    """Return the settings of a trained model as they can be here, where it only predicts.

    bfloat16 that is emulated costs little in a single pass; float16, which a CPU does not have,
    becomes float32.
    """
    changes: dict[str, Any] = {"force_precision": True}
    if settings.precision == "16-mixed" and resolve_device(settings.device).type == "cpu":
        changes["precision"] = "32"
    return settings.model_copy(update=changes)


def check_devices(settings: RunSettings) -> None:
    """Refuse more devices than there are, and what cannot be trained on several.

    Raises:
        ConfigError: it is refused.
    """
    if settings.devices == 1:
        return
    device = resolve_device(settings.device)
    there = {"cpu": count_cores(), "cuda": torch.cuda.device_count()}.get(device.type, 1)
    what = {"cpu": "CPU cores", "cuda": "GPUs"}.get(device.type, device.type)
    problems = []
    if settings.devices > there:
        problems.append(
            f"devices={settings.devices} is more than there is: {there} {what}. On a CPU a device "
            "is a process."
        )
    if device.index is not None:
        problems.append(
            f"devices={settings.devices} are the first ones there are; {settings.device} names a "
            f"single one. Give --device {device.type}."
        )
    if settings.loader != "own":
        problems.append(f"batches of loader={settings.loader} are not shared out to devices.")
    if problems:
        raise ConfigError(problems)


def check_machine(settings: RunSettings) -> None:
    """Refuse what this machine does not have, or only emulates.

    Raises:
        ConfigError: it is refused.
    """
    check_precision(settings)
    check_devices(settings)


def count_cores() -> int:
    """Return how many cores this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def create_fabric(settings: RunSettings) -> Fabric:
    """Return Fabric on the settings' precision and device; in a rank, of all ranks' devices.

    Raises:
        ConfigError: the device is not here, lacks the precision, or only emulates it.
    """
    device = resolve_device(settings.device)
    check_precision(settings)
    precision: Any = "32-true" if settings.precision == "32" else settings.precision
    if device.type == "cuda":
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
    # It would tell of the precision, once a run, what the user has asked for.
    logging.getLogger("lightning_fabric.utilities.rank_zero").setLevel(logging.WARNING)
    if in_rank():
        # Statistics of BatchNorm stay those of the first rank, which alone predicts: ranks talk in
        # training alone. What a step leaves out, such as an encoder, has no gradient in it.
        known = inspect.signature(DistributedDataParallel).parameters
        sync = next(name for name in _SYNC_BUFFERS if name in known)
        options: dict[str, Any] = {sync: False, "find_unused_parameters": True}
        together = DDPStrategy(**options)
        fabric = Fabric(
            accelerator=device.type,
            strategy=together,
            devices=settings.devices,
            precision=precision,
        )
        fabric.launch()
        return fabric
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
