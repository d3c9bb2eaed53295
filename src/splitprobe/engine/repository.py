"""DVC's side of a build: which stages are due, what the run cache has, what is recorded.

DVC itself decides all of it. It differs from ``dvc repro`` in three points: params.yaml is parsed once and not once a
stage, dvc.lock is written for many stages at once and in one piece, and a stage whose inputs changed while it ran is
not recorded.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any
from unittest import mock

import dulwich.repo
import dvc.dependency.param
import dvc.rwlock
import networkx
import psutil
from dvc.dependency.param import ParamsDependency, read_param_file
from dvc.exceptions import DvcException
from dvc.lock import LockError
from dvc.output import Output, OutputDoesNotExistError
from dvc.repo import Repo
from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro
from dvc.rwlock import rwlock
from dvc.stage import Stage
from dvc.stage.cache import RunCacheNotFoundError
from dvc.stage.serialize import to_lockfile
from dvc.utils.serialize import load_path
from dvc.utils.serialize._yaml import dumps_yaml
from ruamel.yaml import YAML
from scmrepo.git import Git

from splitprobe.core.artifacts import atomic
from splitprobe.engine.steps import Busy, Refused, Step, check_disk, compare

PARAMS = "params.yaml"


def signature(path: str | Path) -> tuple[int, int, int] | None:
    """Modification time, size and inode of a file, which change when the file does; None for a missing file."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


class ReadOnce:
    """Takes the place of DVC's ``read_param_file``.

    It parses a file again only when the file has changed, and finds dotted keys directly.
    """

    def __init__(self) -> None:
        self.known: dict[str, tuple[Any, Any]] = {}

    def __call__(self, fs: Any, path: str, keys: list[str] | None = None, flatten: bool = False, **options: Any) -> Any:
        """The values at some dotted keys; keys that are absent, or are patterns, are left to DVC."""
        now = signature(path)
        if path not in self.known or self.known[path][0] != now:
            self.known[path] = now, load_path(path, fs, **options)
        if not (keys and flatten):
            return read_param_file(fs, path, keys, flatten, **options)
        try:
            return {key: self.value(path, key) for key in keys}
        except (KeyError, TypeError):
            return read_param_file(fs, path, keys, flatten, **options)

    def value(self, path: str, key: str) -> Any:
        """The value at a dotted key of a file that was read before. Callers must not change it."""
        node = self.known[path][1]
        for part in key.split("."):
            node = node[part]
        return node


class HashOnce:
    """Takes the place of DVC's hash of a file or folder.

    DVC asks for it several times while it looks at one stage; it is computed once.
    """

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], Any] = {}
        # DVC's own method, kept before `open` replaces it by this object
        self.compute = Output._get_hash_meta

    def __get__(self, output: Output, _: type) -> Callable[[], Any]:
        return lambda: self.of(output)

    def of(self, output: Output) -> Any:
        """Meta data and hash of an output."""
        key = output.fs_path, output.hash_name
        if key not in self.known:
            self.known[key] = self.compute(output)
        return self.known[key]


class LockFile:
    """A dvc.lock as the text of each stage's entry: an update writes anew what it changes and keeps the rest."""

    # as DVC writes it; anything else is parsed
    PLAIN = re.compile(r"schema: '2\.0'\nstages:\n(?:  [\w@/.~-]+:\n(?:    .*\n|\n)+)*")
    SHARED = re.compile(r"(?m)^ +(?:- |[^:]+: )[&*]")  # a value that several entries refer to
    ENTRY = re.compile(r"(?m)^  ([\w@/.~-]+):\n")

    def __init__(self, path: str) -> None:
        self.path, self.read, self.entries, self.added = Path(path), None, {}, set()

    def update(self, entries: dict[str, Any], order: Iterable[str]) -> None:
        """Set the entries of some stages, in the bytes that DVC would write, and replace the file in one piece.

        New entries come last, in the ``order`` of the graph, as in a serial build.
        """
        now = signature(self.path)
        if now != self.read:
            self.entries = self._parsed(self.path.read_text(encoding="utf-8")) if now else {}
        self.added |= entries.keys() - self.entries.keys()
        self.entries |= {name: self._text(name, entry) for name, entry in entries.items()}
        # only new stages are moved; the others keep their places in the file
        for name in order:
            if name in self.added and name in self.entries:
                self.entries[name] = self.entries.pop(name)
        with atomic(self.path) as stream:
            stream.write("schema: '2.0'\nstages:\n" + "".join(self.entries.values()))
        self.read = signature(self.path)

    def _parsed(self, text: str) -> dict[str, str]:
        """The text of each entry of a file."""
        if self.PLAIN.fullmatch(text) and not self.SHARED.search(text):
            parts = self.ENTRY.split(text)[1:]
            return {name: f"  {name}:\n{rest}" for name, rest in zip(parts[::2], parts[1::2], strict=True)}
        stages = (YAML(typ="safe").load(text) or {}).get("stages") or {}
        return {name: self._text(name, entry) for name, entry in stages.items()}

    def _text(self, name: str, entry: Any) -> str:
        """The lines of an entry."""
        return dumps_yaml({"stages": {name: entry}}).removeprefix("stages:\n")


class Tracked:
    """Takes the place of the question whether Git tracks a path: Git's index is read again only when it has changed."""

    def __init__(self) -> None:
        self.read, self.paths = None, set()

    def __get__(self, git: Git, _: type) -> Callable[[str], bool]:
        return lambda path: os.path.relpath(path, git.root_dir).replace(os.sep, "/") in self.of(git.dulwich.repo)

    def of(self, repository: dulwich.repo.Repo) -> set[str]:
        """The tracked files, and the folders with a tracked file."""
        now = signature(repository.index_path())
        if now != self.read:
            names = map(os.fsdecode, repository.open_index() if now else ())
            self.paths = {path for name in names for path in accumulate(name.split("/"), "{}/{}".format)}
            self.read = now
        return self.paths


class Mishaps(logging.Handler):
    """A log handler that keeps errors which DVC's cache only logs: it goes on after a file that it could not store."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.errors: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the exception of a log record, if it has one."""
        if record.exc_info and record.exc_info[1]:
            self.errors.append(record.exc_info[1])

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Raise the first OSError that was logged within the block, at its end."""
        logger = logging.getLogger("dvc_data")
        self.errors.clear()
        logger.addHandler(self)
        try:
            yield
        finally:
            logger.removeHandler(self)
            for error in self.errors:
                if isinstance(error, OSError):
                    raise error


class Repository:
    """The DVC repository around a folder; use it within :meth:`open`."""

    def __init__(self, root: Path) -> None:
        self.repo = Repo(str(root))
        self.root = Path(self.repo.root_dir)
        self.graph: networkx.DiGraph = networkx.DiGraph()
        self.stages: dict[str, Stage] = {}  # those of the plan, in its order
        self.files: dict[str, LockFile] = {}
        self.waiting: list[Stage] = []  # recorded in the cache, not yet in dvc.lock
        self.written = time.monotonic()
        self.hashes, self.mishaps = HashOnce(), Mishaps()

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Read each params file once within the block.

        At its end, stage in git what DVC would, and close the repository.
        """
        with (
            mock.patch.object(dvc.dependency.param, "read_param_file", ReadOnce()),
            mock.patch.object(Output, "_get_hash_meta", self.hashes),
            # DVC asks for this lock at each of its steps; `claim` holds it for all of them
            mock.patch.object(dvc.rwlock, "rwlock", lambda *_: contextlib.nullcontext()),
            mock.patch.object(Git, "is_tracked", Tracked()),
            self.repo.scm_context(quiet=True),
            contextlib.closing(self.repo),
        ):
            yield

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold DVC's lock on the repository within the block.

        Blocks are short: as with ``dvc repro``, other commands work in between. If another command holds the lock, it
        raises Busy before the plan is made, and waits later.
        """
        while True:
            try:
                self.repo.lock.lock()
                break
            except LockError:
                if not self.files:  # no plan yet: nothing is lost by giving up
                    raise Busy(f"{self.holder()} holds DVC's lock on {self.root}; wait for it or stop it") from None
        self.hashes.known.clear()  # files may have changed since the last step
        try:
            yield
        finally:
            self.repo.lock.unlock()

    def holder(self) -> str:
        """The process that holds DVC's lock, in words."""
        try:
            number = int(Path(self.repo.lock.lockfile).read_text().split()[0])
            return f"process {number} ({' '.join(psutil.Process(number).cmdline())})"
        except (OSError, ValueError, IndexError, psutil.Error):
            return "another DVC command"

    def plan(self, targets: Iterable[str]) -> list[Step]:
        """The steps that ``dvc repro`` with these targets goes through, in its order; all steps without targets.

        Raises DvcException for a target that is none.
        """
        self.graph = get_active_graph(self.repo.index.graph)
        stages = {stage.addressing: stage for stage in self.repo.index.stages}
        # DVC reads dvc.lock anew for each target that it looks up, a second each
        wanted = [stages[target] for target in targets if target in stages]
        wanted += collect_stages(self.repo, [target for target in targets if target not in stages])
        wanted = wanted if targets else self.repo.index.stages
        order = plan_repro(self.graph, wanted)
        self.stages = {stage.addressing: stage for stage in order}
        self.files = {stage.dvcfile.path: LockFile(stage.dvcfile._lockfile.path) for stage in order}
        return [self.step(stage) for stage in order]

    def step(self, stage: Stage) -> Step:
        """The step for a stage of DVC's."""
        meta = stage.meta or {}
        return Step(
            stage.addressing,
            stage.cmd or "",
            stage.wdir,
            tuple(out.def_path for out in stage.outs if not out.persist),
            frozenset(other.addressing for other in self.graph.successors(stage) if other.addressing in self.stages),
            bool(meta.get("gpu")),
            bool(meta.get("alone")),
            bool(meta.get("first")),
        )

    def claim(self, steps: Iterable[Step], command: str) -> contextlib.AbstractContextManager[None]:
        """Keep other builds off these steps within the block, through DVC's own list of readers and writers.

        Raises Busy naming the process that has one of them already.
        """
        stages = [self.stages[step.name] for step in steps]
        write = {out.fs_path for stage in stages for out in stage.outs}
        read = {dep.fs_path for stage in stages for dep in stage.deps} - write
        return self._claimed({*read, str(self.root / PARAMS)}, write, command)

    def claim_params(self, command: str) -> contextlib.AbstractContextManager[None]:
        """Keep builds from beginning within the block; raises Busy naming one that runs, made of params.yaml."""
        return self._claimed((), {str(self.root / PARAMS)}, command)

    @contextlib.contextmanager
    def _claimed(self, read: Iterable[str], write: Iterable[str], command: str) -> Iterator[None]:
        """Hold entries in DVC's list of readers and writers of files within the block."""
        hardlink = self.repo.config["core"].get("hardlink_lock", False)
        with contextlib.ExitStack() as stack:
            try:
                where = (self.repo.tmp_dir, self.repo.fs, command, sorted(read), sorted(write), hardlink)
                stack.enter_context(rwlock(*where))
            except LockError as error:
                lines = [line.strip() for line in str(error).splitlines() if line.strip().startswith("(PID")]
                lines = list(dict.fromkeys(lines))  # DVC has one for each file
                raise Busy(f"stages are being built here already, by {'; '.join(lines) or error}") from None
            yield

    def changed(self, step: Step) -> bool:
        """Whether a step has to be built, as ``dvc repro`` decides it."""
        return self.stages[step.name].changed()

    def restore(self, step: Step) -> bool:
        """Take a step's outputs from the run cache; False when it holds none for these inputs.

        Raises Refused when an input is missing.
        """
        stage = self.stages[step.name]
        try:
            # as DVC does: what stands there may be in no cache, and is then not overwritten
            stage.remove_outs(ignore_remove=False, force=False)
            # restore compares with dvc.lock before it saves the dependencies
            self.repo.stage_cache.restore(stage)
        except RunCacheNotFoundError:
            return False
        except DvcException as error:
            raise Refused(str(error)) from error
        self.record(step)
        return True

    def inputs(self, step: Step, made: Collection[str] = ()) -> dict[str, Any]:
        """Digests and values of all that a step reads, by name.

        A name is a file or folder, with its digest, or a params file and a key in it, with its value in a list. None
        stands for what is missing, and for what overlaps with one of the paths ``made``.
        """
        stage, found = self.stages[step.name], {}
        for dep in stage.deps:
            name, value = str(dep), None
            if not any(f"{name}/".startswith(f"{out}/") or f"{out}/".startswith(f"{name}/") for out in made):
                with contextlib.suppress(FileNotFoundError, DvcException):
                    if not dep.hash_info:  # before a stage's first run DVC takes line ends out, as its version 2 did
                        dep.update_legacy_hash_name(force=True)
                    value = dep.get_hash().value
            if isinstance(dep, ParamsDependency):
                found |= {f"{name}:{key}": [value[key]] if value else None for key in dep.params}
            else:
                found[name] = value
        return found

    def record(self, step: Step, before: dict[str, Any] | None = None) -> None:
        """Save a step that has run: its outputs into the cache, the step into the run cache and the next dvc.lock.

        Raises Refused when an output is missing or an input is no longer what it was ``before``. Raises DiskFull when
        the cache cannot take it.
        """
        stage = self.stages[step.name]
        try:
            if before is not None:
                compare(before, self.inputs(step))
            with self.mishaps.watched():
                stage.save(run_cache=False)
                stage.commit()
            if all(out.use_cache or out.is_metric or out.is_plot for out in stage.outs):  # DVC's own rule
                self.repo.stage_cache.save(stage)
        except OutputDoesNotExistError as error:
            raise Refused(str(error)) from error
        except OSError as error:
            check_disk(error, self.repo.cache.local.path)
            raise
        except DvcException as error:
            raise Refused(str(error)) from error
        self.waiting.append(stage)

    def write(self, every: float | None = None) -> None:
        """Write recorded stages into dvc.lock; with ``every``, only if the last time is that many seconds ago.

        Raises DiskFull.
        """
        if every is not None and (not self.waiting or time.monotonic() - self.written < every):
            return
        names = [stage.name for stage in self.stages.values()]
        try:
            with self.locked():
                for path, file in self.files.items():
                    stages = [stage for stage in self.waiting if stage.dvcfile.path == path]
                    if stages:
                        # copies: YAML would write a value that stages share once, and refer to it elsewhere
                        entries = {k: copy.deepcopy(v) for stage in stages for k, v in to_lockfile(stage).items()}
                        file.update(entries, names)
                        self.repo.scm_context.track_file(str(file.path))
        except OSError as error:
            check_disk(error, self.root)
            raise
        self.waiting.clear()
        self.written = time.monotonic()
