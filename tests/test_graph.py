"""What a change re-runs, decided by DVC itself on the project's own dvc.yaml and params.yaml (see graph_tools)."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from graph_tools import ROOT, Changes, Study, dump, get_key, read_yaml, set_key, variables

SCALE, PACKAGE = "demo", "src/splitprobe"
SCRIPTS = {"train_target", "probe_target"}  # what runs for every cell
PROBES = {"probe_target", "measure_depth"}  # what attacks and estimates
ATTACKERS = PROBES | {"sweep"}  # what runs all attacks
DECODERS = ATTACKERS | {"measure_knowledge"}  # what fits decoders
CALIBRATION = "calibrate_information"  # runs once, for no cell


# enough cells for each way in which cells differ in the graph; with all of them DVC takes minutes
KEPT = {
    *(f"cnn/{row}" for row in ("unprotected", "gaussian_noise", "dropout", "bido", "bido_cka", "siftfunnel")),
    *(f"{group}/unprotected" for group in ("resnet18", "faces", "vgg16", "faces_vgg16", "xray_vgg16")),
    *("ablation/no_dcor", "budget/vib"),
}


def fewer(study: Study) -> None:
    """Leave out the other cells, and their rows."""

    def kept(names: Iterable[str]) -> list[str]:
        return [name for name in names if "/" not in name or name.startswith("depth_") or name in KEPT]

    def cut(tree: dict) -> None:
        for part in tree["vars"]:
            if "cells" in part:
                part["cells"] = {name: part["cells"][name] for name in kept(part["cells"])}
            if "timed" in part:
                part["timed"] = kept(part["timed"])
            if "knowing" in part:
                part["knowing"] = {name: part["knowing"][name] for name in kept(part["knowing"])}
            if "swept" in part:
                part["swept"] = {row: cell for row, cell in part["swept"].items() if f"cnn/{row}" in KEPT}

    study.change("dvc.yaml", cut)
    study.change("params.yaml", lambda tree: tree["rows"].update({k: kept(v) for k, v in tree["rows"].items()}))


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    """Built once, at scale demo; a test that changes it works on a copy or restores it."""
    study = Study.create(tmp_path_factory.mktemp("graph") / "study")
    fewer(study)
    study.set("scale", SCALE)
    ran = study.repro()
    assert sorted(ran) == sorted(study.stages()), "the first `dvc repro` runs every stage once"
    return study


@pytest.fixture
def changing(study: Study, tmp_path: Path) -> Study:
    """A copy that a test may change and run."""
    return study.copy(tmp_path / "study")


def cells(study: Study, chosen: Callable[[dict], bool]) -> set[str]:
    """Names of the cells that fulfil a condition, and of those that start from the weights of such a cell."""
    known = variables(study.root)["cells"]
    found = {name for name, cell in known.items() if chosen(cell)}
    while more := {n for n, c in known.items() if c["start"].removeprefix("targets/") in found} - found:
        found |= more
    return found


def work(stages: Iterable[str]) -> set[str]:
    """Without tables and figures, which hang on a whole folder of results, and the recipes, which take no time."""
    return {name for name in stages if not name.startswith(("build_", "recipe_"))}


def instances(study: Study, names: set[str], scripts: set[str] | None = None) -> set[str]:
    """What runs for some cells, of the given scripts or of all; for the depth sweep of a cell's network too.

    CALIBRATION where the scripts name it.
    """
    starts = {group: depth["start"] for group, depth in variables(study.root)["depths"].items()}
    starts |= {row: f"{cell['group']}/{row}" for row, cell in variables(study.root)["swept"].items()}
    found = set()
    for instance in study.stages():
        script, _, key = instance.partition("@")
        cell = starts.get(key, key).removeprefix("targets/")
        found |= {instance} if cell in names and (not scripts or script in scripts) else set()
    return found | {CALIBRATION} & (scripts or set())


def judged(study: Study) -> set[str]:
    """What runs when the judges change: they themselves, and all that shows them reconstructions."""
    wanted = DECODERS | {"train_judge"}
    return {instance for instance in study.stages() if instance.partition("@")[0] in wanted}


def command(study: Study, *arguments: str) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", *arguments],
        cwd=study.root, env={**os.environ, **study.environment()}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_second_run_does_nothing(study):
    assert study.repro() == []
    assert study.changes().due() == set()


def test_instance_names_are_readable(study):
    names, known = set(study.stages()), variables(study.root)
    assert {f"{script}@{cell}" for script in SCRIPTS for cell in known["cells"]} <= names
    assert {f"prepare@{dataset}" for dataset in known["datasets"]} <= names
    assert {f"build_table@{table}" for table in known["tables"]} <= names
    assert {f"build_figure@{figure}" for figure in known["figures"]} <= names
    assert {f"measure_depth@{group}" for group in known["depths"]} | {"build_report", "build_leaderboard"} <= names
    assert {f"train_judge@{dataset}" for dataset in known["datasets"]} <= names
    assert {f"measure_knowledge@{cell}" for cell in known["knowing"]} <= names
    assert {f"sweep@{row}" for row in known["swept"]} <= names
    assert "train_target@cnn/siftfunnel" in names


def test_the_lock_knows_no_stage_that_is_gone():
    """DVC never takes one out, and reads and writes the whole file anew for each stage that runs."""
    known, names = variables(ROOT), set()
    for script, stage in read_yaml(ROOT / "dvc.yaml")["stages"].items():
        items = known[stage["foreach"].strip("${}")] if "foreach" in stage else None
        names |= {script} if items is None else {f"{script}@{key}" for key in items}
    assert set(read_yaml(ROOT / "dvc.lock")["stages"]) <= names


def test_slow_stages_can_be_restored(study):
    """A plain output with `cache: false` would silently keep a stage out of DVC's run cache."""
    for name, stage in study.stages().items():
        for out in stage.outs if work([name]) else ():
            assert out.use_cache or out.plot, f"{name}: {out.def_path} must be cached or a plot"
            assert out.def_path.startswith(("data/", "plots/")), f"{name}: {out.def_path}"


def test_git_sees_reports_and_no_data(study):
    command = ["git", "ls-files", "--others", "--cached", "--exclude-standard"]
    seen = subprocess.run(command, cwd=study.root, capture_output=True, text=True, check=True).stdout.split()
    assert [path for path in seen if path.startswith("data/")] == ["data/raw/README.md"]
    assert "dvc.lock" in seen
    for stage in study.stages().values():
        for out in stage.outs:
            if not out.use_cache:
                assert any(path.startswith(out.def_path) for path in seen), f"git ignores {out.def_path}"
    assert [path for path in seen if path.endswith(".gitignore")] == [".dvc/.gitignore", ".gitignore"]


HYPERPARAMETERS = {  # factor (None where the value is zero), cells that are affected, scripts (None: all)
    "loss.lambda_dcor": (2, lambda cell: cell["tune"] == "loss", None),
    "defense.gaussian_noise.sigma": (2, lambda cell: cell["defense"] == "gaussian_noise", None),
    "variants.bido_cka.defense.bido.lambda_x": (2, lambda cell: cell["variant"] == "bido_cka", None),
    "training.batch_size": (2, lambda cell: True, None),
    "model.cnn.dropout": (0.5, lambda cell: cell["model"] == "cnn", None),
    f"scales.{SCALE}.target.cnn.epochs": (2, lambda cell: cell["model"] == "cnn", None),
    f"scales.{SCALE}.model.resnet18.width": (2, lambda cell: cell["model"] == "resnet18", None),
    f"scales.{SCALE}.seeds.cnn": (2, lambda cell: cell["group"] == "cnn", None),
    "ablation.no_dcor.loss.lambda_dcor": (None, lambda cell: cell["ablation"] == "no_dcor", None),
    "attack.generator.holdout": (0.5, lambda cell: True, DECODERS),
    f"scales.{SCALE}.generator.epochs": (2, lambda cell: True, DECODERS),
    "attack.mle.paper.momentum": (0.5, lambda cell: True, ATTACKERS),
    f"scales.{SCALE}.mle.steps": (2, lambda cell: True, ATTACKERS),
    f"scales.{SCALE}.mine.paper.epochs": (2, lambda cell: True, {*PROBES, CALIBRATION}),
    "information.levels": (0.5, lambda cell: True, {*PROBES, CALIBRATION}),
    "calibration.side": (2, lambda cell: False, {CALIBRATION}),
    "cost.runs": (2, lambda cell: True, {"measure_cost"}),
    "criterion.resamples": (2, lambda cell: False, None),
    "knowledge.shares": (2, lambda cell: True, {"measure_knowledge"}),
    "judge.cut": (2, lambda cell: False, None),
    f"scales.{SCALE}.judge.epochs": (2, lambda cell: False, None),
    "scales.paper.target.cnn.epochs": (2, lambda cell: False, None),
    "scales.paper.data.objects.train": (2, lambda cell: False, None),
}
SOURCES = {  # cells that are affected, scripts (None: all)
    "defenses/dropout.py": (lambda cell: cell["defense"] == "dropout", None),
    "defenses/siftfunnel.py": (lambda cell: "siftfunnel" in (cell["architecture"], cell["defense"]), None),
    "defenses/unprotected.py": (lambda cell: "unprotected" in (cell["architecture"], cell["defense"]), None),
    "defenses/base.py": (lambda cell: True, None),
    "models/cnn.py": (lambda cell: cell["model"] == "cnn", None),
    "training.py": (lambda cell: True, None),
    "target.py": (lambda cell: True, None),
    "attacks/mle.py": (lambda cell: True, DECODERS),
    "attacks/generator.py": (lambda cell: True, DECODERS),
    "attacks/base.py": (lambda cell: True, DECODERS),
    "information/mine.py": (lambda cell: True, {*PROBES, CALIBRATION}),
    "cost.py": (lambda cell: True, {"measure_cost"}),
    "depth.py": (lambda cell: True, {"measure_depth"}),
    "knowledge.py": (lambda cell: True, {"measure_knowledge"}),
    "judge_training.py": (lambda cell: False, None),
    "defenses/__init__.py": (lambda cell: False, None),
}
JUDGES = {  # of both: what the judges are trained with, so that all reconstructions are shown to other ones
    "training.batch_size", "judge.cut", f"scales.{SCALE}.judge.epochs",
    "defenses/unprotected.py", "defenses/base.py", "training.py", "target.py", "judge_training.py",
}  # fmt: skip


@pytest.fixture(scope="module")
def changed_values(study) -> Changes:
    """All of HYPERPARAMETERS changed at once; DVC tells them apart by stage and section."""
    with study.restored("params.yaml"):
        for key, (factor, _, _) in HYPERPARAMETERS.items():
            value = get_key(read_yaml(study.root / "params.yaml"), key)
            study.set(key, 0.5 if factor is None else type(value)(value * factor))
        return study.changes()


@pytest.fixture(scope="module")
def changed_sources(study) -> Changes:
    """All of SOURCES changed at once."""
    with study.restored(*(f"{PACKAGE}/{name}" for name in SOURCES)):
        for name in SOURCES:
            with (study.root / PACKAGE / name).open("a") as file:
                file.write("# edited\n")
        return study.changes()


@pytest.mark.parametrize("key", HYPERPARAMETERS)
def test_a_hyperparameter_reaches_only_what_reads_it(study, changed_values, key):
    _, chosen, scripts = HYPERPARAMETERS[key]
    due, names = changed_values.due(key), cells(study, chosen)
    others = judged(study) if key in JUDGES else set()
    assert work(due) == instances(study, names, scripts) | others
    results = {
        name for name in work(due) if "@cnn/" in name and not name.startswith(("measure_knowledge", "measure_cost"))
    }
    assert ("build_table@table2" in due) == bool(results)
    assert ("build_table@latency" in due) == any(
        "@cnn/" in name and not name.startswith("measure_knowledge") for name in work(due)
    )
    assert "build_table@table1" not in due


def test_the_settings_of_a_table_reach_it_and_its_figure_alone(changed_values):
    due = changed_values.due("criterion.resamples")
    assert due == {"build_table@criterion", "build_figure@criterion", "build_report"}


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_file_reaches_only_what_runs_it(study, changed_sources, name):
    chosen, scripts = SOURCES[name]
    others = judged(study) if name in JUDGES else set()
    assert work(changed_sources.due(f"{PACKAGE}/{name}")) == instances(study, cells(study, chosen), scripts) | others


def test_rows_of_a_table_reach_this_table_alone(study):
    with study.restored("params.yaml"):
        study.change("params.yaml", lambda tree: tree["rows"]["table2"].reverse())
        assert study.changes().due() == {"build_table@table2", "build_report"}


def test_a_sweeps_values_run_its_row_and_reach_what_shows_them(study):
    with study.restored("params.yaml"):
        study.change("params.yaml", lambda tree: tree["sweeps"]["dropout"][0]["values"].append(0.7))
        shown = {"build_leaderboard", "build_figure@tradeoff", "build_report"}
        assert study.changes().due() == {"sweep@dropout"} | shown


def test_seeds_of_the_sweeps_run_all_of_them_and_nothing_else(study):
    with study.restored("params.yaml"):
        study.set(f"scales.{SCALE}.seeds.sweeps", [1])
        due = study.changes().due()
        assert work(due) == {name for name in study.stages() if name.startswith("sweep@")}
        assert due - work(due) == {"build_leaderboard", "build_figure@tradeoff", "build_report"}


def test_the_leaderboards_settings_reach_it_alone(study):
    with study.restored("params.yaml"):
        study.set("leaderboard.rank_at", 5.0)
        assert study.changes().due() == {"build_leaderboard", "build_report"}


def backwards(tree):
    return {key: backwards(tree[key]) for key in reversed(tree)} if isinstance(tree, dict) else tree


def test_order_in_the_files_means_nothing(study):
    def reorder(tree: dict) -> None:
        for part in tree["vars"]:
            for name, value in part.items():
                part[name] = dict(reversed(value.items())) if isinstance(value, dict) else value[::-1]
        tree["stages"] = dict(reversed(tree["stages"].items()))

    with study.restored("dvc.yaml", "params.yaml"):
        study.change("dvc.yaml", reorder)
        turned = backwards(read_yaml(study.root / "params.yaml"))
        (study.root / "params.yaml").write_text(dump(turned))
        assert next(iter(turned)) == "sweeps"
        assert study.changes().due() == {"build_report"}, "the page shows the settings in the order of the file"


def test_an_override_on_the_command_line_keeps_the_remarks(tmp_path):
    """`dvc exp run -S` writes params.yaml anew."""
    from dvc.utils.hydra import apply_overrides

    def remarks(text: str) -> list[str]:
        return [line.partition("# ")[2] for line in text.splitlines() if "# " in line]

    path = tmp_path / "params.yaml"
    shutil.copy(ROOT / "params.yaml", path)
    before, tree = path.read_text(), read_yaml(path)
    apply_overrides(path, ["loss.lambda_dcor=0.123"])
    set_key(tree, "loss.lambda_dcor", 0.123)
    assert read_yaml(path) == tree
    assert remarks(path.read_text()) == remarks(before)


def test_one_value_runs_one_defense(changing):
    """Really run, so that the reasoning of Changes.due is checked too."""
    changing.set("loss.lambda_dcor", 0.123)
    due = changing.changes().due()
    ran = changing.repro()
    assert work(ran) == instances(changing, cells(changing, lambda cell: cell["tune"] == "loss"))
    assert set(ran) == due and "build_table@table2" in due


FOO = {
    "group": "cnn", "dataset": "objects", "model": "cnn", "cut": 2, "architecture": "unprotected", "defense": "foo",
    "variant": "none", "ablation": "none", "tune": "defense.foo", "start": "prepared/objects/summary.json",
}  # fmt: skip


def add_foo(study: Study) -> None:
    """The four edits that add a defense to Table II."""
    (study.root / PACKAGE / "defenses/foo.py").write_text("# a new defense\n")
    study.change("dvc.yaml", lambda tree: [v["cells"].update({"cnn/foo": FOO}) for v in tree["vars"] if "cells" in v])
    study.change("params.yaml", lambda tree: tree["defense"].update(foo={"strength": 1.0}))
    study.change("params.yaml", lambda tree: tree["rows"]["table2"].append("cnn/foo"))


def test_adding_and_removing_a_defense(changing):
    files = {name: (changing.root / name).read_text() for name in ("dvc.yaml", "params.yaml")}
    add_foo(changing)
    ran = changing.repro()
    assert work(ran) == {f"{script}@cnn/foo" for script in SCRIPTS}
    assert "build_table@table2" in ran and "build_table@table1" not in ran
    assert (changing.root / "metrics" / SCALE / "table2/cnn/foo.json").is_file()
    for name, text in files.items():
        (changing.root / name).write_text(text)
    assert work(changing.repro()) == set(), "removing a defense must run no training and no attack"
    assert not (changing.root / "metrics" / SCALE / "table2/cnn/foo.json").exists()
    assert changing.repro() == []


def everything(root: Path, scale: str) -> dict[str, bytes]:
    """All results of a scale."""
    folders = (root / kind / scale for kind in ("data", "metrics", "plots"))
    return {str(p.relative_to(root)): p.read_bytes() for folder in folders for p in folder.rglob("*") if p.is_file()}


def test_changing_the_scale_and_back_repeats_nothing(changing):
    """On one cell that takes another's weights; each of its stages stands for all instances of its definition."""
    wanted = ["probe_target@cnn/gaussian_noise", "measure_depth@depth_cnn", "measure_cost@cnn/unprotected"]
    base = ["prepare@objects", "train_judge@objects", "train_target@cnn/unprotected", "train_target@cnn/gaussian_noise"]
    base += ["recipe_train_target", "recipe_probe_target"]
    before = everything(changing.root, SCALE)
    changing.set("scale", "small")
    assert sorted(changing.repro(*wanted)) == sorted(wanted + base)
    assert everything(changing.root, SCALE) == before, "the other scale's results must stay where they are"
    small = everything(changing.root, "small")
    assert {Path(name).parts[0] for name in small} == {"data", "plots"}
    changing.set("scale", SCALE)
    assert changing.repro(*wanted) == [], "the first scale's results must come from DVC's cache"
    assert everything(changing.root, SCALE) == before and everything(changing.root, "small") == small


def test_metrics_show_prints_one_line_per_row(study):
    lines = command(study, "dvc", "metrics", "show").splitlines()
    for table in [*variables(study.root)["tables"], "leaderboard"]:
        for row in get_key(read_yaml(study.root / "params.yaml"), f"rows.{table}"):
            assert sum(line.split()[0] == f"metrics/{SCALE}/{table}/{row}.json" for line in lines if line) == 1, row


def test_plots_show_lists_curves_and_figures(study):
    shown = json.loads(command(study, "dvc", "plots", "show", "--json"))
    assert not shown.get("errors")
    kinds = {path: {plot["type"] for plot in plots} for path, plots in shown["data"].items()}
    outs = [out.def_path for stage in study.stages().values() for out in stage.outs if out.plot]
    declared = {path if Path(path).suffix else f"{path}/1/mle.csv" for path in outs}
    assert kinds == {path: {"image" if path.endswith(".png") else "vega"} for path in declared}
