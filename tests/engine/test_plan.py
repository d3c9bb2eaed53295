"""`splitprobe plan`, `work` and `adopt`: a graph built by a machine that has neither DVC, Git nor Dask."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from throwaway import Graph, Running, git, stage

from splitprobe.engine.digest import digest, ignored_names
from splitprobe.engine.plan import BadPlan, read_plan

pytestmark = pytest.mark.slow  # real builds in processes of their own

CODE = "from splitprobe.engine.cli import main; import sys; sys.exit(main())"
ABSENT = ("dvc", "distributed", "dask", "git", "pygit2")
STAGES = (
    stage("a", key="first"),
    stage("b", "a", source="extra.py", deps=["stages/step.py", "data/a", "stages/extra.py", "stages"]),
    stage("c", "a", key="second"),
    stage("d", "b", "c"),
    stage("apart"),
)


@pytest.fixture(scope="module")
def fresh(make_graph) -> Graph:
    """A diamond and a stage apart, nothing built; one stage depends on a folder, in which lies what DVC ignores."""
    graph = make_graph(*STAGES, files={"stages/extra.py": "x = 1\n"})
    (graph.root / "stages" / "__pycache__").mkdir()
    (graph.root / "stages" / "__pycache__" / "step.pyc").write_bytes(b"compiled")
    return graph


@pytest.fixture
def graph(make_graph, fresh) -> Graph:
    return make_graph(copy_of=fresh)


@pytest.fixture
def box(make_graph, fresh) -> Graph:
    """The other machine: the same files without DVC's and Git's, and no such packages."""
    graph = make_graph(copy_of=fresh)
    for name in (".git", ".dvc", "dvc.lock"):
        path = graph.root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for name in ABSENT:
        (graph.side / "absent").mkdir(exist_ok=True)
        (graph.side / "absent" / f"{name}.py").write_text(f"raise ImportError('{name} is not installed')")
    return graph


def start(graph: Graph, *arguments: str) -> Running:
    """Start a command of splitprobe's, without the packages that are absent where the graph says so."""
    environment = graph.environment()
    environment["PYTHONPATH"] = f"{graph.side / 'absent'}:{environment['PYTHONPATH']}"
    return graph.start([sys.executable, "-c", CODE, *arguments], environment)


def finish(graph: Graph, *arguments: str, status: int = 0) -> str:
    """Run a command to its end; what it said."""
    running = start(graph, *arguments)
    assert running.status() == status, running.said
    return running.said


def plan(graph: Graph, *arguments: str) -> Path:
    """The plan of what is due, as a file."""
    file = graph.side / "plan.json"
    file.write_text(finish(graph, "plan", *arguments))
    return file


@pytest.fixture
def done(graph, box) -> Callable[..., Path]:
    """``done()`` lets the other machine do the graph's plan; the folder to adopt."""

    def do(*arguments: str, status: int = 0) -> Path:
        finish(box, "work", str(plan(graph)), "--out", str(box.side / "done"), *arguments, status=status)
        return box.side / "done"

    return do


def test_what_another_machine_has_built_is_as_if_built_here(make_graph, fresh, graph, done):
    said = finish(graph, "adopt", str(done()))
    assert "5 stages adopted, 0 refused" in said
    assert graph.due() == {} and graph.reproduce() == []
    serial = make_graph(copy_of=fresh)
    assert sorted(serial.reproduce()) == ["a", "apart", "b", "c", "d"]
    assert graph.outputs() == serial.outputs()
    assert (graph.root / "dvc.lock").read_bytes() == (serial.root / "dvc.lock").read_bytes()
    for path in (graph.root / "data").iterdir():
        path.unlink() if path.is_file() else shutil.rmtree(path)
    assert "taken from the run cache" in graph.run(), "what was adopted is in the cache and the run cache"
    assert graph.ran() == []


def test_digests_are_those_of_dvc(make_graph, fresh):
    graph = make_graph(copy_of=fresh)
    graph.reproduce()
    ignored = ignored_names(graph.root)
    recorded = {dep["path"]: dep["md5"] for entry in graph.recorded().values() for dep in entry["deps"]}
    assert {"stages", "stages/step.py", "data/a"} <= recorded.keys() and recorded["stages"].endswith(".dir")
    assert {path: digest(graph.root / path, ignored) for path in recorded} == recorded
    assert digest(graph.root / "stages") != recorded["stages"], "what .dvcignore names would count otherwise"


def test_digests_are_of_the_bytes_where_dvc_lock_knows_the_stage_but_not_the_file(make_graph):
    # as after a change of scale: until it has run there, DVC takes such line ends out, as its version 2 did
    graph = make_graph(stage("a", source="x.txt"), files={"stages/x.txt": "1\r\n", "stages/y.txt": "2\r\n"})
    graph.reproduce()
    dvc = graph.root / "dvc.yaml"
    dvc.write_text(dvc.read_text().replace("x.txt", "y.txt"))
    (step,) = json.loads(plan(graph).read_text())["steps"]
    assert step["inputs"]["stages/y.txt"] == digest(graph.root / "stages" / "y.txt")


def test_a_plan_holds_what_is_due_and_digests_of_what_it_reads(graph):
    graph.reproduce("b")
    planned = json.loads(plan(graph).read_text())
    names = [step["name"] for step in planned["steps"]]
    assert sorted(names) == ["apart", "c", "d"] and names.index("c") < names.index("d")
    steps = {step["name"]: step for step in planned["steps"]}
    assert steps["c"]["inputs"]["data/a"] == graph.recorded()["a"]["outs"][0]["md5"]
    assert steps["c"]["inputs"]["params.yaml:data.second"] == [2]
    assert steps["d"]["inputs"]["data/c"] is None, "a step of the plan makes it"
    every = json.loads(plan(graph, "--all").read_text())
    assert len(every["steps"]) == 5
    only = json.loads(plan(graph, "--all", "c").read_text())
    assert [step["name"] for step in only["steps"]] == ["a", "c"]


def test_what_decides_about_others_is_made_before_they_are_looked_at(make_graph):
    """And again on the other machine, as it is none of the sources."""
    graph = make_graph(stage("a", "b"), stage("b", source="x.txt", meta={"first": True}), files={"stages/x.txt": "1"})
    graph.control_by(b="inputs.clear()")
    steps = json.loads(plan(graph).read_text())["steps"]
    assert [(step["name"], step["first"]) for step in steps] == [("b", True), ("a", False)]
    assert graph.ran() == list(graph.recorded()) == ["b"]
    graph.reproduce()
    (graph.root / "stages" / "x.txt").write_text("2")
    assert json.loads(plan(graph).read_text())["steps"] == [], "it has made the same again"
    assert graph.ran() == ["b", "a", "b"] and graph.due() == {}
    (graph.root / "stages" / "x.txt").write_text("3")
    graph.control_by(b="sys.exit('so it goes')")
    assert "error: b failed:\nso it goes" in graph.run(status=1)
    assert not graph.inhabitants()


def test_a_machine_with_other_sources_or_params_does_not_run_what_reads_them(graph, box):
    file = plan(graph)
    (box.root / "stages" / "extra.py").write_text("x = 2\n")
    params = box.root / "params.yaml"
    params.write_text(params.read_text().replace("second: 2", "second: 3"))
    said = finish(box, "work", str(file), status=1)
    assert sorted(box.ran()) == ["a", "apart"]
    assert "b FAILED: missing here, or not what the plan was made from: stages/extra.py, stages" in said
    assert "c FAILED: missing here, or not what the plan was made from: params.yaml:data.second" in said
    assert "skipped: d" in said
    assert (box.root / "data" / "a").exists() and not (box.root / "data" / "b").exists()


def test_nothing_made_of_other_inputs_is_adopted(graph, done):
    folder = done()
    (graph.root / "data").mkdir(exist_ok=True)
    (graph.root / "data" / "c").write_text("what was here")
    params = graph.root / "params.yaml"
    params.write_text(params.read_text().replace("second: 2", "second: 3"))
    said = finish(graph, "adopt", str(folder), status=1)
    assert "c: not adopted, it was made from other inputs than this checkout's: params.yaml:data.second" in said
    assert "d: not adopted" in said and "3 stages adopted, 2 refused" in said
    assert set(graph.recorded()) == {"a", "apart", "b"}
    assert (graph.root / "data" / "c").read_text() == "what was here", "nothing that is here is lost"


def test_a_damaged_output_is_not_adopted(graph, done):
    folder = done()
    (folder / "data" / "a").write_text("other bytes")
    (folder / "data" / "apart").unlink()
    said = finish(graph, "adopt", str(folder), status=1)
    assert "a: not adopted, " in said and "apart: not adopted, " in said
    assert "b: not adopted, it was made from other inputs than this checkout's: data/a" in said
    assert graph.recorded() == {}


def test_work_that_was_broken_off_goes_on(graph, box):
    file = str(plan(graph))
    box.control_by(c="hold()")
    running = start(box, "work", file, "--workers", "1")
    running.until("c holds", lambda: box.held("c"))
    running.process.send_signal(signal.SIGTERM)
    assert running.status() == 128 + signal.SIGTERM, running.said
    first = box.ran()
    assert "c" in first and not (box.root / "data" / "c").exists()
    box.release("c")
    box.forget()
    finish(box, "work", file)
    assert sorted(box.ran()) == sorted({"a", "b", "c", "d", "apart"} - {*first} | {"c"})
    assert "5 stages adopted" in finish(graph, "adopt", str(box.root))
    assert graph.due() == {}


def test_a_file_that_is_no_plan_is_named(tmp_path):
    with pytest.raises(BadPlan, match=r"none\.json is missing: `splitprobe plan > plan\.json` makes it"):
        read_plan(tmp_path / "none.json", tmp_path)
    for text in ("", "[]", "{}", '{"version": 1, "steps": [{"name": "a"}]}', '{"version": 1, "steps": 3}'):
        (tmp_path / "plan.json").write_text(text)
        with pytest.raises(BadPlan, match=r"plan\.json is no plan"):
            read_plan(tmp_path / "plan.json", tmp_path)
    (tmp_path / "plan.json").write_text('{"version": 99, "steps": []}')
    with pytest.raises(BadPlan, match="version 99"):
        read_plan(tmp_path / "plan.json", tmp_path)


def test_a_folder_without_work_is_named(graph):
    assert "holds no work.json" in finish(graph, "adopt", str(graph.root / "stages"), status=1)
    assert git(graph.root, "status", "--porcelain") == ""
