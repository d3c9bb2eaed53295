"""What stages read and declare, and the shape of params.yaml, of the cells and of the repository."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from graph_tools import CELLS, ROOT, get_key, keep_few, leaves, read_yaml, set_key, write_yaml

from splitprobe.core.cells import Cell
from splitprobe.core.params import Params, ParamsError, typed
from splitprobe.core.recipe import Recipe
from splitprobe.core.recipe import Study as Recipes
from splitprobe.core.registry import lookup
from splitprobe.datasets import ROLES
from splitprobe.defenses import DEFENSES
from splitprobe.models.split import Shape
from splitprobe.probes.knobs import settings
from splitprobe.report.figures import FIGURES
from splitprobe.report.tables import TABLES
from splitprobe.targets.target import Blueprint

PACKAGE = ROOT / "src" / "splitprobe"
STUDY, PARAMS, PIPELINE = (
    read_yaml(ROOT / CELLS),
    read_yaml(ROOT / "params.yaml"),
    read_yaml(ROOT / "dvc.yaml")["stages"],
)
SCALES = PARAMS["scales"]["names"].split()
TOP_LEVEL = {
    "dvc.yaml", "dvc.lock", "params.yaml", "pyproject.toml", "README.md", "LICENSE",
    "stages", "src", "data", "metrics", "plots", "tests",
}  # fmt: skip

# ---------------------------------------------------------------- what stages read

SMALL = {  # as little work as the ranges allow
    "runtime": {"device": "cpu", "precision": "float32", "channels_last": True, "threads": 1}
    | {"graphs": True, "repeatable": True, "memory": "auto"},
    "training.batch_size": 16,
    "defense.dpsgd.batch_size": 16,
    "attack.generator.batch_size": 16,
    "attack.mle.tuned.lr": 0.1,
    "attack.mle.tuned.tv": 0.0,
    "cost": {"batch": 1, "warmup": 1, "runs": 10},
    "calibration.images": 2,
    "calibration.rho": 0.5,
    "calibration.widths": 4.0,
}
SMALL_SCALE = {"width": 8, "epochs": 1, "least_steps": 0, "steps": 2, "images": 4, "trial_images": 2, "trial_steps": 2}
SMALL_SCALE |= {"blocks": 1, "most_steps": 2, "finalists": 1, "final_images": 2, "patience": 2}
FEWER = 16  # times fewer images of each role, in the real proportions, which crops of a photograph need
# a few of each: cells of every network, one that takes weights, one that borrows networks, one of an ablation
RUN = {
    "cells": [
        "cnn/unprotected", "cnn/gaussian_noise", "cnn/siftfunnel", "variants_cnn/vib_mean", "budget/mid",
        "resnet18/unprotected", "ablation/no_l1", "vgg16/unprotected", "depth_cnn/cut1",
    ],
    "datasets": ["objects", "xray"],
    "swept": ["gaussian_noise", "siftfunnel"],
    "timed": ["cnn/unprotected"],
    "known": ["cnn/unprotected"],
    "released": ["cnn/gaussian_noise"],
    "parts": [
        "cnn", "variants_cnn", "budget", "resnet18", "ablation", "vgg16", "depth_cnn", "prepared", "sweeps",
        "calibration",
    ],
    "tables": ["table1", "table2", "leaderboard", "criterion"],
    "figures": ["criterion", "figure4", "calibration"],
}  # fmt: skip
ORDER = (
    "prepare", "train_judge", "train_prior", "train_target", "train_generator", "run_mle", "train_mine", "sweep",
    "measure_cost", "measure_knowledge", "measure_releases", "calibrate_information", "collect_numbers", "build_table",
    "build_figure",
)  # fmt: skip


class Recorder(Params):
    """Notes every key that is read."""

    def raw(self, key: str) -> Any:
        self.read.add(key)
        return super().raw(key)

    def __getattribute__(self, name: str) -> Any:
        if name == "seed":
            self.read.add(name)
        return super().__getattribute__(name)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """A definition of few cells, little data and little work, with its recipes."""
    root = tmp_path_factory.mktemp("tiny")
    (root / "stages").mkdir()
    (root / "src").symlink_to(ROOT / "src")
    for script in (ROOT / "stages").glob("*.py"):
        shutil.copy(script, root / "stages")
    for name in (CELLS, "params.yaml"):
        shutil.copy(ROOT / name, root / name)
    keep_few(root, RUN, dict.fromkeys(PARAMS["scales"]["repeats"], 1))
    params = read_yaml(root / "params.yaml")
    params["scale"] = "demo"
    for key in [*leaves(params["scales"])]:
        above, _, last = key.rpartition(".")
        if last != "demo" or above.startswith("repeats"):
            continue
        name, value = above.split(".")[-1], get_key(params["scales"], key)
        if name in SMALL_SCALE:
            set_key(params["scales"], key, SMALL_SCALE[name])
        elif name in ROLES or name.endswith("_images"):
            set_key(params["scales"], key, value // FEWER)
    for key, value in SMALL.items():
        set_key(params, key, value)
    params["sweeps"] = {
        "gaussian_noise": {"defense.gaussian_noise.sigma": 0.2},
        "siftfunnel": {"loss.lambda_dcor": 0.4},
    }
    write_yaml(root / "params.yaml", params)
    Recipes(root).write()
    return root


@pytest.fixture(scope="module")
def recorded(tiny) -> dict[tuple[str, str], tuple[dict, set[str]] | Exception]:
    """What each stage's recipe holds, and what its script read of it when it was really run."""
    found: dict = {}
    threads, known = torch.get_num_threads(), list(Recipes(tiny).instances())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tiny)
        for script, key in sorted(known, key=lambda instance: ORDER.index(instance[0])):
            read: set[str] = set()

            def of(record: dict, read: set[str] = read) -> Recipe:
                params = Recorder(record["params"])
                params.read = read
                read.clear()
                cell = record["cell"] and typed(Cell, record["cell"], "cell")
                return Recipe(params, cell, tuple(record["seeds"]))

            patch.setattr(Recipe, "of", of)
            try:
                runpy.run_path(str(ROOT / "stages" / f"{script}.py"))["main"]([] if key == "all" else [key])
                record = json.loads((tiny / f"data/demo/recipes/{script}/{key}.json").read_text())
                found[script, key] = (record["params"], set(read))
            except Exception as error:
                found[script, key] = error
    torch.set_num_threads(threads)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("script", ORDER)
def test_stages_read_all_that_their_recipes_hold(recorded, script):
    """They cannot read more. What is there and is not read would run them again for nothing."""
    ran = {key: result for (name, key), result in recorded.items() if name == script}
    assert ran
    for key, result in ran.items():
        if isinstance(result, Exception):
            raise result
        params, read = result
        unread = {leaf for leaf in leaves(params) if not any(leaf == r or leaf.startswith(f"{r}.") for r in read)}
        assert unread - {"scale"} == set(), f"{script} {key}"


def test_every_value_of_params_is_in_a_recipe():
    """A key that no stage reads would be a knob without a wire."""
    tree = read_yaml(ROOT / "params.yaml")
    study, held = Recipes(ROOT), set()
    study.params.tree["scales"]["repeats"] = dict.fromkeys(PARAMS["scales"]["repeats"], 1)
    study.params.tree["scales"].pop("left_out", None)
    for script, key in study.instances():
        if script != "build_report":  # it shows them all
            held |= {*leaves(study.recipe(script, key)["params"])}
    known = {
        key
        for key in leaves(study.params.tree)
        if not key.startswith(("scales.names", "scales.like", "scales.repeats", "scales.left_out"))
    }
    unread = {key for key in known - held if not key.startswith(("variants.", "ablation.", "rows.report"))}
    assert unread == set()
    assert {cell["variant"] for cell in STUDY["cells"].values()} == set(tree["variants"])
    assert {cell["ablation"] for cell in STUDY["cells"].values()} == set(tree["ablation"])


def changed(value: Any) -> Any:
    """Another value of the same type, where one is easily found."""
    if isinstance(value, bool):
        return not value
    return {int: lambda: value + 1, float: lambda: value / 2 or 0.25, type(None): lambda: 0.5}.get(
        type(value), lambda: None
    )()


def effective(study: Recipes, name: str) -> Any:
    """The settings that a cell's network and its defense are really built and trained with."""
    facts = study.cell("train_target", name)
    params = study.varied(facts)
    try:
        blueprint = Blueprint.from_params(typed(Cell, facts, name), Shape(3, 32, 4, 8), params)
    except ParamsError as error:
        return str(error)
    plain = blueprint.plain()
    trained = [params.raw("training"), params.raw(f"scales.target.{facts['model']}")]
    return [*(plain[part] for part in ("model", "architecture", "defense")), *trained]


VARYING = [
    key for section in ("loss", "defense", "training", "variants", "ablation", "model")
    for key in leaves({section: PARAMS[section]}) if changed(get_key(PARAMS, key)) is not None
]  # fmt: skip


@pytest.mark.slow
def test_a_cell_is_trained_again_exactly_when_its_settings_change(monkeypatch):
    """For each number of these sections: what it changes after variants and ablations, and nothing else."""
    study = Recipes(ROOT)
    study.params.tree["scales"]["repeats"] = dict.fromkeys(PARAMS["scales"]["repeats"], 1)
    study.params.tree["scales"].pop("left_out", None)
    monkeypatch.setattr(study.sources, "digests", lambda *_: {})
    names = list(STUDY["cells"])
    before = {name: (study.recipe("train_target", name)["params"], effective(study, name)) for name in names}
    base = study.params
    for key in VARYING:
        study.params = base.changed(key, changed(get_key(PARAMS, key)))
        for name in names:
            recipe, built = study.recipe("train_target", name)["params"], effective(study, name)
            assert (recipe != before[name][0]) == (built != before[name][1]), f"{key}: {name}"


# ---------------------------------------------------------------- params.yaml and the cells


def test_dvc_yaml_and_params_yaml_fit_two_screens():
    assert len((ROOT / "dvc.yaml").read_text().splitlines()) <= 300
    text = (ROOT / "params.yaml").read_text()
    assert len(text.splitlines()) <= 700
    values = re.sub(r"#.*", "", text.partition("\nrows:")[0])
    assert not re.search(r"(: |- )[&*\[]", values), "-S ignores what anchors alias, and breaks long flow lists"


@pytest.mark.parametrize("scale", SCALES)
def test_every_recipe_can_be_read_at_every_scale(scale, monkeypatch):
    study = Recipes(ROOT, scale)
    monkeypatch.setattr(study.sources, "digests", lambda *_: {})
    for script, key in study.instances():
        recipe = Recipe.of(study.recipe(script, key))
        if recipe.cell and recipe.seeds and script == "train_target":
            Blueprint.from_params(recipe.cell, Shape(3, 32, 4, 8), recipe.params)
        if script == "sweep" and recipe.seeds:
            assert f"cnn/{key}" in STUDY["cells"] and STUDY["swept"][key] == STUDY["cells"][f"cnn/{key}"]
            for _, _, params in settings(recipe.cell, recipe.params):
                Blueprint.from_params(recipe.cell, Shape(3, 32, 4, 8), params)
    assert PARAMS["sweeps"].keys() == STUDY["swept"].keys()


def test_what_differs_between_scales_has_a_value_for_each():
    like = PARAMS["scales"]["like"]

    def check(tree: dict, above: str) -> None:
        for key, value in tree.items():
            if key != "like" and isinstance(value, dict) and set(value) <= {*SCALES, "else"}:
                there = {scale for scale in SCALES if {scale, like.get(scale)} & set(value)}
                optional = key in ("raw", "classes", "left_out") or key.startswith("auxiliary_") or "/" in key
                assert optional or "else" in value or there == set(SCALES), f"{above}{key}"
            elif isinstance(value, dict):
                check(value, f"{above}{key}.")

    check(PARAMS["scales"], "scales.")


@pytest.mark.parametrize("name", DEFENSES)
def test_a_defense_has_file_section_and_cell(name):
    assert DEFENSES[name].startswith(f"splitprobe.defenses.{name}:"), "a defense's file bears its name"
    assert (PACKAGE / "defenses" / f"{name}.py").is_file()
    lookup(DEFENSES, name, "defense").from_params(name, Params.load(ROOT / "params.yaml"))
    assert any(cell["defense"] == name for cell in STUDY["cells"].values()), f"no cell uses {name}"


def test_what_is_listed_is_there():
    present = {path.stem for path in PACKAGE.glob("defenses/*.py")} - {"__init__", "base"}
    assert set(PARAMS["defense"]) == set(DEFENSES) == present
    assert STUDY["tables"].keys() == TABLES.keys() and STUDY["figures"].keys() == FIGURES.keys()
    shown = " ".join(PARAMS["rows"]["report"]).split()
    assert set(shown) == TABLES.keys() | FIGURES.keys() == PARAMS["rows"].keys() - {"report"}
    rows = Recipes(ROOT)
    assert set(rows.recipe("build_table", "latency")["params"]["rows"]["latency"]) <= set(STUDY["timed"])
    assert set(rows.recipe("build_figure", "knowledge")["params"]["rows"]["knowledge"]) <= set(STUDY["known"])
    assert {name.partition("/")[0] for name in STUDY["cells"]} <= STUDY["parts"].keys()


@pytest.mark.parametrize("name", STUDY["cells"])
def test_cells_are_sound(name):
    cell = typed(Cell, {"name": name, "title": "", **STUDY["cells"][name]}, name)
    assert re.fullmatch(r"[a-z0-9_-]+/[a-z0-9_-]+", name), "<table group>/<row>; DVC stumbles over @ and ."
    assert cell.dataset in STUDY["datasets"]
    if cell.reuses_weights:
        source = STUDY["cells"][cell.start.removeprefix("targets/")]
        same = ("dataset", "model") if name.startswith("depth_") else ("dataset", "model", "cut")
        assert [source[key] for key in same] == [getattr(cell, key) for key in same]
    else:
        assert cell.start == f"prepared/{cell.dataset}/summary.json"


def test_params_are_explained():
    """Every number has a remark on its line or on a section around it; of several keys of one name, the first."""
    above: list[tuple[int, bool]] = []
    explained: set[str] = set()
    for number, line in enumerate((ROOT / "params.yaml").read_text().splitlines(), 1):
        assert len(line) <= 120, f"params.yaml:{number} has more than 120 columns"
        found = re.match(r"( *)([\w.]+):\s*([^#]*?)\s*(#.*)?$", line)
        if not found:
            continue
        indent, key, value, remark = len(found[1]), found[2], found[3], bool(found[4])
        above = [entry for entry in above if entry[0] < indent]
        explained |= {key} if remark else set()
        if re.match(r"[\[+-]?[\d.]", value):
            known = key in explained or any(entry[1] for entry in above)
            assert known, f"params.yaml:{number}: {key} needs a remark: unit, range or reason"
        above.append((indent, remark))


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


def test_a_stage_is_a_short_script_that_runs_its_own_sources():
    scripts = {path.stem: path for path in (ROOT / "stages").glob("*.py") if path.stem != "own_sources"}
    assert scripts.keys() == {Path(stage.get("do", stage)["cmd"].split()[1]).stem for stage in PIPELINE.values()}
    for name, path in scripts.items():
        text = path.read_text()
        assert len(text.splitlines()) <= 40, f"{name}: the work belongs in src"
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


def test_a_clone_has_the_same_bytes_whatever_its_line_ends(tmp_path):
    """DVC and the recipes take digests of files: with other bytes, every stage would run again."""
    tracked()  # skips without git
    clone = ["git", "clone", "-q", "--shared", "-c", "core.autocrlf=true", "-c", "core.eol=crlf", str(ROOT)]
    subprocess.run([*clone, str(tmp_path / "clone")], check=True)
    listed = subprocess.run(
        ["git", "ls-tree", "-r", "-z", "--format=%(objectname) %(path)", "HEAD"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    committed = dict(line.split(" ", 1)[::-1] for line in listed.stdout.split("\0") if line)
    assert committed.keys() >= {"dvc.lock", "params.yaml", "stages/cells.yaml"}
    found = subprocess.run(
        ["git", "hash-object", "--no-filters", "--stdin-paths"], input="\n".join(committed), cwd=tmp_path / "clone",
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    other = [name for name, now in zip(committed, found.stdout.split(), strict=True) if now != committed[name]]
    assert not other, f"{len(other)} files differ, such as {other[:5]}"
