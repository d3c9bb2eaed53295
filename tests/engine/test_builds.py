"""`splitprobe run` makes what `dvc repro` makes: the same bytes, the same dvc.lock, and nothing more often."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from throwaway import ROOT, Graph, git, stage

pytestmark = pytest.mark.slow  # real builds in processes of their own

# leaves everything that a process can leave to the next one; what `probe_*` see of it is in their outputs
DIRT = """
import random, numpy
random.seed(1); numpy.random.seed(1); os.environ["DIRT"] = "1"; sys.argv.append("dirt"); sys.path.insert(0, "/dirt")
os.chdir("/"); os.umask(0o077); sys.modules["colorsys"] = sys; os.nice(1)
os.chdir(os.environ["DVC_ROOT"])
"""
PROBE = """
import colorsys, random
random.seed(int(name[-1]))
seen = [sys.argv, os.getcwd() == os.environ["DVC_ROOT"], os.environ.get("DIRT"), random.random(), "/dirt" in sys.path]
mask = os.umask(0); os.umask(mask)
seen += [os.environ["DVC_STAGE"], mask, colorsys.__name__, "numpy" in sys.modules, sys.stdin.read(), __name__]
text = repr(seen)
"""


def small_study() -> list[dict]:
    """A graph with what the real one has: loops, folders, files outside the cache, recipes, commands of sh."""
    return [
        stage("recipes", source="shared.txt", meta={"first": True}),
        stage("prepare", key="first"),
        {
            "train": {
                "foreach": {"one": 1, "two": 2},
                "do": {
                    "cmd": "python stages/step.py ${key} data/${key} second data/prepare data/recipes",
                    "deps": ["stages/step.py", "data/prepare", "data/recipes"],
                    "params": ["data.second", "runtime"],
                    "outs": ["data/${key}"],
                    "plots": [{"plots/${key}": {"cache": False}}],
                },
            }
        },
        {
            "shell": {
                "cmd": "mkdir -p data/folder/a && cat data/one > data/folder/a/b && echo '{}' | tee data/x.json",
                "deps": ["data/one"],
                "outs": ["data/folder"],
                "metrics": [{"data/x.json": {"cache": False}}],
            }
        },
        stage("dirt", "two"),
        stage("probe_1", "prepare"),
        stage("probe_2", "dirt"),
        stage("cut", source="cut.txt"),
        stage("after_cut", "cut"),
        stage("last", "folder/a/b", "probe_2"),
    ]


@pytest.fixture(scope="module")
def study(make_graph) -> tuple[Graph, Graph]:
    """A study that `dvc repro` has built, and a copy from before."""
    graph = make_graph(*small_study(), files={"stages/shared.txt": "a text", "stages/cut.txt": "a text"})
    plot = "Path('plots').mkdir(exist_ok=True); Path(f'plots/{name}').write_text('x\\n1\\n')"
    # what `cut` writes does not depend on what it reads
    graph.control_by(one=plot, two=plot, dirt=DIRT, probe_1=PROBE, probe_2=PROBE, cut="inputs.clear()")
    unbuilt = make_graph(copy_of=graph)
    graph.reproduce()
    return graph, unbuilt


@pytest.fixture(scope="module")
def serial(study) -> Graph:
    return study[0]


@pytest.fixture(scope="module")
def parallel(study) -> Graph:
    """The same study, built by `splitprobe run`."""
    graph = study[1]
    graph.run("--workers", "2")
    return graph


def test_outputs_and_lock_are_those_of_a_serial_build(serial, parallel):
    assert len(parallel.outputs()) == 14 and parallel.outputs() == serial.outputs()
    assert (parallel.root / "dvc.lock").read_bytes() == (serial.root / "dvc.lock").read_bytes()
    assert sorted(parallel.ran()) == sorted(serial.ran())
    assert git(parallel.root, "status", "--short") == git(serial.root, "status", "--short")
    assert not list((parallel.root / ".dvc" / "cache").rglob("*.tmp"))


def test_dvc_has_nothing_left_to_do(parallel):
    assert parallel.due() == {} and parallel.reproduce() == []


def test_a_second_run_finds_all_up_to_date(parallel):
    ran, lock = parallel.ran(), (parallel.root / "dvc.lock").stat().st_mtime_ns
    assert "11 stages are up to date" in parallel.call("run")
    assert parallel.ran() == ran and (parallel.root / "dvc.lock").stat().st_mtime_ns == lock


def test_deleted_outputs_come_from_the_cache(parallel):
    before, lock = parallel.outputs(), (parallel.root / "dvc.lock").read_bytes()
    parallel.forget()
    shutil.rmtree(parallel.root / "data")
    shutil.rmtree(parallel.root / "plots")
    parallel.call("run")
    assert parallel.ran() == [] and parallel.outputs() == before
    assert (parallel.root / "dvc.lock").read_bytes() == lock


def test_a_build_ends_where_the_content_is_the_same_and_keeps_to_its_targets(parallel):
    parallel.forget()
    (parallel.root / "stages" / "cut.txt").write_text("another text")  # `cut` must run, `after_cut` need not
    params = parallel.root / "params.yaml"
    params.write_text(params.read_text().replace("second: 2", "second: 22"))  # `train`, and all that needs it
    said = parallel.run("--workers", "1", "after_cut", "train@one")
    assert sorted(parallel.ran()) == ["cut", "one"], said
    assert parallel.outputs()["data/one"].startswith(b"one 22 22 ")
    assert {"train@two", "shell"} <= parallel.due().keys() and not parallel.due().keys() & {"cut", "after_cut"}


def test_an_unknown_target_is_named(parallel):
    assert "no_such_stage" in parallel.call("run", "no_such_stage", status=1)


# Two checkouts: the environment serves the first one's sources. Its sister's values are changed on the command line.

OWN = """\
import own_sources  # noqa: F401

import sys
from pathlib import Path

from splitprobe.core.params import MARKER

Path(sys.argv[1]).parent.mkdir(exist_ok=True)
Path(sys.argv[1]).write_text(MARKER)
"""


def give_sources(graph: Graph, marker: str) -> None:
    """The project's sources, with a mark in what stages import and one in what the engine says."""
    (graph.root / "src").unlink()
    shutil.copytree(ROOT / "src" / "splitprobe", graph.root / "src" / "splitprobe")
    shutil.copy(ROOT / "stages" / "own_sources.py", graph.root / "stages")
    (graph.root / "stages" / "own.py").write_text(OWN)
    package = graph.root / "src" / "splitprobe"
    with open(package / "core" / "params.py", "a") as stream:
        stream.write(f"\nMARKER = {marker!r}\n")
    view = package / "engine" / "view.py"
    text = view.read_text()
    assert text.count('f"[{self.done}') == 1
    view.write_text(text.replace('f"[{self.done}', f'f"{marker} [{{self.done}}'))


@pytest.fixture(scope="module")
def first(make_graph) -> Graph:
    entry = {"cmd": "python stages/own.py data/own", "deps": ["stages/own.py"], "outs": ["data/own"]}
    graph = make_graph({"own": entry}, stage("reads", key="first"), stage("other", key="second"))
    give_sources(graph, "of the first")
    return graph


@pytest.fixture(scope="module")
def second(make_graph, first) -> tuple[Graph, str]:
    """The other checkout, after `splitprobe run -S` with the first one's sources, and what it said."""
    graph = make_graph({"own": {}}, stage("reads", key="first"), stage("other", key="second"))
    shutil.copy(first.root / "dvc.yaml", graph.root)
    give_sources(graph, "of the second")
    git(graph.root, "add", "-A")
    git(graph.root, "commit", "-qm", "as the first")
    changed = ["-S", "data.first=1e-4", "-S", "scales.model.cnn.width=16", "--save", "better"]
    running = graph.splitprobe("--workers", "1", *changed, environment={"PYTHONPATH": str(first.root / "src")})
    assert running.status() == 0, running.said
    return graph, running.said


def test_a_build_runs_its_own_checkouts_sources(second):
    graph, said = second
    assert graph.outputs()["data/own"] == b"of the second"
    assert "of the second [" in said and "of the first" not in said


def test_a_stage_runs_its_own_checkouts_sources_without_the_engine(first, second):
    graph, _ = second
    for root, made in ((graph.root, "of the second"), (first.root, "of the first")):
        out = root / "by_hand.txt"
        environment = graph.environment() | {"PYTHONPATH": str(first.root / "src")}
        subprocess.run([sys.executable, "stages/own.py", out], cwd=root, env=environment, check=True)
        assert out.read_text() == made
        out.unlink()


def test_values_on_the_command_line_are_written_as_dvc_writes_them(make_graph, second):
    graph, _ = second
    alike = make_graph(stage("reads", key="first"))
    from dvc.utils.hydra import apply_overrides

    here = os.getcwd()
    os.chdir(alike.root)
    try:
        apply_overrides("params.yaml", ["data.first=1e-4", "scales.model.cnn.width=16"])
    finally:
        os.chdir(here)
    text = (graph.root / "params.yaml").read_text()
    assert text == (alike.root / "params.yaml").read_text()
    assert "# a remark that stays" in text and "# by others" in text


def test_the_result_is_an_experiment_that_dvc_shows_and_applies(second):
    graph, said = second
    assert "saved as an experiment: better" in said
    show = subprocess.run(
        [sys.executable, "-m", "dvc", "exp", "show", "--json"],
        cwd=graph.root,
        env=graph.environment(),
        capture_output=True,
        check=True,
    )
    assert "better" in show.stdout.decode()
    (shown,) = [one for row in json.loads(show.stdout) for one in row["experiments"] or []]
    (revision,) = shown["revs"]
    assert revision["name"] == "better" and revision["data"]["params"]["params.yaml"]["data"]["data"]["first"] == 1e-4
    built = graph.outputs(), (graph.root / "dvc.lock").read_bytes()
    git(graph.root, "reset", "-q", "--hard")
    shutil.rmtree(graph.root / "data")
    with graph.dvc() as repo:
        assert [name for names in repo.experiments.ls().values() for name, _ in names] == ["better"]
        repo.experiments.apply("better")
    assert (graph.outputs(), (graph.root / "dvc.lock").read_bytes()) == built
    assert "1e-4" in (graph.root / "params.yaml").read_text() or "0.0001" in (graph.root / "params.yaml").read_text()
    assert graph.due() == {}


@pytest.mark.parametrize(
    "values, named",
    [
        (["data.first=3", "data.no_such_key=1"], "no_such_key"),
        (["data.first=3", "scale=enormous"], "enormous"),
        (["data.first=3", "seed=-1"], "seed"),
        (["data.first=3", "nonsense"], "nonsense"),
        (["data.first=3", "elsewhere.yaml:x=1"], "elsewhere.yaml"),
    ],
)
def test_an_unknown_key_or_a_value_out_of_range_changes_nothing(first, values, named):
    before = (first.root / "params.yaml").read_bytes()
    assert named in first.call("run", *(word for value in values for word in ("-S", value)), status=1)
    assert (first.root / "params.yaml").read_bytes() == before
