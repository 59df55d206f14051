"""What a run will take: time, memory and disk, from a few steps of it.

    seconds = fixed + epochs x (training batches x step + validation batches x batch)
                    + test batches x batch

Steps and batches are timed on the run's own model and data; where processes can be forked, in one
of its own, so that nothing is left behind, and its peak of memory is the run's. It may take half of
the memory that is free, and no more: what a run takes is asked to learn whether it fits.
"""

from __future__ import annotations

import math
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from i2moe_plugin.benchmarks.data.open import OpenedDataset
from i2moe_plugin.benchmarks.run.environment import (
    load_what_runs_need,
    resolve_device,
)
from i2moe_plugin.benchmarks.run.execute import loaders, ready_trainer
from i2moe_plugin.benchmarks.run.forks import answer_as_a_fork, signals_wait
from i2moe_plugin.benchmarks.run.memory import bounded_memory, free_memory, tells_of_memory
from i2moe_plugin.benchmarks.run.model import backbone_notes, check_last_batch
from i2moe_plugin.benchmarks.run.settings import RunSettings
from i2moe_plugin.errors import I2MoEError, RunError
from i2moe_plugin.training import Predictions

#: Seconds that steps of one kind are timed for, where one does not take longer.
BUDGET = 0.15
#: Seconds of a first step from which on it is timed, and no further one.
SLOW = 3.0
#: Of a batch's seconds, those from which on a first step is held up by something else.
STALL = 50
#: Bytes of a run's records beside weights and outputs, and of an epoch's line.
RECORDS, EPOCH = 12_000, 250


@dataclass(frozen=True)
class RunCost:
    """What one run takes.

    Attributes:
        fixed: seconds for building the model, choosing how it is run, and records.
        step: seconds of a training step.
        batch: seconds of predicting a batch.
        batches: of training, validation and test split.
        epochs: those of the settings; with ``patience`` there may be fewer.
        memory: bytes of the process at its peak; on a GPU, of the device.
        disk: bytes of the finished run.
        parameters: trained ones.
    """

    fixed: float
    step: float
    batch: float
    batches: tuple[int, int, int]
    epochs: int
    memory: int
    disk: int
    parameters: int

    @property
    def seconds(self) -> float:
        """Seconds of the whole run."""
        train, valid, test = self.batches
        epoch = train * self.step + valid * self.batch
        return self.fixed + self.epochs * epoch + test * self.batch


class _First:
    """The first batches of a loader; a sampler's epoch is told to it."""

    def __init__(self, loader: Any, count: int) -> None:
        self.sampler, self.dataset = loader.sampler, loader.dataset
        self._loader, self._count = loader, count

    def __iter__(self) -> Iterator[Sequence[Any]]:
        return islice(iter(self._loader), self._count)


def measure_cost(
    settings: RunSettings,
    data: OpenedDataset,
    threads: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> RunCost:
    """Time a few steps of a run; nothing of it is kept.

    Args:
        settings: complete.
        data: the opened data set.
        threads: CPU threads of the run, at most; None: as the settings say.
        clock: gives seconds; ``time.process_time`` leaves out what else the machine does.

    Raises:
        I2MoEError: what the run would raise as it starts.
    """
    load_what_runs_need()
    on_cpu = resolve_device(settings.device).type == "cpu"
    if on_cpu and sys.platform == "linux":  # CUDA does not survive a fork
        return _in_a_fork(lambda: _measure(settings, data, threads, clock))
    return _measure(settings, data, threads, clock)


def _measure(
    settings: RunSettings, data: OpenedDataset, threads: int | None, clock: Callable[[], float]
) -> RunCost:
    start = clock()
    if settings.precision == "auto":  # which is not slower
        settings = settings.model_copy(update={"precision": "32"})
    settings = settings.model_copy(update={"devices": 1})  # the steps of one are timed
    with ready_trainer(settings, data, threads) as trainer:
        check_last_batch(settings, data, trainer.model)
        backbone_notes(trainer.model)
        read = loaders(settings, data, trainer.fabric.device)
        train, valid = read("train", shuffle=True), read("valid")
        batches = (len(train), len(valid), len(read("test")))
        built = clock() - start
        trainer.fit(_First(train, 1), _First(valid, 1), 1)
        fixed = clock() - start
        found: list[Predictions] = []

        def predict(count: int) -> None:
            found[:] = [trainer.predict(_First(valid, count))]

        def epoch(count: int) -> None:
            done = len(trainer.history)
            trainer.fit(_First(train, count), _First(valid, 1), done + 1)

        batch = _timed(clock, predict, batches[1])
        # Of a first fit: a batch predicted to see that it works, a step, a batch of validation, and
        # those that some methods end with.
        beside = (4 if trainer.model.separate_parts else 2) * batch
        step = fixed - built - beside
        if SLOW < step < STALL * batch:
            fixed -= step
        else:
            step = _timed(clock, epoch, batches[0], of_each_call=batch)
    state = trainer.model.state_dict().values()
    (last,) = found
    columns = (last.prediction, last.target, last.outputs, last.weights)
    row = sum(column.nbytes / len(column) for column in columns if column is not None)
    samples = len(data.sample_ids("test"))
    disk = sum(tensor.numel() * tensor.element_size() for tensor in state)
    disk += int(samples * (row + 16)) + RECORDS + EPOCH * settings.epochs
    return RunCost(
        fixed=fixed,
        step=step,
        batch=batch,
        batches=batches,
        epochs=settings.epochs,
        memory=_peak_memory(trainer.fabric.device),
        disk=disk,
        parameters=sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
    )


def _timed(
    clock: Callable[[], float],
    call: Callable[[int], object],
    most: int,
    of_each_call: float = 0.0,
) -> float:
    """Seconds of one batch: the median over calls that take some each.

    Args:
        clock: gives seconds.
        call: takes that many batches.
        most: batches that there are.
        of_each_call: seconds that a call takes beside its batches.
    """

    def seconds(count: int) -> float:
        start = clock()
        call(count)
        return max(clock() - start - of_each_call, 0.0) / count

    first = seconds(1)
    if first > BUDGET:  # or the machine was held up once, as by files that it had not read yet
        first = min(first, seconds(1))
    if first > BUDGET:
        return first
    count = max(1, min(most, math.ceil(BUDGET / 3 / max(first, 1e-6))))
    return statistics.median(seconds(count) for _ in range(3))


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024)


def _in_a_fork(work: Callable[[], RunCost]) -> RunCost:
    """Do it in a forked process, which ends with it, and in half of the memory that is free."""
    if sys.platform == "win32":
        raise AssertionError("processes are forked on Linux alone")
    allowed = None if (free := free_memory()) is None else free // 2
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)

    def serve() -> None:
        answer_as_a_fork()
        torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
        try:
            with bounded_memory(allowed):
                result: RunCost | I2MoEError = work()
        except Exception as error:
            if allowed is not None and tells_of_memory(error):
                result = RunError(
                    f"a few steps of it take more than {allowed / 1e9:.1f} GB, half of the memory "
                    "that is free here: they were not timed."
                )
            elif isinstance(error, I2MoEError):
                result = error
            else:
                result = RunError(f"{type(error).__name__}: {error}")
        there.send(result)

    process = context.Process(target=serve, daemon=True)
    with signals_wait():
        process.start()
    there.close()
    try:
        found = here.recv()
    except EOFError as error:
        process.join(10)
        raise RunError(
            f"the process that tried a few steps ended unexpectedly ({process.exitcode}); it may "
            "have run out of memory."
        ) from error
    finally:
        here.close()
        process.join(10)
        if process.is_alive():
            process.kill()
            process.join()
    if isinstance(found, Exception):
        raise found
    assert isinstance(found, RunCost)
    return found
