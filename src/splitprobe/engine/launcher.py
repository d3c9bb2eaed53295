"""A worker's handle on its fork server: run a stage, wait for it, stop it. Needs the standard library alone."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Job:
    """One stage to be run: its command, in a folder, with some environment, its output going to a log file.

    ``outs`` are removed before it starts: what an attempt that was broken off has left must not be taken for its
    result.
    """

    name: str
    command: str
    folder: str
    log: str
    outs: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a stage ended: exit status (negative: the signal that ended it), seconds, peak memory in MB."""

    status: int
    seconds: float
    memory_mb: float

    @property
    def killed(self) -> bool:
        """Whether the process was ended from outside, so that another attempt may succeed."""
        return self.status < 0


def quiet_cores(threads: int) -> dict[str, str]:
    """Environment variables with which torch's threads leave the cores to other programs.

    What the user has set for waiting threads stays.
    """
    # by default OpenMP's threads spin while they wait: two programs on the same cores slow each other tenfold
    waiting = {"OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "passive")}
    return waiting | {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}


class Launcher:
    """Runs stages of one checkout in children of a fork server, several at a time if asked to.

    ``source`` is the checkout's ``src`` folder. ``environment`` is what its stages see beside this process's own.
    """

    def __init__(self, source: Path, environment: dict[str, str]) -> None:
        self.source, self.environment = source, environment
        self.guard = threading.Lock()
        self.server: subprocess.Popen | None = None
        self.count, self.outcomes, self.ends = 0, {}, {}
        self.ready: set[int] = set()  # servers that have imported everything

    def run(self, job: Job, abandoned: Callable[[], bool] = lambda: False) -> Outcome:
        """Run a stage to its end and return how it ended.

        ``abandoned`` is asked twice a second whether the stage is no longer wanted; it is stopped then. A server that
        dies takes its stages along: they count as killed.
        """
        with self.guard:
            server = self.started()
            self.count += 1
            number = self.count
            ended = self.ends[number] = threading.Event()
            try:
                self._send(server, {"start": number, **asdict(job)})
            except OSError:  # the server has just died; the next attempt starts another
                return Outcome(-9, 0.0, 0.0)
        while not ended.wait(0.5):
            if abandoned():
                with self.guard:
                    self._send(server, {"stop": number})
                ended.wait()
        # without an outcome the server has died, and its stage counts as killed
        return self.outcomes.pop(number, Outcome(-9, 0.0, 0.0))

    def started(self) -> subprocess.Popen:
        """The fork server, which is started when there is none or it has died."""
        if self.server is None or self.server.poll() is not None:
            file = self.source / "splitprobe" / "engine" / "forkserver.py"
            self.server = subprocess.Popen(
                [sys.executable, str(file)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | self.environment,
                start_new_session=True,  # Ctrl-C must reach the driver alone
            )
            threading.Thread(target=self._listen, args=(self.server,), daemon=True).start()
        return self.server

    def close(self) -> None:
        """End the server, and with it all its stages."""
        with self.guard:
            server, self.server = self.server, None
            if server is not None:
                if server.pid in self.ready:
                    server.stdin.close()
                else:
                    server.kill()  # it still imports, and runs no stage yet
                server.wait()

    def _send(self, server: subprocess.Popen, message: dict[str, Any]) -> None:
        """Send one request to the server. Raises OSError when it is gone."""
        server.stdin.write((json.dumps(message) + "\n").encode())
        server.stdin.flush()

    def _listen(self, server: subprocess.Popen) -> None:
        """Take in the server's answers until it ends; stages that it leaves behind have no outcome."""
        for line in server.stdout:
            message = json.loads(line)
            if "ready" in message:
                self.ready.add(message["ready"])
            elif "ended" in message and message["ended"] in self.ends:
                number = message.pop("ended")
                self.outcomes[number] = Outcome(**message)
                self.ends.pop(number).set()
        server.wait()
        for stream in (server.stdin, server.stdout):
            with contextlib.suppress(OSError):  # requests that it has not read no longer matter
                stream.close()
        if server is self.server or self.server is None:  # unless another has replaced it: its stages have died too
            for number in list(self.ends):
                self.ends.pop(number).set()
