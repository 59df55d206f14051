"""Finished runs on a few icons with tiny encoders, trained in a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.run.store import Run


@pytest.fixture(scope="session")
def trained_runs(tmp_path_factory, write_icons, tiny_models) -> Any:
    """``trained_runs(method, task)``: the folder of a run; not to be changed."""
    folder = tmp_path_factory.mktemp("features")
    data = write_icons(folder / "icons", keep=lambda row: row % 24 == 0, letters=40)
    made: set[tuple[str, str]] = set()

    def train(method: str = "fl-i2moe", task: str = "copy") -> Path:
        out = folder / task
        trained = "dense" if method == "dense" else "fl-i2moe"
        if (trained, task) not in made:
            made.add((trained, task))
            told = [
                *("run", "--method", trained, "--dataset", "icons", "--data-root", str(data)),
                *(
                    "--seeds",
                    "1",
                    "--epochs",
                    "1",
                    "--batch-size",
                    "8",
                    "--jobs",
                    "1",
                    "--device",
                    "cpu",
                    "--json",
                ),
                *("--out", str(out), "--set", "latent_dim=8", "--set", f"data.task={task}"),
                *("--set", f"data.text_model={tiny_models}/text"),
                *("--set", f"data.picture_model={tiny_models}/picture"),
            ]
            done = CliRunner().invoke(main, told)
            assert done.exit_code == 0, done.output
        (found,) = out.glob(f"icons-token-transformer-{method}-*")
        return found

    return train


@pytest.fixture
def finished(trained_runs) -> Run:
    """A run of FL-I2MoE on the task copy."""
    return Run.load(trained_runs())
