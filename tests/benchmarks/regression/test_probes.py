"""Single parts on drawn numbers: every registered one is there, and what moves is named."""

import numpy as np
import pytest

from i2moe_plugin.backbones.entry import backbones
from i2moe_plugin.benchmarks.regression.baseline import Tolerances
from i2moe_plugin.benchmarks.regression.checks import compare_probes
from i2moe_plugin.benchmarks.regression.numbers import brief
from i2moe_plugin.benchmarks.regression.probes import TASKS, Probe, measure_probes
from i2moe_plugin.interactions.losses import OBJECTIVES
from i2moe_plugin.interactions.masking import MASKINGS
from i2moe_plugin.interactions.regularizers import PENALTIES
from i2moe_plugin.methods import METHODS, SINGLE
from i2moe_plugin.tasks import HIGHER_IS_BETTER, _kinds


def test_every_part_is_measured_and_gives_numbers(probes):
    assert [probe.name for probe in probes if probe.error or not probe.values] == []
    assert len({probe.name for probe in probes}) == len(probes)


def test_nothing_depends_on_what_ran_before(probes):
    assert measure_probes() == probes


def test_no_part_of_a_registry_is_left_out(probes):
    names = " ".join(probe.name for probe in probes)
    wanted = [
        *(f"masking: {name}" for name in MASKINGS),
        *(f"objective: {name}" for name in OBJECTIVES),
        *(f"penalty: {name}" for name in PENALTIES),
        *(f"backbone: {entry.name}," for entry in backbones),
        *(f"method {name}" for name in METHODS if not name.startswith(SINGLE)),
    ]
    assert [name for name in wanted if name not in names] == []
    own = [kind for kind in _kinds() if kind.__module__.startswith("i2moe_plugin.")]
    kinds = {kind for kind in own if "name" in vars(kind) or not kind.__subclasses__()}
    assert kinds <= {type(task) for task in TASKS.values()}
    metrics = {metric for task in TASKS.values() for metric in task.metric_names}
    assert metrics == set(HIGHER_IS_BETTER)


BEFORE = [Probe(name="a", values=[1.0, None]), Probe(name="b", values=[2.0])]


@pytest.mark.parametrize(
    ("now", "outcomes"),
    [
        (BEFORE, {"a": "same", "b": "same"}),
        ([Probe(name="a", values=[1.00001, None]), BEFORE[1]], {"a": "moved", "b": "same"}),
        ([Probe(name="a", values=[1.001, None]), BEFORE[1]], {"a": "regression", "b": "same"}),
        ([Probe(name="a", values=[1.0, 0.0]), BEFORE[1]], {"a": "regression", "b": "same"}),
        ([Probe(name="a", values=[None, None]), BEFORE[1]], {"a": "regression", "b": "same"}),
        ([Probe(name="a", values=[1.0]), BEFORE[1]], {"a": "regression", "b": "same"}),
        ([Probe(name="a", error="broken"), BEFORE[1]], {"a": "regression", "b": "same"}),
        ([BEFORE[0]], {"a": "same", "b": "regression"}),
        ([*BEFORE, Probe(name="c", values=[1.0])], {"a": "same", "b": "same", "c": "moved"}),
    ],
)
def test_what_moves_is_named(now, outcomes):
    checks = compare_probes(BEFORE, now, Tolerances())
    assert {check.name: check.outcome for check in checks} == outcomes


@pytest.mark.parametrize("place", [0, 7, 40])
def test_a_brief_of_a_tensor_sees_places_and_signs(place):
    import torch

    tensor = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 9)))
    before = brief(tensor)
    for change in (lambda x: -x, lambda x: x.flip(0), lambda x: x + (torch.arange(45) == place).reshape(5, 9)):  # noqa: E501  # fmt: skip
        assert not np.allclose(brief(change(tensor)), before, rtol=1e-4, atol=1e-5)
