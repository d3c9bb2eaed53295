"""Throw-away repositories with a graph of small scripts, and the real `splitprobe run` and `dvc repro` in them.

What a stage does is steered by files outside the repository, in ``control``: NAME.py is Python code that the stage runs
before it writes its output. ``control/log`` has a line for each start of a stage.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import psutil

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0  # seconds for whatever is waited for, on a machine that has other things to do
PARAMS = """\
# a remark that stays
scale: small                    # the only one
seed: 1                         # >= 0
runtime: {device: cpu, precision: float32, channels_last: true, threads: 1, graphs: true, repeatable: true}
scales:
  names: [small]
  model:
    cnn: {width: 8}
data:
  first: 1                      # read by some stages
  second: 2                     # by others
"""
STEP = """\
import hashlib, os, re, signal, subprocess, sys, time
from pathlib import Path

name, out, key, *inputs = sys.argv[1:]
control = Path(os.environ["CONTROL"])


def note(word, file="log"):
    with open(control / file, "a") as stream:
        stream.write(f"{word}\\n")


def runs():
    return (control / "log").read_text().split().count(name)


def wait_for(file):
    while not (control / file).exists():
        time.sleep(0.02)


def hold():
    note(os.getpid(), f"{name}.pids")
    (control / f"{name}.held").touch()
    wait_for(f"{name}.go")


def value():
    return re.search(rf"^  {key}: (\\S+)", Path("params.yaml").read_text(), re.M)[1] if key != "-" else ""


Path(out).parent.mkdir(parents=True, exist_ok=True)
note(name)
early = value()
text = ""
code = control / f"{name}.py"
if code.exists():
    exec(code.read_text())
digest = hashlib.sha256(b"".join(Path(path).read_bytes() for path in inputs)).hexdigest()
Path(out).write_text(f"{name} {early} {value()} {digest}\\n{text}")
"""


def stage(name: str, *needs: str, key: str = "-", source: str | None = None, **more: Any) -> dict[str, Any]:
    """A stage of dvc.yaml; ``source`` is a file that it declares and reads, ``key`` a value of ``data``."""
    inputs = [*(f"data/{need}" for need in needs), *([f"stages/{source}"] if source else [])]
    entry: dict[str, Any] = {
        "cmd": f"python stages/step.py {name} data/{name} {key} {' '.join(inputs)}".strip(),
        "deps": ["stages/step.py", *inputs],
        "outs": [f"data/{name}"],
    }
    return {name: entry | ({"params": [f"data.{key}"]} if key != "-" else {}) | more}


def git(root: Path, *arguments: str) -> str:
    """A git command."""
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout


def wait_for(
    what: str, condition: Callable[[], Any], process: subprocess.Popen | None = None, patience: float = PATIENCE
) -> Any:
    """The first true value of the condition; fails at once when a process that should bring it about has ended."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        over = process is not None and process.poll() is not None
        found = condition()
        if found:
            return found
        assert not over, f"{what}: its process ended with status {process.returncode} before"
        time.sleep(0.05)
    raise AssertionError(f"waited {patience:.0f} s in vain: {what}")


def alive(pids: Iterable[int]) -> set[int]:
    """Which of these processes still run."""
    found = set()
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.add(pid)
    return found


def description(pid: int) -> str:
    """A process in words."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            return f"{pid} (parent {process.ppid()}, {process.status()}): {' '.join(process.cmdline())[:200]}"
    except psutil.NoSuchProcess:
        return f"{pid} (gone by now)"


class Running:
    """A command in a repository, in a session of its own; its output goes to a file."""

    def __init__(self, command: list[str], root: Path, environment: dict[str, str], log: Path) -> None:
        self.log = log
        with open(log, "wb") as stream:
            self.process = subprocess.Popen(
                command, cwd=root, env=environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
                start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def said(self) -> str:
        """What it has printed."""
        return self.log.read_text(errors="replace")

    def until(self, what: str, condition: Callable[[], Any]) -> Any:
        """Wait for the condition, which this command brings about."""
        try:
            return wait_for(what, condition, self.process)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.said}") from None

    def until_said(self, text: str) -> None:
        """Wait until it has printed the text."""
        self.until(text, lambda: text in self.said)

    def status(self) -> int:
        """Wait for its end; its exit status."""
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end:\n{self.said}") from None

    def kill(self) -> None:
        """End it and its children, at the end of a test that failed."""
        if self.process.poll() is None:
            children = psutil.Process(self.pid).children(recursive=True)
            for process in (psutil.Process(self.pid), *children):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            self.process.wait()


class Graph:
    """A git and DVC repository at ``root``, with the files that steer its stages and the user's DVC settings beside."""

    def __init__(self, root: Path) -> None:
        self.root, self.side = root, root.parent / f"{root.name}.side"
        self.control = self.side / "control"
        self.started: list[Running] = []

    @classmethod
    def create(cls, root: Path, *entries: dict[str, Any], files: dict[str, str] | None = None) -> Graph:
        """A committed repository with these stages, nothing built."""
        graph = cls(root)
        graph.control.mkdir(parents=True)
        for name in (".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitignore"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
        with open(root / ".gitignore", "a") as stream:
            stream.write("/src\n/data/\n")
        (root / "src").symlink_to(ROOT / "src")
        (root / "stages").mkdir()
        stages = {name: entry for part in entries for name, entry in part.items()}
        more = {"params.yaml": PARAMS, "dvc.yaml": json.dumps({"stages": stages}, indent=1), "stages/step.py": STEP}
        for name, text in (more | (files or {})).items():
            (root / name).write_text(text)
        git(root, "init", "-q")
        git(root, "add", "-A")
        git(root, "commit", "-qm", "graph")
        return graph

    def copy(self, root: Path) -> Graph:
        """The same repository elsewhere, with its cache."""
        other = Graph(root)
        shutil.copytree(self.root, root, symlinks=True)
        shutil.copytree(self.side, other.side)
        return other

    def environment(self) -> dict[str, str]:
        """The variables under which all commands run."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "SPLITPROBE"))}
        dvc = {f"DVC_{name}_DIR": str(self.side / "dvc") for name in ("SITE_CACHE", "GLOBAL_CONFIG", "SYSTEM_CONFIG")}
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        return {
            **kept,
            **dvc,
            "PATH": path,
            "PYTHONPATH": str(ROOT / "src"),
            "CONTROL": str(self.control),
            "SPLITPROBE_PRELOAD": "",
            "DVC_TEST": "1",
            "COLUMNS": "200",
        }

    def start(self, command: list[str], environment: dict[str, str] | None = None) -> Running:
        """Start a command here."""
        log = self.side / f"{len(self.started)}.txt"
        self.started.append(Running(command, self.root, self.environment() | (environment or {}), log))
        return self.started[-1]

    def splitprobe(self, *arguments: str, environment: dict[str, str] | None = None) -> Running:
        """Start `splitprobe run`."""
        code = "from splitprobe.engine.cli import main; import sys; sys.exit(main())"
        return self.start([sys.executable, "-c", code, "run", *arguments], environment)

    def run(self, *arguments: str, status: int = 0) -> str:
        """`splitprobe run` to its end, which must have this status; what it said."""
        running = self.splitprobe(*arguments)
        assert running.status() == status, running.said
        return running.said

    def call(self, *arguments: str, status: int = 0) -> str:
        """The command `splitprobe` in this process, for what needs no workers; it must end with this status."""
        from splitprobe.engine.cli import main

        said = io.StringIO()
        with self.inside(), contextlib.redirect_stderr(said):
            found = main(list(arguments))
        assert found == status, said.getvalue()
        return said.getvalue()

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """This process works in the repository, under the variables of its commands."""
        here = os.getcwd()
        os.chdir(self.root)
        try:
            with warnings.catch_warnings(), mock.patch.dict(os.environ, self.environment()):
                warnings.filterwarnings("ignore", "_NoneStep.value", DeprecationWarning)  # DVC's use of pygtrie
                yield
        finally:
            os.chdir(here)

    def repro(self, *targets: str) -> Running:
        """Start `dvc repro`."""
        return self.start([sys.executable, "-m", "dvc", "repro", *targets])

    @contextlib.contextmanager
    def dvc(self) -> Iterator[Any]:
        """DVC's own view of the repository, in this process."""
        from dvc.repo import Repo

        with self.inside(), contextlib.closing(Repo(".")) as repo:
            yield repo

    def reproduce(self, *targets: str) -> list[str]:
        """`dvc repro` in this process; the names of the stages whose scripts ran."""
        before = len(self.ran())
        with self.dvc() as repo:
            repo.reproduce(targets=list(targets) or None)
        return self.ran()[before:]

    def due(self) -> dict[str, Any]:
        """`dvc status`."""
        with self.dvc() as repo:
            return repo.status()

    def ran(self) -> list[str]:
        """The names of the stages whose scripts have been started, in order, one for each time."""
        log = self.control / "log"
        return log.read_text().split() if log.exists() else []

    def forget(self) -> None:
        """Empty the list of what ran."""
        (self.control / "log").unlink(missing_ok=True)

    def control_by(self, **codes: str) -> None:
        """Say what stages do before they write their outputs."""
        for name, code in codes.items():
            (self.control / f"{name}.py").write_text(code)

    def release(self, name: str) -> None:
        """Let a stage that holds go on, now or later."""
        (self.control / f"{name}.go").touch()

    def held(self, *names: str) -> bool:
        """Whether these stages hold."""
        return all((self.control / f"{name}.held").exists() for name in names)

    def pids(self, name: str) -> list[int]:
        """The processes that a stage has noted: its own, one for each time that it held, and what it started."""
        return [int(line) for line in (self.control / f"{name}.pids").read_text().split()]

    def outputs(self) -> dict[str, bytes]:
        """The bytes of all that stages have written, hidden files too."""
        files = [path for folder in ("data", "plots") for path in (self.root / folder).rglob("*") if path.is_file()]
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in files
            if path.relative_to(self.root).parts[-2:] != ("seconds", "stages.json")
        }

    def recorded(self) -> dict[str, Any]:
        """The stages of dvc.lock."""
        from ruamel.yaml import YAML

        file = self.root / "dvc.lock"
        return YAML(typ="safe").load(file)["stages"] if file.exists() else {}

    def inhabitants(self) -> list[psutil.Process]:
        """The processes whose working folder is this repository."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.cwd() == str(self.root) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def close(self) -> None:
        """End whatever a failed test has left."""
        for running in self.started:
            running.kill()
        for process in self.inhabitants():
            if process.pid != os.getpid():
                with contextlib.suppress(psutil.Error):
                    os.kill(process.pid, signal.SIGKILL)
