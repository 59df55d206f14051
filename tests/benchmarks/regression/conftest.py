"""A gate over a small data set: measured in well under a second."""

from pathlib import Path

import numpy as np
import pytest
import yaml


def write_gate(folder: Path, **keys) -> Path:
    """A suite's file and its data: ninety samples of three classes that can be learned."""
    generator = np.random.default_rng(0)
    label = np.arange(90) % 3
    first = generator.normal(size=(90, 5)) + 2 * np.eye(3, 5)[label]
    second = generator.normal(size=(90, 4)) + np.eye(3, 4)[label]
    (folder / "data").mkdir(parents=True)
    np.savez(
        folder / "data" / "htad.npz",
        audio=first.astype(np.float32),
        accelerometer=second.astype(np.float32),
        label=label.astype(np.uint8),
        class_names=np.array(["a", "b", "c"]),
        split=np.repeat([0, 1, 2], [54, 18, 18]).astype(np.uint8),
    )
    settings = {
        "epochs": 2,
        "latent_dim": 8,
        "encoder_hidden": 8,
        "device": "cpu",
        "batch_size": 18,
    }
    spec = {
        "datasets": [{"name": "htad", "root": "data"}],
        "fusions": ["lrtf"],
        "methods": ["i2moe"],
        "settings": {**settings, "lr": 0.01, "interaction_weight": 0.5},
        "seeds": 2,
    }
    (folder / "gate.yaml").write_text(yaml.safe_dump({**spec, **keys}))
    return folder / "gate.yaml"


@pytest.fixture(scope="session")
def gate(tmp_path_factory) -> Path:
    return write_gate(tmp_path_factory.mktemp("gate") / "here")
