"""Dask's side of a build: the workers that stages run on, on this machine, on its GPUs, or on an existing cluster.

Each Dask worker holds a fork server (:mod:`splitprobe.engine.launcher`), so that a stage runs in a process of its own.
This package travels to the workers by value. They need Dask, what stages import, and the checkout on a shared file
system, but no version of this code.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
import threading
import uuid
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cloudpickle
import dask
from distributed import Client, Future, KilledWorker, Nanny, Scheduler, SpecCluster, WorkerPlugin, get_worker

from splitprobe.engine import launcher
from splitprobe.engine.launcher import Job, Launcher, Outcome

GPU = "GPU"  # name of the Dask resource that stands for places on a GPU
KINDS = {
    "slurm": "SLURM",
    "pbs": "PBS",
    "lsf": "LSF",
    "sge": "SGE",
    "htcondor": "HTCondor",
    "oar": "OAR",
    "moab": "Moab",
}
# Of glibc, for stages: what a step has allocated stays with the process. Memory that goes back to the system at every
# step of a training costs a twentieth of the time, and half of it with the threshold that Dask sets for its workers.
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(2**25),  # the largest that there is
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
    "MALLOC_TOP_PAD_": str(2**28),
}


class StageRunner(WorkerPlugin):
    """The plugin that gives each worker a fork server for one checkout.

    ``own`` says that the worker belongs to this command alone.
    """

    def __init__(self, name: str, source: str, environment: dict[str, str], own: bool) -> None:
        self.name, self.source, self.environment, self.own = name, source, environment, own

    def setup(self, worker: Any) -> None:
        """Start the fork server, whose imports then begin before the first stage needs them."""
        if self.own and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver gets Ctrl-C too, and decides
        os.environ.update(ALLOCATOR)
        self.worker, self.launcher = worker, Launcher(Path(self.source), self.environment)
        self.launcher.started()

    def teardown(self, worker: Any) -> None:
        """End the stages that still run."""
        self.launcher.close()

    def run(self, job: Job, key: str) -> Outcome:
        """Run one stage; it is stopped when its driver is gone or has taken it back.

        How it ended is noted in a file, and the note is returned where the same stage is asked for again.
        """
        # Dask asks again when the worker dies after the stage has ended but before the driver has heard of it
        note = Path(job.log).with_suffix(".ended")
        with contextlib.suppress(FileNotFoundError, ValueError):
            noted = json.loads(note.read_text())
            if noted.pop("key") == key:
                return Outcome(**noted)

        def abandoned() -> bool:
            task = self.worker.state.tasks.get(key)
            return task is None or task.state == "cancelled"

        outcome = self.launcher.run(job, abandoned)
        note.write_text(json.dumps({"key": key, **asdict(outcome)}))
        return outcome


class Workers:
    """A pool of Dask workers.

    ``ended`` receives (name of the stage, Outcome or exception), in the order in which stages end.
    """

    def __init__(self, client: Client, source: Path, environment: dict[str, str], own: bool) -> None:
        """``own`` says that the workers belong to this command alone."""
        for module in (sys.modules[__name__], launcher):  # the modules, not their package: Dask looks each one up
            cloudpickle.register_pickle_by_value(module)
        self.client, self.ended = client, queue.SimpleQueue()
        self.futures: dict[str, Future] = {}
        # a unique name, because other commands may use the same workers
        self.name, self.count = f"splitprobe-{uuid.uuid4().hex[:8]}", 0
        client.register_plugin(StageRunner(self.name, str(source), environment, own))

    def slots(self) -> int:
        """How many stages the workers that are connected now run at a time; 0 while there is none."""
        return sum(self.client.nthreads().values())

    def with_gpu(self) -> bool:
        """Whether a worker offers places on a GPU, as one that was started with ``--resources GPU=4`` does."""

        def offers_gpu(dask_scheduler: Scheduler) -> bool:
            return any(GPU in worker.resources for worker in dask_scheduler.workers.values())

        return self.client.run_on_scheduler(offers_gpu)

    def submit(self, job: Job, priority: float, gpu: bool) -> None:
        """Queue a stage; free workers take those of higher priority first.

        A stage that uses the device waits for a place on a GPU, if any worker offers one.
        """
        self.count += 1
        plugin, key = self.name, f"{job.name}-{self.name}-{self.count}"
        resources = {GPU: 1} if gpu and self.with_gpu() else None

        def run(job: Job) -> Outcome:  # local, since a function that can be imported would not travel by value
            return get_worker().plugins[plugin].run(job, key)

        future = self.client.submit(run, job, key=key, priority=priority, resources=resources, pure=False)
        self.futures[job.name] = future
        future.add_done_callback(lambda done: self._end(job.name, done))

    def _end(self, name: str, future: Future) -> None:
        """Put how a stage ended into ``ended``; called in one of Dask's threads."""
        if future.status == "finished":
            outcome = future.result()
        elif future.status == "error" and not isinstance(future.exception(), KilledWorker):
            outcome = future.exception()
        else:
            outcome = Outcome(-9, 0.0, 0.0)  # its worker was killed
        self.ended.put((name, outcome))

    def forget(self, name: str) -> None:
        """Drop what Dask keeps of a stage that has ended, or stop one that runs."""
        future = self.futures.pop(name, None)
        if future is not None:
            future.cancel()

    def stop(self) -> None:
        """Stop all stages that run and wait until they have ended."""
        for name in list(self.futures):
            self.forget(name)
        with contextlib.suppress(Exception):  # workers that are gone have no stages
            self.client.unregister_worker_plugin(self.name)


@contextlib.contextmanager
def local(workers: int, places: int, devices: list[str]) -> Iterator[Client]:
    """Workers on this machine, reachable from it alone: ``workers`` of one stage each, or one for each GPU.

    A GPU's worker runs up to ``places`` stages that use the device, and beside them ``workers`` stages that do not.
    """
    options = {
        "nthreads": workers,
        "host": "127.0.0.1",
        "dashboard_address": None,
        "memory_limit": 0,
        "silence_logs": 50,
    }
    if devices:
        shared = {"nthreads": places + workers, "resources": {GPU: places}}
        options_of_each = [options | shared | {"env": {"CUDA_VISIBLE_DEVICES": device}} for device in devices]
    else:
        options_of_each = [options | {"nthreads": 1}] * workers
    scheduler = {"cls": Scheduler, "options": {"host": "127.0.0.1", "port": 0, "dashboard_address": "127.0.0.1:0"}}
    with (
        dask.config.set({**SETTINGS, "distributed.comm.require-encryption": False}),  # nothing leaves the machine
        SpecCluster(
            {i: {"cls": Nanny, "options": worker_options} for i, worker_options in enumerate(options_of_each)},
            scheduler,
            silence_logs=50,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextlib.contextmanager
def connected(address: str) -> Iterator[Client]:
    """A client of the Dask cluster at an address, with the security of Dask's own configuration.

    Raises ConnectionError when nothing answers there.
    """
    try:
        client = Client(address, timeout=20)
    except (OSError, ValueError, TypeError) as error:  # TypeError: tls:// without a certificate
        raise ConnectionError(f"--scheduler {address}: no Dask scheduler answers there ({error})") from error
    with client:
        yield client


@contextlib.contextmanager
def queued(kind: str, workers: int) -> Iterator[Client]:
    """Workers that a batch system starts, as Dask-Jobqueue's configuration file says.

    Raises ValueError for an unknown kind, and where Dask-Jobqueue is missing or not configured.
    """
    if kind not in KINDS:
        raise ValueError(f"--jobqueue {kind}: known are {', '.join(KINDS)}")
    try:
        import dask_jobqueue
    except ImportError:
        raise ValueError(f"--{kind} needs Dask-Jobqueue: pip install -e '.[cluster]'") from None
    cluster = getattr(dask_jobqueue, f"{KINDS[kind]}Cluster")
    try:
        with dask.config.set(SETTINGS):  # TLS with its own keys: no one else in the network may use these workers
            started = cluster(security=True, shared_temp_directory=str(Path(".dvc", "tmp").resolve()))
    except (TypeError, ValueError) as error:
        where = f"jobqueue.{kind} in ~/.config/dask/jobqueue.yaml"
        raise ValueError(f"--{kind}: {where} must say at least cores and memory of a job ({error})") from error
    with started, Client(started) as client:
        started.adapt(minimum=workers, maximum=workers)  # unlike `scale`, it replaces a job that has ended
        client.wait_for_workers(1)
        yield client


SETTINGS = {
    "distributed.scheduler.allowed-failures": 0,  # the driver itself tries again, and reports it
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.worker.profile.enabled": False,  # sampling threads ten times a second would show nothing
    "distributed.admin.tick.limit": "60s",
    "distributed.comm.timeouts.connect": "60s",
}
