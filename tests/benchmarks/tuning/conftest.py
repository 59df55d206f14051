"""Searches on a small data set, whose trials take a fraction of a second."""

import functools

import pytest

from i2moe_plugin.benchmarks.grid.cells import methods_grid
from i2moe_plugin.benchmarks.tuning.space import load_space
from i2moe_plugin.benchmarks.tuning.tuner import Tuner

QUICK = {"epochs": 3, "encoder_hidden": 8, "device": "cpu", "batch_size": 16}
SPACE = """
lr: {low: 0.0001, high: 0.1, log: true}
latent_dim: [4, 8]
encoder_dropout: {low: 0.0, high: 0.5, step: 0.25}
interaction_weight: {low: 0.01, high: 1.0, log: true}
"""


def search_in(folder, htad):
    """``tune(out, **changes)``: a search of 7 trials over 2 seeds, into a folder of this one."""
    htad(folder / "data")
    (folder / "space.yaml").write_text(SPACE)

    def search(
        out="runs", trials=7, methods=("vanilla", "i2moe"), seeds=(7, 8), values=(), data="data",
        fusion="concat", space=folder / "space.yaml", **options,
    ):  # fmt: skip
        grid = methods_grid(
            "htad", fusion, methods, seeds, values={**QUICK, **dict(values)}, root=folder / data
        )
        options.setdefault("workers", 1)
        return Tuner(folder / out, load_space(space), trials, **options).run(grid)

    return search


@pytest.fixture
def space_file(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    return path


@pytest.fixture
def tune(tmp_path, htad):
    """``tune(out, **changes)``: a search of 7 trials over 2 seeds, into that folder."""
    return search_in(tmp_path, htad)


@pytest.fixture(scope="session")
def tuned(tmp_path_factory, htad):
    """``tuned(**changes)``: such a search, made once for all tests; not to be changed."""
    return functools.cache(
        lambda **changes: search_in(tmp_path_factory.mktemp("tuned"), htad)(**changes)
    )


def trials_of(tuned):
    """What every trial tried, and what became of it."""
    return {
        search.method: [
            (number, trial.params, trial.state.name, trial.value, trial.intermediate_values)
            for number, trial in sorted(search.trials.items())
        ]
        for search in tuned.searches
    }


@pytest.fixture(scope="session")
def listed():
    return trials_of
