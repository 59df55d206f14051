"""Probes of one modality, on features whose information is known."""

import numpy as np
import pytest
from scipy.special import expit

from i2moe_plugin.benchmarks.statistics.information.joint import binary_information
from i2moe_plugin.benchmarks.statistics.probes import PROBES, probe_bits


def splits(x, y, count=600):
    return [
        (x[a:b], y[a:b]) for a, b in ((0, len(y) - 2 * count), (-2 * count, -count), (-count, None))
    ]


@pytest.mark.parametrize("kind", ["linear", "interval"])
def test_the_probe_that_fits_finds_the_bits(kind):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6000, 4))
    score = 2 * x[:, 0] if kind == "linear" else 6 * (np.abs(x[:, 0]) < 0.7) - 3.0
    y = (rng.random(6000) < expit(score)).astype(int)
    name, bits = probe_bits(*splits(x, y), 2)
    assert name == ("logistic regression" if kind == "linear" else "gradient boosting")
    assert bits.mean() == pytest.approx(binary_information(expit(score)), abs=0.06)


def test_noise_tells_nothing_and_absent_classes_keep_their_prior():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2000, 3)), rng.integers(3, size=2000)
    _, bits = probe_bits(*splits(x, y, 300), 4)
    assert abs(bits.mean()) < 0.02
    assert set(PROBES) == {"logistic regression", "gradient boosting"}
