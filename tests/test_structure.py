"""The shape of the project: who imports whom, what each stage declares and reads, where things lie."""

from __future__ import annotations

import ast
import copy
import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
import torch
from graph_tools import ROOT, Study, files, get_key, keys, read_yaml, recipes, script, set_key, variables

from splitprobe.cells import Cell, Paths
from splitprobe.datasets import ROLES
from splitprobe.defenses import DEFENSES
from splitprobe.knobs import runs, settings
from splitprobe.models.split import Shape
from splitprobe.params import Params, typed
from splitprobe.registry import lookup
from splitprobe.report.calibration import ESTIMATORS
from splitprobe.target import Blueprint

PACKAGE = ROOT / "src" / "splitprobe"
VARIABLES, PARAMS, PIPELINE = variables(), read_yaml(ROOT / "params.yaml"), read_yaml(ROOT / "dvc.yaml")["stages"]
CELLS = VARIABLES["cells"]
# each group may import itself and what stands above it
GROUPS = (
    {"params", "cells", "artifacts", "runtime", "registry", "recipe", "knobs"},
    {"datasets", "models", "measures", "losses", "augment", "optimizers", "schedule"},
    {"defenses"},
    {"target", "training", "judge", "judge_training"},
    {"attacks", "information", "cost", "probe", "depth", "knowledge", "sweep"},
)
APART = {"report", "engine"}  # one sees results only, the other the graph; nobody imports them
REPORT_MAY_IMPORT = {"numpy", "matplotlib", "PIL"}
TOP_LEVEL = {
    "dvc.yaml", "dvc.lock", "params.yaml", "pyproject.toml", "README.md", "LICENSE",
    "stages", "src", "data", "metrics", "plots", "tests",
}  # fmt: skip


# ---------------------------------------------------------------- imports


def module_name(path: Path) -> str:
    """``target`` or ``models.cnn``; a package's own file is ``models.__init__``."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(), str(path)) for name, path in MODULES.items()}


def runtime_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under ``if TYPE_CHECKING``."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")):
            yield from runtime_nodes(child)


def imported_names(tree: ast.AST) -> set[str]:
    """Dotted names that a file imports, at its top or within functions; ``from a import b`` gives a and a.b."""
    names = set()
    for node in runtime_nodes(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: relative import; this project writes them out"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def ours(names: set[str]) -> set[str]:
    """The modules of this package behind dotted names; a module brings the ``__init__`` of its package along."""
    found = set()
    for name in names:
        parts = name.split(".")
        if parts[0] == "splitprobe" and len(parts) > 1:
            inside = ".".join(parts[1:])
            found |= {inside, f"{inside}.__init__", f"{parts[1]}.__init__"} & MODULES.keys()
    return found


IMPORTS = {name: ours(imported_names(tree)) - {name} for name, tree in TREES.items()}


def room(module: str) -> str:
    """The first part of a module's name: a file of the package or one of its folders."""
    return module.split(".")[0]


def level(module: str) -> int:
    """Position of a module's group; fails for a module that is in none."""
    for i, group in enumerate(GROUPS):
        if room(module) in group:
            return i
    pytest.fail(f"{MODULES[module].relative_to(ROOT)} belongs to no group: add its room to GROUPS in this file")


@pytest.mark.parametrize("module", [name for name in MODULES if name != "__init__"])
def test_imports_go_one_way(module):
    if room(module) in APART:
        wrong = {name for name in IMPORTS[module] if room(name) != room(module) and level(name) > 0}
        assert not wrong, f"{module} imports {sorted(wrong)}; it may import {sorted(GROUPS[0])} only"
        return
    wrong = {name for name in IMPORTS[module] if room(name) in APART or level(name) > level(module)}
    assert not wrong, f"{module} imports {sorted(wrong)}, which stand below it"


MADE_OF = {"attacks.hybrid": {"attacks.generator", "attacks.mle"}}  # one method that begins where another ends


@pytest.mark.parametrize("folder", ["defenses", "attacks"])
def test_methods_never_import_each_other(folder):
    for module in MODULES:
        if room(module) == folder:
            wrong = {n for n in IMPORTS[module] if room(n) == folder} - {f"{folder}.base", f"{folder}.__init__"}
            wrong -= MADE_OF.get(module, set())
            assert not wrong, f"{module} imports {sorted(wrong)}; only {folder}.base may be shared"


def test_no_import_cycles():
    """Imports within functions count too, but for a package's ``__init__``, which every module of it brings along."""
    left = {name: {n for n in found if not n.endswith("__init__")} for name, found in IMPORTS.items()}
    while free := {name for name, found in left.items() if not found & left.keys()}:
        left = {name: found for name, found in left.items() if name not in free}
    assert not left, f"a cycle among {sorted(left)}"


def test_report_imports_little():
    for module in MODULES:
        if room(module) == "report":
            names = {name.split(".")[0] for name in imported_names(TREES[module])} - {"splitprobe", "__future__"}
            wrong = names - REPORT_MAY_IMPORT - sys.stdlib_module_names
            assert not wrong, f"{module} imports {sorted(wrong)}"


def test_building_reports_never_loads_torch():
    """Also not through what it imports: a second and more for every table."""
    scripts = [str(path) for path in sorted((ROOT / "stages").glob("build_*.py"))]
    code = "import runpy, sys; [runpy.run_path(p) for p in sys.argv[1:]]; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *scripts], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "False"


# ---------------------------------------------------------------- what stages declare


@pytest.fixture(scope="module")
def stages(tmp_path_factory) -> dict:
    """DVC's own view of all stage instances, at scale demo."""
    study = Study.create(tmp_path_factory.mktemp("structure") / "study")
    study.set("scale", "demo")
    return study.stages()


INSTANCES = [
    f"{name}@{key}" if key else name
    for name, stage in PIPELINE.items()
    for key in (VARIABLES[stage["foreach"][2:-1]] if "foreach" in stage else [""])
]
COMMANDS = {name: Path(stage.get("do", stage)["cmd"].split()[1]).stem for name, stage in PIPELINE.items()}
# nothing of these is declared by any stage
UNDECLARED = {
    "params": "hands out values that DVC tracks itself",
    "cells": "file names, which dvc.yaml repeats",
    "artifacts": "file formats; a change of content changes the file",
    "runtime": "device, precision and log; the same numbers up to rounding",
    "registry": "looks a name up",
    "*.__init__": "registries: importing a further method changes nothing for the others",
}
# a change of these reaches a stage through prepare's output; not of datasets.base, whose Dataset orders the images
# when they are read
BY_DATA = {name for name in MODULES if room(name) == "datasets"} - {"datasets.base"}
# a change of these reaches a stage that loads a checkpoint through this file: all of them are dependencies of
# train_target, which writes it anew
BY_CHECKPOINT = {
    "models.<model>": "in the checkpoint's digest of sources",
    "models.layers": "in the digest",
    "models.split": "in the digest",
    "defenses.base": "in the digest",
    "defenses.<architecture>": "in the digest",
    "defenses.<defense>": "in the digest",
    "losses": "used in training only: what matters changes the weights",
    "augment": "used in training only",
    "optimizers": "used in training only",
}


def facts(instance: str) -> dict | None:
    """The cell of a stage instance, or the depth sweep or the judge, which have an unprotected network."""
    name, _, key = instance.partition("@")
    if name == "sweep":
        return VARIABLES["swept"][key]
    if name == "train_judge":
        return {"model": PARAMS["judge"]["model"], "architecture": "unprotected", "defense": "unprotected"}
    depth = VARIABLES["depths"].get(key)
    return CELLS.get(key) if depth is None else {**depth, "architecture": "unprotected", "defense": "unprotected"}


def named(module: str, cell: dict) -> str:
    """A module of BY_CHECKPOINT for a cell."""
    return re.sub("<(.*)>", lambda found: cell[found[1]], module)


def registered(module: str, instance: str) -> set[str]:
    """The modules that a stage instance looks up in a registry: its cell's defense and model, all attacks."""
    lines = {
        key.value: value.value.split(":")[0]
        for node in ast.walk(TREES[module])
        if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant) and isinstance(value, ast.Constant) and ":" in str(value.value)
    }
    cell = facts(instance)
    if room(module) in ("models", "defenses") and cell:
        lines = {name: lines.get(name) for name in (cell["model"], cell["architecture"], cell["defense"])}
    return ours({target for target in lines.values() if target})


def closure(instance: str) -> set[str]:
    """All modules of this package that a stage instance may run."""
    tree = ast.parse((ROOT / "stages" / f"{COMMANDS[instance.split('@')[0]]}.py").read_text())
    found, new = set(), ours(imported_names(tree))
    while new:
        found |= new
        looked_up = [registered(module, instance) for module in new if module.endswith("__init__")]
        new = set().union(*looked_up, *(IMPORTS[module] for module in new)) - found
    return found


def covered(module: str, paths: list[str]) -> bool:
    """Whether a module's file or a folder around it is among the declared dependencies."""
    file = f"src/splitprobe/{module.replace('.', '/')}.py"
    return any(file == path or file.startswith(f"{path}/") for path in paths)


def everything(kind: Callable, stage: object, stages: dict) -> list[str]:
    """The files or params that a stage declares, itself or through the recipes it depends on."""
    return [name for one in (stage, *recipes(stage, stages)) for name in kind(one)]


@pytest.mark.parametrize("instance", INSTANCES)
def test_stages_declare_the_code_they_run(stages, instance):
    stage, name = stages[instance], script(stages[instance])
    declared, exempt = everything(files, stage, stages), set(UNDECLARED)
    assert f"stages/{name}.py" in declared and f"stages/{name}.py" in stage.cmd
    if any("/prepared/" in path for path in declared):
        exempt |= BY_DATA
    if any("/targets/" in path for path in declared) and name != "train_target":
        exempt |= {named(module, facts(instance)) for module in BY_CHECKPOINT}
    missing = {
        module
        for module in closure(instance)
        if not {module, room(module), f"*.{module.split('.')[-1]}"} & exempt and not covered(module, declared)
    }
    assert not missing, f"{instance} runs {sorted(missing)} without depending on them in dvc.yaml"


def test_what_the_checkpoint_carries_makes_train_target_run(stages):
    for cell, kind in CELLS.items():
        declared = everything(files, stages[f"train_target@{cell}"], stages)
        for name in BY_CHECKPOINT:
            module = named(name, kind)
            assert covered(module, declared), f"train_target must depend on {module}"


@pytest.mark.parametrize("defense", DEFENSES)
def test_the_checkpoint_digests_what_it_carries(make_target, monkeypatch, defense):
    target, read, original = make_target(defense), set(), Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.add(module_name(path)) or original(path))
    target.blueprint.source_digest()
    names = {name for name, reason in BY_CHECKPOINT.items() if "digest" in reason}
    kind = {"model": "cnn", "architecture": "unprotected", "defense": defense}
    assert {named(name, kind) for name in names} <= read


# ---------------------------------------------------------------- which params stages read


class Recorder(Params):
    """Notes every key that is read, and with which dataclass."""

    def __init__(self, tree: dict) -> None:
        self.classes: dict[str, type] = {}
        super().__init__(tree)
        self.read.clear()

    def raw(self, key):
        self.read.add(key)
        return super().raw(key)

    def section(self, key, cls):
        self.classes[key] = cls
        return super().section(key, cls)

    def seeded(self, seed, key):
        other = super().seeded(seed, key)
        other.repeated = True  # its seed is the cell's, no longer that of the data
        return other

    def __getattribute__(self, name):
        if name == "seed" and "repeated" not in self.__dict__:
            self.read.add(name)
        return super().__getattribute__(name)


SMALL = {  # as little work as the ranges allow
    "runtime": {"device": "cpu", "precision": "float32", "channels_last": True, "threads": 1},
    "training.batch_size": 16,
    "defense.dpsgd.batch_size": 16,
    "attack.generator.batch_size": 16,
    "attack.mle.tuned.lr": [0.1],
    "attack.mle.tuned.tv": [0.0],
    "cost": {"batch": 1, "warmup": 1, "runs": 10},
    "calibration.images": 2,
    "calibration.rho": [0.5],
    "calibration.widths": [4.0],
}
SMALL_SCALE = {"width": 8, "epochs": 1, "least_steps": 0, "steps": 2, "images": 4, "trial_images": 2, "trial_steps": 2}
SMALL_SCALE |= {"blocks": 1}
FEWER = 16  # times fewer images of each role, in the real proportions, which crops of a photograph need


def attacked() -> set[str]:
    """Cells whose results are made: those that are timed, and one for each table and figure."""
    return {*VARIABLES["timed"], *(listed[0] for listed in PARAMS["rows"].values())} & CELLS.keys()


DEPTH = "depth_cnn"  # its sweep is run; the other differs in the network alone
SWEPT = {"gaussian_noise", "bido_cka", "siftfunnel"}  # one that adopts weights, one of a variant, one tuned by `loss`


def trained() -> set[str]:
    """Cells that are trained: the attacked ones, one for each defense, and whose weights they adopt."""
    kinds = {cell["defense"]: name for name, cell in reversed(CELLS.items())}
    found = attacked() | set(kinds.values())
    while more := {CELLS[name]["start"].removeprefix("targets/") for name in found} & CELLS.keys() - found:
        found |= more
    return found


def sample() -> list[str]:
    """Stage instances that together run every script, every defense's training, and every table and figure."""
    wanted = {"train_target": trained(), "measure_depth": {DEPTH}, "sweep": SWEPT}
    wanted |= {name: set(VARIABLES["datasets"]) for name in ("prepare", "train_judge")}
    pairs = [(instance, *instance.partition("@")[::2]) for instance in INSTANCES]
    return [
        instance
        for instance, name, key in pairs
        if name.startswith(("build", "recipe", "calibrate")) or key in wanted.get(name, attacked())
    ]


def small() -> dict:
    """params.yaml at scale demo with little data and work."""
    tree = copy.deepcopy(PARAMS)
    tree["scale"], scale = "demo", tree["scales"]["demo"]
    for key in leaves(scale):
        name = key.split(".")[-1]
        if name in SMALL_SCALE:
            set_key(scale, key, SMALL_SCALE[name])
        elif name in ROLES or name.endswith("_images"):
            set_key(scale, key, get_key(scale, key) // FEWER)
    for key, value in SMALL.items():
        set_key(tree, key, value)
    scale["seeds"]["sweeps"] = scale["seeds"]["cnn"]
    for knobs in tree["sweeps"].values():
        knobs[0]["values"], knobs[1:] = knobs[0]["values"][:1], []
    depths = {f"{DEPTH}/cut{cut}" for cut in range(1, VARIABLES["depths"][DEPTH]["cuts"] + 1)}
    made = attacked() | set(VARIABLES["datasets"]) | depths | set(PARAMS["rows"]["report"]) | set(ESTIMATORS)
    tree["rows"] = {name: [row for row in rows if row in made] for name, rows in tree["rows"].items()}
    return tree


@pytest.fixture(scope="module")
def recorded(stages, tmp_path_factory) -> dict[str, Recorder | Exception]:
    """What each stage script read when it was really run, on tiny data, with the command line of dvc.yaml."""
    found: dict[str, Recorder | Exception] = {}
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("recorded"))
        for name in ("dvc.yaml", "src", "stages"):  # what a recipe reads
            Path(name).symlink_to(ROOT / name)
        for instance in sample():
            params = Recorder(small())
            patch.setattr(Params, "load", lambda *_, params=params: params)
            _, script, *arguments = stages[instance].cmd.split()
            try:
                runpy.run_path(str(ROOT / script))["main"](arguments)
                found[instance] = params
            except Exception as error:
                found[instance] = error
    torch.set_num_threads(threads)
    return found


def values(sections: Iterable[str]) -> list[str]:
    """The dotted names of all values in some sections of params.yaml."""
    found = {leaf for key in sections for leaf in leaves({key: get_key(PARAMS, key)})}
    return sorted(found)


@pytest.mark.parametrize("instance", sample())
def test_stages_declare_the_params_they_read(stages, recorded, instance):
    params, stage = recorded[instance], stages[instance]
    if isinstance(params, Exception):
        raise params
    if "params.yaml" in files(stage):  # the report shows it
        return
    assert values(everything(keys, stage, stages)) == values(params.read)


def all_of(recorded: dict[str, Recorder | Exception]) -> list[Recorder]:
    """The records of all stages; fails when one did not run."""
    failed = [instance for instance, params in recorded.items() if isinstance(params, Exception)]
    assert not failed, f"not run: {failed}"
    return list(recorded.values())


def test_every_value_is_read(recorded):
    """A key that no stage reads would be a knob without a wire."""
    built = Recorder(copy.deepcopy(PARAMS))
    for name, cell in CELLS.items():  # variants and ablations, without training each
        Blueprint.from_params(typed(Cell, {"name": name, **cell}, name), Shape(3, 32, 4, 8), built)
    for row, cell in VARIABLES["swept"].items():  # and the other sweeps
        settings(typed(Cell, {"name": f"{cell['group']}/{row}", **cell}, row), built)
    read = {"scale"}.union(built.read, *(params.read for params in all_of(recorded)))
    tree = {**PARAMS, "scales": {"demo": PARAMS["scales"]["demo"]}}
    unread = {key for key in leaves(tree) if not any(key == r or key.startswith(f"{r}.") for r in read)}
    assert not unread, f"no stage reads {sorted(unread)}"


def leaves(tree: dict, above: str = "") -> Iterator[str]:
    """Dotted names of all values."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}"


# ---------------------------------------------------------------- params.yaml and the cells


SCALES = list(PARAMS["scales"])


@pytest.mark.parametrize("scale", SCALES)
def test_every_section_is_well_typed_at_every_scale(recorded, scale):
    classes = {key: cls for params in all_of(recorded) for key, cls in params.classes.items()}
    assert {"training", "attack.mle", "data", "cost", "loss", "scales.demo.target.cnn"} <= classes.keys()
    params = Params({**Params.load(ROOT / "params.yaml").tree, "scale": scale})
    for key, cls in classes.items():
        params.section(key.replace("scales.demo.", f"scales.{scale}."), cls)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("row", VARIABLES["swept"])
def test_a_sweep_is_a_cell_whose_settings_may_be_varied(row, scale):
    """The stage takes the cell from dvc.yaml and the values from params.yaml; what it would refuse is not there."""
    assert VARIABLES["swept"][row] == CELLS[f"cnn/{row}"], "an alias of the cell's own line"
    assert f"cnn/{row}" in PARAMS["rows"]["tradeoff"] and f"cnn/{row}" in PARAMS["rows"]["leaderboard"]
    cell = typed(Cell, {"name": f"cnn/{row}", **CELLS[f"cnn/{row}"]}, row)
    params = Params({**Params.load(ROOT / "params.yaml").tree, "scale": scale})
    found = settings(cell, params)
    assert len(found) == sum(len(knob["values"]) for knob in PARAMS["sweeps"][row])
    for _, _, changed in found:
        Blueprint.from_params(cell, Shape(3, 32, 4, 8), changed)
    assert len(runs(cell, params, Paths(scale))) == len(found) * len(PARAMS["scales"][scale]["seeds"]["sweeps"])


def test_every_sweep_of_params_is_run():
    assert PARAMS["sweeps"].keys() == VARIABLES["swept"].keys()


def test_scales_hold_the_same_keys():
    for name in SCALES:
        assert set(leaves(PARAMS["scales"][name])) == set(leaves(PARAMS["scales"]["demo"])), name


@pytest.mark.parametrize("name", DEFENSES)
def test_a_defense_has_file_section_and_cell(name):
    assert DEFENSES[name].startswith(f"splitprobe.defenses.{name}:"), "a defense's file bears its name"
    assert (PACKAGE / "defenses" / f"{name}.py").is_file()
    lookup(DEFENSES, name, "defense").from_params(name, Params.load(ROOT / "params.yaml"))
    assert any(cell["defense"] == name for cell in CELLS.values()), f"no cell of dvc.yaml uses {name}"


def test_defenses_are_all_registered():
    sections, present = set(PARAMS["defense"]), {path.stem for path in PACKAGE.glob("defenses/*.py")}
    assert sections == set(DEFENSES) == present - {"__init__", "base"}


@pytest.mark.parametrize("name", CELLS)
def test_cells_are_sound(name):
    cell = typed(Cell, {"name": name, **CELLS[name]}, name)
    assert re.fullmatch(r"[a-z0-9_-]+/[a-z0-9_-]+", name), "<table group>/<row>; DVC stumbles over @ and ."
    assert cell.dataset in VARIABLES["datasets"]
    get_key(PARAMS, cell.tune)
    if not cell.reuses_weights:
        assert cell.start == f"prepared/{cell.dataset}/summary.json"
        return
    source = CELLS[cell.start.removeprefix("targets/")]
    assert [source[k] for k in ("dataset", "model", "cut")] == [cell.dataset, cell.model, cell.cut]


# the folders that its own stage depends on, as those of the other tables stand under `tables`
FOLDERS = [dep.partition("${scale}/")[2] for dep in PIPELINE["build_leaderboard"]["deps"] if "/results/" in dep]
LEADERBOARD = {"reads": FOLDERS[0], "also": FOLDERS[-1]}


def test_rows_are_built():
    """Each table and figure has its rows, and all that they need is made."""
    rows, known = PARAMS["rows"], VARIABLES
    items = {**known["tables"], **known["figures"], "leaderboard": LEADERBOARD}
    built = items.keys()
    assert rows.keys() == built | {"report"}
    assert set(rows["report"]) == built, "the report shows all tables and figures"
    cut = {f"{group}/cut{cut}" for group, depth in known["depths"].items() for cut in range(1, depth["cuts"] + 1)}
    for name in built:
        if name == "calibration":  # its rows are no cells
            assert set(rows[name]) <= ESTIMATORS.keys()
            continue
        for row in rows[name]:
            path = f"prepared/{row}" if row in known["datasets"] else f"results/{row}"
            assert row in CELLS.keys() | cut or row in known["datasets"], f"rows.{name}: dvc.yaml has no {row}"
            read = (items[name]["reads"], items[name]["also"])
            assert path.startswith(read), f"rows.{name}: {row} is not below {read}, which the stage depends on"
    assert set(rows["latency"]) <= set(known["timed"]), "a cell of the latency table must be timed"
    assert set(rows["knowledge"]) <= set(known["knowing"]), "a cell of the figure must be measured"


def test_knowing_cells_are_cells():
    """What they are fitted on is that of the cell, and another data set."""
    for name, item in VARIABLES["knowing"].items():
        assert item == {"dataset": CELLS[name]["dataset"]}
        assert PARAMS["knowledge"]["other"] in set(VARIABLES["datasets"]) - {item["dataset"]}


def test_params_are_explained():
    """Every number outside `scales` has a remark on its line or on a section around it."""
    above: list[tuple[int, str, bool]] = []
    for number, line in enumerate((ROOT / "params.yaml").read_text().splitlines(), 1):
        assert len(line) <= 120, f"params.yaml:{number} has more than 120 columns"
        found = re.match(r"( *)([\w.]+):\s*([^#]*?)\s*(#.*)?$", line)
        if not found:
            continue
        indent, key, value, remark = len(found[1]), found[2], found[3], bool(found[4])
        above = [entry for entry in above if entry[0] < indent]
        explained = remark or any(entry[2] for entry in above)
        inside_scales = any(entry[1] == "scales" for entry in above)
        if re.match(r"[\[+-]?[\d.]", value) and not inside_scales:
            assert explained, f"params.yaml:{number}: {key} needs a remark: unit, range or reason"
        above.append((indent, key, remark))


# ---------------------------------------------------------------- files


def tracked() -> list[Path]:
    """Files that git tracks or would track; skips outside a repository of git's."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not in a git repository")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_top_level_is_as_agreed():
    names = {path.relative_to(ROOT).parts[0] for path in tracked()}
    assert {name for name in names if not name.startswith(".")} <= TOP_LEVEL


def test_a_stage_is_a_short_script():
    scripts = {path.stem: path for path in (ROOT / "stages").glob("*.py") if path.stem != "own_sources"}
    assert scripts.keys() == set(COMMANDS.values())
    for name, path in scripts.items():
        assert len(path.read_text().splitlines()) <= 40, f"{name}: the work belongs in src"


def test_every_stage_runs_its_own_sources():
    for name in set(COMMANDS.values()):
        text = (ROOT / "stages" / f"{name}.py").read_text()
        assert "import own_sources" in text.partition("from splitprobe")[0], f"{name}: own_sources comes first"


def test_no_file_knows_this_machine():
    """Nothing that only works in somebody's own folders; tests may use a temporary one."""
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        names = ("work", "home", "root", "Users") + (() if "tests" in path.relative_to(ROOT).parts else ("tmp",))
        found = re.search(rf"(?<![\w.])/({'|'.join(names)})/\S*", text)
        assert not found, f"{path.relative_to(ROOT)} mentions {found[0]}"
