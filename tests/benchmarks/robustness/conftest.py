"""Small runs of several methods on small data."""

import pytest
from click.testing import CliRunner

from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.run.store import RunStore

METHODS = ("vanilla", "i2moe", "ensemble", "evidence")


def train(out, data, *more, methods=METHODS, fusion="concat", seeds=3):
    """Train small runs by the command line."""
    arguments = ["run", "--fusion", fusion, "--data-root", data, "--seeds", seeds, "--out", out]
    arguments += ["--epochs", 2, "--device", "cpu", "--jobs", 1, *more]
    arguments += [word for name in ("latent_dim=8", "encoder_hidden=8") for word in ("--set", name)]
    arguments += [word for name in methods for word in ("--method", name)]
    done = CliRunner().invoke(main, [str(word) for word in arguments])
    assert done.exit_code == 0, done.output
    return out


@pytest.fixture(scope="module")
def trained(tmp_path_factory, htad):
    """A folder of runs of all of :data:`METHODS`; not to be changed."""
    place = tmp_path_factory.mktemp("robustness")
    return train(place / "runs", htad(place / "htad"))


@pytest.fixture(scope="module")
def runs(trained):
    """Those runs, by method and seed."""
    return {(run.method, run.seed): run for run in RunStore(trained)}


@pytest.fixture(scope="session")
def training():
    """What trains such runs."""
    return train
