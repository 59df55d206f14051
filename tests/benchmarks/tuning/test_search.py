"""What is proposed, and what is given up."""

import numpy as np
import pytest

from i2moe_plugin.benchmarks.tuning.search import OTHERS, ROUND, Median, frozen, propose
from i2moe_plugin.benchmarks.tuning.space import Range
from i2moe_plugin.benchmarks.tuning.trials import Outcome

optuna = pytest.importorskip("optuna", reason="needs the extra tune")

SPACE = {"lr": Range(low=1e-4, high=1.0, log=True), "latent_dim": (4, 8, 16)}


def trial(number, value, curve=None, state="finished", lr=0.01):
    outcome = Outcome(state, value, 0.0, curve or {1: value})
    return frozen({"lr": lr, "latent_dim": 8}, SPACE, outcome, {"number": number})


@pytest.mark.parametrize("higher", [True, False])
def test_a_search_finds_the_good_end(higher):
    """Of a value that only the learning rate decides, by its distance from 0.1 in decades."""
    trials = []
    for first in range(0, 40, ROUND):
        for params in propose(SPACE, trials, higher, seed=0, first=first):
            distance = abs(np.log10(params["lr"]) + 1)
            value = -distance if higher else distance
            outcome = Outcome("finished", value, 0.0, {1: value})
            trials.append(frozen(params, SPACE, outcome, {"number": len(trials)}))
    rates = np.array([abs(np.log10(one.params["lr"]) + 1) for one in trials])
    at_random = (3**2 / 2 + 1**2 / 2) / 4  # the mean distance of draws from all four decades
    assert rates[20:].mean() < 0.5 * at_random
    assert rates.min() < 0.1


def test_proposals_follow_from_seed_and_trials_alone():
    earlier = [trial(number, number / 20) for number in range(15)]
    first = propose(SPACE, earlier, True, seed=3, first=15)
    assert propose(SPACE, earlier, True, seed=3, first=15) == first
    assert propose(SPACE, earlier, True, seed=4, first=15) != first
    assert propose(SPACE, earlier, True, seed=3, first=20) != first
    assert len({str(params) for params in first}) == ROUND
    for params in first:
        assert 1e-4 <= params["lr"] <= 1
        assert params["latent_dim"] in (4, 8, 16)


def by_hand(curves, curve, higher, warm_up):
    """The rule in plain words: the best so far against the median of others at this step."""
    step = max(curve)
    others = [one[step] for one in curves if step in one]
    if len(curves) < OTHERS or step < warm_up or not others:
        return False
    best = max(curve.values()) if higher else min(curve.values())
    return best < np.median(others) if higher else best > np.median(others)


@pytest.mark.parametrize("higher", [True, False])
def test_what_lies_below_the_median_is_given_up(higher):
    generator = np.random.default_rng(0)
    hopeless = 0
    for count in (3, 5, 9):
        rising = [np.sort(generator.random(12))[:: 1 if higher else -1] for _ in range(count)]
        curves = [dict(enumerate(one.tolist(), 1)) for one in rising]
        earlier = tuple(trial(n, one[12], one) for n, one in enumerate(curves))
        median = Median(earlier, higher, epochs=8)
        for length in range(1, 13):
            shifted = generator.random(length) + generator.uniform(-1, 1)
            curve = dict(enumerate(shifted.tolist(), 1))
            assert median(curve) == by_hand(curves, curve, higher, warm_up=2)
            hopeless += median(curve)
    assert 3 < hopeless < 20


def test_failed_and_pruned_trials_are_no_measure():
    earlier = tuple(trial(n, 0.9, state=state) for n, state in enumerate(["failed", "pruned"] * 5))
    assert not Median(earlier, True, epochs=1)({1: 0.1, 2: 0.1})
