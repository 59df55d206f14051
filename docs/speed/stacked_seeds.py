"""What a step of several seeds at once costs, by vmap over whole models, against one after another.

Usage: python docs/speed/stacked_seeds.py [BACKBONE [DATASET [SEEDS]]]

The loss is the task's own, and for I2MoE a stand-in for its interaction losses (the mean square of
all experts' outputs on all views), the same on both sides. CPU time on one thread, the
best of five rounds in turns.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from i2moe_plugin.benchmarks.grid.cells import methods_grid
from i2moe_plugin.benchmarks.grid.runner import open_cell
from i2moe_plugin.benchmarks.run.model import build_model
from i2moe_plugin.execution import plans

STEPS, ROUNDS = 20, 5
_side_by_side = plans._joined


def _joined(experts: nn.ModuleList) -> dict[str, Tensor]:
    """Join the experts' parameters, also where they are already one of several seeds'."""
    first = next(experts[0].parameters())
    if not torch._C._functorch.is_batchedtensor(first):
        return _side_by_side(experts)
    rows = [dict([*expert.named_parameters(), *expert.named_buffers()]) for expert in experts]
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


class Loss(nn.Module):
    """A model and its loss as one module, which vmap maps over."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: list[Tensor], target: Tensor) -> Tensor:
        output = self.model(inputs)
        loss = nn.functional.cross_entropy(output.prediction, target)
        return loss if output.outputs is None else loss + output.outputs.square().mean()


def measure(backbone: str, dataset: str, method: str, seeds: int) -> tuple[float, float]:
    """Return milliseconds for a step of all seeds: one after another, and stacked."""
    [cell] = methods_grid(dataset, backbone, [method], range(seeds)).cells
    data = open_cell(cell)
    settings = [cell.settings.model_copy(update={"seed": seed}) for seed in range(seeds)]
    models = [Loss(build_model(one, data)).train() for one in settings]
    loader = data.prepare(torch.device("cpu")).loader(
        "train", batch_size=cell.settings.batch_size, shuffle=True
    )
    *inputs, target = next(iter(loader))
    each = [torch.optim.AdamW(model.parameters(), fused=True) for model in models]

    states: Any = stack_module_state(models)
    parameters = {name: value.detach().requires_grad_() for name, value in states[0].items()}
    together = torch.optim.AdamW(list(parameters.values()), fused=True)
    copies = [tensor.expand(seeds, *tensor.shape).contiguous() for tensor in inputs]
    targets = target.expand(seeds, *target.shape).contiguous()

    def run(own: dict[str, Tensor], buffers: dict[str, Tensor], x: list[Tensor], y: Tensor) -> Any:
        return functional_call(models[0], (own, buffers), (x, y))

    def separate() -> None:
        for model, optimizer in zip(models, each, strict=True):
            optimizer.zero_grad()
            model(inputs, target).backward()
            optimizer.step()

    def stacked() -> None:
        losses = torch.vmap(run, randomness="different")(parameters, states[1], copies, targets)
        together.zero_grad()
        losses.sum().backward()
        together.step()

    best = [float("inf"), float("inf")]
    for _ in range(ROUNDS + 1):  # the first round warms up
        for place, step in enumerate((separate, stacked)):
            start = time.process_time()
            for _ in range(STEPS):
                step()
            best[place] = min(best[place], time.process_time() - start)
    return 1e3 * best[0] / STEPS, 1e3 * best[1] / STEPS


def main(backbone: str = "lrtf", dataset: str = "htad", seeds: str = "5") -> None:
    """Measure both methods of a backbone on a data set."""
    torch.set_num_threads(1)
    plans._joined = _joined
    for method in ("vanilla", "i2moe"):
        apart, together = measure(backbone, dataset, method, int(seeds))
        print(
            f"{backbone} on {dataset}, {method}: a step of {seeds} seeds takes {apart:.1f} ms one "
            f"after another, {together:.1f} ms stacked: {together / apart:.2f}"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
