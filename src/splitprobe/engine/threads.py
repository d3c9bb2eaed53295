"""Workers without Dask: threads of this process that each wait for a stage in a fork server."""

from __future__ import annotations

import queue
import threading
from pathlib import Path

from splitprobe.engine.launcher import Job, Launcher


class Threads:
    """A pool for one machine: ``each`` stages at a time for each device, or in all where there is none."""

    def __init__(self, source: Path, environment: dict[str, str], each: int, devices: list[str]) -> None:
        self.ended, self.jobs = queue.SimpleQueue(), queue.PriorityQueue()
        self.count, self.stopped = 0, False
        environments = [{"CUDA_VISIBLE_DEVICES": device} for device in devices] or [{}]
        self.launchers = [Launcher(source, environment | own) for own in environments]
        self.threads = [threading.Thread(target=self._work, args=(one,)) for one in self.launchers for _ in range(each)]
        for thread in self.threads:
            thread.start()

    def slots(self) -> int:
        """Stages that run at a time."""
        return len(self.threads)

    def submit(self, job: Job, priority: float, gpu: bool) -> None:
        """Start a stage once a thread is free, those of higher priority first."""
        self.count += 1
        self.jobs.put((-priority, self.count, job))

    def forget(self, name: str) -> None:
        """Nothing is kept of a stage that has ended."""

    def stop(self) -> None:
        """Stop what runs, drop what waits, end the threads."""
        self.stopped = True
        for launcher in self.launchers:
            launcher.close()
        for _ in self.threads:
            self.jobs.put((float("-inf"), 0, None))
        for thread in self.threads:
            thread.join()

    def _work(self, launcher: Launcher) -> None:
        while (job := self.jobs.get()[-1]) is not None:
            try:
                self.ended.put((job.name, launcher.run(job)))
            except Exception as error:
                self.ended.put((job.name, error))
            if self.stopped:
                return
