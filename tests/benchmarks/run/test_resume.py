"""Runs that are stopped, killed, damaged, or out of room: what they end as, to the last byte."""

import errno
import json
import logging
import multiprocessing
import os
import random
import shutil
import signal
import time

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.datasets import open_dataset
from i2moe_plugin.benchmarks.run import checkpoints
from i2moe_plugin.benchmarks.run import execute as experiment
from i2moe_plugin.benchmarks.run import store as stores
from i2moe_plugin.benchmarks.run.checkpoints import load_state, load_tensors, save_tensors
from i2moe_plugin.benchmarks.run.execute import execute, run_name
from i2moe_plugin.benchmarks.run.settings import resolve
from i2moe_plugin.benchmarks.run.store import MANIFEST, STATES, UNFINISHED, Run, RunStore
from i2moe_plugin.errors import RunError
from i2moe_plugin.training import Trainer

QUICK = {"epochs": 6, "latent_dim": 8, "encoder_hidden": 8, "device": "cpu", "lr": 1e-2}
NEWEST, PREVIOUS = STATES


def settings_of(**given):
    settings, _ = resolve("htad", "concat", QUICK | given)
    return settings


@pytest.fixture
def data(small_htad):
    return open_dataset("htad", small_htad)


@pytest.fixture
def every_epoch(monkeypatch):
    """A state is saved after every epoch."""
    monkeypatch.setattr(experiment, "SAVE_EVERY", 0.0)


@pytest.fixture
def stopped(every_epoch, data):
    """``stopped(store, epoch)``: a run that is stopped in that epoch, and its folder."""

    def stop(store, epoch, settings=None):
        def interrupt(record):
            if record["epoch"] == epoch:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            execute(settings or settings_of(), data, store, on_epoch=interrupt)
        name, identity = run_name(settings or settings_of(), data)
        return store.folder / UNFINISHED / name, identity

    return stop


def content(run):
    """All files of a run that do not tell the time: bytes, or JSON without seconds."""
    found = {}
    for path in sorted(run.path.iterdir()):
        if path.suffix in (".h5", ".safetensors"):
            found[path.name] = path.read_bytes()
        elif path.suffix == ".json" and path.name != MANIFEST:
            found[path.name] = {k: v for k, v in json.loads(path.read_text()).items()
                                if k != "seconds"}  # fmt: skip
    found["history"] = [{k: v for k, v in r.items() if k != "seconds"} for r in run.history()]
    found["names"] = sorted(path.name for path in run.path.iterdir())
    return found


@pytest.fixture
def whole(tmp_path, data):
    """What the run is that was never stopped."""
    return content(execute(settings_of(), data, RunStore(tmp_path / "whole")))


def epochs_of(settings, data, store):
    """Run it, and return the run and the epochs that were trained for it."""
    epochs = []
    run = execute(settings, data, store, on_epoch=lambda record: epochs.append(record["epoch"]))
    return run, epochs


@pytest.mark.parametrize("masking", ["random", "matched", "marginal"])
def test_a_stopped_run_goes_on_and_ends_as_if_it_never_stopped(tmp_path, data, stopped, masking):
    settings = settings_of(masking=masking)
    undisturbed = execute(settings, data, RunStore(tmp_path / "undisturbed"))
    store = RunStore(tmp_path / "runs")
    stopped(store, 4, settings)
    assert list(store) == []
    run, epochs = epochs_of(settings, data, store)
    assert epochs == [5, 6]
    assert content(run) == content(undisturbed)


def test_a_second_stop_costs_no_more_than_the_first(tmp_path, data, stopped, whole):
    store = RunStore(tmp_path / "runs")
    folder, identity = stopped(store, 2)
    stopped(store, 4)
    assert len(load_state(folder / NEWEST, identity)["history"]) == 4
    run, epochs = epochs_of(settings_of(), data, store)
    assert epochs == [5, 6]
    assert content(run) == whole


def flipped(path, offset):
    content = bytearray(path.read_bytes())
    content[offset % len(content)] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"garbage"),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-50]),
    "first bit": lambda path: flipped(path, 0),
    "bit of the header": lambda path: flipped(path, 40),
    "bit of the record": lambda path: flipped(path, 300),
    "bit in the middle": lambda path: flipped(path, path.stat().st_size // 2),
    "last bit": lambda path: flipped(path, -1),
    "another run's": lambda path: rewritten(path, identity="another"),
    "no plan": lambda path: rewritten(path, "plan"),
    "no epochs": lambda path: rewritten(path, history=[]),
    "other tensors": lambda path: save_tensors(path, {"model/a": torch.ones(2)}, {}),
}


def rewritten(path, *dropped, **changed):
    tensors, record = load_tensors(path)
    record = {key: value for key, value in (record | changed).items() if key not in dropped}
    save_tensors(path, tensors, record)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_state_falls_back_to_the_one_before(
    tmp_path, data, stopped, whole, damage, caplog
):
    store = RunStore(tmp_path / "runs")
    folder, _ = stopped(store, 4)
    DAMAGE[damage](folder / NEWEST)
    with caplog.at_level(logging.WARNING):
        run, epochs = epochs_of(settings_of(), data, store)
    assert epochs == [4, 5, 6]
    assert content(run) == whole
    (message,) = caplog.messages
    assert "a saved state cannot be used" in message
    assert "goes on after epoch 3, from the state before" in message


def test_without_a_usable_state_a_run_starts_over_from_untrained_weights(
    tmp_path, data, stopped, whole, caplog
):
    store = RunStore(tmp_path / "runs")
    folder, _ = stopped(store, 4)
    rewritten(folder / NEWEST, "plan")
    rewritten(folder / PREVIOUS, "param_groups")
    with caplog.at_level(logging.WARNING):
        run, epochs = epochs_of(settings_of(), data, store)
    assert epochs == [1, 2, 3, 4, 5, 6]
    assert content(run) == whole
    assert [message.endswith("the run starts over.") for message in caplog.messages] == [True] * 2


def test_every_bit_of_a_state_counts(tmp_path, stopped):
    folder, identity = stopped(RunStore(tmp_path), 2)
    good = (folder / NEWEST).read_bytes()
    for place in np.random.default_rng(0).integers(len(good) * 8, size=400):
        bad = bytearray(good)
        bad[place // 8] ^= 1 << (place % 8)
        (folder / NEWEST).write_bytes(bad)
        with pytest.raises(RunError):
            load_state(folder / NEWEST, identity)


@pytest.mark.parametrize(("every", "saved"), [(10.0, [3, 6]), (3.0, [1, 2, 3, 4, 5, 6, 7])])
def test_a_kill_costs_ten_seconds_or_an_epoch(tmp_path, data, monkeypatch, every, saved):
    """With epochs of 3 seconds: by a clock of our own."""
    now, kept = [0.0], []

    class Clock:
        @staticmethod
        def perf_counter():
            return now[0]

    def tick(self, train, epoch):
        now[0] += 3.0
        return original(self, train, epoch)

    original = Trainer._train_epoch
    monkeypatch.setattr(Trainer, "_train_epoch", tick)
    monkeypatch.setattr("i2moe_plugin.training.time", Clock)
    monkeypatch.setattr(experiment, "time", Clock)
    monkeypatch.setattr(experiment, "SAVE_EVERY", every)
    monkeypatch.setattr(
        experiment, "save_state", lambda folder, state, _: kept.append(len(state["history"]))
    )
    execute(settings_of(epochs=7), data, RunStore(tmp_path))
    assert kept == saved


KILLED = KeyboardInterrupt  # ends the process at this very place, as a kill does


@pytest.mark.parametrize(
    "place", ["write_outputs", "save_tensors", "_describe", "_put_in_place", "rename", "rmtree"]
)
def test_a_kill_while_a_run_is_being_finished_costs_nothing(
    tmp_path, data, every_epoch, monkeypatch, whole, place
):
    store = RunStore(tmp_path / "runs")
    module = experiment if hasattr(experiment, place) else stores
    with monkeypatch.context() as patch:
        if place == "rename":
            rename = stores.Path.rename
            patch.setattr(stores.Path, "rename", killing(rename))
        elif place == "rmtree":
            patch.setattr(stores.shutil, "rmtree", killing(shutil.rmtree))
        else:
            patch.setattr(module, place, killing(getattr(module, place)))
        with pytest.raises(KILLED):
            execute(settings_of(), data, store)
    run, epochs = epochs_of(settings_of(), data, store)
    assert epochs == []  # the last state, or all of the run, was there
    assert content(run) == whole
    assert not (store.folder / UNFINISHED).exists()


def killing(call, second=False):
    """What ends at a call, the first or the second, before it does anything."""
    calls = []

    def killed(*args, **kwargs):
        calls.append(args)
        if len(calls) > second:
            raise KILLED
        return call(*args, **kwargs)

    return killed


@pytest.mark.parametrize("times", [1, 2])
def test_a_finished_run_stays_until_the_fresh_one_is_whole(
    tmp_path, data, every_epoch, monkeypatch, whole, times
):
    """Killed before the old one goes aside, and between the two renames."""
    store = RunStore(tmp_path / "runs")
    first = execute(settings_of(), data, store)
    with monkeypatch.context() as patch:
        patch.setattr(stores.Path, "rename", killing(stores.Path.rename, times == 2))
        with pytest.raises(KILLED):
            execute(settings_of(), data, store, fresh=True)
    assert first.path.exists() == (times == 1)
    run, epochs = epochs_of(settings_of(), data, store)
    assert epochs == []
    assert content(run) == whole
    execute(settings_of(epochs=1), data, store)  # any other run tidies up
    assert not list((store.folder / UNFINISHED).glob(".*"))


def test_a_stopped_fresh_run_leaves_the_finished_one(tmp_path, data, every_epoch):
    store = RunStore(tmp_path)
    first = execute(settings_of(), data, store)
    before = content(first)

    def interrupt(record):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(settings_of(), data, store, fresh=True, on_epoch=interrupt)
    assert content(Run.load(first.path).check()) == before


@pytest.mark.parametrize("write", range(6))
def test_a_full_disk_is_a_sentence_and_the_run_goes_on_when_there_is_room(
    tmp_path, data, stopped, monkeypatch, whole, write
):
    """The disk is full at the first, second... file that is written."""
    store = RunStore(tmp_path / "runs")
    stopped(store, 3)
    count, replace = [0], stores.Path.replace

    def full(self, target):
        count[0] += 1
        if count[0] > write:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(stores.Path, "replace", full)
        with pytest.raises(RunError, match="Free some space; the same command then goes on"):
            execute(settings_of(), data, store)
    assert not list(store.folder.rglob("*.tmp"))
    run, epochs = epochs_of(settings_of(), data, store)
    assert epochs == list(range(4 + min(write // 2, 3), 7))
    assert content(run) == whole


def test_tensors_survive_a_failed_write(tmp_path, monkeypatch):
    path = tmp_path / "weights.safetensors"
    save_tensors(path, {"a": torch.ones(2)}, {"x": 1})
    monkeypatch.setattr(checkpoints, "save_file", lambda *_: (_ for _ in ()).throw(OSError("no")))
    with pytest.raises(RunError, match="cannot write"):
        save_tensors(path, {"a": torch.zeros(2)})
    tensors, record = load_tensors(path)
    assert torch.equal(tensors["a"], torch.ones(2))
    assert record == {"x": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_state_that_is_no_tensor_is_named(tmp_path):
    with pytest.raises(RunError, match="holds scale, which is no tensor"):
        save_tensors(tmp_path / "weights.safetensors", {"scale": {"a": 1}})


def arguments(out, root):
    return [
        "run", "--dataset", "htad", "--data-root", str(root), "--fusion", "concat", "--seeds", "2",
        "--epochs", "20", "--device", "cpu", "--out", str(out), "--set", "latent_dim=8",
    ]  # fmt: skip


def runs_of(out):
    return {run.name: content(run.check()) for run in RunStore(out)}


def leader(out, root, jobs):
    os.setsid()  # what it starts is killed with it
    done = CliRunner().invoke(main, [*arguments(out, root), "--jobs", jobs])
    os._exit(done.exit_code)


def begin(*given):
    process = multiprocessing.get_context("fork").Process(target=leader, args=given)
    process.start()
    return process


@pytest.mark.slow
@pytest.mark.posix
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_fifty_kills_at_random_moments(tmp_path, small_htad, every_epoch, jobs):
    """Whatever moment it is, the same command in the end gives the same bytes."""
    start = time.perf_counter()
    process = begin(tmp_path / "whole", small_htad, jobs)
    process.join()
    lasts = time.perf_counter() - start
    undisturbed = runs_of(tmp_path / "whole")
    assert len(undisturbed) == 4
    draw, kills, rounds = random.Random(int(jobs)), 0, 0
    while kills < 25:
        out = tmp_path / f"killed-{rounds}"
        rounds += 1
        for _ in range(5):
            process = begin(out, small_htad, jobs)
            process.join(draw.uniform(0.02, 1.0) * lasts)
            if process.is_alive():
                kills += 1
                os.killpg(process.pid, signal.SIGKILL)
            process.join()
        last = begin(out, small_htad, jobs)
        last.join()
        assert last.exitcode == 0
        assert runs_of(out) == undisturbed
        assert not (out / UNFINISHED).exists()
    assert rounds < 40


def both(out, root, turn):
    turn.wait(60)
    done = CliRunner().invoke(main, [*arguments(out, root), "--jobs", "1"])
    assert not isinstance(done.exception, Exception), done.output
    assert done.exit_code == 0 or "another process is computing this run" in done.output


@pytest.mark.posix
def test_two_commands_on_one_folder(tmp_path, small_htad, every_epoch):
    """Each leaves alone what the other holds; together they give what one gives alone."""
    context = multiprocessing.get_context("fork")
    turn, out = context.Barrier(2), tmp_path / "shared"
    processes = [context.Process(target=both, args=(out, small_htad, turn)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    for folder in (out, tmp_path / "alone"):
        done = CliRunner().invoke(main, arguments(folder, small_htad))
        assert done.exit_code == 0, done.output
    found, alone = (
        {run.name: content(run.check()) for run in RunStore(folder)}
        for folder in (out, tmp_path / "alone")
    )
    assert found == alone
    assert not (out / UNFINISHED).exists()
