"""Memory that a process keeps; each case in a process of its own, since it cannot be undone."""

import mmap
import platform
import subprocess
import sys

import pytest

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
