"""The graph on machines without DVC and Git: a plan of what is due, the work on it, and its adoption here.

The plan names the digests of everything that a stage reads, so that a machine whose sources, data or params differ does
not run it. The work notes what it has read and written, so that nothing made of other inputs is adopted.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splitprobe.core.artifacts import read_json, write_json
from splitprobe.core.params import Params, ParamsError
from splitprobe.engine.digest import digest, ignored_names
from splitprobe.engine.forkserver import remove
from splitprobe.engine.steps import Refused, Step, check_disk, compare

if TYPE_CHECKING:
    from splitprobe.engine.repository import Repository

VERSION = 1
NOTE = "work.json"
# what a plan may ask for: a script of this checkout with words that are no options of a shell, writing results
COMMAND = re.compile(r"python stages/\w+\.py( [\w./@=-]+)*")
OUTPUT = re.compile(r"(data|metrics|plots)(/(?!\.\.?(/|$))[\w.@=,+ -]+)+")


class BadPlan(ValueError):
    """A file that is no plan, or no note of work on one."""


def make_plan(repository: Repository, steps: list[Step]) -> dict[str, Any]:
    """The plan of some steps of a repository, for JSON: for each step its command, and its inputs with their digests.

    A digest is null where a step of the plan makes the file. Paths are below the repository's root.
    """
    made = {out for step in steps for out in step.outs}
    return {
        "version": VERSION,
        "steps": [{**portable(step), "inputs": repository.inputs(step, made)} for step in steps],
    }


def portable(step: Step) -> dict[str, Any]:
    """A step as plain types, with "." in place of this checkout's folder."""
    return {**asdict(step), "folder": ".", "needs": sorted(step.needs)}


def read_plan(file: Path, root: Path) -> tuple[list[Step], dict[str, dict[str, Any]]]:
    """The steps of a plan, in order, and the inputs of each by its name.

    Raises BadPlan for what is none, and for a step that is more than a script in ``stages`` or writes elsewhere than
    below data, metrics and plots: a plan that somebody else has sent can run what this checkout holds, nothing else.
    """
    try:
        plan = read_json(file)
        if plan["version"] != VERSION:
            raise BadPlan(f"{file} is a plan of version {plan['version']}, this is {VERSION}: make it anew")
        inputs = {entry["name"]: entry.pop("inputs") for entry in plan["steps"]}
        steps = [
            Step(**{**entry, "folder": str(root), "outs": tuple(entry["outs"]), "needs": frozenset(entry["needs"])})
            for entry in plan["steps"]
        ]
        for step in steps:
            if not COMMAND.fullmatch(step.command):
                raise BadPlan(f"{file}: {step.name} would run {step.command!r}, not a script in stages")
            for out in step.outs:
                if not OUTPUT.fullmatch(out):
                    raise BadPlan(f"{file}: {step.name} would write {out!r}, not below data, metrics or plots")
    except BadPlan:
        raise
    except FileNotFoundError:
        raise BadPlan(f"{file} is missing: `splitprobe plan > plan.json` makes it") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadPlan(f"{file} is no plan of `splitprobe plan`: {error}") from error
    return steps, inputs


class Work:
    """What is done of a plan, on a machine without DVC.

    It is noted in ``out``/work.json. Where ``out`` is not the checkout itself, the outputs are copied there.
    """

    def __init__(self, root: Path, out: Path, inputs: dict[str, dict[str, Any]]) -> None:
        self.root, self.out, self.planned = root, out, inputs
        self.ignored = ignored_names(root)
        self.done: dict[str, Any] = {}
        self.written, self.dirty = time.monotonic(), False
        with contextlib.suppress(FileNotFoundError):
            self.done = read_json(out / NOTE)["steps"]

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Does nothing: nobody else writes here."""
        yield

    def changed(self, step: Step) -> bool:
        """Whether a step still has to be run: not if it was run on the same inputs and its outputs are unchanged."""
        note = self.done.get(step.name)
        if note is None or note["inputs"] != self.inputs(step):
            return True
        try:
            return any(digest(self.root / out, self.ignored) != value for out, value in note["outs"].items())
        except FileNotFoundError:  # an output is gone
            return True

    def restore(self, step: Step) -> bool:
        """False: there is no cache."""
        return False

    def inputs(self, step: Step) -> dict[str, Any]:
        """Digests and values of what a step reads here. Raises Refused naming what is missing or not as planned."""
        planned = self.planned[step.name]
        params = Params.load(self.root / "params.yaml")
        inputs = {name: read_input(self.root, name, self.ignored, params) for name in planned}
        # a planned None stands for what another step of the plan makes: any content will do
        wrong = [name for name, value in inputs.items() if value is None or planned[name] not in (None, value)]
        if wrong:
            raise Refused(f"missing here, or not what the plan was made from: {', '.join(wrong)}")
        return inputs

    def record(self, step: Step, before: dict[str, Any]) -> None:
        """Note a step that has run, and copy its outputs to ``out``.

        Raises Refused when an output is missing or an input has changed, DiskFull when a copy does not fit.
        """
        compare(before, self.inputs(step))
        try:
            outs = {out: digest(self.root / out, self.ignored) for out in step.outs}
            if self.out != self.root:
                for out in step.outs:
                    put(self.root / out, self.out / out)
        except FileNotFoundError as error:
            raise Refused(f"it did not write {error.filename}") from error
        except OSError as error:
            check_disk(error, self.out)
            raise
        self.done[step.name] = {"command": step.command, "inputs": before, "outs": outs}
        self.dirty = True

    def write(self, every: float | None = None) -> None:
        """Write the note if it has changed and, with ``every``, the last time is that many seconds ago."""
        if self.dirty and time.monotonic() - self.written >= (every or 0.0):
            write_json(self.out / NOTE, {"version": VERSION, "steps": self.done})
            self.written, self.dirty = time.monotonic(), False


def read_input(root: Path, name: str, ignored: tuple[str, ...], params: Params) -> Any:
    """The digest of a file or folder, or the value at ``params.yaml:key`` in a list; None when it is missing."""
    _, _, key = name.partition(":")
    try:
        return [params.raw(key)] if key else digest(root / name, ignored)
    except (FileNotFoundError, ParamsError):
        return None


def put(source: Path, target: Path) -> None:
    """Copy a file or a folder to ``target``, in place of what is there."""
    remove([str(target)], "/")  # a file may have become a folder, or lost files
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy2(source, target)


def adopt(repository: Repository, steps: list[Step], folder: Path) -> tuple[list[str], dict[str, str]]:
    """Take the outputs of work on a plan into workspace, cache and dvc.lock, step by step in the order of the graph.

    Returns the names of the adopted steps, and the reasons for each step that was not: inputs other than this
    checkout's, or outputs that are missing or not those that were noted. Raises BadPlan when ``folder`` holds no work.
    """
    try:
        notes = dict(read_json(folder / NOTE)["steps"])
    except FileNotFoundError:
        raise BadPlan(f"{folder} holds no {NOTE}: it is not what `splitprobe work` has made") from None
    except (ValueError, TypeError, KeyError) as error:
        raise BadPlan(f"{folder / NOTE} is no note of `splitprobe work`: {error}") from error
    ignored, adopted, refused = ignored_names(repository.root), [], {}
    for step in steps:
        note = notes.pop(step.name, None)
        if note is None:
            continue
        try:
            verify(repository, step, note, folder, ignored)
            if folder.resolve() != repository.root.resolve():
                for out in step.outs:
                    put(folder / out, repository.root / out)
            repository.record(step)
            adopted.append(step.name)
        except Refused as error:
            refused[step.name] = str(error)
    # what is left belongs to no step
    refused |= dict.fromkeys(notes, "this checkout's dvc.yaml has no such stage")
    return adopted, refused


def verify(repository: Repository, step: Step, note: dict[str, Any], folder: Path, ignored: tuple[str, ...]) -> None:
    """Raise Refused unless a note fits a step.

    The note must have the step's command and outputs, this checkout's inputs, and the digests of the files in
    ``folder``.
    """
    if note["command"] != step.command or note["outs"].keys() != set(step.outs):
        raise Refused("its command or its outputs are others in this checkout's dvc.yaml")
    here, there = repository.inputs(step), note["inputs"]
    differing = sorted(name for name in here.keys() | there.keys() if here.get(name) != there.get(name))
    if differing:
        raise Refused(f"it was made from other inputs than this checkout's: {', '.join(differing)}")
    for out, noted in note["outs"].items():
        if not (folder / out).exists() or digest(folder / out, ignored) != noted:
            raise Refused(f"{folder / out} is missing or not what was noted")
