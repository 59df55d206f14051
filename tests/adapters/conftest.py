from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

Build = Callable[[dict[str, Any], dict[str, Tensor]], nn.Module]


@pytest.fixture
def recorded(golden) -> Callable[[str, Build], None]:
    """``recorded(case, build)``: what ``build(facts, parameters)`` makes must match the recording.

    Parameters come under the names that the recorded module gave them.
    """

    def check(case: str, build: Build) -> None:
        facts, arrays = golden(case)
        parameters = {
            name.removeprefix("param/"): value
            for name, value in arrays.items()
            if name.startswith("param/")
        }
        module = build(facts, parameters).eval()
        inputs = [arrays[f"input_{m}"].requires_grad_() for m in range(len(facts["input_shapes"]))]
        output = module(inputs)
        assert_close(output, arrays["output"], rtol=1e-4, atol=1e-5)
        gradients = torch.autograd.grad(output, inputs, arrays["cotangent"])
        for m, gradient in enumerate(gradients):
            assert_close(gradient, arrays[f"grad_{m}"], rtol=1e-4, atol=1e-5)

    return check
