"""The benchmark of attribution counts what it says."""

from __future__ import annotations

import pytest

from i2moe_plugin.attribution.names import EXPLAINERS
from i2moe_plugin.attribution.tokens import TokenModel
from i2moe_plugin.benchmarks.speed.attribution import Sizes, described, measure

SIZES = Sizes(words=8, patches=6, width=8, classes=3, pairs=4, draws=8)


@pytest.fixture
def rows(monkeypatch):
    """How many rows each pass through an expert had."""
    seen = []
    expert = TokenModel.expert

    def counting(self, number, latents, padding):
        seen.append(len(latents[0]))
        return expert(self, number, latents, padding)

    monkeypatch.setattr(TokenModel, "expert", counting)
    return seen


def test_evaluations_are_those_that_were_made(rows):
    found = measure(2, SIZES)
    assert set(found["seconds"]) == {*EXPLAINERS, "pairs"}
    assert found["naive_evaluations"] == 2 * 2 * 4 * 4 * 8
    assert 0 < found["pair_evaluations"] < found["naive_evaluations"]
    assert found["a_second"] == pytest.approx(found["pair_evaluations"] / found["seconds"]["pairs"])
    assert f"{found['pair_evaluations']:,} evaluations" in described(found)


def test_the_memory_budget_bounds_attributions_and_pairs_alike(rows):
    measure(3, SIZES)
    assert max(rows) > 8
    rows.clear()
    measure(3, SIZES, memory_budget=1)
    # Two rows are where the memory of one is measured.
    assert max(rows) <= 3, "the complete samples and what measures a row alone"
