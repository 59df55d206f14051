"""A suite's file on a small data set, whose runs take a fraction of a second."""

from pathlib import Path

import numpy as np
import pytest
import yaml

QUICK = {"epochs": 2, "latent_dim": 8, "encoder_hidden": 8, "device": "cpu", "lr": 1e-2}


def write_data(folder: Path) -> Path:
    """An ``htad.npz`` of three learnable classes."""
    generator = np.random.default_rng(0)
    label = np.arange(90) % 3
    first = generator.normal(size=(90, 5)) + 2 * np.eye(3, 5)[label]
    second = generator.normal(size=(90, 4)) + np.eye(3, 4)[label]
    folder.mkdir()
    np.savez(
        folder / "htad.npz",
        audio=first.astype(np.float32),
        accelerometer=second.astype(np.float32),
        label=label.astype(np.uint8),
        class_names=np.array(["a", "b", "c"]),
        split=np.repeat([0, 1, 2], [60, 15, 15]).astype(np.uint8),
    )
    return folder


@pytest.fixture
def suite_file(tmp_path):
    """``suite_file(**keys)``: the path of a file with these keys over a small suite's."""
    write_data(tmp_path / "data")

    def write(name="small", **keys) -> str:
        spec = {
            "title": "Small",
            "datasets": [{"name": "htad", "root": "data"}],
            "fusions": ["concat"],
            "methods": ["vanilla", "i2moe"],
            "settings": QUICK,
            "seeds": 3,
        }
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**spec, **keys}))
        return str(path)

    return write
