"""Sweeps: what params.yaml asks for, the commands that queue it, and the points read from experiments in git."""

import copy
import json
import logging
import subprocess
from pathlib import Path

import pytest

from splitprobe.artifacts import read_csv, write_csv
from splitprobe.cells import Paths
from splitprobe.params import Params, ParamsError
from splitprobe.report import sweeps

NOISE = {"cell": "cnn/gaussian_noise", "key": "defense.gaussian_noise.sigma", "values": [0.2, 1.6]}
TREE = {
    "scale": "demo",
    "seed": 1,
    "scales": {
        "demo": {"seeds": {"cnn": [1, 2], "faces": [1]}, "target": {"epochs": 10}, "mine": {"epochs": 2}},
        "small": {"target": {"epochs": 20}},
    },
    "defense": {"gaussian_noise": {"sigma": 0.8}, "dropout": {"rate": 0.8}, "unprotected": {}},
    "variants": {"dropout_half": {"defense": {"dropout": {"rate": 0.5}}}},
    "training": {"lr": 0.001},
    "rows": {"table2": ["cnn/unprotected", "cnn/gaussian_noise", "cnn/dropout"]},
    "sweeps": [NOISE, {"cell": "cnn/dropout", "key": "defense.dropout.rate", "values": [0.5]}],
}


def changed(**values) -> dict:
    """The tree with other values at dotted keys (dots written as __)."""
    tree = copy.deepcopy(TREE)
    for key, value in values.items():
        node, *path = tree, *key.split("__")
        for part in path[:-1]:
            node = node[part]
        node[path[-1]] = value
    return tree


class Git:
    """A small repository whose experiments are made by hand, as DVC names them."""

    def __init__(self, root: Path) -> None:
        self.root, self.made = root, 0
        self.run("init", "-q", "-b", "main")
        self.write(TREE, {})
        self.run("add", "-A")
        self.run("commit", "-q", "-m", "start")

    def run(self, *arguments: str, date: int = 1_700_000_000) -> str:
        who = {f"GIT_{role}_{part}": "x@x" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
        when = {f"GIT_{role}_DATE": f"{date} +0000" for role in ("AUTHOR", "COMMITTER")}
        environment = {"PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": str(self.root), **who, **when}
        command = ["git", "-C", str(self.root), *arguments]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()

    def write(self, tree: dict, rows: dict, **more: float) -> None:
        (self.root / "params.yaml").write_text(json.dumps(tree))  # JSON is YAML
        for cell, (accuracy, psnr) in rows.items():
            file = self.root / "metrics" / tree["scale"] / "table2" / f"{cell}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            row = {"accuracy_percent": accuracy, "accuracy_change_points": accuracy - 75.0, "strongest_psnr_db": psnr}
            file.write_text(json.dumps({**row, "z_bytes": 1, **more}))

    def experiment(self, name: str, tree: dict, rows: dict, ref: str = "", **more: float) -> str:
        """A commit beside the branch under DVC's kind of reference; each one is younger than the one before."""
        self.made += 1
        self.write(tree, rows, **more)
        self.run("add", "-A")
        self.run("commit", "-q", "-m", name, date=1_700_000_000 + 60 * self.made)
        revision = self.run("rev-parse", "HEAD")
        self.run("update-ref", ref or f"refs/exps/{self.made:02x}/{self.made:038x}/{name}", revision)
        self.run("reset", "-q", "--hard", "HEAD~1")
        return revision


@pytest.fixture
def git(tmp_path) -> Git:
    return Git(tmp_path)


def collected(git: Git, caplog, tree: dict = TREE) -> tuple[list[dict], str]:
    caplog.set_level(logging.INFO)
    sweeps.collect(Params(tree), Paths("demo", git.root))
    return read_csv(git.root / "plots/demo/sweeps/table2.csv"), caplog.text


def test_points_of_experiments(git, caplog):
    high = git.experiment("high", changed(defense__gaussian_noise__sigma=1.6), {"cnn/gaussian_noise": (40.5, 15.25)})
    git.experiment("low", changed(defense__gaussian_noise__sigma=0.2), {"cnn/gaussian_noise": (70.0, 23.0)})
    git.experiment(
        "half", changed(defense__dropout__rate=0.5), {"cnn/dropout": (50.0, 19.0), "cnn/gaussian_noise": (1, 1)}
    )
    lines, log = collected(git, caplog)
    assert [(line["cell"], line["value"]) for line in lines] == [
        *(("cnn/dropout", "0.5"), ("cnn/gaussian_noise", "0.2"), ("cnn/gaussian_noise", "1.6")),
    ]
    assert lines[2] == {
        **{"cell": "cnn/gaussian_noise", "key": "defense.gaussian_noise.sigma", "value": "1.6"},
        **{"seeds": "1 2", "accuracy_percent": "40.5", "accuracy_change_points": "-34.5", "strongest_psnr_db": "15.25"},
        **{"seed_accuracy_percent": "", "seed_strongest_psnr_db": ""},
        **{"experiment": "high", "revision": high[:12]},
    }
    assert "3 points of 3 experiments" in log
    assert "left out" not in log
    assert sweeps.points(Paths("demo", git.root))[0]["strongest_psnr_db"] == 19.0


def test_seeds_that_an_experiment_kept_apart_are_collected(git, caplog):
    tree, row = changed(defense__gaussian_noise__sigma=1.6), {"cnn/gaussian_noise": (40.5, 15.25)}
    each = {"seed_1_accuracy_percent": 40.0, "seed_2_accuracy_percent": 41.0}
    git.experiment("apart", tree, row, **each, seed_1_strongest_psnr_db=15.0, seed_2_strongest_psnr_db=15.5)
    (line,), _ = collected(git, caplog)
    assert (line["seed_accuracy_percent"], line["seed_strongest_psnr_db"]) == ("40.0 41.0", "15.0 15.5")
    (point,) = sweeps.points(Paths("demo", git.root))
    assert (point["seed_accuracy_percent"], point["seed_strongest_psnr_db"]) == ([40.0, 41.0], [15.0, 15.5])


def test_points_of_a_file_without_the_seeds_columns_are_read(tmp_path):
    paths = Paths("demo", tmp_path)
    columns = [column for column in sweeps.COLUMNS if not column.startswith("seed_")]
    line = dict.fromkeys(columns, "1") | {"accuracy_percent": "70.5"}
    write_csv(sweeps.points_file(paths), [line], columns)
    (point,) = sweeps.points(paths)
    assert (point["accuracy_percent"], point["seed_accuracy_percent"]) == (70.5, [])


def test_the_newer_of_two_experiments_wins(git, caplog):
    tree = changed(defense__gaussian_noise__sigma=1.6)
    git.experiment("old", tree, {"cnn/gaussian_noise": (40.0, 15.0)})
    git.experiment("new", tree, {"cnn/gaussian_noise": (41.0, 16.0)})
    (line,), _ = collected(git, caplog)
    assert (line["experiment"], line["accuracy_percent"]) == ("new", "41.0")


def test_what_is_no_point_is_left_out_and_counted(git, caplog):
    row = {"cnn/gaussian_noise": (40.0, 15.0)}
    git.experiment("workspace", TREE, row)  # the value that the workspace has
    git.experiment("small", changed(scale="small", defense__gaussian_noise__sigma=1.6), row)
    git.experiment("unbuilt", changed(defense__gaussian_noise__sigma=1.6), {})
    git.experiment("two", changed(defense__gaussian_noise__sigma=0.4, training__lr=0.01), row)
    git.experiment("epochs", changed(defense__gaussian_noise__sigma=0.4, scales__demo__target={"epochs": 1}), row)
    git.experiment("older", changed(defense__gaussian_noise__sigma=0.4, training={"lr": 1e-3, "old": 1}), row)
    git.experiment("broken", {"scale": "demo"}, row)
    git.experiment("queued", changed(defense__gaussian_noise__sigma=3.2), row, ref="refs/exps/stash")
    git.experiment("running", changed(defense__gaussian_noise__sigma=3.2), row, ref="refs/exps/exec/EXEC_HEAD")
    lines, log = collected(git, caplog)
    assert lines == []
    assert "0 points of 7 experiments" in log
    for reason in (
        "left out: 1 of another scale",
        "left out: 1 without a params.yaml that can be read",
        "left out: 1 for cnn/gaussian_noise: without the scores in metrics/demo/table2/cnn/gaussian_noise.json",
        "left out: 1 for cnn/gaussian_noise: other settings differ too (training.lr)",
        "left out: 1 for cnn/gaussian_noise: other settings differ too (scales.demo.target.epochs)",
    ):
        assert reason in log
    assert "other settings differ too (training.old)" in log


def test_differences_without_a_say_in_the_cell_do_not_count(git, caplog):
    tree = changed(
        defense__gaussian_noise__sigma=1.6,
        defense__dropout__rate=0.1,
        variants__dropout_half__defense__dropout__rate=0.4,
        scales__small__target={"epochs": 99},
        scales__demo__mine={"epochs": 99},
        leaderboard={"rank_at": 5.0},
        rows__table2=["cnn/gaussian_noise"],
        sweeps=[],
    )
    git.experiment("other", tree, {"cnn/gaussian_noise": (40.0, 15.0)})
    lines, log = collected(git, caplog)
    assert [line["value"] for line in lines] == ["1.6"]
    assert "left out: 1 for cnn/dropout: without the scores" in log


def test_a_point_may_have_some_of_the_seeds_and_more_of_them_count_more(git, caplog):
    def tree(*seeds: int, sigma: float = 1.6, faces: int = 1) -> dict:
        made = {"cnn": list(seeds), "faces": [faces]}
        return changed(defense__gaussian_noise__sigma=sigma, scales__demo__seeds=made)

    git.experiment("both", tree(1, 2), {"cnn/gaussian_noise": (40.0, 15.0)})
    git.experiment("one", tree(1), {"cnn/gaussian_noise": (41.0, 16.0)})  # younger, with fewer seeds
    git.experiment("alone", tree(2, sigma=0.4, faces=7), {"cnn/gaussian_noise": (60.0, 20.0)})
    git.experiment("foreign", tree(1, 3, sigma=0.2), {"cnn/gaussian_noise": (70.0, 23.0)})
    lines, log = collected(git, caplog)
    assert [(line["value"], line["seeds"], line["experiment"]) for line in lines] == [
        *(("0.4", "2", "alone"), ("1.6", "1 2", "both")),
    ]
    assert "left out: 1 for cnn/gaussian_noise: seeds [1, 3], not all of which the workspace has" in log


def test_no_experiments_give_a_header_and_a_hint(git, caplog):
    lines, log = collected(git, caplog)
    assert lines == []
    assert (git.root / "plots/demo/sweeps/table2.csv").read_text() == ",".join(sweeps.COLUMNS) + "\n"
    assert "there are no experiments yet" in log


def test_outside_a_repository_the_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(ValueError, match=rf"{tmp_path}: git cannot read experiments here .*is it a git repository"):
        sweeps.collect(Params(TREE), Paths("demo", tmp_path))
    assert not (tmp_path / "plots").exists()


def test_commands_write_whole_numbers_as_such_and_never_twice():
    made = sweeps.commands(
        [
            sweeps.Sweep("cnn/bido", "defense.bido.weight", (1.0, 0.05, 1e-5)),
            sweeps.Sweep("cnn/bido_cka", "defense.bido.weight", (1.0, 0.05, 1e-5)),
        ],
        "demo",
    )
    setting = "defense.bido.weight=1,0.05,1e-05"
    assert made == [["dvc", "exp", "run", "--queue", "-S", setting, "build_table@table2"]]


def test_queue_shows_each_command_and_runs_it_unless_dry(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    ran, code = [], 0

    def run(command, check):
        ran.append(command)
        return subprocess.CompletedProcess(command, code)

    monkeypatch.setattr(sweeps.subprocess, "run", run)
    sweeps.queue(Params(TREE), dry=True)
    assert ran == []
    shown = [record.getMessage() for record in caplog.records]
    assert shown[0] == "dvc exp run --queue -S defense.gaussian_noise.sigma=0.2,1.6 build_table@table2"
    sweeps.queue(Params(TREE), dry=False)
    assert [" ".join(command) for command in ran] == shown
    code = 1
    with pytest.raises(ValueError, match=r"sigma=0\.2,1\.6 build_table@table2 failed"):
        sweeps.queue(Params(TREE), dry=False)


def test_some_seeds_are_queued_when_the_table_has_them(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(sweeps.Params, "load", lambda: Params(TREE))
    sweeps.main(["queue", "--dry-run", "--seeds", "2,1"])
    assert [record.getMessage() for record in caplog.records][1] == (
        "dvc exp run --queue -S defense.dropout.rate=0.5 -S scales.demo.seeds.cnn=[2,1] build_table@table2"
    )
    with pytest.raises(ParamsError, match=r"--seeds 1,3: scales\.demo\.seeds\.cnn has \[1, 2\]; take some of these"):
        sweeps.main(["queue", "--seeds", "1,3", "--dry-run"])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("all", r"sweeps = 'all': a list"),
        ([{**NOISE, "key": "defense.noise.sigma"}], r"defense\.noise\.sigma: missing from params\.yaml"),
        (
            [{**NOISE, "key": "defense.gaussian_noise"}],
            r"sweeps\[0\]\.key = 'defense\.gaussian_noise': .* is no number",
        ),
        ([NOISE, {**NOISE, "cell": "cnn/nobody"}], r"sweeps\[1\]\.cell = 'cnn/nobody': not in rows\.table2"),
        ([{**NOISE, "values": 3}], r"sweeps\[0\]\.values = 3: a list"),
        ([{**NOISE, "unit": "dB"}], r"sweeps\[0\]\.unit = 'dB': unknown key"),
    ],
)
def test_a_sweep_that_cannot_be_run_is_refused(value, message):
    with pytest.raises(ParamsError, match=message):
        sweeps.sweeps(Params(changed(sweeps=value)))


@pytest.mark.parametrize(
    "arguments",
    [[], ["run"], ["queue", "--wet"], ["queue", "--seeds"], ["collect", "now"], ["collect", "--dry-run"]],
)
def test_the_command_line_says_how_it_is_used(git, monkeypatch, arguments):
    monkeypatch.chdir(git.root)
    with pytest.raises(ValueError, match=r"usage: python -m splitprobe\.report\.sweeps queue .* \| collect"):
        sweeps.main(arguments)


def test_the_command_line_collects_in_the_current_folder(git, monkeypatch):
    git.experiment("high", changed(defense__gaussian_noise__sigma=1.6), {"cnn/gaussian_noise": (40.5, 15.25)})
    monkeypatch.chdir(git.root)
    sweeps.main(["queue", "--dry-run"])
    sweeps.main(["collect"])
    assert len(read_csv(Path("plots/demo/sweeps/table2.csv"))) == 1
