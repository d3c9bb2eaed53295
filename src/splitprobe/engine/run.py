"""The loop of a build: start what is ready, take in what has ended, go on until nothing is left.

A :class:`Pool` runs the steps. A :class:`Book` knows what is due and what is recorded.
"""

from __future__ import annotations

import contextlib
import queue
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from splitprobe.core.artifacts import read_json, write_json
from splitprobe.engine.forkserver import remove
from splitprobe.engine.launcher import Job, Outcome
from splitprobe.engine.steps import DiskFull, Refused, Step
from splitprobe.engine.view import View

ATTEMPTS = 3  # times that a step is started whose process is killed
EVERY = 20.0  # seconds between two writings of dvc.lock
SHOWN = 40  # lines of a failed step's log


class Pool(Protocol):
    """Where steps run: :class:`splitprobe.engine.cluster.Workers`, :class:`splitprobe.engine.threads.Threads`.

    ``ended`` receives (name of the step, Outcome or exception) when a step has ended.
    """

    ended: queue.SimpleQueue

    def slots(self) -> int:
        """The number of steps that run at a time."""

    def submit(self, job: Job, priority: float, gpu: bool) -> None:
        """Queue a step; those of higher priority start first."""

    def forget(self, name: str) -> None:
        """Drop what is kept of a step that has ended."""

    def stop(self) -> None:
        """Stop all steps that run, and wait until they have ended."""


class Book(Protocol):
    """What is due and what is done.

    :mod:`splitprobe.engine.repository` and :mod:`splitprobe.engine.plan` have one.
    """

    root: Path

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Nobody else changes the book within the block."""

    def changed(self, step: Step) -> bool:
        """Whether a step has to be built."""

    def restore(self, step: Step) -> bool:
        """Take a step's outputs from an earlier build; False when there are none."""

    def inputs(self, step: Step) -> dict[str, Any]:
        """Digests and values of all that a step reads. Raises Refused when the step must not run with them."""

    def record(self, step: Step, before: dict[str, Any]) -> None:
        """Note a step that has run. Raises Refused when its inputs are no longer those ``before`` it ran."""

    def write(self, every: float | None = None) -> None:
        """Write down what was recorded; with ``every``, only if the last time is that many seconds ago."""


@dataclass
class Build:
    """The state of a build: the steps that wait, those that run, and what became of the others."""

    book: Book
    view: View
    logs: Path
    environment: dict[str, str] = field(default_factory=dict)
    fail_fast: bool = False
    steps: dict[str, Step] = field(default_factory=dict)
    waiting: dict[str, set[str]] = field(default_factory=dict)  # steps that wait, and the steps that each waits for
    running: set[str] = field(default_factory=set)
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    unbegun: dict[str, int] = field(default_factory=dict)  # how often a step's worker was gone before it ran
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    urgency: dict[str, float] = field(default_factory=dict)
    signal: int = 0  # the signal that asked to stop; 0 for none

    def prepare(self, due: list[Step]) -> None:
        """Note what each due step waits for, and how many seconds the longest way from it to the end takes."""
        self.steps = {step.name: step for step in due}
        self.waiting = {step.name: {*step.needs} & self.steps.keys() for step in due}
        self.view.left = set(self.steps)
        self.urgency = dict.fromkeys(self.steps, 0.0)
        for step in reversed(due):  # a step comes before those that need it
            self.urgency[step.name] += self.view.estimates.get(step.name, 1.0)
            for name in self.waiting[step.name]:
                self.urgency[name] = max(self.urgency[name], self.urgency[step.name])

    def ready(self) -> list[Step]:
        """The steps that can start now, the most urgent first.

        A step that must run alone is among them only when nothing else can start and nothing runs.
        """
        startable = [self.steps[name] for name, needs in self.waiting.items() if not needs]
        chosen = [step for step in startable if not step.alone]
        if not chosen and not self.running:
            chosen = startable[:1]
        return sorted(chosen, key=lambda step: -self.urgency[step.name])

    def run(self, pool: Pool) -> None:
        """Build all that waits, until a signal comes or, with ``fail_fast``, a step fails.

        In any case what has ended well is recorded, and the rest is stopped. Raises DiskFull.
        """
        with self.interruptible():
            try:
                while (self.waiting or self.running) and not self.over:
                    self.start(pool)
                    self.take(pool, timeout=0.5)
                    self.book.write(EVERY)
            finally:
                self.finish(pool)

    @property
    def over(self) -> bool:
        """Whether to stop before everything is built."""
        return bool(self.signal or (self.fail_fast and self.failed))

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Within the block, only note Ctrl-C and signals that ask to stop.

        The loop obeys them where nothing is half done. Outside the main thread, signals are left as they are.
        """

        def note(number: int, _: object) -> None:
            self.signal = number

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        old = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

    def start(self, pool: Pool) -> None:
        """Hand out the steps that are ready, up to twice as many as run at a time."""
        # each worker has one step more than it runs, so that it need not wait for the next
        room = 2 * max(1, pool.slots())
        while not self.over and len(self.running) < room:
            if any(self.steps[name].alone for name in self.running):
                return
            step = next(iter(self.ready()), None)
            if step is None:
                return
            if step.name not in self.inputs and not self.must_run(step):
                continue
            del self.waiting[step.name]
            self.running.add(step.name)
            self.submit(pool, step)

    def must_run(self, step: Step) -> bool:
        """Whether a step has to run; if so, note its inputs.

        A step that has not changed, or whose outputs an earlier build has left, is settled instead.
        """
        with self.book.locked():
            try:
                if not self.book.changed(step):
                    self.settle(step, "is up to date")
                elif self.book.restore(step):
                    self.settle(step, "taken from the run cache")
                else:
                    self.inputs[step.name] = self.book.inputs(step)
                    return True
            except Refused as error:
                self.fail(step, str(error))
        return False

    def settled(self) -> bool:
        """Settle steps until one has to run; returns whether none has to, so that no workers are needed."""
        try:
            while step := next(iter(self.ready()), None):
                if self.must_run(step):
                    return False
            return True
        finally:
            self.book.write()

    def submit(self, pool: Pool, step: Step) -> None:
        """Hand a step to the workers."""
        self.attempts[step.name] = self.attempts.get(step.name, 0) + 1
        log = self.log(step.name)
        # later attempts add to the log of the first
        if self.attempts[step.name] == 1:
            for stale in (log, log.with_suffix(".progress")):
                stale.unlink(missing_ok=True)
        environment = {"DVC_ROOT": str(self.book.root), "DVC_STAGE": step.name, **self.environment}
        environment["SPLITPROBE_PROGRESS"] = str(log.with_suffix(".progress"))
        self.view.start(step.name, log)
        job = Job(step.name, step.command, step.folder, str(log), step.outs, environment)
        pool.submit(job, self.urgency[step.name], step.gpu)

    def log(self, name: str) -> Path:
        """Path of the file with a step's output."""
        return self.logs / f"{name.replace('/', '~')}.log"

    def take(self, pool: Pool, timeout: float) -> None:
        """Wait for the end of a step, for at most ``timeout`` seconds, and deal with all that have ended."""
        with contextlib.suppress(queue.Empty):
            while self.running:
                name, outcome = pool.ended.get(timeout=timeout)
                timeout = 0.001  # the first end was waited for; others are taken only if they are there
                pool.forget(name)
                if name in self.running:
                    self.end(pool, self.steps[name], outcome)

    def end(self, pool: Pool, step: Step, outcome: Outcome | BaseException) -> None:
        """Record a step that has ended well, start one again that was killed, give up one that failed."""
        if isinstance(outcome, BaseException):
            self.fail(step, f"could not be run: {outcome!r}")
        elif outcome.killed and self.over:
            self.running.discard(step.name)
            # the build itself has stopped it
            remove(list(step.outs), step.folder)
        elif outcome.killed and not self.log(step.name).exists() and self.unbegun.get(step.name, 0) < ATTEMPTS:
            self.unbegun[step.name] = self.unbegun.get(step.name, 0) + 1
            self.attempts[step.name] -= 1  # it had not begun: only the worker that it waited for is gone
            self.submit(pool, step)
        elif outcome.killed and self.attempts[step.name] < ATTEMPTS:
            self.view.say(f"{step.name}: its process was killed (signal {-outcome.status}); it is run again")
            self.submit(pool, step)
        elif outcome.status:
            how = f"killed {ATTEMPTS} times" if outcome.killed else f"failed with exit status {outcome.status}"
            self.fail(step, how, outcome.seconds)
        else:
            try:
                with self.book.locked():
                    self.book.record(step, self.inputs[step.name])
                self.settle(step, "built", outcome.seconds)
            except Refused as error:
                self.fail(step, str(error), outcome.seconds)

    def settle(self, step: Step, how: str, seconds: float | None = None) -> None:
        """Note that a step is done, so that others need not wait for it; ``how`` is shown."""
        self.waiting.pop(step.name, None)
        self.running.discard(step.name)
        for needs in self.waiting.values():
            needs.discard(step.name)
        self.view.end(step.name, how, seconds)

    def fail(self, step: Step, why: str, seconds: float | None = None) -> None:
        """Note that a step is lost, with all steps that depend on it, and remove what it has written."""
        self.waiting.pop(step.name, None)
        self.running.discard(step.name)
        remove(list(step.outs), step.folder)
        self.failed[step.name] = why
        self.view.failed += 1
        self.view.end(step.name, f"FAILED: {why}", seconds)
        lost = {step.name}
        for name in self.steps:  # in the order of the plan, so that one pass finds them all
            if name in self.waiting and self.steps[name].needs & lost:
                lost.add(name)
                del self.waiting[name]
                self.skipped[name] = step.name
                self.view.left.discard(name)

    def finish(self, pool: Pool) -> None:
        """Record what has ended by now, stop the rest, leave nothing half-written."""
        # a full disk must not keep the rest from being stopped
        with contextlib.suppress(DiskFull):
            self.take(pool, timeout=0.001)
        pool.stop()
        for name in self.running:
            remove(list(self.steps[name].outs), self.steps[name].folder)
        self.book.write()

    def report(self) -> bool:
        """Show what failed, the ends of the logs, and what was skipped for it; returns whether all went well."""
        for name, why in self.failed.items():
            log = self.log(name)
            lines = log.read_text(errors="replace").splitlines()[-SHOWN:] if log.is_file() else []
            self.view.say("\n".join([f"\n{name}: {why}", *(f"    {line}" for line in lines)]))
            if lines:
                self.view.say(f"    (whole log: {log})")
            for other in sorted(other for other, cause in self.skipped.items() if cause == name):
                self.view.say(f"  skipped: {other}")
        return not self.failed


def known_seconds(file: Path) -> dict[str, float]:
    """Seconds that each stage took the last time; empty where no build has noted any."""
    try:
        return {name: float(value) for name, value in read_json(file).items()}
    except (FileNotFoundError, ValueError, AttributeError, TypeError):
        return {}


def note_stages(file: Path, seconds: dict[str, float]) -> None:
    """Keep the seconds that stages took, for the next build's estimates."""
    if seconds:
        write_json(file, known_seconds(file) | {name: round(value, 2) for name, value in seconds.items()})
