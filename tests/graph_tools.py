"""A throw-away repository with the project's own dvc.yaml and params.yaml, in which every script is a stand-in.

DVC itself decides what runs; the stand-ins only write the declared outputs, made from the values of the declared params
and the bytes of the declared dependencies. So a change travels through the graph as it does in a study, in seconds.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import shutil
import stat
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import networkx
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
COPIED = (
    "dvc.yaml", "params.yaml", ".dvcignore", ".gitignore", ".dvc/config", ".dvc/.gitignore", "data/raw/README.md",
    "src", "stages",
)  # fmt: skip
STAND_IN = """
import hashlib, json, os, sys
from pathlib import Path

stage = json.loads(Path(os.environ["STAND_IN_PLAN"]).read_text())[" ".join(sys.argv)]
digest = hashlib.sha256(json.dumps(stage["params"], sort_keys=True).encode())
for dep in map(Path, stage["deps"]):
    for file in [dep] if dep.is_file() else sorted(p for p in dep.rglob("*") if p.is_file() and p.suffix != ".pyc"):
        digest.update(str(file).encode() + file.read_bytes())
text, number = digest.hexdigest(), int(digest.hexdigest()[:6], 16) / 16**6
for path, columns in stage["files"].items():
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if path.endswith(".json"):
        content = json.dumps({"value": number})
    elif path.endswith(".csv"):
        content = ",".join(columns or ["x", "y"]) + f"\\n1,{number}\\n2,{number}\\n"
    else:
        content = text
    Path(path).write_text(content)
with open(os.environ["STAND_IN_LOG"], "a") as log:
    log.write(stage["name"] + "\\n")
"""


def load(text: str) -> Any:
    """YAML 1.2, as DVC reads it."""
    return YAML(typ="safe").load(text)


def dump(tree: Any) -> str:
    """Block style, keys in the order given."""
    yaml, stream = YAML(typ="safe", pure=True), io.StringIO()
    yaml.default_flow_style, yaml.sort_base_mapping_type_on_output, yaml.width = False, False, 1000
    yaml.dump(tree, stream)
    return stream.getvalue()


def read_yaml(path: Path) -> Any:
    """The tree of a YAML file."""
    return load(path.read_text())


def variables(root: Path = ROOT) -> dict[str, Any]:
    """What stands under ``vars`` in dvc.yaml."""
    return {name: value for part in read_yaml(root / "dvc.yaml")["vars"] for name, value in part.items()}


def get_key(tree: Any, key: str) -> Any:
    """The value at a dotted key; raises KeyError when there is none."""
    for part in key.split("."):
        if not isinstance(tree, dict) or part not in tree:
            raise KeyError(key)
        tree = tree[part]
    return tree


def set_key(tree: dict, key: str, value: Any) -> None:
    """Set an existing dotted key; raises KeyError when there is none."""
    get_key(tree, key)
    *parents, last = key.split(".")
    (get_key(tree, ".".join(parents)) if parents else tree)[last] = value


@contextlib.contextmanager
def fast_lock(path: str, fs: Any = None) -> Iterator[dict]:
    """Updates dvc.lock as JSON, which is YAML too; DVC's own way is a round trip in pure Python that keeps remarks."""
    file = Path(path)
    tree = json.loads(file.read_text()) if file.exists() else {}
    yield tree
    file.write_text(json.dumps(tree))


@contextlib.contextmanager
def fast_dvc() -> Iterator[None]:
    """Without DVC's two slow habits, which cost more than all else: its way with dvc.lock and reading params again.

    Nothing changes params.yaml within the block, so each stage's values are read once, not six times.
    """
    import dvc.dependency.param as param
    import dvc.dvcfile

    known: dict[tuple, Any] = {}
    read = param.read_param_file

    def read_once(fs: Any, path: str, key_paths: list[str] | None = None, **options: Any) -> Any:
        key = (path, tuple(key_paths or ()), *sorted(options.items()))
        if key not in known:
            known[key] = read(fs, path, key_paths, **options)
        return known[key]

    with (
        mock.patch.object(param, "read_param_file", read_once),
        mock.patch.object(dvc.dvcfile, "modify_yaml", fast_lock),
    ):
        yield


@dataclass(frozen=True)
class Changes:
    """What has changed for which stage: files, folders, outputs, and params by their declared keys.

    An edge of ``graph`` leads from a stage to one that it needs.
    """

    causes: dict[str, set[str]]
    graph: networkx.DiGraph

    def due(self, cause: str | None = None) -> set[str]:
        """What ``dvc repro`` has reason to run, for one edited file or key or for all: with all that hangs on it."""
        hit = {
            stage
            for stage, causes in self.causes.items()
            if cause is None or any(cause == c or cause.startswith((f"{c}/", f"{c}.")) for c in causes)
        }
        return hit.union(*(networkx.ancestors(self.graph, stage) for stage in hit))


class Study:
    """The repository at ``root``; beside it lie the stand-ins' plan and log and whatever DVC keeps for a user."""

    def __init__(self, root: Path) -> None:
        self.root, self.side = root, root.parent / f"{root.name}.side"
        self.log, self.plan = self.side / "log", self.side / "plan.json"

    @classmethod
    def create(cls, root: Path) -> Study:
        """Copy the project's definition and put a stand-in in the place of each script."""
        study = cls(root)
        study.side.mkdir(parents=True)
        for name in COPIED:
            source, copy = ROOT / name, root / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, copy)
        python = study.side / "bin" / "python"
        python.parent.mkdir()
        # -I -S: nothing but the standard library, so that a stand-in starts in 20 ms
        python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -I -S "$@"\n')
        python.chmod(python.stat().st_mode | stat.S_IXUSR)
        for command in (["init", "-q"], ["config", "user.name", "t"], ["config", "user.email", "t@example.org"]):
            subprocess.run(["git", *command], cwd=root, check=True)
        for script in (root / "stages").glob("*.py"):
            script.write_text(STAND_IN)
        return study

    def copy(self, root: Path) -> Study:
        """The same study elsewhere, with its cache, to be changed at will."""
        other = Study(root)
        shutil.copytree(self.root, root)
        shutil.copytree(self.side, other.side)
        return other

    @contextlib.contextmanager
    def repository(self) -> Iterator[Any]:
        """DVC's own view of the folder, read anew, apart from the settings and caches of this machine's user."""
        from dvc.repo import Repo

        here = os.getcwd()
        os.chdir(self.root)
        try:
            with (
                warnings.catch_warnings(),
                mock.patch.dict(os.environ, self.environment()),
                fast_dvc(),
                contextlib.closing(Repo(".")) as repo,
            ):
                warnings.filterwarnings("ignore", "_NoneStep.value", DeprecationWarning)  # DVC's use of pygtrie
                yield repo
        finally:
            os.chdir(here)

    def environment(self) -> dict[str, str]:
        """The variables under which DVC and the stand-ins work on this study."""
        dvc = {f"DVC_{name}_DIR": str(self.side) for name in ("SITE_CACHE", "GLOBAL_CONFIG", "SYSTEM_CONFIG")}
        path = os.pathsep.join((str(self.side / "bin"), os.environ["PATH"]))
        return {**dvc, "PATH": path, "STAND_IN_PLAN": str(self.plan), "STAND_IN_LOG": str(self.log), "DVC_TEST": "1"}

    def stages(self) -> dict[str, Any]:
        """All stage instances by name."""
        with self.repository() as repo:
            return {stage.name: stage for stage in repo.index.stages}

    def repro(self, *targets: str) -> list[str]:
        """``dvc repro``; the names of the stages whose command ran, in order."""
        with self.repository() as repo:
            params = read_yaml(self.root / "params.yaml")
            self.plan.write_text(json.dumps(plan(repo.index.stages, params)))
            self.log.write_text("")
            repo.reproduce(targets=list(targets) or None)
        return self.log.read_text().split()

    def changes(self) -> Changes:
        """What ``dvc status`` says, and the graph."""
        with self.repository() as repo:
            status, graph = repo.status(), repo.index.graph
            known = {stage.addressing: stage.name for stage in graph}
            names = networkx.relabel_nodes(graph, lambda stage: stage.name)
        causes: dict[str, set[str]] = {known[address]: set() for address in status}
        for address, entries in status.items():
            for entry in entries:  # "changed command", or a dictionary of changed dependencies or outputs
                parts = entry.values() if isinstance(entry, dict) else ()
                for path, change in (item for part in parts for item in part.items()):
                    causes[known[address]] |= set(change) if isinstance(change, dict) else {path}
        return Changes(causes, names)

    def change(self, name: str, edit: Callable[[Any], None]) -> None:
        """Edit the tree of dvc.yaml or params.yaml in place."""
        tree = read_yaml(self.root / name)
        edit(tree)
        (self.root / name).write_text(dump(tree))

    def set(self, key: str, value: Any) -> None:
        """Set a dotted key of params.yaml."""
        self.change("params.yaml", lambda tree: set_key(tree, key, value))

    @contextlib.contextmanager
    def restored(self, *names: str) -> Iterator[None]:
        """Files that may be changed within the block and are as before after it."""
        before = {self.root / name: (self.root / name).read_text() for name in names}
        try:
            yield
        finally:
            for path, text in before.items():
                path.write_text(text)


def keys(stage: Any) -> list[str]:
    """The params that a stage declares."""
    return [key for dep in stage.deps if hasattr(dep, "params") for key in dep.params]


def files(stage: Any) -> list[str]:
    """The files and folders that a stage declares to depend on."""
    return [dep.def_path for dep in stage.deps if not hasattr(dep, "params")]


def script(stage: Any) -> str:
    """The script that a stage runs."""
    return Path(stage.cmd.split()[1]).stem


def recipes(stage: Any, stages: dict[str, Any]) -> list[Any]:
    """The stages that write the recipes which a stage depends on."""
    made = {out.def_path: other for other in stages.values() for out in other.outs if "/recipes/" in out.def_path}
    return [made[path] for path in files(stage) if path in made]


def plan(stages: list[Any], params: dict) -> dict[str, dict]:
    """What the stand-in of each command reads and writes, by the command without ``python``."""
    wanted = {path for stage in stages for path in files(stage)}
    result = {}
    for stage in stages:
        values = {key: get_key(params, key) for key in keys(stage)}
        written: dict[str, list[str] | None] = {}
        for out in stage.outs:
            columns = [out.plot[axis] for axis in "xy"] if isinstance(out.plot, dict) and "x" in out.plot else None
            if out.plot and not Path(out.def_path).suffix:  # a folder of curves
                written[f"{out.def_path}/1/mle.csv"] = columns
            elif Path(out.def_path).suffix:
                written[out.def_path] = columns
            elif out.metric:  # a folder of one file per row
                (rows,) = [value for key, value in values.items() if key.startswith("rows.")]
                written |= {f"{out.def_path}/{row}.json": None for row in rows}
            else:
                below = {path for path in wanted if path.startswith(out.def_path + "/")}
                written |= dict.fromkeys(sorted(below | {f"{out.def_path}/more.txt"}))
        command = stage.cmd.removeprefix("python ")
        result[command] = {"name": stage.name, "params": values, "deps": files(stage), "files": written}
    return result
