"""A gate over a small data set: measured in well under a second."""

from pathlib import Path

import pytest
import yaml

SETTINGS = {
    "epochs": 2,
    "latent_dim": 8,
    "encoder_hidden": 8,
    "device": "cpu",
    "batch_size": 18,
    "lr": 0.01,
    "interaction_weight": 0.5,
}


@pytest.fixture(scope="session")
def gate(tmp_path_factory, htad) -> Path:
    """A suite's file beside its data."""
    folder = tmp_path_factory.mktemp("gate") / "here"
    htad(folder / "data")
    suite = {
        "datasets": [{"name": "htad", "root": "data"}],
        "fusions": ["lrtf"],
        "methods": ["i2moe"],
        "settings": SETTINGS,
        "seeds": 2,
    }
    (folder / "gate.yaml").write_text(yaml.safe_dump(suite))
    return folder / "gate.yaml"
