"""How times are taken and put side by side."""

from __future__ import annotations

import multiprocessing
import statistics
import time

import pytest

from i2moe_plugin.benchmarks.speed import measure
from i2moe_plugin.benchmarks.speed.models import Shape
from i2moe_plugin.benchmarks.speed.processes import (
    build_here,
    drop_here,
    plan_here,
    processes,
    seconds_of,
    time_here,
)
from i2moe_plugin.errors import UnknownNameError

SMALL = Shape("small", "lrtf", 2, None, 8, 3, {"rank": 2, "output_dim": 4})


class Fake:
    """Stands for processes whose models take a known time."""

    def __init__(self, seconds):
        self.by_variant, self.log = seconds, []

    def __call__(self, variant, function, *arguments):
        self.log.append((function, variant, *arguments))
        return {time_here: self.by_variant[variant], plan_here: {"plan": "shared"}}.get(function)


def test_calls_take_turns_and_warm_up_first():
    seen = []

    def call(name, seconds):
        seen.append(name)
        return seconds

    times = measure.interleaved(
        {"a": lambda: call("a", 1.0), "b": lambda: call("b", 2.0)}, seconds=0, least=3
    )
    assert seen == ["a", "b"] * 4
    assert times == {"a": [1.0] * 3, "b": [2.0] * 3}


def test_a_ratio_is_the_median_over_rounds_and_not_of_medians():
    slow, fast = [4.0, 9.0, 100.0, 2.0, 5.0], [2.0, 3.0, 10.0, 2.0, 1.0]
    found = measure.ratio(slow, fast)
    each = sorted(a / b for a, b in zip(slow, fast, strict=True))
    assert found["median"] == statistics.median(each) == 3.0
    assert (found["low"], found["high"]) == (each[1], each[3])
    assert found["rounds"] == 5


def test_a_call_is_timed():
    assert seconds_of(lambda: time.sleep(0.02)) >= 0.02


def test_variants_are_compared_with_the_naive_one_and_with_the_loop():
    fake, variants = Fake({"naive": 0.6, "loop": 0.4, "auto": 0.2}), ("naive", "loop", "auto")
    row = measure.compare(SMALL, variants, fake, seconds=0, ours={"batch": 4})
    assert row["milliseconds"] == {"naive": 600, "loop": 400, "auto": 200}
    assert row["faster"]["auto"]["median"] == pytest.approx(3)
    assert row["without"].keys() == {"loop"}
    assert row["without"]["loop"]["median"] == pytest.approx(2)
    assert row["plan"] == "shared"
    built = [entry[1:] for entry in fake.log if entry[0] is build_here]
    ours = {"batch": 4}
    assert built == [("naive", SMALL, {}), ("loop", SMALL, ours), ("auto", SMALL, ours)]
    assert [entry for entry in fake.log if entry[0] is drop_here] == fake.log[-3:]


def test_processes_build_time_and_tell_their_plan():
    with processes() as ask:
        for variant in ("naive", "loop", "auto"):
            ask(variant, build_here, SMALL, {"batch": 4})
        assert len(multiprocessing.active_children()) == 2
        for variant in ("torch-dropout", "unkept"):
            ask(variant, build_here, SMALL, {"batch": 4})
            assert ask(variant, time_here, False) > 0
        assert ask("auto", time_here, False) > 0
        assert ask("auto", time_here, True) > 0
        assert ask("auto", plan_here)["plan"] == "stacked"
        with pytest.raises(UnknownNameError, match="lrft"):
            ask("auto", build_here, Shape("small", "lrft", 2, None, 8, 3), {})
        ask("auto", drop_here)
        with pytest.raises(KeyError):
            ask("auto", time_here, False)
    assert not multiprocessing.active_children()


def test_counts_and_profile_of_a_step():
    counts = measure.counts(Shape("small", "lrtf", 3, None, 8, 3, {"rank": 2, "output_dim": 4}))
    assert counts["naive"]["operators"] > counts["stacked"]["operators"]
    assert counts["naive"]["gflop"] > counts["stacked"]["gflop"] > counts["vanilla"]["gflop"] > 0
    rows = measure.profile(SMALL, top=3)
    assert len(rows) == 3
    assert 0 < sum(row["share"] for row in rows) <= 1


def test_memory_of_a_step_is_what_it_adds():
    """In a process of its own: a peak does not fall, and what others held would hide it."""
    with processes() as ask:
        small, large = (
            ask("auto", measure.step_memory, Shape("wide", "transformer", 2, tokens, 64, 3))
            for tokens in (8, 32)
        )
    assert 1 < small < large
