"""What all tests share: a fixed seed, registries left as found, the recorded outputs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings

from i2moe_plugin.backbones.entry import backbones

settings.register_profile("repository", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("repository")

Golden = Callable[[str], tuple[dict[str, Any], dict[str, torch.Tensor]]]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a POSIX system on another."""
    if os.name != "posix" and item.get_closest_marker("posix"):
        pytest.skip("needs a POSIX system")


@pytest.fixture(autouse=True)
def _same_start() -> Iterator[None]:
    """Every test starts from one seed and leaves the backbones as they were."""
    backbones.names()
    before = dict(backbones._entries)
    torch.manual_seed(0)
    yield
    backbones._entries.clear()
    backbones._entries.update(before)


@pytest.fixture(scope="session")
def golden() -> Golden:
    """``golden(case)`` -> its facts and its arrays as tensors."""
    folder = Path(__file__).parent / "golden"
    index = json.loads((folder / "index.json").read_text())

    def load(case: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        with np.load(folder / f"{case}.npz", allow_pickle=False) as arrays:
            return index[case], {key: torch.from_numpy(arrays[key]) for key in arrays}

    return load
