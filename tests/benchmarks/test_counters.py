import torch
from torch import nn

from i2moe_plugin.benchmarks.counters import count_work, relative_time


def test_flops_of_matrix_products_forward_and_backward():
    layer, x = nn.Linear(5, 7, bias=False), torch.randn(3, 5, requires_grad=True)
    forward = 2 * 3 * 5 * 7
    assert count_work(lambda: layer(x)).flops == forward
    assert count_work(lambda: layer(x).sum().backward()).flops == 3 * forward


def test_operators_are_all_that_run():
    x = torch.ones(4)

    def ten():
        y = x
        for _ in range(10):
            y = y + 1

    assert count_work(ten) == (10, 0)
    assert count_work(lambda: None) == (0, 0)


def test_relative_time_grows_with_the_work():
    square = torch.ones(300, 300)

    def work(times):
        for _ in range(times):
            square @ square

    little, much = relative_time(lambda: work(5), 2), relative_time(lambda: work(50), 2)
    assert 3 < much / little < 30
