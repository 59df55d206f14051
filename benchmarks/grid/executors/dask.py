"""Several runs at a time on a cluster of dask's workers, with the numbers of one after another.

Workers are processes, here or on other machines, that share the folders of data and of runs with
this one. A run whose worker dies is given to another, which goes on from the last saved state.
"""

from __future__ import annotations

import logging
import os
import pickle
import queue
import time
import uuid
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, Self

from i2moe_plugin.benchmarks.grid.executors import Receive, Task
from i2moe_plugin.benchmarks.run.ranks import portable
from i2moe_plugin.errors import ConfigError, RunError
from i2moe_plugin.registry import load_plugin, loaded_plugins

#: What a worker declares so that it is given runs on a GPU, as in ``--resources GPU=1``.
GPU = "GPU"
#: Seconds without any worker after which a cluster counts as gone.
NO_WORKERS = 60.0
#: Seconds in which a scheduler has to answer.
ANSWER = 10.0
_FORMS = "local:N (worker processes here), tcp://HOST:PORT (a running scheduler), slurm or slurm:N"
#: What each worker here does first: Ctrl-C reaches it too, and this process ends it.
_LEAVE_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
_KEPT = "Finished runs are kept; the same command goes on from there."


def open_cluster(place: str | None) -> AbstractContextManager[Dask | None]:
    """Return the executor of ``--cluster``, to be closed after the block; None where none is named.

    Raises:
        ConfigError: the place is not of a known form.
    """
    return nullcontext() if place is None else Dask(place)


class Dask:
    """Runs tasks on dask's workers; see :class:`~i2moe_plugin.benchmarks.grid.executors.Executor`.

    Nothing is started or connected before it is needed.

    Args:
        place: ``local:N``, ``tcp://HOST:PORT``, ``slurm`` or ``slurm:N``.

    Raises:
        ConfigError: the place is none of these.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self.kind, _, rest = place.partition(":")
        sized = rest.isdecimal() and int(rest) > 0
        known = {"local": sized, "slurm": sized or place == "slurm", "tcp": rest.startswith("//")}
        if not known.get(self.kind, False):
            raise ConfigError(f"--cluster {place!r} is none of {_FORMS}.")
        self.most = int(rest) if sized else None
        self.workers = self.most or 2
        # Local workers hold to what processes of --jobs do; others say themselves.
        self.threads = 1 if self.kind == "local" else None
        self._client: Any = None
        self._cluster: Any = None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End what was started here, and let go of what was not."""
        for opened in (self._client, self._cluster):
            if opened is not None:
                with suppress(Exception):  # a scheduler that is gone has been told of
                    opened.close(10)
        self._client = self._cluster = None

    def device(self, name: str) -> str:
        """Return the kind of device that ``name`` stands for on the workers.

        Raises:
            ConfigError: only the workers know what ``auto`` is, and none has been started.
            RunError: no worker that is there can have it.
        """
        if self.kind == "local":
            from i2moe_plugin.benchmarks.run.environment import resolve_device

            return resolve_device(name).type
        if self.kind == "slurm":
            if name == "auto":
                raise ConfigError(
                    "--cluster slurm needs --device cpu or --device cuda: before jobs are started, "
                    "nothing tells what they have."
                )
            return name.partition(":")[0]
        declared = any(GPU in worker["resources"] for worker in self._workers(self._connect(1)))
        if name.startswith("cuda") and not declared:
            raise RunError(
                f"no worker of {self.place} declares a GPU; start one with dask worker "
                f"{self.place} --nthreads 1 --resources {GPU}=1."
            )
        return ("cuda" if declared else "cpu") if name == "auto" else name.partition(":")[0]

    def run(self, tasks: Sequence[Task], receive: Receive) -> None:
        """Run every task; see :class:`~i2moe_plugin.benchmarks.grid.executors.Executor`.

        Raises:
            ConfigError: dask is not installed, or nothing answers at the place.
            I2MoEError: of the first task that raised one; the others are stopped.
            RunError: scheduler or workers are gone, or one run ended several of them.
        """
        client = self._connect(len(tasks))
        import cloudpickle

        heard: queue.Queue[tuple[int, Any]] = queue.Queue()
        topic = f"i2moe-{uuid.uuid4().hex}"
        client.subscribe_topic(topic, lambda event: heard.put(pickle.loads(event[1])))
        surroundings = (loaded_plugins(), os.environ.get("MULTIBENCH_ROOT"))
        futures = [
            client.submit(
                _serve,
                cloudpickle.dumps(task),
                place,
                topic,
                surroundings,
                key=f"{topic}-{place}",
                pure=False,
                priority=-place,
                resources=getattr(task, "resources", None) or None,
            )
            for place, task in enumerate(tasks)
        ]
        try:
            for place, future in enumerate(futures):
                future.add_done_callback(lambda done, place=place: heard.put((place, _Done(done))))
            left = len(futures)
            while left:
                place, message = self._next(heard, client)
                if isinstance(message, _Done):
                    self._check(message.future)
                    left -= 1
                else:
                    receive(place, message)
        finally:
            with suppress(Exception):
                client.unsubscribe_topic(topic)
                client.cancel(futures, force=True)

    def _next(self, heard: queue.Queue[tuple[int, Any]], client: Any) -> tuple[int, Any]:
        """Wait for a message, as long as there is somebody to send one."""
        since = time.monotonic()
        while True:
            with suppress(queue.Empty):
                return heard.get(timeout=1)
            if client.status not in ("running", "connecting", "newly-created"):
                raise self._gone()
            if self.kind == "slurm" or self._workers(client):
                since = time.monotonic()
            elif time.monotonic() - since > NO_WORKERS:
                raise RunError(f"{self.place} has had no worker for {NO_WORKERS:.0f} s. {_KEPT}")

    def _check(self, future: Any) -> None:
        """Raise what a task that is over ended with."""
        from distributed import KilledWorker

        if future.status in ("cancelled", "lost"):
            raise self._gone()
        if future.status == "error":
            error = future.exception()
            if isinstance(error, KilledWorker):
                raise RunError(
                    "several workers died one after another while they trained the same run; "
                    f"they may have run out of memory. {_KEPT}"
                )
            raise RunError(
                f"a worker of {self.place} could not begin a run: {type(error).__name__}: {error}. "
                "Workers need the same packages as this process."
            )
        if (error := future.result()) is not None:
            raise pickle.loads(error)

    def _gone(self) -> RunError:
        return RunError(f"the scheduler of {self.place} is gone. {_KEPT}")

    def _workers(self, client: Any) -> list[dict[str, Any]]:
        try:
            return list(client.scheduler_info()["workers"].values())
        except OSError as error:
            raise self._gone() from error

    def _connect(self, tasks: int) -> Any:
        """Return a client of the cluster, which is started where it is ours."""
        if self._client is None:
            try:
                import distributed
            except ImportError as error:
                raise ConfigError(
                    "--cluster needs dask: pip install 'i2moe-plugin[cluster]'."
                ) from error
            for name in [name for name in logging.root.manager.loggerDict if "distributed" in name]:
                logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters is raised
            if self.kind == "local":
                self._cluster = self._start_local()
            elif self.kind == "slurm":
                self._cluster = self._start_slurm()
            else:
                self._check_scheduler()
            try:
                # Who is there is known by now, and a busy machine may take its time.
                self._client = distributed.Client(
                    self._cluster or self.place, timeout=NO_WORKERS, set_as_default=False
                )
            except (OSError, ValueError) as error:
                raise self._silent() from error
            if self.kind == "tcp":
                found = len(self._workers(self._client))
                if not found:
                    raise ConfigError(
                        f"{self.place} has no workers; start some with dask worker {self.place} "
                        "--nthreads 1."
                    )
                self.workers = found
        if self.kind == "slurm":
            self._cluster.scale(jobs=min(tasks, self.most or tasks))
        return self._client

    def _check_scheduler(self) -> None:
        """Ask who answers at the address: dask's client waits for ever for one that is silent."""
        import asyncio
        from concurrent.futures import ThreadPoolExecutor

        from distributed.comm.core import connect
        from distributed.core import send_recv

        async def ask() -> Any:
            comm = await connect(self.place, timeout=ANSWER)
            try:
                return await send_recv(comm, op="identity", reply=True)
            finally:
                comm.abort()

        async def ask_in_time() -> Any:
            return await asyncio.wait_for(ask(), ANSWER)

        with ThreadPoolExecutor(1) as thread:  # a notebook has a loop of its own
            try:
                said = thread.submit(lambda: asyncio.run(ask_in_time())).result()
            except (OSError, ValueError) as error:
                raise self._silent() from error
            except Exception as error:  # of bytes that are no message of dask's
                said = type(error).__name__
        kind = said.get("type") if isinstance(said, dict) else f"{said} instead of a message"
        if kind != "Scheduler":
            raise ConfigError(
                f"what answers at {self.place} is no dask scheduler ({kind}); give the address "
                "that dask scheduler shows when it starts."
            )

    def _silent(self) -> ConfigError:
        return ConfigError(
            f"no scheduler answers at {self.place}: is dask scheduler running there, and can it be "
            "reached from here?"
        )

    def _start_local(self) -> Any:
        import torch
        from distributed import LocalCluster

        return LocalCluster(
            n_workers=self.most,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            memory_limit=0,  # a run may take what it would take alone
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
            resources={GPU: 1} if torch.cuda.is_available() else None,
            preload=[_LEAVE_CTRL_C],
        )

    def _start_slurm(self) -> Any:
        try:
            from dask_jobqueue.slurm import SLURMCluster
        except ImportError as error:
            raise ConfigError(
                "--cluster slurm needs dask-jobqueue: pip install 'i2moe-plugin[cluster]'."
            ) from error
        import dask

        where = "Its settings stand under jobqueue.slurm in ~/.config/dask/jobqueue.yaml."
        missing = [
            name for name in ("cores", "memory") if not dask.config.get(f"jobqueue.slurm.{name}", 0)
        ]
        if missing:
            raise ConfigError(
                f"dask-jobqueue does not know what a Slurm job is to have: {', '.join(missing)}. "
                + where
            )
        try:
            return SLURMCluster()
        except (ValueError, TypeError, RuntimeError, OSError) as error:
            raise ConfigError(
                f"dask-jobqueue cannot set up Slurm jobs: {' '.join(str(error).split())} {where}"
            ) from error


class _Done:
    """Says that a task is over."""

    def __init__(self, future: Any) -> None:
        self.future = future


class _Abandoned(BaseException):
    """Nobody waits for this task any more. No error of a run: nothing may note it as one."""


def _serve(
    payload: bytes, place: int, topic: str, surroundings: tuple[list[str], str | None]
) -> bytes | None:
    """Run a task on a worker; return the pickled error that it ended with, if any."""
    import cloudpickle
    from distributed import Status, get_worker

    worker = get_worker()
    key = worker.get_current_task()
    working = (Status.running, Status.paused, Status.closing_gracefully)

    def send(message: Any) -> None:
        task = worker.state.tasks.get(key)
        if task is None or task.state != "executing" or worker.status not in working:
            raise _Abandoned
        worker.log_event(topic, pickle.dumps((place, message)))

    plugins, checkout = surroundings
    try:
        if worker.state.nthreads != 1:
            raise RunError(
                f"the worker {worker.address} has {worker.state.nthreads} threads; runs of one "
                "process would disturb each other. Start workers with --nthreads 1."
            )
        if checkout is not None:
            os.environ["MULTIBENCH_ROOT"] = checkout
        for plugin in plugins:
            load_plugin(plugin)
        cloudpickle.loads(payload)(send)
    except _Abandoned:
        return None
    except Exception as error:
        if isinstance(error, RunError) and isinstance(error.__cause__, OSError):
            # Of a disk, which may be another one than this command's.
            error = RunError(f"on the worker {worker.address}: {error}")
        return pickle.dumps(portable(error))
    return None
