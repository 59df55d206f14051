"""Drawn outputs of every kind of task."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from i2moe_plugin import Classification, Multilabel, Regression, expert_names
from i2moe_plugin.interpretation import Outputs

TASKS = [Classification(2), Classification(5), Multilabel(4), Regression(1), Regression(3)]
Draw = Callable[..., Outputs]


def draw(
    task: Any,
    samples: int = 60,
    modalities: int | tuple[str, ...] = 2,
    seed: int = 0,
    **changes: Any,
) -> Outputs:
    """Outputs whose prediction is the weighted sum of what the experts say."""
    rng = np.random.default_rng(seed)
    width = task.num_outputs
    if isinstance(modalities, int):
        modalities = ("audio", "video", "text", "touch")[:modalities]
    names = expert_names(len(modalities))
    said = rng.normal(size=(samples, len(names), width)).astype(np.float32)
    raw = np.exp(rng.normal(size=(samples, len(names))))
    weights = (raw / raw.sum(1, keepdims=True)).astype(np.float32)
    if isinstance(task, Classification):
        target = np.arange(samples) % width
    elif isinstance(task, Multilabel):
        target = (rng.random((samples, width)) < 0.4).astype(np.float32)
    else:
        target = rng.normal(size=(samples, width)).astype(np.float32)
    said += 0.7 * _signal(task, target)[:, None]
    outputs = Outputs(
        task=task,
        prediction=np.einsum("ne,nec->nc", weights, said),
        target=target,
        sample_id=np.array([f"s{row}" for row in range(samples)]),
        class_names=tuple(f"class {c}" for c in range(width)),
        modalities=modalities,
        experts=tuple(names),
        expert_outputs=said,
        weights=weights,
    )
    return replace(outputs, **changes)


def _signal(task: Any, target: Any) -> Any:
    if isinstance(task, Classification):
        return np.eye(task.num_outputs)[target]
    return 2 * target - 1 if isinstance(task, Multilabel) else target


@pytest.fixture(name="draw", scope="session")
def _draw() -> Draw:
    return draw


@pytest.fixture(params=TASKS, ids=str)
def task(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def vanilla() -> Outputs:
    return draw(Classification(3), experts=(), expert_outputs=None, weights=None)
