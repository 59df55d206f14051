"""Branches that only CUDA takes; docs/devices.md lists them. Skipped where there is no GPU."""

import pytest
import torch

from i2moe_plugin.benchmarks.data.open import open_dataset
from i2moe_plugin.benchmarks.run.environment import create_fabric, environment
from i2moe_plugin.benchmarks.run.execute import execute
from i2moe_plugin.benchmarks.run.model import create_trainer
from i2moe_plugin.benchmarks.run.settings import resolve
from i2moe_plugin.benchmarks.run.store import RunStore

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"),
]


def settings(**values):
    chosen, _ = resolve("htad", "lrtf", {"device": "cuda", "epochs": 2, **values})
    return chosen


@pytest.fixture
def data(small_htad):
    return open_dataset("htad", small_htad)


def test_the_device_is_named_and_kernels_repeat(data):
    create_fabric(settings())
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark
    found = environment(settings())
    assert found["device"].startswith("cuda")
    assert found["device_name"] == torch.cuda.get_device_name()


@pytest.mark.parametrize("precision", ["32", "bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("method", ["vanilla", "i2moe"])
def test_a_run_trains_and_repeats_in_every_precision(data, tmp_path, precision, method):
    chosen = settings(precision=precision).model_copy(update={"method": method})
    first, second = (
        execute(chosen, data, RunStore(tmp_path / name)).result["test"] for name in ("a", "b")
    )
    assert first == second


def test_the_scaler_of_half_precision_goes_on_where_it_was(data):
    chosen = settings(precision="16-mixed")
    loaders = [data.prepare("cuda").loader(name, batch_size=16) for name in ("train", "valid")]
    whole = create_trainer(chosen, data, create_fabric(chosen))
    whole.fit(*loaders, 4)
    stopped = create_trainer(chosen, data, create_fabric(chosen))
    stopped.fit(*loaders, 2)
    state = stopped.state_dict()
    assert state["precision"]
    other = create_trainer(chosen, data, create_fabric(chosen))
    other.load_state_dict(state)
    other.fit(*loaders, 4)
    assert [one["train"] for one in other.history] == [one["train"] for one in whole.history]


def test_batches_come_from_pinned_memory_and_the_optimizer_is_fused(data):
    loader = data.prepare("cuda").loader("train", batch_size=16, pin_memory=True)
    *inputs, _ = next(iter(loader))
    assert all(x.is_pinned() for x in inputs)
    trainer = create_trainer(settings(), data, create_fabric(settings()))
    assert all(group["fused"] for group in trainer._optimizer.param_groups)
