"""Planted faults: the gate catches each by the checks that should, and passes clean code."""

import functools

import pytest
import torch

from i2moe_plugin.benchmarks.data.open import PreparedDataset
from i2moe_plugin.benchmarks.grid.spec import load_suite
from i2moe_plugin.benchmarks.regression.baseline import Tolerances
from i2moe_plugin.benchmarks.regression.checks import compare_cells
from i2moe_plugin.benchmarks.regression.measuring import STEPS, measure_grid
from i2moe_plugin.execution.bank import ExpertBank
from i2moe_plugin.interactions.masking import RandomMasking
from i2moe_plugin.model import I2MoE


@pytest.fixture(scope="module")
def baseline(gate):
    return measure_grid(load_suite(str(gate)), timed=False)


@pytest.fixture
def failed(gate, baseline):
    """``failed()``: the names of the checks that this code, as it is now, does not pass."""

    def measure() -> set[str]:
        now = measure_grid(load_suite(str(gate)), timed=False)
        checks = compare_cells(baseline, now, Tolerances())
        assert len(checks) > 10
        return {check.name for check in checks if check.outcome == "regression"}

    return measure


@pytest.fixture
def plant(monkeypatch):
    """``plant(cls, name, change)``: ``change(original, self, ...)`` in place of a method."""

    def put(cls, name, change):
        original = getattr(cls, name)

        @functools.wraps(original)
        def changed(self, *args, **kwargs):
            return change(functools.partial(original, self), self, *args, **kwargs)

        monkeypatch.setattr(cls, name, changed)

    return put


def test_clean_code_passes_to_the_last_digit(gate, baseline):
    now = measure_grid(load_suite(str(gate)), timed=False)
    assert {c.outcome for c in compare_cells(baseline, now, Tolerances())} == {"same"}


def test_interaction_loss_with_its_sign_flipped(plant, failed):
    def losses(original, self, output, target):
        found = original(output, target)
        if found.interaction is None:
            return found
        return found._replace(
            total=found.total - 2 * self.objective.weight * found.interaction.mean()
        )

    plant(I2MoE, "losses", losses)
    found = failed()
    assert {"loss, training: total", "loss, test: task"} <= found
    assert "loss, training: interaction of synergy" in found  # what it is trained to do instead


def test_a_frozen_expert(plant, failed):
    def forward(original, self, *args):
        outputs, auxiliary = original(*args)
        still = [o.detach() if expert == 1 else o for expert, o in enumerate(outputs)]
        return torch.stack(still), auxiliary

    plant(ExpertBank, "forward", forward)
    found = failed()
    assert {"parts with a gradient", "loss, training: interaction of uniqueness_2"} <= found


def test_noise_shared_between_experts(plant, failed):
    def replacement(original, self, latent, modality, copies):
        return original(latent, modality, 1).expand(copies, *latent.shape)

    plant(RandomMasking, "replacement", replacement)
    assert {f"loss, training: interaction of {name}" for name in
            ("uniqueness_1", "uniqueness_2", "synergy", "redundancy")} <= failed()  # fmt: skip


@pytest.mark.parametrize(("split", "by"), [("valid", "test"), ("train", "valid")])
def test_a_leak_between_splits(plant, failed, split, by):
    """The epoch is selected on test data; or validation data is trained on."""

    def loader(original, self, name, **options):
        return original(by if name == split else name, **options)

    plant(PreparedDataset, "loader", loader)
    found = failed()
    assert "loss, validation: task" in found
    assert ("loss, training: task" in found) == (split == "train")


def test_thirty_per_cent_more_operators(plant, failed, baseline):
    calls = STEPS + 1  # forward passes that are counted: training steps and one of validation
    extra = round(0.3 * baseline[0].operators["training"] / calls)

    def forward(original, self, *args):
        nothing = torch.zeros(1)
        for _ in range(extra):
            nothing = nothing + 1
        return original(*args)

    plant(ExpertBank, "forward", forward)
    assert failed() == {"operators in training", "operators in prediction"}


def test_a_method_that_does_not_train_any_more(plant, gate, baseline):
    def run(original, self, *args, **kwargs):
        raise IndexError("out of\nrange")

    plant(ExpertBank, "forward", run)
    now = measure_grid(load_suite(str(gate)), timed=False)
    (check,) = compare_cells(baseline, now, Tolerances())
    assert (check.outcome, check.text) == ("regression", "it fails: IndexError: out of range")
