"""A small real-format data set, so that whole runs take a second."""

from pathlib import Path

import numpy as np
import pytest


def write_htad(folder: Path, samples: int = 90, **changes) -> Path:
    """An ``htad.npz`` of three learnable classes; ``changes`` replace arrays, None drops one."""
    generator = np.random.default_rng(0)
    label = np.arange(samples) % 3
    arrays = {
        "audio": generator.normal(size=(samples, 5)) + 2 * np.eye(3, 5)[label],
        "accelerometer": generator.normal(size=(samples, 4)) + np.eye(3, 4)[label],
        "label": label.astype(np.uint8),
        "class_names": np.array(["a", "b", "c"]),
        "split": np.repeat([0, 1, 2], [samples - 30, 15, 15]).astype(np.uint8),
    }
    arrays["audio"] = arrays["audio"].astype(np.float32)
    arrays["accelerometer"] = arrays["accelerometer"].astype(np.float32)
    arrays |= changes
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "htad.npz", **{k: v for k, v in arrays.items() if v is not None})
    return folder


@pytest.fixture
def small_htad(tmp_path) -> Path:
    return write_htad(tmp_path / "htad")


@pytest.fixture(scope="session")
def htad():
    """What writes such a data set into a folder."""
    return write_htad
