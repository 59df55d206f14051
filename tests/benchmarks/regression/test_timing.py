import time

import pytest
import torch

from i2moe_plugin.benchmarks.regression import measuring
from i2moe_plugin.benchmarks.regression.measuring import relative_time


def test_the_smallest_of_each_in_units_of_the_reference(monkeypatch):
    seconds = iter([4.0, 30.0, 2.0, 5.0, 11.0, 3.0])  # reference, ours, reference, ...
    clock = [0.0]

    def spend(_=None):
        clock[0] += next(seconds)

    monkeypatch.setattr(measuring, "_reference", spend)
    monkeypatch.setattr(time, "process_time", lambda: clock[0])
    monkeypatch.setattr(measuring, "REPEATS", 2)
    assert relative_time(spend) == pytest.approx(11 / 2)


def test_more_work_takes_longer():
    numbers = torch.ones(50)

    def work(times):
        for _ in range(times):
            numbers.add(1)

    assert relative_time(lambda: work(20_000)) > 2 * relative_time(lambda: work(1_000))
