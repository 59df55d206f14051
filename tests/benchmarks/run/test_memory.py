"""Memory that a process keeps; each case in a process of its own, since it cannot be undone."""

import mmap
import platform
import subprocess
import sys

import pytest
import torch
from click.testing import CliRunner

from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.grid.cells import methods_grid
from i2moe_plugin.benchmarks.grid.runner import GridRunner
from i2moe_plugin.benchmarks.run import memory
from i2moe_plugin.benchmarks.run.memory import free_memory, memory_errors_explained
from i2moe_plugin.benchmarks.run.store import RunStore
from i2moe_plugin.errors import RunError

CODE = """
import resource
import torch
from i2moe_plugin.benchmarks.run.memory import keep_freed_memory
if {keep}:
    assert keep_freed_memory()
torch.set_num_threads(1)
def allocate():
    tensors = [torch.ones(1_000_000) for _ in range(40)]
for _ in range(3):
    allocate()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    allocate()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep):
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(keep=keep)], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone can be told")
def test_freed_memory_is_used_again():
    """5 times 160 MB: without it, every page is asked for anew each time.

    A tensor now and then gets a new place, where the heap is cut up otherwise.
    """
    asked = 5 * 40 * 4_000_000 / mmap.PAGESIZE
    assert faults(keep=True) < 0.05 * asked


def test_another_c_library_is_left_alone(monkeypatch):
    from i2moe_plugin.benchmarks.run import memory as allocation

    monkeypatch.setattr(allocation.ctypes, "CDLL", lambda name: object())
    assert allocation.keep_freed_memory() is False


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
    ids=["python", "cuda", "cpu"],
)
def test_want_of_memory_is_told_in_words(error):
    with (
        pytest.raises(RunError, match=r"^this run needs more memory than there is\. Take less\."),
        memory_errors_explained("this run", "Take less."),
    ):
        raise error


def test_other_errors_stay_what_they_are():
    with (
        pytest.raises(RuntimeError, match="mat1 and mat2"),
        memory_errors_explained("this run", ""),
    ):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


HUNGRY = """
import torch
from i2moe_plugin import register_backbone

@register_backbone("hungry")
class Hungry(torch.nn.Module):
    def forward(self, latents):
        if self.training and len(latents[0]) > 4:
            torch.empty(1 << 60)
        return torch.cat(latents, 1)
"""


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_without_memory_ends_in_words_and_is_no_failure_of_the_method(
    tmp_path, small_htad, jobs
):
    plugin = tmp_path / "hungry_fusion.py"
    plugin.write_text(HUNGRY)
    words = ["--plugin", plugin, "--out", tmp_path / "runs", "--jobs", jobs]
    quick = ["--fusion", "hungry", "--dataset", "htad", "--data-root", small_htad]
    done = CliRunner().invoke(main, list(map(str, ["run", *quick, "--seeds", 2, *words])))
    assert done.exit_code == 1, done.output
    assert "error: this run needs more memory than there is." in done.stderr
    planned = methods_grid("htad", "hungry", ["vanilla"], (0,), values={}, root=small_htad)
    table = GridRunner(RunStore(tmp_path / "runs")).run(planned)
    assert table.states == {"stopped": 1}
    assert not list((tmp_path / "runs").glob(".failed/*"))  # it is tried again the next time


def test_free_memory_is_that_of_the_smallest_group(tmp_path, monkeypatch):
    """A container or a Slurm job has less than its machine; cached files count as free."""
    monkeypatch.setattr(memory, "GROUPS", tmp_path)
    if not sys.platform.startswith("linux"):
        assert free_memory() is None
        return
    machine = free_memory()
    assert machine > 1e6
    numbers = {"max": "5000000", "current": "3000000", "stat": "anon 9\ninactive_file 400000\n"}
    for name, text in numbers.items():
        (tmp_path / f"memory.{name}").write_text(text)
    assert free_memory() == 2_400_000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory() > 1e6
    assert free_memory() != 2_400_000


BOUND = """
import torch
from i2moe_plugin.benchmarks.run.memory import bounded_memory
torch.ones(1)
try:
    with bounded_memory(300_000_000):
        kept = torch.ones(30_000_000)
        torch.ones(100_000_000)
except RuntimeError as error:
    print(error)
torch.ones(100_000_000)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone bounds it")
def test_a_bound_on_memory_holds_within_its_block():
    done = subprocess.run([sys.executable, "-c", BOUND], capture_output=True, text=True, check=True)
    assert "can't allocate memory" in done.stdout
