"""A suite's file on a small data set, whose runs take a fraction of a second."""

import pytest
import yaml

QUICK = {"epochs": 2, "latent_dim": 8, "encoder_hidden": 8, "device": "cpu", "lr": 1e-2}


@pytest.fixture
def suite_file(tmp_path, htad):
    """``suite_file(**keys)``: the path of a file with these keys over a small suite's."""
    htad(tmp_path / "data")

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
