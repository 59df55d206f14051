import torch

from i2moe_plugin.benchmarks.regression.timing import relative_time


def test_relative_time_grows_with_the_work():
    square = torch.ones(300, 300)

    def work(times):
        for _ in range(times):
            square @ square

    little, much = relative_time(lambda: work(5), 2), relative_time(lambda: work(50), 2)
    assert 3 < much / little < 30
