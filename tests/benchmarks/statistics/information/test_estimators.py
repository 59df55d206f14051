"""CVX and BATCH on data whose bits are known."""

import numpy as np
import pytest
import torch
from torch import nn

from i2moe_plugin.benchmarks.datasets.synthetic import generator
from i2moe_plugin.benchmarks.statistics.information.batch import (
    BatchSettings,
    _bits,
    _sinkhorn,
    batch_estimate,
)
from i2moe_plugin.benchmarks.statistics.information.clustered import clustered
from i2moe_plugin.benchmarks.statistics.information.decompositions import broja
from i2moe_plugin.errors import ConfigError


def corners(function, samples, noise=0.05):
    """Bits as directions, far apart; their exact joint distribution is that of the function."""
    rng = np.random.default_rng(1)
    bits = np.array(list(np.ndindex(2, 2)) * (samples // 4))
    labels = function(*bits.T)
    modalities = [
        np.stack([bit, 1 - bit], 1) + noise * rng.normal(size=(samples, 2)) for bit in bits.T
    ]
    return modalities, labels


GATES = {"xor": lambda a, b: a ^ b, "and": lambda a, b: a & b, "first": lambda a, b: a}


@pytest.mark.parametrize("name", GATES)
def test_clusters_that_are_the_bits_give_the_exact_decomposition(name):
    modalities, labels = corners(GATES[name], 400)
    exact = broja(generator("bool-unique" if name == "first" else f"bool-{name}").joint)
    found = clustered(modalities, labels, clusters=2)
    np.testing.assert_allclose(found.parts, exact.parts, atol=1e-4)


def test_many_clusters_of_few_samples_invent_what_the_docstring_says():
    rng = np.random.default_rng(0)
    modalities = [rng.normal(size=(2000, 5)) for _ in range(2)]
    found = clustered(modalities, rng.integers(2, size=2000), clusters=20)
    expected = 400 / (2 * 2000 * np.log(2))
    assert found.synergy == pytest.approx(expected, rel=0.3)


def test_sinkhorn_keeps_the_margins():
    rng = np.random.default_rng(0)
    margins = torch.tensor(rng.dirichlet(np.ones(6), size=(2, 3)), dtype=torch.float32)
    logs = torch.tensor(rng.normal(size=(3, 6, 6)), dtype=torch.float32)
    joint = _sinkhorn(logs, margins[0], margins[1], BatchSettings(tolerance=1e-6)).exp()
    torch.testing.assert_close(joint.sum(2), margins[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(joint.sum(1), margins[1], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("xor", [0, 0, 1, 0]),
        ("copy", [0, 0, 0, 1]),
        pytest.param("and", [0, 0, 0.5, 0.311], marks=pytest.mark.slow),
        pytest.param("first", [1, 0, 0, 0], marks=pytest.mark.slow),
    ],
)
def test_batch_estimates_come_close(name, parts):
    modalities, labels = corners(GATES.get(name, GATES["first"]), 960)
    if name == "copy":
        modalities[1] = modalities[0]
    train, test = [x[:640] for x in modalities], [x[640:] for x in modalities]
    settings = BatchSettings(lr=5e-3, epochs=30, alignment_epochs=15, batch_size=128)
    found = batch_estimate(train, labels[:640], test, settings=settings)
    np.testing.assert_allclose(found.parts, parts, atol=0.06)
    assert found == batch_estimate(train, labels[:640], test, settings=settings)


def test_a_sample_that_is_left_over_is_not_counted():
    """It has no other to be aligned with; counted as nothing it would make every part smaller."""
    modalities, labels = corners(GATES["first"], 64)
    settings = BatchSettings(epochs=1, alignment_epochs=1, batch_size=8)
    estimates = [
        batch_estimate(modalities, labels, [x[:count] for x in modalities], settings=settings)
        for count in (8, 9)
    ]
    assert estimates[0] == estimates[1]
    with pytest.raises(ConfigError, match="there must be 2, not 1"):
        batch_estimate(modalities, labels, [x[:1] for x in modalities], settings=settings)


def test_three_modalities_are_refused():
    three = [np.zeros((4, 1))] * 3
    with pytest.raises(ConfigError, match="2 modalities, not 3"):
        clustered(three, np.zeros(4, int))
    with pytest.raises(ConfigError, match="2 modalities, not 3"):
        batch_estimate(three, np.zeros(4, int), three)


def test_a_modality_that_never_varies_tells_nothing():
    modalities, labels = corners(GATES["first"], 400)
    found = clustered([modalities[0], np.zeros((400, 3))], labels, clusters=2)
    np.testing.assert_allclose(found.parts, [1, 0, 0, 0], atol=1e-4)


def test_sure_discriminators_leave_finite_bits():
    """Probabilities that are 0 in single precision have no logarithm to scale."""
    settings = BatchSettings(layers=0, batch_size=6, sinkhorn=20)
    sure = nn.Linear(1, 2)
    nn.init.constant_(sure.bias, 0.0)
    sure.weight.data = torch.tensor([[-500.0], [500.0]])
    both = nn.Linear(2, 2)
    both.weight.data = torch.tensor([[-500.0, 0.0], [500.0, 0.0]])
    aligned = nn.ModuleList(nn.Linear(1, 2 * settings.embedding) for _ in range(2))
    x = torch.tensor([[1.0], [-1.0]] * 3)
    bits = _bits(aligned, [sure, sure, both], [x, x], settings)
    assert bits.isfinite().all()
    torch.testing.assert_close(bits[:3], torch.full((3,), float(np.log(2))))
