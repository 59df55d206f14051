"""Whole runs on a small data set: what they leave behind, repeat, and survive."""

import json

import numpy as np
import pytest
import torch

from i2moe_plugin.benchmarks.datasets import open_dataset
from i2moe_plugin.benchmarks.run import model as run_model
from i2moe_plugin.benchmarks.run.checkpoints import load_tensors
from i2moe_plugin.benchmarks.run.collect import SampleViewer
from i2moe_plugin.benchmarks.run.environment import resolve_device
from i2moe_plugin.benchmarks.run.execute import execute, run_name
from i2moe_plugin.benchmarks.run.model import build_model
from i2moe_plugin.benchmarks.run.settings import resolve
from i2moe_plugin.benchmarks.run.store import RunStore
from i2moe_plugin.errors import ConfigError

QUICK = {"epochs": 3, "latent_dim": 8, "encoder_hidden": 8, "device": "cpu", "lr": 1e-2}


def quick(fusion="concat", method="i2moe", seed=0, **given):
    settings, _ = resolve("htad", fusion, QUICK | given)
    return settings.model_copy(update={"method": method, "seed": seed})


@pytest.fixture
def data(small_htad):
    return open_dataset("htad", small_htad)


@pytest.mark.parametrize("method", ["vanilla", "i2moe"])
def test_what_a_run_leaves_behind(tmp_path, data, method):
    run = execute(quick(method=method), data, RunStore(tmp_path), sources={"lr": "given"})
    assert set(run.manifest["files"]) == {
        "settings.json",
        "environment.json",
        "metrics.jsonl",
        "result.json",
        "outputs.h5",
        "weights.safetensors",
    }
    stored = run.json("settings.json")
    assert stored.pop("sources") == {"lr": "given"}
    assert len(stored.pop("splits")) == 64
    assert stored.pop("data") == data.fingerprint()
    assert stored == quick(method=method).model_dump()  # complete, with every default
    environment = run.json("environment.json")
    assert environment["packages"]["torch"] == torch.__version__.split("+")[0]
    assert environment["device"] == "cpu"
    assert [record["epoch"] for record in run.history()] == [1, 2, 3]

    outputs = run.outputs()
    assert outputs["sample_id"].tolist() == data.sample_ids("test")
    np.testing.assert_array_equal(outputs["target"], data.labels("test"))
    result = run.json("result.json")
    accuracy = (outputs["prediction"].argmax(1) == outputs["target"]).mean()
    assert result["test"]["accuracy"] == pytest.approx(accuracy)
    if method == "i2moe":
        mixture = np.einsum("nec,ne->nc", outputs["expert_outputs"], outputs["weights"])
        np.testing.assert_allclose(mixture, outputs["prediction"], atol=1e-5)
        assert list(result["expert_weights"]) == [
            "uniqueness_1",
            "uniqueness_2",
            "synergy",
            "redundancy",
        ]
        assert sum(result["expert_weights"].values()) == pytest.approx(1)
    else:
        assert set(outputs) == {"prediction", "target", "sample_id"}


def test_the_weights_give_the_predictions(tmp_path, data):
    settings = quick()
    run = execute(settings, data, RunStore(tmp_path))
    model = build_model(settings, data)
    tensors, _ = load_tensors(run.path / "weights.safetensors")
    model.load_state_dict(tensors)
    model.eval()
    *inputs, _ = next(iter(data.prepare().loader("test", batch_size=100)))
    prediction = model(inputs).prediction.detach().numpy()
    np.testing.assert_allclose(prediction, run.outputs()["prediction"], atol=1e-5)


def test_the_best_epoch_is_the_one_tested(tmp_path, data):
    run = execute(quick(epochs=8), data, RunStore(tmp_path))
    accuracies = [record["valid"]["accuracy"] for record in run.history()]
    assert run.json("result.json")["best_epoch"] == 1 + int(np.argmax(accuracies))


def test_a_finished_run_is_not_repeated_unless_fresh(tmp_path, data):
    store, epochs = RunStore(tmp_path), []
    first = execute(quick(), data, store, on_epoch=epochs.append)
    stamp = (first.path / "manifest.json").stat().st_mtime_ns
    execute(quick(), data, store, on_epoch=epochs.append)
    assert len(epochs) == 3
    assert (first.path / "manifest.json").stat().st_mtime_ns == stamp
    execute(quick(), data, store, on_epoch=epochs.append, fresh=True)
    assert len(epochs) == 6
    assert len(list(store)) == 1


def test_same_seed_same_numbers_whatever_ran_before(tmp_path, data):
    first = execute(quick(), data, RunStore(tmp_path / "1"))
    torch.rand(7)
    execute(quick(seed=4, method="vanilla"), data, RunStore(tmp_path / "x"))
    again = execute(quick(), data, RunStore(tmp_path / "2"))
    other = execute(quick(seed=1), data, RunStore(tmp_path / "3"))
    same, different = again.outputs()["prediction"], other.outputs()["prediction"]
    np.testing.assert_array_equal(first.outputs()["prediction"], same)
    assert not np.array_equal(same, different)


def test_workers_do_not_change_the_numbers(tmp_path, data):
    one = execute(quick(epochs=1), data, RunStore(tmp_path / "1"))
    two = execute(quick(epochs=1, workers=2), data, RunStore(tmp_path / "2"))
    np.testing.assert_array_equal(one.outputs()["prediction"], two.outputs()["prediction"])


def test_methods_of_one_seed_start_from_the_same_weights(data):
    vanilla = build_model(quick(method="vanilla"), data).state_dict()
    i2moe = build_model(quick(), data).state_dict()
    shared = [key for key in vanilla if key.startswith("encoders.")]
    assert shared
    assert all(torch.equal(vanilla[key], i2moe[key]) for key in shared)
    for key, tensor in vanilla.items():
        if key.startswith("backbone."):
            for expert in range(4):
                assert torch.equal(tensor, i2moe[f"bank.experts.{expert}.{key[9:]}"])


def test_independent_experts_differ(data):
    state = build_model(quick(expert_init="independent"), data).state_dict()
    weights = [state[f"bank.experts.{e}.head.0.weight"] for e in range(4)]
    assert all(not torch.equal(weights[0], other) for other in weights[1:])


def test_identity_follows_data_and_source(tmp_path, data, small_htad):
    name, identity = run_name(quick(), data)
    assert name.startswith("htad-concat-i2moe-seed0-")
    assert name.endswith(identity[:8])
    with np.load(small_htad / "htad.npz") as archive:
        arrays = dict(archive)
    arrays["audio"] = arrays["audio"] + 1
    (tmp_path / "other").mkdir()
    np.savez(tmp_path / "other" / "htad.npz", **arrays)
    assert run_name(quick(), open_dataset("htad", tmp_path / "other"))[1] != identity


def test_batches_of_one_sample(tmp_path, small_htad, data):
    execute(quick(epochs=1, batch_size=1), data, RunStore(tmp_path))
    execute(quick(epochs=1, batch_size=59, masking="marginal"), data, RunStore(tmp_path))


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "tpu"])
def test_unknown_devices(name):
    with pytest.raises(ConfigError, match="auto"):
        resolve_device(name)


def test_history_holds_every_loss_term(tmp_path, data):
    run = execute(quick(), data, RunStore(tmp_path))
    train = run.history()[0]["train"]
    assert set(train) == {"loss", "task", "auxiliary", "interaction", "weights"}
    weight = run.json("settings.json")["interaction_weight"]
    total = train["task"] + weight * np.mean(train["interaction"])
    assert train["loss"] == pytest.approx(total, rel=1e-4)
    json.dumps(run.history(), allow_nan=False)


@pytest.mark.parametrize(("threads", "most", "inside"), [(0, None, 1), (2, None, 2), (2, 1, 1)])
def test_a_small_model_runs_on_one_thread(tmp_path, data, threads, most, inside):
    before, seen = torch.get_num_threads(), []
    execute(
        quick(epochs=1, threads=threads),
        data,
        RunStore(tmp_path),
        on_epoch=lambda _: seen.append(torch.get_num_threads()),
        most_threads=most,
    )
    assert seen == [inside]
    assert torch.get_num_threads() == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a driver to be found")
def test_no_driver_is_looked_for_at_each_step(tmp_path, data, monkeypatch):
    """torch's optimizers do: a dynamic library that is not there, at every step."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    searches, search = [], torch.cuda._raw_device_count_nvml
    monkeypatch.setattr(
        torch.cuda, "_raw_device_count_nvml", lambda: searches.append(None) or search()
    )
    so_far = []
    execute(
        quick(batch_size=4),
        data,
        RunStore(tmp_path),
        on_epoch=lambda _: so_far.append(len(searches)),
    )
    assert so_far[0] == so_far[-1]


def test_a_model_is_built_on_one_thread(data, monkeypatch):
    """A process that is forked later would wait for ever for threads used before it."""
    seen = []
    build = run_model.create_backbone

    def spy(*args, **options):
        seen.append(torch.get_num_threads())
        return build(*args, **options)

    monkeypatch.setattr(run_model, "create_backbone", spy)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        build_model(quick(), data)
        assert set(seen) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_samples_of_changed_data_are_not_shown(tmp_path, data, small_htad):
    """The ids are the same, the values are not."""
    run = execute(quick(), data, RunStore(tmp_path))
    name = data.sample_ids("test")[0]
    assert SampleViewer(run).show(name)
    with np.load(small_htad / "htad.npz") as archive:
        arrays = dict(archive)
    (small_htad / "htad.npz").unlink()
    np.savez(small_htad / "htad.npz", **{**arrays, "audio": arrays["audio"][::-1]})
    changed = SampleViewer(run)
    assert changed.show(name) == []
    assert "are not those of the run: they have changed since" in changed.missing
    again = execute(quick(), open_dataset("htad", small_htad), RunStore(tmp_path))
    assert again.configuration != run.configuration  # never compared, nor seeds of one thing
    assert SampleViewer(again).show(name)
