"""What a change of a setting or of a source file reaches: the stages whose recipes then differ."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from graph_tools import EACH, ROOT, read_yaml, recipes, set_key, write_yaml

from splitprobe.core.sources import Sources

PACKAGE = "src/splitprobe"
pytestmark = pytest.mark.slow  # all recipes, many times


def differing(before: dict[str, dict], after: dict[str, dict]) -> set[str]:
    """The instances whose recipes are not the same."""
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


@pytest.fixture(scope="module")
def definition(tmp_path_factory) -> Path:
    """A copy of what recipes are made of, with all cells."""
    root = tmp_path_factory.mktemp("recipes")
    for name in ("src", "stages"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "params.yaml", root)
    tree = read_yaml(root / "params.yaml")  # groups that the demo leaves out count too
    tree["scales"]["repeats"] = dict.fromkeys(tree["scales"]["repeats"], 1)
    del tree["scales"]["left_out"]
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
MLE = ("run_mle", "sweep", "measure_releases")
TRAINED = ("train_target", "sweep")
SETTINGS = {  # another value, scripts, cells; and further instances
    "defense.gaussian_noise.sigma": (2.0, TRAINED, lambda c: c["defense"] == "gaussian_noise", ()),
    "variants.bido_cka.defense.bido.lambda_x": (2.0, TRAINED, lambda c: c["variant"] == "bido_cka", ()),
    "defense.bido.lambda_x": (
        3.0, TRAINED, lambda c: c["defense"] == "bido" and c["variant"] in ("none", "bido_unit"), (),
    ),
    "ablation.no_dcor.loss.lambda_dcor": (0.5, TRAINED, lambda c: c["ablation"] == "no_dcor", ()),
    "scales.target.cnn.epochs.demo": (
        9, TRAINED, lambda c: c["model"] == "cnn" and c["variant"] != "siftfunnel_authors", (),
    ),
    "scales.model.resnet18.width.demo": (16, TRAINED, lambda c: c["model"] == "resnet18", ()),
    "attack.generator.holdout": (0.2, ("train_generator", "sweep", "measure_knowledge"), lambda c: True, ()),
    "scales.mle.steps.demo": (70, MLE, lambda c: True, ()),
    "attack.mle.paper.momentum": (0.5, MLE, lambda c: True, ()),
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
    "defenses/dropout.py": ((*EACH, "sweep", "measure_releases"), lambda c: c["defense"] == "dropout", ()),
    "defenses/siftfunnel.py": (
        (*EACH, "sweep", "measure_cost", "measure_knowledge"),
        lambda c: "siftfunnel" in (c["architecture"], c["defense"]), (),
    ),
    "models/vgg16.py": (EACH, lambda c: c["model"] == "vgg16", ()),
    "attacks/mle.py": (MLE, lambda c: True, ()),
    "attacks/generator.py": (("train_mine", "measure_releases", *ATTACKS), lambda c: True, ()),
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
