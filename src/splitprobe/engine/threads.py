"""Workers without Dask: threads of this process, each of which waits for a stage in a fork server."""

from __future__ import annotations

import queue
import threading
from pathlib import Path

from splitprobe.engine.launcher import Job, Launcher


class Threads:
    """A pool for one machine.

    It runs ``each`` stages at a time on each device, or ``each`` in all where there is no device.
    """

    def __init__(self, source: Path, environment: dict[str, str], each: int, devices: list[str]) -> None:
        self.ended, self.jobs = queue.SimpleQueue(), queue.PriorityQueue()
        self.count, self.stopped = 0, False
        environments = [{"CUDA_VISIBLE_DEVICES": device} for device in devices] or [{}]
        self.launchers = [Launcher(source, environment | extra) for extra in environments]
        workers = [launcher for launcher in self.launchers for _ in range(each)]
        self.threads = [threading.Thread(target=self._work, args=(launcher,)) for launcher in workers]
        for thread in self.threads:
            thread.start()

    def slots(self) -> int:
        """The number of stages that run at a time."""
        return len(self.threads)

    def submit(self, job: Job, priority: float, gpu: bool) -> None:
        """Queue a stage; free threads take those of higher priority first."""
        self.count += 1
        # the count keeps the order of equal priorities, and keeps jobs themselves from being compared
        self.jobs.put((-priority, self.count, job))

    def forget(self, name: str) -> None:
        """Does nothing: this pool keeps nothing of a stage that has ended."""

    def stop(self) -> None:
        """Stop the stages that run, drop those that wait, and end the threads."""
        self.stopped = True
        for launcher in self.launchers:
            launcher.close()
        for _ in self.threads:
            self.jobs.put((float("-inf"), 0, None))  # before all jobs
        for thread in self.threads:
            thread.join()

    def _work(self, launcher: Launcher) -> None:
        """Run stages from the queue until a job of None comes or the pool is stopped."""
        while (job := self.jobs.get()[-1]) is not None:
            try:
                self.ended.put((job.name, launcher.run(job)))
            # the loop waits for the end of each job, so it must hear of an error too
            except Exception as error:
                self.ended.put((job.name, error))
            if self.stopped:
                return
