"""What a change runs again, decided by DVC itself on the project's own graph (see graph_tools)."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from graph_tools import CELLS, EACH, ROOT, Study, files, read_yaml, recipes

SCALE, PACKAGE = "demo", "src/splitprobe"
pytestmark = pytest.mark.slow  # DVC on copies of the definition


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
