"""How times are taken and put side by side."""

from __future__ import annotations

import statistics
import time

import pytest

from i2moe_plugin.benchmarks.speed import measure
from i2moe_plugin.benchmarks.speed.models import Shape
from i2moe_plugin.benchmarks.speed.processes import processes
from i2moe_plugin.errors import RunError

SMALL = Shape("small", "lrtf", 2, None, 8, 3, {"rank": 2, "output_dim": 4})


class Fake:
    """Stands for a process whose models take a known time."""

    def __init__(self, seconds):
        self.by_variant, self.log = seconds, []

    def build(self, shape, variant, options):
        self.log.append(("build", variant, dict(options)))

    def seconds(self, variant, inference):
        self.log.append(("time", variant))
        return self.by_variant[variant]

    def plan(self, variant):
        return {"plan": "shared"}

    def clear(self):
        self.log.append(("clear",))


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
    assert 0.02 <= measure.timed(lambda: time.sleep(0.02))() < 1


def test_variants_are_compared_with_the_naive_one_and_with_the_loop():
    fake = Fake({"naive": 0.6, "loop": 0.4, "auto": 0.2})
    row = measure.compare(
        SMALL, ("naive", "loop", "auto"), lambda variant: fake, seconds=0, ours={"batch": 4}
    )
    assert row["milliseconds"] == {"naive": 600, "loop": 400, "auto": 200}
    assert row["faster"]["auto"]["median"] == pytest.approx(3)
    assert row["against_loop"]["median"] == pytest.approx(2)
    assert row["plan"] == "shared"
    built = [entry[1:] for entry in fake.log if entry[0] == "build"]
    assert built == [("naive", {}), ("loop", {"batch": 4}), ("auto", {"batch": 4})]
    assert fake.log[-1] == ("clear",)


def test_processes_build_time_and_tell_their_plan():
    with processes() as process_of:
        assert process_of("naive") is not process_of("auto")
        assert process_of("loop") is process_of("auto")
        process = process_of("auto")
        process.build(SMALL, "auto", {"batch": 4})
        assert 0 < process.seconds("auto", False) < 10
        assert 0 < process.seconds("auto", True) < 10
        assert process.plan("auto")["plan"] == "stacked"
        with pytest.raises(RunError, match="lrft"):
            process.build(Shape("small", "lrft", 2, None, 8, 3), "auto", {})
        process.clear()
        with pytest.raises(RunError, match="auto"):
            process.seconds("auto", False)


def test_counts_and_profile_of_a_step():
    counts = measure.counts(SMALL)
    assert counts["naive"]["operators"] > counts["stacked"]["operators"]
    assert counts["naive"]["gflop"] > counts["stacked"]["gflop"] > counts["vanilla"]["gflop"] > 0
    rows = measure.profile(SMALL, top=3)
    assert len(rows) == 3
    assert 0 < sum(row["share"] for row in rows) <= 1


def test_memory_of_a_step_is_what_it_adds():
    wide = Shape("wide", "transformer", 2, 16, 64, 3)
    assert 1 < measure.step_memory(wide, "auto") < 500
