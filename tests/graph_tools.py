"""A throw-away repository with the project's own graph, in which every script but `write_recipes` is a stand-in.

DVC itself decides what runs. The stand-ins only write the declared outputs, made from the bytes of the declared
dependencies, so that a change travels through the graph as it does in a study, in seconds.
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
from pathlib import Path
from typing import Any
from unittest import mock

from ruamel.yaml import YAML

from splitprobe.core.recipe import Study as Recipes
from splitprobe.core.sources import Sources

EACH = ("train_target", "train_generator", "run_mle", "train_mine")  # the stages of every cell, in order
ROOT = Path(__file__).parents[1]
CELLS = "stages/cells.yaml"
COPIED = (
    "dvc.yaml", "params.yaml", ".dvcignore", ".gitignore", ".dvc/config", ".dvc/.gitignore", "data/raw/README.md",
    "src", "stages",
    *(f"data/raw/{scale}/{name}/.gitkeep" for scale in ("demo", "small") for name in ("objects", "xray")),
)  # fmt: skip
# a few of each: DVC takes minutes with all
KEPT = {
    "datasets": ["objects", "xray"],
    "cells": [
        f"cnn/{row}" for row in ("unprotected", "gaussian_noise", "bido", "siftfunnel_architecture", "siftfunnel")
    ],
    "swept": ["gaussian_noise"],
    "timed": ["cnn/unprotected"],
    "known": ["cnn/unprotected"],
    "released": ["cnn/gaussian_noise"],
    "parts": ["cnn", "variants_cnn", "budget", "ablation", "prepared", "sweeps", "costs"],
    "tables": ["table1", "table2", "leaderboard"],
    "figures": ["figure4", "criterion"],
}
KEPT["cells"] += ["variants_cnn/bido_unit", "budget/gaussian_noise", "ablation/no_dcor"]


STAND_IN = """
import hashlib, json, os, sys
from pathlib import Path

stage = json.loads(Path(os.environ["STAND_IN_PLAN"]).read_text())[" ".join(sys.argv[1:])]
digest = hashlib.sha256()
for dep in map(Path, stage["deps"]):
    for file in [dep] if dep.is_file() else sorted(p for p in dep.rglob("*") if p.is_file()):
        digest.update(str(file).encode() + file.read_bytes())
text, number = digest.hexdigest(), int(digest.hexdigest()[:6], 16) / 16**6
for path, columns in stage["files"].items():
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    kinds = {".json": json.dumps({"value": number}), ".csv": ",".join(columns or ["x", "y"]) + f"\\n1,{number}\\n"}
    Path(path).write_text(kinds.get(Path(path).suffix, text))
with open(os.environ["STAND_IN_LOG"], "a") as log:
    log.write(stage["name"] + "\\n")
"""


def read_yaml(path: Path) -> Any:
    """The tree of a YAML file, as DVC reads it."""
    return YAML(typ="safe").load(path)


def write_yaml(path: Path, tree: Any) -> None:
    """Block style, keys in the order given."""
    yaml, stream = YAML(typ="safe", pure=True), io.StringIO()
    yaml.default_flow_style, yaml.sort_base_mapping_type_on_output, yaml.width = False, False, 1000
    yaml.dump(tree, stream)
    path.write_text(stream.getvalue())


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


def leaves(tree: dict, above: str = "") -> Iterator[str]:
    """Dotted names of all values."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}"


def keep_few(root: Path, kept: dict[str, Any], repeats: dict[str, int]) -> None:
    """Leave only what is ``kept`` in a copy of the definition, and no report, which shows everything.

    ``repeats``: of some groups of cells.
    """
    cells, params = read_yaml(root / CELLS), read_yaml(root / "params.yaml")
    for name, few in kept.items():
        cells[name] = few if isinstance(cells[name], list) else {key: cells[name][key] for key in few}
    del cells["reads"]["build_report"]
    shown = {*kept["tables"], *kept["figures"], "histograms", "figure1", "figure2", "figure3", "figure5"}
    params["rows"] = {
        name: "cnn/*" if "figure" in name else rows for name, rows in params["rows"].items() if name in shown
    }
    params["rows"] |= {"table1": "objects xray", "criterion": "*/*", "histograms": "cnn/*"}
    groups = {*(name.partition("/")[0] for name in cells["cells"]), "sweeps"}
    known = params["scales"]["repeats"] | repeats
    params["scales"]["repeats"] = {name: known[name] for name in known if name in groups}
    del params["scales"]["left_out"]
    params["attack"]["prior"]["rows"] = "siftfunnel"
    params["scales"]["data"] = {name: params["scales"]["data"][name] for name in cells["datasets"]}
    params["sweeps"] = {name: params["sweeps"][name] for name in cells["swept"]}
    write_yaml(root / CELLS, cells)
    write_yaml(root / "params.yaml", params)


def recipes(root: Path, sources: Sources | None = None) -> dict[str, dict]:
    """All recipes of a definition, by instance; ``sources`` are those of files that have been read already."""
    known = Recipes(root)
    known.sources = sources or known.sources
    return {f"{script}@{key}".removesuffix("@all"): known.recipe(script, key) for script, key in known.instances()}


@contextlib.contextmanager
def fast_lock(path: str, fs: Any = None) -> Iterator[dict]:
    """Updates dvc.lock as JSON, which is YAML too; DVC's own way is a round trip in pure Python that keeps remarks."""
    file = Path(path)
    tree = json.loads(file.read_text()) if file.exists() else {}
    yield tree
    file.write_text(json.dumps(tree))


class Study:
    """The repository at ``root``; beside it lie the stand-ins' plan and log and whatever DVC keeps for a user."""

    def __init__(self, root: Path) -> None:
        self.root, self.side = root, root.parent / f"{root.name}.side"
        self.log, self.plan = self.side / "log", self.side / "plan.json"

    @classmethod
    def create(cls, root: Path) -> Study:
        """Copy the project's definition, with few cells, and put a stand-in in the place of each script."""
        study = cls(root)
        study.side.mkdir(parents=True)
        for name in COPIED:
            source, copy = ROOT / name, root / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, copy)
        keep_few(root, KEPT, {"variants_cnn": 1, "budget": 1, "ablation": 1})
        stages = read_yaml(root / "dvc.yaml")
        del stages["stages"]["build_report"]
        write_yaml(root / "dvc.yaml", stages)
        python, stand_in = study.side / "bin" / "python", study.side / "stand_in.py"
        python.parent.mkdir()
        stand_in.write_text(STAND_IN)
        # -I -S: nothing but the standard library, so that a stand-in starts in 20 ms
        real = shlex.quote(sys.executable)
        lines = ["#!/bin/sh", f'case "$1" in *write_recipes.py) {real} "$@" && echo write_recipes >> "$STAND_IN_LOG";;']
        lines += [f'*) exec {real} -I -S {shlex.quote(str(stand_in))} "$@";;', "esac"]
        python.write_text("\n".join(lines) + "\n")
        python.chmod(python.stat().st_mode | stat.S_IXUSR)
        for command in (["init", "-q"], ["config", "user.name", "t"], ["config", "user.email", "t@example.org"]):
            subprocess.run(["git", *command], cwd=root, check=True)
        return study

    def copy(self, root: Path) -> Study:
        """The same study elsewhere, with its cache, to be changed at will."""
        other = Study(root)
        shutil.copytree(self.root, root)
        shutil.copytree(self.side, other.side)
        python = other.side / "bin" / "python"
        python.write_text(python.read_text().replace(str(self.side), str(other.side)))
        return other

    @contextlib.contextmanager
    def repository(self) -> Iterator[Any]:
        """DVC's own view of the folder, read anew, apart from the settings and caches of this machine's user."""
        import dvc.dvcfile
        from dvc.repo import Repo

        here = os.getcwd()
        os.chdir(self.root)
        try:
            with (
                warnings.catch_warnings(),
                mock.patch.dict(os.environ, self.environment()),
                mock.patch.object(dvc.dvcfile, "modify_yaml", fast_lock),
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
        own = {"STAND_IN_PLAN": str(self.plan), "STAND_IN_LOG": str(self.log), "PYTHONDONTWRITEBYTECODE": "1"}
        return {**dvc, **own, "PATH": path, "DVC_TEST": "1"}

    def stages(self) -> dict[str, Any]:
        """All stage instances by name."""
        with self.repository() as repo:
            return {stage.name: stage for stage in repo.index.stages}

    def repro(self, *targets: str) -> list[str]:
        """``dvc repro``; the names of the stages whose command ran, in order."""
        with self.repository() as repo:
            self.plan.write_text(json.dumps(plan(repo.index.stages)))
            self.log.write_text("")
            repo.reproduce(targets=list(targets) or None)
        return self.log.read_text().split()

    def change(self, name: str, edit: Callable[[Any], None]) -> None:
        """Edit the tree of a YAML file in place."""
        tree = read_yaml(self.root / name)
        edit(tree)
        write_yaml(self.root / name, tree)

    def set(self, key: str, value: Any) -> None:
        """Set a dotted key of params.yaml."""
        self.change("params.yaml", lambda tree: set_key(tree, key, value))


def files(stage: Any) -> list[str]:
    """The files and folders that a stage depends on."""
    return [dep.def_path for dep in stage.deps]


def plan(stages: list[Any]) -> dict[str, dict]:
    """What the stand-in of each command reads and writes, by the command without ``python``."""
    wanted, result = {path for stage in stages for path in files(stage)}, {}
    for stage in stages:
        written: dict[str, list[str] | None] = {}
        for out in stage.outs:
            columns = [out.plot[axis] for axis in "xy"] if isinstance(out.plot, dict) and "x" in out.plot else None
            if Path(out.def_path).suffix:
                written[out.def_path] = columns
            elif out.plot:  # a folder of curves
                written[f"{out.def_path}/1.csv"] = columns
            elif out.metric:  # a folder of one file per row
                written[f"{out.def_path}/row.json"] = None
            else:
                below = {path for path in wanted if path.startswith(out.def_path + "/") and Path(path).suffix}
                written |= dict.fromkeys(sorted(below | {f"{out.def_path}/more.txt"}))
        command = stage.cmd.removeprefix("python ")
        result[command] = {"name": stage.name, "deps": files(stage), "files": written}
    return result
