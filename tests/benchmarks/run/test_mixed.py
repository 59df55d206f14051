"""A finished run's model, opened again, speaks in the targets' units."""

import numpy as np
import pytest
import yaml

from i2moe_plugin.benchmarks.experiments import run
from i2moe_plugin.benchmarks.run.mixed import TrainedModel
from i2moe_plugin.benchmarks.run.store import Run


@pytest.fixture
def heights(tmp_path):
    """A finished run on targets about 50,000, trained in standard units."""
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=(2, 60, 3))
    folder = tmp_path / "heights"
    folder.mkdir()
    np.savez(folder / "d.npz", one=one, two=two, y=50_000 + 1_000 * one[:, 0] * two[:, 0])
    places = {name: {"file": "d.npz", "key": name} for name in ("one", "two", "y")}
    description = {
        "name": "heights",
        "modalities": {name: {"kind": "features", **places[name]} for name in ("one", "two")},
        "target": places["y"],
        "task": "regression",
        "split": {"train": 0.6, "valid": 0.2, "test": 0.2, "seed": 0},
    }
    (folder / "dataset.yaml").write_text(yaml.safe_dump(description))
    options = {"settings": {"epochs": 2, "device": "cpu"}, "progress": False, "jobs": 1}
    found = run(str(folder), "concat", ["vanilla"], 1, out=tmp_path / "runs", **options)
    return Run.load(found.runs[0].path)


def test_mixed_samples_that_are_not_mixed_are_what_was_stored(heights):
    model = TrainedModel.load(heights)
    rows = model.rows("test")
    stored = heights.outputs("prediction")["prediction"]
    assert stored.mean() == pytest.approx(50_000, rel=0.1)
    assert model.probabilities([rows, rows]) == pytest.approx(stored, rel=1e-5)
