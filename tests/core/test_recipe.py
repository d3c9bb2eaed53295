"""Recipes: what belongs to a stage and what does not, on the real study and with a change of it."""

import copy
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from splitprobe.core.artifacts import read_json
from splitprobe.core.cells import Paths
from splitprobe.core.params import ParamsError
from splitprobe.core.recipe import Recipe, Study, listed
from splitprobe.core.sources import digest

ROOT = Path(__file__).parents[2]
CELLS = ("cnn/unprotected", "cnn/ae", "faces/ae")


@pytest.fixture(scope="module")
def whole():
    """The study at a scale that leaves nothing out."""
    return Study(ROOT, "tiny")


@pytest.fixture
def study(whole):
    """A copy of it to change; sources are read once."""
    other = copy.copy(whole)
    other.params, other.variables = copy.deepcopy(whole.params), copy.deepcopy(whole.variables)
    return other


def changed(study, key, value):
    """The same study with another value in params.yaml."""
    other = copy.copy(study)
    other.params = study.params.changed(key, value)
    return other


@pytest.fixture
def files(tmp_path):
    """A repository with the real settings, stages and sources, in which files can be changed."""
    for folder in ("stages", "src"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "params.yaml", tmp_path)
    return tmp_path


def edit(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_every_stage_of_the_graph_has_a_recipe_of_what_its_script_needs(whole):
    graph, cells = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"], whole.variables["cells"]
    found = list(whole.instances())
    assert {script for script, _ in found} == graph.keys() - {"write_recipes"}
    assert {key for script, key in found if script == "train_target"} == set(cells)
    assert ("calibrate_information", "all") in found
    for script, key in found:
        recipe = whole.recipe(script, key)
        left_out = script == "sweep"
        assert (f"stages/{script}.py" in recipe["code"]) is not left_out
        assert Recipe.of(recipe).seeds == ((1,) if recipe["cell"] and not left_out else ())


def test_code_is_what_imports_and_the_named_lines_of_registries_lead_to(whole):
    code = whole.recipe("train_target", "cnn/nopeek")["code"]
    assert {"src/splitprobe/defenses/nopeek.py", "src/splitprobe/models/cnn.py"} <= code.keys()
    assert {"src/splitprobe/targets/target.py", "src/splitprobe/learning/losses.py"} <= code.keys()
    others = ("defenses/vib", "models/resnet18", "defenses/__init__", "attacks/", "report/", "core/")
    assert not [file for file in code for other in others if file.startswith(f"src/splitprobe/{other}")]
    assert "src/splitprobe/datasets/__init__.py" in whole.recipe("prepare", "faces")["code"], "more than a registry"
    assert "src/splitprobe/models/cnn.py" not in whole.recipe("train_judge", "faces")["code"], "its own network alone"


def test_a_line_of_a_registry_concerns_those_it_names_alone(whole, files):
    edit(
        files / "src/splitprobe/defenses/__init__.py", "DEFENSES = {", 'DEFENSES = {"new": "splitprobe.defenses.ae:X",'
    )
    edit(files / "src/splitprobe/core/artifacts.py", "indent=2", "indent=3")
    edit(files / "src/splitprobe/defenses/vib.py", "\n\n\n", "\n# a remark\n")
    edit(files / "src/splitprobe/defenses/nopeek.py", "\n\n\n", "\nx = 1\n")
    cells, studies = ("cnn/vib", "cnn/nopeek", "cnn/siftfunnel"), (whole, Study(files, "tiny"))
    before, after = ([study.recipe("train_target", cell) for cell in cells] for study in studies)
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False, True]


def test_a_variant_stands_in_its_settings(study):
    recipe = study.recipe("train_target", "cnn/bido_cka")
    assert recipe["params"]["defense"]["bido"]["lambda_x"] == 1.0
    assert (recipe["cell"]["name"], recipe["cell"]["title"]) == ("cnn/bido_cka", "BiDO, normalized HSIC")
    assert study.recipe("train_target", "cnn/bido")["cell"]["title"] == ""
    ablated = study.recipe("train_target", "ablation/no_funnel")
    assert (
        ablated["params"]["defense"]["siftfunnel"] | {"channels": 2, "funnel": False, "out_se_reduction": 16}
        == (ablated["params"]["defense"]["siftfunnel"])
    )
    assert ablated["cell"]["title"] == "Without funnel"


def due(study, key, value, script="train_target"):
    """The cells whose stage is due after a change of one value."""
    other, cells = changed(study, key, value), study.variables["cells"]
    return {cell for cell in cells if other.recipe(script, cell) != study.recipe(script, cell)}


def test_a_value_concerns_those_whose_recipe_has_it(study):
    assert due(study, "defense.bido.lambda_x", 3.0) == {"cnn/bido", "variants_cnn/bido_unit", "faces/bido"}, (
        "variants replace it elsewhere"
    )
    assert due(study, "variants.bido_cka.defense.bido.lambda_x", 3.0) == {
        "cnn/bido_cka", "budget/bido_cka", "variants_resnet18/bido_cka"
    }  # fmt: skip
    losses = due(study, "loss.lambda_dcor", 3.0)
    assert {"cnn/siftfunnel", "faces_vgg16/siftfunnel"} & losses == {"cnn/siftfunnel"}
    assert not [cell for cell in losses if cell.startswith("budget/")], "networks are lent without their losses"
    assert "budget/nls" in due(study, "defense.siftfunnel.channels", 6)
    assert due(study, "attack.mle.paper.tv", 3.0) == set()
    assert due(study, "attack.mle.paper.tv", 3.0, "run_mle") == set(study.variables["cells"])


def test_a_variant_of_the_training_concerns_its_cells_alone(study):
    one, faces = "variants_cnn/siftfunnel_authors", "faces_vgg16/siftfunnel_authors"
    own = study.recipe("train_target", one)["params"]
    usual = study.recipe("train_target", "cnn/siftfunnel")["params"]
    assert (own["training"]["weight_decay"], own["scales"]["target"]["cnn"]["lr"]) == (1e-3, 2e-4)
    assert own["defense"] == usual["defense"] and own["loss"] == usual["loss"]
    assert due(study, "training.weight_decay", 0.5) == set(study.variables["cells"]) - {one, faces}
    assert due(study, "variants.siftfunnel_authors.training.weight_decay", 0.5) == {one}
    assert due(study, "variants.siftfunnel_authors.target.epochs.tiny", 9) == {one}
    assert due(study, "variants.siftfunnel_authors.target.epochs.paper", 9) == set()
    assert due(study, "scales.target.cnn.lr", 0.5) == {
        name for name, cell in study.variables["cells"].items() if cell["model"] == "cnn" and name != one
    }
    for script in ("train_generator", "run_mle", "train_mine"):
        assert due(study, "variants.siftfunnel_authors.training.weight_decay", 0.5, script) == set()


def test_what_is_left_out_depends_on_no_setting(study):
    study.params.tree["scales"]["repeats"]["budget"] = 0
    recipe = study.recipe("train_target", "budget/nls")
    assert (recipe["seeds"], recipe["params"], recipe["code"]) == ([], {"scale": "tiny"}, {})
    assert not [cell for cell in due(study, "training.flip", False) if cell.startswith("budget/")]
    with pytest.raises(ParamsError, match=r"budget/nls is left out at this scale: scales\.left_out or a 0"):
        Recipe.of(recipe).first()


def test_a_scale_leaves_out_cells_by_their_patterns(study):
    study.params.tree["scales"]["left_out"] = "budget/* !budget/nls cnn/ae"
    seeds = {name: study.recipe("run_mle", name)["seeds"] for name in ("budget/vib", "budget/nls", "cnn/ae", "cnn/vib")}
    assert seeds == {"budget/vib": [], "budget/nls": [1], "cnn/ae": [], "cnn/vib": [1]}
    assert study.recipe("sweep", "ae")["seeds"] == [], "a sweep is of the cell"
    study.params.tree["scales"]["left_out"] = "cnn/aee"
    with pytest.raises(ParamsError, match=r"scales\.left_out: 'cnn/aee' matches no cell"):
        study.recipe("run_mle", "cnn/vib")


def test_each_repetition_has_its_seed_and_place(study, tmp_path):
    study.params.tree["scales"]["repeats"]["cnn"] = 2
    recipe = Recipe.of(study.recipe("run_mle", "cnn/ae"))
    assert [(params.seed, paths.seed) for params, paths in recipe.repetitions()] == [(1, 1), (2, 2)]
    assert recipe.first()[0].seed == 1
    study.params.tree["scales"]["repeats"]["cnn/vib"] = 3
    assert study.recipe("run_mle", "cnn/vib")["seeds"] == [1, 2, 3], "a cell's own number"
    assert study.recipe("run_mle", "cnn/nls")["seeds"] == [1, 2]
    study.params.tree["scales"]["repeats"]["sweeps"] = 2
    assert study.recipe("sweep", "ae")["seeds"] == [1, 2]
    study.params.tree["scales"]["repeats"]["sweeps"] = 3
    with pytest.raises(ParamsError, match=r"scales\.repeats\.sweeps = 3: .* and scales\.repeats\.cnn = 2"):
        study.recipe("sweep", "ae")


def test_what_is_there_is_found_in_the_order_of_the_seeds(tmp_path):
    paths = Paths("demo", tmp_path)
    for own in (paths.seeded(seed) for seed in (12, 4)):
        for file in (own.target("cnn/ae"), own.result("cnn/ae", "mle.json"), own.point("cnn/ae", "k", 0.5)):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    assert [own.seed for own in paths.trained("cnn/ae")] == [own.seed for own in paths.probed("cnn/ae")] == [4, 12]
    assert [[file.stem for file in files] for files in paths.tried()] == [["4", "12"]]


@pytest.mark.parametrize("number", [-1, 1.0, None, True, [1], 1001])
def test_repeats_are_a_whole_number(study, number):
    study.params.tree["scales"]["repeats"]["cnn"] = number
    with pytest.raises(ParamsError, match=r"scales\.repeats\.cnn = .*: a whole number from 0 \(left out\) to 1000"):
        study.recipe("run_mle", "cnn/ae")


def test_an_unknown_script_and_variant_are_named(study):
    with pytest.raises(ParamsError, match=r"stages/cells\.yaml: `reads` lists no rest"):
        study.recipe("rest")
    study.variables["cells"]["cnn/ae"]["variant"] = "nobody"
    with pytest.raises(ParamsError, match=r"variants\.nobody: missing"):
        study.recipe("train_target", "cnn/ae")


def test_the_folders_of_a_left_out_cell_are_made(study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study.params.tree["scales"]["repeats"]["cnn"] = 0
    Recipe.of(study.recipe("train_generator", "cnn/ae")).promise("decoders", "generator")
    Recipe.of(study.recipe("train_target", "cnn/ae")).promise("targets", "target")
    Recipe.of(study.recipe("sweep", "ae")).promise("sweeps")
    assert sorted(path.as_posix() for path in Path().rglob("*") if not any(path.iterdir())) == [
        "data/tiny/decoders/cnn/ae", "data/tiny/results/cnn/ae/generator", "data/tiny/results/cnn/ae/target",
        "data/tiny/sweeps/ae", "data/tiny/targets/cnn/ae",
        "plots/tiny/curves/cnn/ae/generator", "plots/tiny/curves/cnn/ae/target",
    ]  # fmt: skip


def test_a_recipe_is_refused_where_it_is_missing_or_older_than_its_code(files, monkeypatch):
    monkeypatch.chdir(files)
    with pytest.raises(ParamsError, match=r"run_mle/cnn/ae\.json is missing: `dvc repro write_recipes` writes it"):
        Recipe.load("run_mle", "cnn/ae")
    gone = Paths("demo").recipe("run_mle", "cnn/gone")
    gone.parent.mkdir(parents=True)
    gone.touch()
    study = Study()
    study.write()
    assert not gone.exists()
    recipe = Recipe.load("run_mle", "cnn/ae")
    assert read_json(recipe.paths.recipe("run_mle", "cnn/ae")) == study.recipe("run_mle", "cnn/ae")
    assert recipe == replace(Recipe.of(study.recipe("run_mle", "cnn/ae")), params=recipe.params)
    source = files / "src/splitprobe/attacks/mle.py"
    source.write_text(source.read_text() + "\n# a remark\n")
    Recipe.load("run_mle", "cnn/ae")
    source.write_text(source.read_text() + "\nx = 1\n")
    with pytest.raises(ParamsError, match=r"attacks/mle\.py has changed since .*ae\.json was written: run the same"):
        Recipe.load("run_mle", "cnn/ae")


def test_settings_are_checked_again_when_they_or_their_code_change(files):
    study, calls = Study(files), []

    def run(check=lambda: calls.append(1)) -> int:
        calls.clear()
        study.checked("write_recipes", check)
        return len(calls)

    assert [run(), run()] == [1, 0]
    edit(files / "params.yaml", "draws: 3  ", "draws: 4  ")
    assert [run(), run()] == [1, 0]
    for name in ("defenses/vib.py", "core/params.py", "report/leaderboard.py", "models/split.py"):
        file = Path("src/splitprobe") / name
        (files / file).write_text((files / file).read_text() + "\nx = 1\n")
        del study.sources._modules[file]
        assert [run(), run()] == [1, 0], name
    edit(files / "params.yaml", "draws: 4  ", "draws: 5  ")
    with pytest.raises(ParamsError):
        run(refuse)
    assert run() == 1, "what did not pass is not noted"


def refuse() -> None:
    raise ParamsError("no")


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("objects faces", ["objects", "faces"]),
        ("cnn/*", ["cnn/unprotected", "cnn/ae"]),
        (["faces/ae cnn/*", "!*/unprotected"], ["faces/ae", "cnn/ae"]),
    ],
)
def test_rows_are_names_and_patterns(value, names):
    assert listed("rows.t", value, list(CELLS)) == names


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "rows.t = '': names or patterns such as cnn/"),
        ([3], r"rows.t = \[3\]: names or patterns"),
        ({"a": 1}, "rows.t = .*: names or patterns"),
        ("cnn/dp*", "rows.t: 'cnn/dp.' matches no cell of stages/cells.yaml"),
        ("cnn/* !cnn/vib", "rows.t: '!cnn/vib' matches no cell"),
        ("cnn/* cnn/ae", "rows.t: 'cnn/ae' is listed twice"),
    ],
)
def test_wrong_rows_are_named(value, message):
    with pytest.raises(ParamsError, match=message):
        listed("rows.t", value, list(CELLS))


SOURCE = '''"""A module."""
x = "# no remark"


def f(a):
    """Say something."""
    return a + 1
'''
SAME = '''"""Another text,

longer."""
x = "# no remark"  # but this is one
def f(a):
    # and this

    return a + 1
'''


def test_words_do_not_change_a_digest():
    assert digest(SOURCE) == digest(SAME)


@pytest.mark.parametrize(("old", "new"), [("a + 1", "a + 2"), ("# no remark", "# no"), ("def f(a)", "def g(a)")])
def test_code_does(old, new):
    assert digest(SOURCE) != digest(SOURCE.replace(old, new))


def test_a_string_that_is_no_docstring_counts():
    assert digest('def f():\n    return "a"\n') != digest('def f():\n    return "b"\n')


def test_a_registry_does_not_count_but_what_stands_beside_it_does():
    one = 'NAMES = {\n    "a": "splitprobe.x.a:A",\n}\n'
    two = one.replace("}", '    "b": "splitprobe.x.b:B",\n}')
    assert digest(one) == digest(two) == ""
    assert digest(f"{one}x = 1") == digest(f"{two}x = 1") == digest("x = 1") != digest("x = 2")
    assert digest(one.replace("}", "    3: 4,\n}")) != ""
