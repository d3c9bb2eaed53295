"""Who imports whom: one way, as the package's docstring says."""

import ast
import subprocess
import sys
from collections.abc import Iterator

import pytest
from graph_tools import ROOT

PACKAGE = ROOT / "src" / "splitprobe"
# each group may import itself and what stands above it
GROUPS = (
    {"core"}, {"datasets", "models", "learning"}, {"defenses"}, {"targets"}, {"attacks", "information"}, {"probes"},
)  # fmt: skip
APART = {"report", "engine"}  # see nothing but core; nobody imports them, but for the commands of engine.cli
ALLOWED = {("engine.cli", "report"), ("engine.cli", "probes")}
REPORT_MAY_IMPORT = {"numpy", "pandas", "matplotlib", "PIL", "markdown_it", "splitprobe", "__future__"}
MADE_OF = {  # methods that begin where others end
    "attacks.hybrid": {"attacks.generator", "attacks.mle"},
    "attacks.prior": {"attacks.hybrid", "attacks.mle"},
    "attacks.optimized": {"attacks.generator"},
    "attacks.query_free": {"attacks.generator"},
}
FILES = {".".join(p.relative_to(PACKAGE).with_suffix("").parts): p for p in sorted(PACKAGE.rglob("*.py"))}
MODULES = {name: ast.parse(path.read_text()) for name, path in FILES.items() if name != "__init__"}


def imported(node: ast.AST) -> Iterator[str]:
    """Dotted names that a file imports, at its top or within functions, but for the checker of types."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert not child.level, f"line {child.lineno}: relative import; this project writes them out"
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        elif not (isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")):
            yield from imported(child)


def ours(module: str) -> set[str]:
    """The modules of this package that a module imports."""
    names = {name.removeprefix("splitprobe.") for name in imported(MODULES[module]) if name.startswith("splitprobe.")}
    return {name if name in MODULES else name.rpartition(".")[0] for name in names} & MODULES.keys()


def level(room: str) -> int:
    """Position of a room's group; fails for a room that is in none."""
    return next(i for i, group in enumerate(GROUPS) if room in group)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module):
    room = module.split(".")[0]
    for other in {name.split(".")[0] for name in ours(module)} - {room}:
        if (module, other) not in ALLOWED:
            allowed = other == "core" if room in APART else other not in APART and level(other) <= level(room)
            assert allowed, f"{module} imports {other}"
    if room == "report":
        wrong = {name.split(".")[0] for name in imported(MODULES[module])} - REPORT_MAY_IMPORT - sys.stdlib_module_names
        assert not wrong, f"{module} imports {wrong}"


@pytest.mark.parametrize("room", ["defenses", "attacks"])
def test_methods_never_import_each_other(room):
    for module in (name for name in MODULES if name.startswith(f"{room}.")):
        wrong = {name for name in ours(module) if name.startswith(f"{room}.")} - {f"{room}.base"}
        assert not wrong - MADE_OF.get(module, set()), f"{module} imports {wrong}; only {room}.base may be shared"


def test_no_import_cycles():
    left = {name: ours(name) for name in MODULES if not name.endswith("__init__")}
    while free := {name for name, needed in left.items() if not needed & left.keys()}:
        left = {name: needed for name, needed in left.items() if name not in free}
    assert not left, f"a cycle among {sorted(left)}"


def test_building_reports_never_loads_torch():
    scripts = [str(path) for path in sorted((ROOT / "stages").glob("build_*.py"))]
    code = "import runpy, sys; [runpy.run_path(p) for p in sys.argv[1:]]; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *scripts], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stderr
