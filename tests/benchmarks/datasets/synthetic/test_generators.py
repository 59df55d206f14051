"""Every generator, by its registry: shapes, splits, seeds, and the truth it states."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

from i2moe_plugin.benchmarks.datasets.synthetic import GENERATORS, generator
from i2moe_plugin.benchmarks.datasets.synthetic.hdxor import HDXOR, SHIFT, _xor_information
from i2moe_plugin.benchmarks.datasets.synthetic.latent_sum import LatentSum, above
from i2moe_plugin.benchmarks.statistics.information.joint import Joint, binary_information
from i2moe_plugin.errors import ConfigError, UnknownNameError


def small(name, **options):
    return generator(name, samples=400, **options)


@pytest.mark.parametrize("name", GENERATORS)
def test_shapes_splits_and_seeds(name):
    data = small(name).draw(seed=5)
    assert all(x.shape[0] == 400 and x.dtype == np.float32 for x in data.modalities)
    assert sorted(np.concatenate(list(data.splits.values()))) == list(range(400))
    assert [len(data.splits[split]) for split in ("train", "valid", "test")] == [280, 60, 60]
    shares = [data.labels[rows].mean() for rows in data.splits.values()]
    assert max(shares) - min(shares) < 0.02  # stratified
    again, other = small(name).draw(seed=5), small(name).draw(seed=6)
    for first, same, new in zip(data.modalities, again.modalities, other.modalities, strict=True):
        np.testing.assert_array_equal(first, same)
        assert not np.array_equal(first, new)
    np.testing.assert_array_equal(data.labels, again.labels)


@pytest.mark.parametrize("name", [n for n in GENERATORS if not n.startswith(("bool", "hdxor-r"))])
def test_labels_are_balanced(name):
    assert small(name).draw(seed=0).labels.mean() == 0.5


@pytest.mark.parametrize("name", [name for name in GENERATORS if not name.startswith("ring")])
def test_truth_is_a_decomposition_and_noise_takes_of_it(name):
    data = small(name)
    truth, noisy = data.truth(3), replace(data, label_noise=0.2).truth(3)
    assert len(truth.parts.uniqueness) == len(data.draw(3).modalities)
    assert min(truth.parts.parts) > -truth.error - 1e-9
    assert truth.parts.redundancy <= truth.redundancy_most + truth.error
    assert noisy.parts.total <= truth.parts.total
    assert noisy.parts.total < 1 - 0.72 + 1e-6  # what a binary channel with 20 % errors lets pass
    for reading in truth.readings:
        assert reading.total == pytest.approx(truth.parts.total, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ring", "ringu"])
def test_rings_are_redundant_but_for_what_one_modality_sees_alone(name):
    parts = generator(name).truth().parts
    first = 0.185 if name == "ringu" else 0.0
    np.testing.assert_allclose(parts.uniqueness, [first, 0, 0], atol=0.008)
    assert parts.synergy == pytest.approx(0, abs=0.005)
    assert parts.redundancy == pytest.approx(parts.total - first, abs=0.02)


@pytest.mark.parametrize(
    ("name", "target"),
    [
        *((f"hdxor-uniqueness-{m}", f"uniqueness_{m + 1}") for m in range(4)),
        ("hdxor-synergy", "synergy"),
        ("hdxor-redundancy", "redundancy"),
        ("hdxor-random", None),
        ("bool-xor", "synergy"),
        ("bool-copy", "redundancy"),
        ("bool-unique", "uniqueness_1"),
        ("pid-redundancy", "redundancy"),
        ("pid-uniqueness-1", "uniqueness_2"),
        ("pid-synergy", None),
    ],
)
def test_targets(name, target):
    assert small(name).truth().target == target


def test_boolean_features_tell_their_bits_and_nothing_else():
    data = generator("bool-xor", samples=4000, feature_noise=0.1).draw(0)
    joint = generator("bool-xor", feature_noise=0.1).joint
    train = data.splits["train"]
    for x in data.modalities:  # rotated noise is normal, so no single column shows the bit
        assert len(np.unique(np.round(x, 3))) > 1000
    bits = []
    for x in data.modalities:  # the bit is the one direction with only two values
        pairs = LogisticRegression().fit(x[train], np.sign(x[train] @ _direction(x)))
        bits.append((pairs.predict(x) > 0).astype(int))
    counted = Joint.from_samples(np.stack(bits, 1), data.labels)
    assert counted.information([0, 1]) == pytest.approx(joint.information([0, 1]), abs=0.03)


def _direction(x):
    """The direction in which all values are +1 or -1: of least kurtosis, found by steps."""
    rng = np.random.default_rng(0)
    best, value = None, np.inf
    for _ in range(20):
        w = rng.normal(size=x.shape[1])
        for _ in range(100):
            w = -((x @ w) ** 3 @ x / len(x) - 3 * w)
            w /= np.linalg.norm(w)
        kurtosis = ((x @ w) ** 4).mean()
        if kurtosis < value:
            best, value = w, kurtosis
    return best


@pytest.mark.parametrize("positives", [0.5, 0.1])
def test_hdxor_bits_by_quadrature_and_by_simulation(positives):
    rng = np.random.default_rng(1)
    signal = np.array([[5.0, 0.4], [0.4, 4.0]])
    data = HDXOR("uniqueness-1", label_noise=0.1, positives=positives)
    first_sign = 2 * rng.integers(2, size=200_000) - 1
    differ = rng.random(200_000) < positives
    signs = np.stack([first_sign, np.where(differ, -first_sign, first_sign)], 1)
    t = signs @ signal + rng.normal(size=signs.shape) @ np.linalg.cholesky(signal).T
    density = np.zeros((len(t), 2))
    for first in (-1, 1):
        for second in (-1, 1):
            s = np.array([first, second])
            share = positives if first != second else 1 - positives
            density[:, int(first != second)] += share * np.exp(t @ s - s @ signal @ s / 2)
    conditional = density[:, 1] / density.sum(1)
    oracle = binary_information(0.9 * conditional + 0.1 * (1 - conditional))
    assert _xor_information(signal, data) == pytest.approx(oracle, abs=0.004)


@pytest.mark.parametrize("name", ["uniqueness-0", "synergy", "redundancy", "random"])
def test_hdxor_with_few_positives_has_less_to_tell_of_the_same_kind(name):
    rare, even = HDXOR(name, samples=2000, positives=0.05), HDXOR(name, samples=2000)
    drawn = rare.draw(0)
    assert [drawn.labels[rows].sum() for rows in drawn.splits.values()] == [70, 15, 15]
    found, known = rare.truth(0), even.truth(0)
    assert found.target == known.target
    assert found.parts.total < -(0.05 * np.log2(0.05) + 0.95 * np.log2(0.95)) + 1e-9
    parts, same = np.array(found.parts.parts), np.array(known.parts.parts)
    assert parts.argmax() == same.argmax()
    np.testing.assert_allclose(parts[same < 1e-6], 0, atol=found.error + 1e-9)


def test_hdxor_latents_are_as_released():
    data = HDXOR("synergy", 3, samples=4000)
    labels = data.draw(2).labels
    latents = data._latents(labels, np.random.default_rng(0))
    bits = np.stack([latent.mean(1) > 0 for latent in latents], 1)
    assert ((bits.sum(1) == 1) == labels).mean() > 0.97
    assert latents[0].std() == pytest.approx(2, abs=0.05)
    first, second = HDXOR("redundancy", samples=400)._latents(
        labels[:400], np.random.default_rng(0)
    )
    assert first is second


@pytest.mark.parametrize("hidden", [0, 3])
def test_chance_of_a_positive_sum_by_simulation(hidden):
    rng = np.random.default_rng(0)
    known = rng.normal(size=(5, 4))
    kept = rng.random((5, 100_000, 4 + hidden)) < 0.8
    others = rng.normal(0, 1.5**0.5, size=(5, 100_000, hidden))
    values = np.concatenate([np.repeat(known[:, None], 100_000, 1), others], 2)
    sums = (values * kept).sum(2)
    oracle = (sums > 0).mean(1) + 0.5 * (sums == 0).mean(1)
    np.testing.assert_allclose(above(known, hidden), oracle, atol=0.01)


def test_many_known_dimensions_are_approximated_well():
    known = np.random.default_rng(3).normal(size=(400, 11))
    exact = 0.2 * above(known[:, :10], 0)
    # with the eleventh kept, the others must reach minus its value: a shifted enumeration
    masks = np.array(list(np.ndindex(*(2,) * 10)))
    weights = 0.8 ** masks.sum(1) * 0.2 ** (10 - masks.sum(1))
    exact += 0.8 * ((known[:, :10] @ masks.T + known[:, 10:] > 0) @ weights)
    assert np.abs(above(known, 0) - exact).mean() < 0.02
    assert binary_information(above(known, 0)) == pytest.approx(binary_information(exact), abs=0.01)


def test_mixes_sum_the_first_dimensions_of_their_latents():
    data = LatentSum("mix5", samples=4000).draw(1)
    first, second = data.modalities
    assert first.shape[1] == second.shape[1] == 64
    np.testing.assert_array_equal(first[:, 32:], second[:, 32:])  # the latent in both
    score = LogisticRegression(max_iter=500).fit(second, data.labels).score(second, data.labels)
    assert score > 0.8


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("hdxor-synergy", {"modalities": 5}, "2 to 4 modalities, not 5"),
        ("hdxor-synergy", {"dims": (3,)}, "2 positive numbers"),
        ("hdxor-synergy", {"label_noise": 0.6}, "between 0 and 0.5"),
        ("hdxor-synergy", {"positives": 0.0005}, "leave 10 of a class"),
        ("hdxor-synergy", {"positives": 1.5}, "leave 0 of a class"),
        ("bool-and", {"samples": 3}, "at least 40, not 3"),
        ("bool-and", {"feature_nose": 0.1}, "feature_noise"),
        ("bool-and", {"dim": 0}, "at least 1"),
        ("pid-mix1", {"dim": 4}, "at least 5"),
    ],
)
def test_settings_out_of_range_are_refused(name, options, match):
    with pytest.raises(ConfigError, match=match):
        generator(name, **options)


def test_unknown_names_are_refused():
    with pytest.raises(UnknownNameError, match="hdxor-synergy"):
        generator("hdxor-sinergy")
    assert generator("hdxor-uniqueness-2").modalities == 3
    with pytest.raises(UnknownNameError, match="uniqueness-2"):
        generator("hdxor-uniqueness-2", modalities=2)
    with pytest.raises(UnknownNameError, match="nand"):
        GENERATORS["bool-and"][0]("nand")
    with pytest.raises(UnknownNameError, match="mix9"):
        GENERATORS["pid-mix1"][0]("mix9")


@pytest.mark.parametrize("setting", ["uniqueness-1", "redundancy"])
def test_hdxor_of_a_single_dimension_has_its_bits(setting):
    data = HDXOR(setting, dims=(3, 1))
    matrix = data.projections(4)[1][0]
    shift = SHIFT[data.kind] * matrix.reshape(2, 100).sum(1)  # of each bit, in x_2
    x = np.linspace(-200, 200, 400_001)

    def density(*signs):
        return norm.pdf(x, shift @ signs, np.linalg.norm(matrix))

    equal, other = density(1, 1) + density(-1, -1), density(1, -1) + density(-1, 1)
    both = np.stack([equal, other]) / 4
    ratio = np.where(both > 0, both / np.maximum(both.sum(0) / 2, 1e-300), 1)
    known = (both * np.log2(ratio)).sum() * (x[1] - x[0])
    truth = data.truth(4)
    told = truth.parts.uniqueness[1] if data.kind == "uniqueness" else truth.redundancy_most
    assert told == pytest.approx(known, abs=1e-4)
