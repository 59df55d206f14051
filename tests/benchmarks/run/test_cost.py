"""What a run cost is its own work: nothing is imported while its clock runs."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import fields

import pytest
from click.testing import CliRunner

from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.data.open import open_dataset
from i2moe_plugin.benchmarks.run import cost
from i2moe_plugin.benchmarks.run.settings import resolve
from i2moe_plugin.errors import RunError
from i2moe_plugin.model import I2MoE

GREEDY = """
import torch
from i2moe_plugin import register_backbone

@register_backbone("greedy")
class Greedy(torch.nn.Module):
    def forward(self, latents):
        if len(latents[0]) > 4:
            torch.ones(100_000_000)
        return torch.cat(latents, 1)
"""

CODE = """
import json, sys
from i2moe_plugin.benchmarks.datasets import open_dataset
from i2moe_plugin.benchmarks.run import execute as one
from i2moe_plugin.benchmarks.run.settings import resolve
from i2moe_plugin.benchmarks.run.store import RunStore

known, timed = {}, one._train_and_test

def watched(*arguments):
    before = set(sys.modules)
    timed(*arguments)
    known["new"] = sorted(set(sys.modules) - before)

one._train_and_test = watched
dataset, root, out, method = sys.argv[1:]
settings, _ = resolve("htad", "concat", {"epochs": 1, "latent_dim": 8, "device": "cpu"})
settings = settings.model_copy(update={"method": method})
one.execute(settings, open_dataset(dataset, root), RunStore(out))
print(json.dumps(known["new"]))
"""


@pytest.mark.parametrize("method", ["vanilla", "i2moe"])
def test_nothing_is_imported_while_the_clock_runs(tmp_path, small_htad, method):
    """The first run of a process, whose validation would be the first to need scikit-learn."""
    command = [sys.executable, "-c", CODE, "htad", str(small_htad), str(tmp_path / "runs"), method]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []


@pytest.mark.skipif(sys.platform != "linux", reason="steps are tried in a fork on Linux alone")
def test_a_trial_of_steps_leaves_signals_to_the_command(capfd):
    """Ctrl-C and a scheduler's SIGTERM reach the fork too, which says nothing of its own."""
    values = {field.name: 1 for field in fields(cost.RunCost)} | {"batches": (1, 1, 1)}
    found = cost.RunCost(**values)

    def told(number):
        os.kill(os.getpid(), number)
        return found

    def stop(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        assert cost._in_a_fork(lambda: told(signal.SIGINT)) == found
        with pytest.raises(RunError, match="ended unexpectedly"):
            cost._in_a_fork(lambda: told(signal.SIGTERM))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "Traceback" not in capfd.readouterr().err


def test_a_single_stall_is_no_batch():
    from i2moe_plugin.benchmarks.run.cost import _timed

    now, stalls = [0.0], [20.0]

    def call(count):
        now[0] += 0.01 * count + (stalls.pop() if stalls else 0.0)

    assert _timed(lambda: now[0], call, 100) == pytest.approx(0.01)
    stalls[:] = [20.0] * 2
    assert _timed(lambda: now[0], call, 100) == pytest.approx(20.01)


@pytest.mark.skipif(sys.platform != "linux", reason="steps are tried in a fork on Linux alone")
def test_a_cell_that_takes_half_of_the_free_memory_is_not_timed(tmp_path, small_htad, monkeypatch):
    """It says so in place of its time, and the machine goes on as it was."""
    plugin = tmp_path / "greedy_fusion.py"
    plugin.write_text(GREEDY)
    line = ["run", "--plugin", plugin, "--fusion", "greedy", "--data-root", small_htad]
    line += ["--out", tmp_path / "runs", "--dry-run", "--json"]

    def told(free):
        monkeypatch.setattr(cost, "free_memory", lambda: free)
        done = CliRunner().invoke(main, list(map(str, line)))
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    enough = told(None)
    assert all(cell["run"]["memory"] > 400e6 for cell in enough["cells"])
    little = told(600_000_000)
    assert [cell["run"] for cell in little["cells"]] == [None] * len(enough["cells"])
    assert all("more than 0.3 GB, half of the memory" in c["reasons"][0] for c in little["cells"])
    assert " not in time, memory and disk" in little["notes"][0]


def test_a_slow_step_is_taken_once(small_htad, monkeypatch):
    """Time is that of a clock that goes 4 s a training step and 1 s a batch predicted."""
    settings, _ = resolve("htad", "concat", {"epochs": 5, "batch_size": 32, "device": "cpu"})
    now, taken = [0.0], {"steps": 0, "predicted": 0}
    losses, forward = I2MoE.losses, I2MoE.forward

    def stepping(self, *given):
        now[0] += 3
        taken["steps"] += 1
        return losses(self, *given)

    def passing(self, *given):
        now[0] += 1
        taken["predicted"] += not self.training
        return forward(self, *given)

    monkeypatch.setattr(I2MoE, "losses", stepping)
    monkeypatch.setattr(I2MoE, "forward", passing)
    data = open_dataset("htad", small_htad)
    settings = settings.model_copy(update={"method": "i2moe"})
    found = cost._measure(settings, data, 1, lambda: now[0])
    assert (found.step, found.batch, found.fixed) == (4, 1, 2)
    assert taken == {"steps": 1, "predicted": 4}
    train, valid, test = found.batches
    assert found.seconds == 2 + 5 * (train * 4 + valid) + test
