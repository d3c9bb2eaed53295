"""A script's recipe: the code and settings that all cells share, as one small file on which the cells' stages depend.

DVC writes every dependency of every stage into dvc.lock, and reads and writes this file anew for each stage that runs;
naming twenty shared files and sections once, not once a cell, is what keeps a study of 150 stages fast. Code counts
without remarks, docstrings and blank lines, so that a better sentence retrains nothing.
"""

import ast
import hashlib
import io
import json
import tokenize
from pathlib import Path

from ruamel.yaml import YAML

from splitprobe.artifacts import atomic
from splitprobe.cells import Paths
from splitprobe.params import Params, ParamsError


def write_recipe(script: str, params: Params, paths: Paths) -> Path:
    """Write ``data/<scale>/recipes/<script>.txt`` from what the stage ``recipe_<script>`` of dvc.yaml declares.

    One line per file (its digest) and per section of params.yaml (its values); raises ParamsError for a script without
    such a stage.
    """
    stages = YAML(typ="safe").load(Path("dvc.yaml"))["stages"]
    stage = stages.get(f"recipe_{script}")
    if stage is None:
        known = [name.removeprefix("recipe_") for name in stages if name.startswith("recipe_")]
        raise ParamsError(f"{script}: dvc.yaml has no stage recipe_{script}; known scripts: {', '.join(known)}")
    lines = [f"{name} {digest(file.read_text(encoding='utf-8'))}" for name, file in _files(stage["deps"])]
    for key in stage["params"]:
        key = key.replace("${scale}", params.scale)
        params.read.add(key)
        lines.append(f"{key} = {json.dumps(params.raw(key), sort_keys=True)}")
    with atomic(paths.recipe(script)) as stream:
        stream.write("\n".join(lines) + "\n")
    return paths.recipe(script)


def _files(deps: list[str]) -> list[tuple[str, Path]]:
    """(name, path) of all Python files that some dependencies name, those of folders in order."""
    found = [p for dep in map(Path, deps) for p in (sorted(dep.rglob("*.py")) if dep.is_dir() else [dep])]
    return [(path.as_posix(), path) for path in found]


def digest(source: str) -> str:
    """SHA-256 of Python source without docstrings, remarks and blank lines; the same for every version of Python."""
    rows = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            line, column = token.start
            rows[line - 1] = rows[line - 1][:column]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            text = node.body[0]
            if (
                isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
                and isinstance(text.value.value, str)
            ):
                rows[text.lineno - 1 : text.end_lineno] = [""] * (text.end_lineno - text.lineno + 1)
    kept = "\n".join(row.rstrip() for row in rows if row.strip())
    return hashlib.sha256(kept.encode()).hexdigest()
