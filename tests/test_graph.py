"""What a change runs again, decided by DVC itself on the project's own graph (see graph_tools)."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from graph_tools import CELLS, ROOT, Study, files, get_key, read_yaml, set_key, write_yaml
from ruamel.yaml import YAML

from splitprobe.core.recipe import Study as Recipes
from splitprobe.core.sources import Sources

SCALE, PACKAGE = "demo", "src/splitprobe"
pytestmark = pytest.mark.slow  # DVC on copies of the definition

EACH = ("train_target", "train_generator", "run_mle", "train_mine")  # the stages of every cell, in order


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    """Built once, at scale demo; a test that changes it works on a copy."""
    study = Study.create(tmp_path_factory.mktemp("graph") / "study")
    assert sorted(study.repro()) == sorted(study.stages()), "the first `dvc repro` runs every stage once"
    return study


@pytest.fixture
def changing(study: Study, tmp_path: Path) -> Study:
    """A copy that a test may change and run."""
    return study.copy(tmp_path / "study")


def work(stages: Iterable[str]) -> set[str]:
    """Without the recipes, which take no time, and what is built of whole folders of results."""
    return {name for name in stages if not name.startswith(("build_", "write_", "collect_"))}


def recipes(root: Path, sources: Sources | None = None) -> dict[str, dict]:
    """All recipes of a definition, by instance; ``sources`` are those of files that have been read already."""
    known = Recipes(root)
    known.sources = sources or known.sources
    return {f"{script}@{key}".removesuffix("@all"): known.recipe(script, key) for script, key in known.instances()}


def differing(before: dict[str, dict], after: dict[str, dict]) -> set[str]:
    """The instances whose recipes are not the same."""
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def command(study: Study, *arguments: str) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", *arguments],
        cwd=study.root, env={**os.environ, **study.environment()}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---------------------------------------------------------------- the graph


def test_second_run_does_nothing(study):
    assert study.repro() == []


def test_instance_names_are_readable_and_have_a_recipe(study):
    stages, made = study.stages(), recipes(study.root)
    assert {"train_mine@cnn/siftfunnel", "run_mle@budget/gaussian_noise", "build_table@table2"} <= set(stages)
    assert stages.keys() == made.keys() | {"write_recipes"}, "over and reads in cells.yaml name the stages of dvc.yaml"
    for name, stage in stages.items():
        if name != "write_recipes":
            script, _, key = name.partition("@")
            assert f"data/{SCALE}/recipes/{script}/{key or 'all'}.json" in files(stage)
            assert stage.cmd.split() == ["python", f"stages/{script}.py", *([key] if key else [])]


def test_the_lock_knows_no_stage_that_is_gone():
    """DVC never takes one out, and reads and writes the whole file anew for each stage that runs."""
    known = set(recipes(ROOT)) | {"write_recipes"}
    assert set(read_yaml(ROOT / "dvc.lock")["stages"]) <= known


def test_slow_stages_can_be_restored(study):
    """A plain output with `cache: false` would silently keep a stage out of DVC's run cache."""
    for name, stage in study.stages().items():
        for out in stage.outs if work([name]) else ():
            assert out.use_cache or out.plot, f"{name}: {out.def_path} must be cached or a plot"
            assert out.def_path.startswith(("data/", "plots/")), f"{name}: {out.def_path}"


def test_git_sees_reports_and_no_data(study):
    listing = ["git", "ls-files", "--others", "--cached", "--exclude-standard"]
    seen = subprocess.run(listing, cwd=study.root, capture_output=True, text=True, check=True).stdout.split()
    raw = [path for path in seen if path.startswith("data/")]
    assert raw[0] == "data/raw/README.md" and all(path.endswith("/.gitkeep") for path in raw[1:])
    assert "dvc.lock" in seen
    for stage in study.stages().values():
        for out in stage.outs:
            if not out.use_cache:
                assert any(path.startswith(out.def_path) for path in seen), f"git ignores {out.def_path}"
    assert [path for path in seen if path.endswith(".gitignore")] == [".dvc/.gitignore", ".gitignore"]


def test_metrics_and_plots_are_shown(study):
    lines = command(study, "dvc", "metrics", "show").splitlines()
    for table in read_yaml(study.root / CELLS)["tables"]:
        assert sum(line.split()[0] == f"metrics/{SCALE}/{table}/row.json" for line in lines if line) == 1, table
    shown = json.loads(command(study, "dvc", "plots", "show", "--json"))
    assert not shown.get("errors")
    kinds = {path: {plot["type"] for plot in plots} for path, plots in shown["data"].items()}
    outs = [out.def_path for stage in study.stages().values() for out in stage.outs if out.plot]
    declared = {path if Path(path).suffix else f"{path}/1.csv" for path in outs}
    assert kinds == {path: {"image" if path.endswith(".png") else "vega"} for path in declared}


# ---------------------------------------------------------------- what a change runs


def cell_stages(*cells: str) -> set[str]:
    """The instances of all stages of some cells."""
    return {f"{script}@{cell}" for script in EACH for cell in cells}


def test_one_value_runs_what_uses_it(changing):
    """`loss.lambda_dcor` is SiftFunnel's, but not of its ablation without it, nor of cells that borrow its networks."""
    changing.set("loss.lambda_dcor", 0.123)
    ran = changing.repro()
    assert work(ran) == cell_stages("cnn/siftfunnel")
    built = {name.partition("@")[2] for name in ran if name.startswith("build_table")}
    assert "table2" in built and not built & {"table1", "table3", "table4"}


FOO = """
from dataclasses import dataclass
from splitprobe.core.params import bounded
from splitprobe.defenses.base import Defense

@dataclass(frozen=True)
class Settings:
    strength: float = bounded(0.0, 2.0)

class F(Defense):
    Settings = Settings
"""


def test_adding_and_removing_a_defense(changing):
    """A file, a section, a registry line (whose edit runs nothing) and a cell; rows are patterns."""
    before = {name: (changing.root / name).read_text() for name in (CELLS, "params.yaml")}
    cell = {**read_yaml(changing.root / CELLS)["cells"]["cnn/bido"], "defense": "foo"}
    registry = changing.root / PACKAGE / "defenses/__init__.py"
    registry.write_text(
        registry.read_text().replace("DEFENSES = {", 'DEFENSES = {\n"foo": "splitprobe.defenses.foo:F",')
    )
    (changing.root / PACKAGE / "defenses/foo.py").write_text(FOO)
    changing.change(CELLS, lambda tree: tree["cells"].update({"cnn/foo": cell}))
    changing.change("params.yaml", lambda tree: tree["defense"].update(foo={"strength": 1.0}))
    ran = changing.repro()
    assert work(ran) == cell_stages("cnn/foo")
    assert {"build_table@table2", "build_figure@figure4", "build_table@leaderboard"} <= set(ran)
    recipe = json.loads((changing.root / f"data/{SCALE}/recipes/build_table/table2.json").read_text())
    assert "cnn/foo" in recipe["params"]["rows"]["table2"]
    for name, text in before.items():
        (changing.root / name).write_text(text)
    assert work(changing.repro()) == set(), "removing a defense must run no training and no attack"
    assert changing.repro() == []


def everything(root: Path, scale: str) -> dict[str, bytes]:
    """All results of a scale."""
    folders = (root / kind / scale for kind in ("data", "metrics", "plots"))
    return {str(p.relative_to(root)): p.read_bytes() for folder in folders for p in folder.rglob("*") if p.is_file()}


def test_changing_the_scale_and_back_repeats_nothing(changing):
    wanted = ["run_mle@cnn/gaussian_noise", "measure_cost@cnn/unprotected"]
    before = everything(changing.root, SCALE)
    changing.set("scale", "small")
    assert {*wanted, "train_target@cnn/unprotected", "prepare@objects"} <= set(changing.repro(*wanted))
    assert everything(changing.root, SCALE) == before, "the other scale's results must stay where they are"
    small = everything(changing.root, "small")
    changing.set("scale", SCALE)
    assert changing.repro(*wanted) == [], "the first scale's results must come from DVC's cache"
    assert everything(changing.root, SCALE) == before and everything(changing.root, "small") == small


def scalars(tree, above=()):
    """Of a params file, as ruamel reads it for an update: path, value and line of every value."""
    for key, value in tree.items():
        path = (*above, key)
        if isinstance(value, dict):
            yield from scalars(value, path)
        elif not isinstance(value, list) and not any("." in part for part in path):  # -S takes these for several
            yield path, value, tree.lc.data[key][0]


def another(value):
    """Another value of the same kind, as -S takes it."""
    if isinstance(value, bool):
        return "false" if value else "true"
    if isinstance(value, int | float):
        return str(value + 1)
    return "other" if isinstance(value, str) else "0.125"


def overridden(path: Path, *overrides: str) -> tuple[list[str], list[str]]:
    """The lines of params.yaml before and after `dvc exp run -S` has written it."""
    from dvc.utils.hydra import apply_overrides

    shutil.copy(ROOT / "params.yaml", path)
    before = path.read_text().splitlines()
    apply_overrides(path, list(overrides))
    return before, path.read_text().splitlines()


@pytest.mark.parametrize(
    "override", ["loss.lambda_dcor=2.0", "scale=small", "training.draws=4", "training.amsgrad=false"]
)
def test_an_override_on_the_command_line_changes_one_line(tmp_path, override):
    """`dvc exp run -S` writes params.yaml anew: remarks and layout must stay."""
    before, after = overridden(tmp_path / "params.yaml", override)
    key, value = override.split("=")
    assert str(get_key(read_yaml(tmp_path / "params.yaml"), key)).lower() == value
    assert len(before) == len(after) and sum(a != b for a, b in zip(before, after, strict=True)) == 1


def test_no_override_changes_the_line_of_another_key(tmp_path):
    """Every value at once: each changes its own line, and no other line changes."""
    tree = YAML().load(ROOT / "params.yaml")
    lines = (ROOT / "params.yaml").read_text().splitlines()
    found = [(path, value, line) for path, value, line in scalars(tree) if not lines[line].endswith(">-")]
    assert len(found) > 350
    overrides = [f"{'.'.join(path)}={another(value)}" for path, value, _ in found]
    before, after = overridden(tmp_path / "params.yaml", *overrides)
    assert len(before) == len(after)
    assert {i for i, pair in enumerate(zip(before, after, strict=True)) if len(set(pair)) > 1} == {f[2] for f in found}


@pytest.mark.parametrize(
    ("override", "added"),
    [("+training.more=1", ["  more: 1"]), ("+defens.vibb.more=1", ["defens:", "  vibb:", "    more: 1"])],
)
def test_a_key_more_adds_its_lines_alone(tmp_path, override, added):
    before, after = overridden(tmp_path / "params.yaml", override)
    assert [line for line in after if line in added] == added
    assert [line for line in after if line not in added] == before


# ---------------------------------------------------------------- what reaches whom, by the recipes


@pytest.fixture(scope="module")
def definition(tmp_path_factory) -> Path:
    """A copy of what recipes are made of, with all cells."""
    root = tmp_path_factory.mktemp("recipes")
    for name in ("src", "stages"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "params.yaml", root)
    tree = read_yaml(root / "params.yaml")  # groups that the demo leaves out count too
    tree["scales"]["repeats"] = dict.fromkeys(tree["scales"]["repeats"], 1)
    write_yaml(root / "params.yaml", tree)
    return root


@pytest.fixture(scope="module")
def sources(definition) -> Sources:
    return Sources(definition)


@pytest.fixture(scope="module")
def before(definition, sources) -> dict[str, dict]:
    return recipes(definition, sources)


def of_cells(made: dict[str, dict], chosen: Callable[[dict], bool], scripts: Iterable[str] = ("train_target",)) -> set:
    """The instances of some scripts whose cells fulfil a condition."""
    return {
        name for name, recipe in made.items()
        if recipe["cell"] and name.partition("@")[0] in scripts and chosen(recipe["cell"])
    }  # fmt: skip


ATTACKS = ("train_generator", "run_mle", "sweep", "measure_knowledge")
TRAINED = ("train_target", "sweep")
SETTINGS = {  # another value, scripts, cells; and further instances
    "defense.gaussian_noise.sigma": (2.0, TRAINED, lambda c: c["defense"] == "gaussian_noise", ()),
    "variants.bido_cka.defense.bido.lambda_x": (2.0, TRAINED, lambda c: c["variant"] == "bido_cka", ()),
    "defense.bido.lambda_x": (
        3.0, TRAINED, lambda c: c["defense"] == "bido" and c["variant"] in ("none", "bido_unit"), (),
    ),
    "ablation.no_dcor.loss.lambda_dcor": (0.5, TRAINED, lambda c: c["ablation"] == "no_dcor", ()),
    "scales.target.cnn.epochs.demo": (9, TRAINED, lambda c: c["model"] == "cnn", ()),
    "scales.model.resnet18.width.demo": (16, TRAINED, lambda c: c["model"] == "resnet18", ()),
    "attack.generator.holdout": (0.2, ("train_generator", "sweep", "measure_knowledge"), lambda c: True, ()),
    "scales.mle.steps.demo": (70, ("run_mle", "sweep"), lambda c: True, ()),
    "attack.mle.paper.momentum": (0.5, ("run_mle", "sweep"), lambda c: True, ()),
    "information.levels": (128, ("train_mine",), lambda c: True, ("calibrate_information",)),
    "cost.runs": (300, ("measure_cost",), lambda c: True, ()),
    "calibration.side": (4, (), lambda c: False, ("calibrate_information",)),
    "criterion.resamples": (3000, (), lambda c: False, ("build_table@criterion", "build_figure@criterion")),
    "leaderboard.rank_at": (5.0, (), lambda c: False, ("build_table@leaderboard",)),
    "rows.table2": ("cnn/unprotected", (), lambda c: False, ("build_table@table2",)),
    "scales.judge.epochs.demo": (5, (), lambda c: False, [f"train_judge@{d}" for d in ("objects", "faces", "xray")]),
    "scales.data.faces.side.demo": (16, (), lambda c: False, ("prepare@faces",)),
    "scales.target.cnn.epochs.paper": (9, (), lambda c: False, ()),
}  # fmt: skip


@pytest.mark.parametrize("key", SETTINGS)
def test_a_setting_reaches_what_uses_it(definition, sources, before, key):
    value, scripts, chosen, more = SETTINGS[key]
    tree, text = read_yaml(definition / "params.yaml"), (definition / "params.yaml").read_text()
    set_key(tree, key, value)
    write_yaml(definition / "params.yaml", tree)
    try:
        changed = differing(before, recipes(definition, sources))
    finally:
        (definition / "params.yaml").write_text(text)
    assert changed - {"build_report"} == of_cells(before, chosen, scripts) | set(more)


SOURCES = {  # scripts, cells; and further instances
    "defenses/dropout.py": ((*EACH, "sweep"), lambda c: c["defense"] == "dropout", ()),
    "defenses/siftfunnel.py": (
        (*EACH, "sweep", "measure_cost", "measure_knowledge"),
        lambda c: "siftfunnel" in (c["architecture"], c["defense"]), (),
    ),
    "models/vgg16.py": (EACH, lambda c: c["model"] == "vgg16", ()),
    "attacks/mle.py": (("run_mle", "sweep"), lambda c: True, ()),
    "attacks/generator.py": (("train_mine", *ATTACKS), lambda c: True, ()),
    "information/mine.py": (("train_mine",), lambda c: True, ("calibrate_information",)),
    "probes/cost.py": (("measure_cost",), lambda c: True, ()),
    "datasets/textures.py": ((), lambda c: False, ("prepare@xray",)),
    "report/claims.py": ((), lambda c: False, ("build_table@claims", "build_report")),
    "report/histograms.py": ((), lambda c: False, ("build_figure@histograms", "build_report")),
    "core/params.py": ((), lambda c: False, ()),
    "engine/run.py": ((), lambda c: False, ()),
}  # fmt: skip


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_file_reaches_what_runs_it(definition, sources, before, name):
    scripts, chosen, more = SOURCES[name]
    file, text = definition / PACKAGE / name, (definition / PACKAGE / name).read_text()

    def changed() -> set[str]:
        """With this file read anew."""
        sources._modules.pop(Path(PACKAGE) / name, None)
        return differing(before, recipes(definition, sources))

    try:
        file.write_text(f"{text}# a remark changes nothing\n")
        assert changed() == set()
        file.write_text(f"{text}CHANGED = 1\n")
        assert changed() == of_cells(before, chosen, scripts) | set(more)
    finally:
        file.write_text(text)
        assert changed() == set()


def test_order_in_the_files_means_nothing(definition, sources, before):
    def backwards(tree):
        return {key: backwards(tree[key]) for key in reversed(tree)} if isinstance(tree, dict) else tree

    text = (definition / "params.yaml").read_text()
    write_yaml(definition / "params.yaml", backwards(read_yaml(definition / "params.yaml")))
    try:
        assert differing(before, recipes(definition, sources)) == set()
    finally:
        (definition / "params.yaml").write_text(text)
