"""Several devices at once, as two processes on a CPU: what they give, against one process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.data.open import open_dataset
from i2moe_plugin.benchmarks.data.sharing import share_of
from i2moe_plugin.benchmarks.run import environment, ranks
from i2moe_plugin.benchmarks.run.checkpoints import WEIGHTS, load_tensors
from i2moe_plugin.benchmarks.run.environment import check_devices
from i2moe_plugin.benchmarks.run.execute import execute, loaders, ready_trainer
from i2moe_plugin.benchmarks.run.model import check_shares, smallest_share
from i2moe_plugin.benchmarks.run.settings import RunSettings, resolve
from i2moe_plugin.benchmarks.run.store import RunStore
from i2moe_plugin.errors import ConfigError, DatasetError, RunError

QUICK = {"epochs": 3, "latent_dim": 8, "encoder_hidden": 8, "device": "cpu", "batch_size": 16}


def settings_of(**given):
    return resolve("htad", "concat", QUICK | given)[0]


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch):
    monkeypatch.setattr(environment, "count_cores", lambda: 2)


@pytest.fixture(scope="module")
def shared_cases():
    folder = str(Path(__file__).parent / "together")
    sys.path.insert(0, folder)
    import shared_cases

    yield shared_cases
    sys.path.remove(folder)


def close(one, other, name):
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            close(one[key], other[key], f"{name}: {key}")
    elif one is None or other is None:
        assert one is other, name
    else:
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-6, err_msg=name)


def test_steps_are_those_of_one_process_with_the_joined_batch(shared_cases):
    """Losses, gradients and states, of every method, objective, task and plan."""
    found = {}

    def receive(message):
        rank, name, content = message
        found[rank, name] = content

    ranks.run_ranks(shared_cases.together, 2, "gloo", receive)
    for name, make in shared_cases.cases().items():
        losses, gradients, state = shared_cases.portable(shared_cases.step(*make()))
        for rank in (0, 1):
            own_losses, own_gradients, own_state = found[rank, name]
            close(own_losses, losses, f"{name}, loss")
            close(own_gradients, gradients, f"{name}, gradient")
            for key in state:  # Adam divides by gradients that may be as good as zero
                np.testing.assert_allclose(
                    own_state[key], found[0, name][2][key], err_msg=f"{name}: {key}"
                )
                if ".masking." in f".{key}" or "_totals" in key or "_seen" in key:
                    np.testing.assert_allclose(own_state[key], state[key], rtol=1e-4, atol=1e-5)

    drawn, histories, best = zip(*(found[rank, "noise"] for rank in (0, 1)), strict=True)
    first, second = (np.concatenate([one.ravel() for one in own]) for own in drawn)
    assert len(first)
    assert not np.isin(first, second).any()
    for one, other in zip(*histories, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    assert best == (1, 1)


@pytest.mark.parametrize(("size", "count"), [(4, 2), (7, 3), (5, 2)])
def test_shares_make_the_batches_of_one_process(small_htad, size, count):
    """In their order, each sample once, from epoch to epoch."""
    settings = settings_of(batch_size=size)
    data = open_dataset("htad", small_htad)
    whole = loaders(settings, data, torch.device("cpu"))("train", shuffle=True)
    parts = [
        share_of(loaders(settings, data, torch.device("cpu"))("train", shuffle=True), rank, count)
        for rank in range(count)
    ]
    for epoch in (1, 2):
        whole.sampler.set_epoch(epoch)
        for part in parts:
            part.batch_sampler.set_epoch(epoch)
        for batch, *shares in zip(whole, *parts, strict=True):
            sizes = [len(one[-1]) for one in shares]
            assert max(sizes) - min(sizes) <= 1
            for columns in zip(batch, *shares, strict=True):
                assert torch.equal(columns[0], torch.cat(columns[1:]))
    assert share_of(whole, 0, 1) is whole
    with pytest.raises(ConfigError, match="cannot be shared out"):
        share_of([batch], 0, 2)


@pytest.mark.parametrize("devices", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 20])
def test_the_smallest_share_is_counted(size, devices):
    count = 20
    sizes = [len(rows) for rows in torch.arange(count).split(size)]
    assert smallest_share(count, size, devices) == min(one // devices for one in sizes)


def test_one_device_is_the_default_and_changes_no_identity():
    plain = settings_of()
    assert (plain.devices, plain.strategy) == (1, "ddp")
    assert plain.identity() == settings_of(devices=1, strategy="ddp").identity()
    assert plain.identity() != settings_of(devices=2).identity()
    before = RunSettings(**plain.model_dump(exclude={"devices", "strategy"}))
    assert before.identity() == plain.identity()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"devices": 3}, r"devices=3 is more than there is: 2 CPU cores"),
        ({"devices": 2, "loader": "multibench"}, "not shared out"),
    ],
)
def test_what_cannot_be_is_refused(given, words):
    with pytest.raises(ConfigError, match=words):
        check_devices(settings_of(**given))
    check_devices(settings_of(devices=2))


def test_fsdp_is_refused_with_its_reason():
    done = CliRunner().invoke(main, ["run", "--devices", "2", "--strategy", "fsdp"])
    assert done.exit_code == 1
    assert "side by side in one tensor" in " ".join(done.output.split())


def test_a_device_without_a_sample_is_refused(small_htad):
    data = open_dataset("htad", small_htad)  # 60 training samples
    check_shares(settings_of(devices=2, batch_size=16), data)
    with pytest.raises(ConfigError, match=r"in batches of 59 leave one of 2 .*--batch-size 58"):
        check_shares(settings_of(devices=2, batch_size=59), data)


def test_other_trainings_refuse_several_devices(small_htad):
    with (
        pytest.raises(ConfigError, match="devices=2: runs alone"),
        ready_trainer(settings_of(devices=2), open_dataset("htad", small_htad)),
    ):
        pass


class Ended:
    """A process that is over."""

    def __init__(self, exitcode):
        self.exitcode = exitcode

    def join(self, _):
        """It is over."""


def listened(*said):
    """What the parent makes of what ranks say: each a list of messages, or a signal's number."""
    found, there = {}, []
    for messages in said:
        here, other = ranks.multiprocessing.Pipe(duplex=False)
        found[here] = Ended(-messages if isinstance(messages, int) else 0)
        for message in [] if isinstance(messages, int) else messages:
            other.send(message)
        if isinstance(messages, int):
            other.close()
        there.append(other)
    received = []
    ranks._listen(found, received.append)
    return received


def test_the_rank_that_failed_first_is_named(monkeypatch):
    """Not those that only missed it."""
    monkeypatch.setattr(ranks, "_GRACE", 0.2)
    missed = ("doubtful", RunError("a run failed: connection closed by peer"))
    done = ("done", None)
    assert listened([("message", 1), ("message", 2), done], [done]) == [1, 2]
    with pytest.raises(DatasetError, match="damaged"):
        listened([missed], [("error", DatasetError("damaged"))])
    with pytest.raises(RunError, match=r"device 2 of 2 ended unexpectedly \(killed by SIGKILL"):
        listened([missed], signal.SIGKILL)
    with pytest.raises(RunError, match="closed by peer"):
        listened([missed], [])  # the other one hangs
    with pytest.raises(RunError, match="closed by peer"):
        listened([missed], [done])


@pytest.mark.slow
def test_an_error_of_one_rank_ends_all(shared_cases):
    start = time.monotonic()
    with pytest.raises(DatasetError, match=r"audio\.npy is damaged"):
        ranks.run_ranks(shared_cases.failing, 2, "gloo", print)
    assert not ranks.multiprocessing.active_children()
    assert time.monotonic() - start < 120


def content(run):
    """What a run holds but for the time: bytes, and its history."""
    files = {path.name: path.read_bytes() for path in run.path.iterdir() if ".js" not in path.name}
    return files, [{**record, "seconds": 0} for record in run.history()]


@pytest.mark.slow
@pytest.mark.posix
@pytest.mark.timeout(600)
def test_runs_of_two_ranks(tmp_path, small_htad, monkeypatch):
    """Killed and stopped, they go on; they end as if they never stopped, tested as one process."""
    plugin = tmp_path / "saves_often.py"
    plugin.write_text(
        "from i2moe_plugin.benchmarks.run import execute\nexecute.SAVE_EVERY = 0.0\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(ranks, "loaded_plugins", lambda: [str(plugin)])
    data = open_dataset("htad", small_htad)
    settings = settings_of(devices=2, masking="mean")
    whole = execute(settings, data, RunStore(tmp_path / "whole"))
    assert any("Trained on 2 devices" in note for note in whole.result["notes"])

    store, epochs = RunStore(tmp_path / "stopped"), []

    def kill(record):
        epochs.append(record["epoch"])
        os.kill(ranks.multiprocessing.active_children()[-1].pid, signal.SIGKILL)

    with pytest.raises(RunError, match=r"device \d of 2 ended unexpectedly \(killed by SIGKILL\)"):
        execute(settings, data, store, on_epoch=kill)
    assert not ranks.multiprocessing.active_children()

    def interrupt(record):
        epochs.append(record["epoch"])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(settings, data, store, on_epoch=interrupt)
    assert not ranks.multiprocessing.active_children()
    run = execute(settings, data, store, on_epoch=lambda record: epochs.append(record["epoch"]))
    assert epochs == sorted(set(epochs))
    assert epochs[-1] == 3
    assert content(run) == content(whole)

    with ready_trainer(settings.model_copy(update={"devices": 1}), data) as trainer:
        trainer.model.load_state_dict(load_tensors(run.path / WEIGHTS)[0])
        test = trainer.predict(loaders(settings, data, torch.device("cpu"))("test"))
    stored = run.outputs("prediction", "weights", "expert_outputs", "sample_id")
    np.testing.assert_array_equal(stored["prediction"], test.prediction)
    np.testing.assert_array_equal(stored["weights"], test.weights)
    np.testing.assert_array_equal(stored["expert_outputs"], test.outputs)
    assert list(map(str, stored["sample_id"])) == data.sample_ids("test")


def children_of(pid):
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_ranks_do_not_outlive_their_command(tmp_path, small_htad, number):
    arguments = f"run --dataset htad --data-root {small_htad} --fusion concat --seeds 1 -v"
    arguments += f" --no-vanilla --epochs 100000 --devices 2 --device cpu --out {tmp_path / 'runs'}"
    command = subprocess.Popen(
        ["i2moe-bench", *arguments.split()], stderr=subprocess.PIPE, encoding="utf-8"
    )
    try:
        assert "epoch 1" in next(line for line in command.stderr if "epoch" in line)
        left = children_of(command.pid)
        assert len(left) >= 2
        command.send_signal(number)
        command.stderr.close()
        command.wait(60)
        deadline = time.monotonic() + 30
        while any(map(is_alive, left)) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not any(map(is_alive, left))
    finally:
        command.kill()
        command.wait()
