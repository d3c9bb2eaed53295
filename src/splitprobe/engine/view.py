"""What is shown of a build: a live view on a terminal, a line for each stage in a log file, a summary at the end."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

LONGEST = 5  # the number of longest stages that the summary names


def duration(seconds: float) -> str:
    """Seconds in words: ``48 s``, ``3 min 05 s`` or ``2 h 10 min``."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def last_line(path: Path) -> str:
    """The last state of a progress bar that writes into a file; empty where there is none."""
    with contextlib.suppress(OSError):
        with open(path, "rb") as stream:
            stream.seek(max(0, path.stat().st_size - 500))
            # a bar ends each of its states with a carriage return
            parts = stream.read().decode("utf-8", "replace").replace("\n", "\r").split("\r")
        return next((part.strip() for part in reversed(parts) if part.strip()), "")
    return ""


class View:
    """Counts stages and prints them.

    ``estimates`` are seconds of earlier builds, by stage. ``slots`` is how many stages run at a time. ``live`` asks for
    the live view; None asks for it on a terminal.
    """

    def __init__(self, total: int, estimates: dict[str, float], live: bool | None = None) -> None:
        self.console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
        self.live = self.console.is_terminal if live is None else live
        self.total, self.estimates, self.slots = total, estimates, 1
        self.done, self.failed = 0, 0
        self.logs: dict[str, Path] = {}  # logs of the stages that workers have
        self.running: dict[str, float] = {}  # when a stage was first seen to have a log
        self.left: set[str] = set()
        self.seconds: dict[str, float] = {}
        self.begun = time.monotonic()
        self.bar = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=self.console)
        self.task = self.bar.add_task("stages", total=total)

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Show the live view within the block, if it was asked for."""
        if not self.live:
            yield
            return
        with Live(get_renderable=self.picture, console=self.console, refresh_per_second=2, transient=True):
            yield

    def say(self, text: str) -> None:
        """Print a line of text as it is, without markup."""
        self.console.print(text, markup=False)

    def start(self, name: str, log: Path) -> None:
        """Note that a stage has been handed to the workers, with the log that it writes."""
        self.logs[name] = log

    def end(self, name: str, how: str, seconds: float | None = None) -> None:
        """Note and print that a stage is finished; ``how`` is a word for it, ``seconds`` its time if it ran."""
        self.logs.pop(name, None)
        self.running.pop(name, None)
        self.left.discard(name)
        self.done += 1
        if seconds is not None:
            self.seconds[name] = seconds
        took = "" if seconds is None else f" {seconds:.1f} s"
        self.say(f"[{self.done}/{self.total}] {name} {how}{took}")

    def skip(self, count: int) -> None:
        """Count stages that did not change; they are not listed."""
        self.done += count

    def remaining(self) -> float:
        """Seconds left, from what the stages that are left took the last time.

        A stage without a record counts as average.
        """
        known = [self.estimates[name] for name in self.left if name in self.estimates] or list(self.seconds.values())
        average = sum(known) / len(known) if known else 0.0
        now = time.monotonic()
        spent = sum(min(now - begun, self.estimates.get(name, 0.0)) for name, begun in self.running.items())
        return max(0.0, sum(self.estimates.get(name, average) for name in self.left) - spent) / max(1, self.slots)

    def picture(self) -> Group:
        """The live view: the bar, the stages that run with their epoch, the time left."""
        self.bar.update(self.task, completed=self.done, total=self.total)
        table = Table.grid(padding=(0, 2))
        for name, log in list(self.logs.items()):
            if log.exists():  # a stage that still waits for a worker has no log
                begun = self.running.setdefault(name, time.monotonic())
                table.add_row(name, f"{time.monotonic() - begun:.0f} s", last_line(log.with_suffix(".progress")))
        left = f"{duration(time.monotonic() - self.begun)} so far, about {duration(self.remaining())} left"
        failed = f", {self.failed} failed" if self.failed else ""
        return Group(self.bar, table, left + failed)

    def summary(self) -> None:
        """Print the seconds of work and of overhead, and the longest stages."""
        wall, work = time.monotonic() - self.begun, sum(self.seconds.values())
        if not self.seconds:
            return
        idle_percent = 100 * (1 - work / (wall * max(1, self.slots)))
        self.say(
            f"built {len(self.seconds)} stages in {duration(wall)}: {duration(work)} of work, "
            f"{idle_percent:.0f} % of {self.slots} x {wall:.0f} s were overhead or waiting"
        )
        longest = sorted(self.seconds.items(), key=lambda item: -item[1])[:LONGEST]
        self.say("longest: " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in longest))
