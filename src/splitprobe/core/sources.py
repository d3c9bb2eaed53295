"""Which Python files a script runs, each with a digest of its code.

Followed are imports within the project and the lines ``"module:object"`` of registries. Code counts without remarks,
docstrings and blank lines, so that a better sentence retrains nothing, and without registries, so that a further line
of one changes nothing for those that are there.
"""

import ast
import hashlib
import io
import re
import tokenize
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path("src")
# code that changes no number: reading settings, naming and writing files, the log, looking a name up
PLUMBING = "splitprobe.core."
REGISTERED = re.compile(r"splitprobe[\w.]+:\w+")


@dataclass(frozen=True)
class Module:
    """What a recipe needs to know of a Python file: its digest, the modules it imports, and its registries' lines.

    A registry is a dict of names to ``"module:object"``.
    """

    digest: str
    imports: frozenset[str]
    registries: tuple[Mapping[str, str], ...]


class Sources:
    """The Python files of a repository, each read once."""

    def __init__(self, root: Path) -> None:
        self.root, self._modules, self._files = root, {}, {}

    def digests(self, script: str, names: Set[str]) -> dict[str, str]:
        """The files that a script runs, with their digests: its imports within the project, and theirs.

        Of a registry's lines those count whose names are among ``names``, all of them where none is.
        """
        found, new = set(), {Path("stages") / f"{script}.py"}
        while new:
            found |= new
            new = {file for one in new for file in self._reached(one, names)} - found
        modules = {file: self.module(file) for file in sorted(found)}
        return {file.as_posix(): module.digest for file, module in modules.items() if module.digest}

    def _reached(self, file: Path, names: Set[str]) -> Iterator[Path]:
        """The files that a file leads to, but for PLUMBING."""
        module = self.module(file)
        wanted = set(module.imports)
        for registry in module.registries:
            named = {key: value for key, value in registry.items() if key in names}
            wanted |= set((named or registry).values())
        return (self._file(name) for name in wanted if not name.startswith(PLUMBING))

    def _file(self, module: str) -> Path | None:
        """A module's file below the repository, None where it is none of the project's."""
        if module not in self._files:
            path = SOURCE / Path(*module.split("."))
            files = (path.with_suffix(".py"), path / "__init__.py")
            self._files[module] = next((file for file in files if (self.root / file).is_file()), None)
        return self._files[module]

    def module(self, file: Path) -> Module:
        """A file, read."""
        if file not in self._modules:
            source = (self.root / file).read_text(encoding="utf-8")
            tree = ast.parse(source)
            nodes = list(_at_run_time(tree))
            registries = tuple(filter(None, (_registry(node) for node in nodes if isinstance(node, ast.Dict))))
            self._modules[file] = Module(digest(source, tree), frozenset(self._imports(nodes)), registries)
        return self._modules[file]

    def _imports(self, nodes: list[ast.AST]) -> Iterator[str]:
        """The project's modules that a file imports, at its top or within functions."""
        for node in nodes:
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                inner = [f"{node.module}.{alias.name}" for alias in node.names]
                names = [name if name.startswith("splitprobe.") and self._file(name) else node.module for name in inner]
            else:
                continue
            yield from (name for name in names if name.startswith("splitprobe.") and self._file(name))


def _registry(node: ast.Dict) -> dict[str, str]:
    """Name to module of a dict's ``"module:object"`` values."""
    pairs = zip(node.keys, node.values, strict=True)
    lines = {key.value: value.value for key, value in pairs if _text(key) and _text(value)}
    modules = {key: value.partition(":")[0] for key, value in lines.items() if REGISTERED.fullmatch(value)}
    return modules


def _text(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under ``if TYPE_CHECKING``."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")):
            yield from _at_run_time(child)


def digest(source: str, tree: ast.Module | None = None) -> str:
    """SHA-256 of Python source without docstrings, remarks, blank lines and registries; "" where nothing is left.

    It is the same for every version of Python.
    """
    rows = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            line, column = token.start
            rows[line - 1] = rows[line - 1][:column]
    for node in ast.walk(tree or ast.parse(source)):
        if _is_registry(node):
            rows[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            text = node.body[0]
            if isinstance(text, ast.Expr) and _text(text.value):
                rows[text.lineno - 1 : text.end_lineno] = [""] * (text.end_lineno - text.lineno + 1)
    kept = "\n".join(row.rstrip() for row in rows if row.strip())
    return kept and hashlib.sha256(kept.encode()).hexdigest()


def _is_registry(node: ast.AST) -> bool:
    """Whether a statement gives a name to a dict of which every line is a registry's."""
    value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
    return isinstance(value, ast.Dict) and 0 < len(value.keys) == len(_registry(value))
