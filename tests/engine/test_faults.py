"""What goes wrong in a build reaches the stage that it befell and those behind it, and nothing that is recorded."""

import resource

import psutil
import pytest
from throwaway import Graph, alive, stage, wait_for

pytestmark = pytest.mark.slow  # real builds in processes of their own

HALF = "Path(out).write_text('half'); (Path(out).parent / f'.{name}.tmp').write_text('half')\n"
TROUBLE = {
    "fails": f"for i in range(60): print('line', i, flush=True)\n{HALF}raise ValueError('so it goes')",
    "killed_once": f"if runs() == 1: {HALF.replace(chr(10), ';')} os.kill(os.getpid(), signal.SIGKILL)",
    "killed_always": HALF + "os.kill(os.getpid(), signal.SIGKILL)",
    # its Dask worker is killed while it writes without end, the first time
    "orphan": """
note(os.getpid(), "orphan.pids")
while runs() == 1:
    Path(out).write_text("of the orphan")
    (control / "orphan.held").touch()
    time.sleep(0.01)
""",
    # what it writes, it has read before the edit; it waits until `reads_other` runs, so that both see the edit
    "reads_value": """
wait_for("reads_other.started")
Path("params.yaml").write_text(Path("params.yaml").read_text().replace("first: 1", "first: 11"))
(control / "edited").touch()
""",
    "reads_other": "(control / 'reads_other.started').touch(); wait_for('edited')",
    # what it writes, it has read after the edit
    "reads_source": "Path('stages/source.txt').write_text('another text')",
    "writes_nothing": "sys.exit(0)",
}
LOST = {"fails", "after_fails", "last", "killed_always", "reads_value", "reads_source", "writes_nothing"}


@pytest.fixture(scope="module")
def pristine(make_graph) -> Graph:
    """The graph with nothing built and no trouble."""
    return make_graph(
        stage("fails"),
        stage("after_fails", "fails"),
        stage("last", "after_fails", "killed_once"),
        stage("killed_once"),
        stage("killed_always"),
        stage("orphan"),
        stage("after_orphan", "orphan"),
        stage("reads_value", key="first"),
        stage("reads_other", key="second"),
        stage("reads_source", source="source.txt"),
        stage("writes_nothing"),
        files={"stages/source.txt": "a text"},
    )


@pytest.fixture(scope="module")
def troubled(make_graph, pristine) -> tuple[Graph, str]:
    """All the trouble in one run, and what the run said."""
    graph = make_graph(copy_of=pristine)
    graph.control_by(**TROUBLE)
    running = graph.splitprobe("--workers", "2")
    running.until("the stage that will be an orphan runs", lambda: graph.held("orphan"))
    (orphan,) = graph.pids("orphan")
    worker = psutil.Process(orphan).parent().parent()
    assert running.pid in [process.pid for process in worker.parents()]
    worker.kill()
    assert running.status() == 1, running.said
    return graph, running.said


def test_a_failure_costs_what_depends_on_it_and_nothing_else(troubled):
    graph, said = troubled
    names = {entry.split("@")[0] for entry in graph.recorded()}
    assert names == {"killed_once", "orphan", "after_orphan", "reads_other"}
    assert "after_fails" not in graph.ran() and "last" not in graph.ran()
    assert {"after_fails", "last"} <= {line.split()[-1] for line in said.splitlines() if "skipped" in line}
    assert not {f"data/{name}" for name in LOST} & graph.outputs().keys()


def test_the_end_of_a_failed_stages_log_is_shown_and_all_of_it_kept(troubled):
    graph, said = troubled
    assert "fails: failed with exit status 1" in said and "ValueError: so it goes" in said
    assert "line 59" in said and "line 1\n" not in said
    log = graph.root / ".dvc" / "tmp" / "splitprobe" / "fails.log"
    assert str(log) in said and log.read_text().startswith("line 0\nline 1\n")


def test_a_killed_stage_is_run_again_twice_at_most(troubled):
    graph, said = troubled
    assert [graph.ran().count(name) for name in ("killed_once", "killed_always", "fails")] == [2, 3, 1]
    assert "killed_always: killed 3 times" in said and "killed_once: its process was killed (signal 9)" in said


def test_a_killed_worker_costs_no_more_than_the_stage_it_ran(troubled):
    graph, _ = troubled
    assert graph.ran().count("orphan") == 2 and graph.ran().count("reads_other") == 1
    orphan, _ = graph.pids("orphan")
    wait_for("the orphan's end", lambda: not alive([orphan]))
    assert b"of the orphan" not in graph.outputs()["data/orphan"]


def test_an_input_that_changes_under_a_stage_is_named(troubled):
    _, said = troubled
    lines = {line.split(":")[0]: line for line in said.splitlines() if "not recorded" in line and "FAILED" not in line}
    assert "params.yaml" in lines["reads_value"] and "data.first" in lines["reads_value"]
    assert "stages/source.txt" in lines["reads_source"]
    assert "data/writes_nothing" in said


def test_nothing_half_written_stays(troubled):
    graph, _ = troubled
    assert not [name for name in graph.outputs() if name.endswith(".tmp")]
    assert not [name for name, text in graph.outputs().items() if text == b"half"]
    wait_for("no process of the build is left", lambda: not graph.inhabitants())


def test_the_next_run_builds_what_was_lost_as_a_serial_build_does(troubled, pristine, make_graph):
    """One edit stays, two are taken back: bytes of neither side may have been kept for the other."""
    graph, _ = troubled
    for name in TROUBLE:
        (graph.control / f"{name}.py").unlink()
    graph.forget()
    (graph.root / "stages" / "source.txt").write_text("a text")
    graph.run("--workers", "1")
    assert set(graph.ran()) == LOST and len(graph.ran()) == len(LOST)
    serial = make_graph(copy_of=pristine)
    (serial.root / "params.yaml").write_text((graph.root / "params.yaml").read_text())
    serial.reproduce()
    assert graph.outputs() == serial.outputs()
    assert graph.due() == {}


def test_fail_fast_stops_the_others(make_graph):
    graph = make_graph(stage("fails"), stage("long"), stage("more"), stage("after", "long"))
    graph.control_by(fails="wait_for('long.held'); sys.exit(7)", long=HALF + "hold()", more="hold()")
    said = graph.run("--workers", "2", "--fail-fast", status=1)
    assert "fails: failed with exit status 7" in said
    assert not alive(graph.pids("long"))
    wait_for("no process of the build is left", lambda: not graph.inhabitants())
    assert graph.outputs() == {} and graph.recorded() == {}


def test_a_full_disk_is_named_and_leaves_nothing_that_the_cache_lacks(make_graph):
    """The driver may write no files as long as the stage's output: to it, the disk is full then."""
    graph = make_graph(stage("first"), stage("large", "first"), stage("last", "large"))
    graph.control_by(large="hold(); text = 'x' * 300_000")
    running = graph.splitprobe("--workers", "1")
    running.until("the stage runs", lambda: graph.held("large"))
    resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (100_000, 100_000))
    graph.release("large")
    assert running.status() == 1, running.said
    assert list(graph.recorded()) == ["first"] and "last" not in graph.ran()
    assert graph.due().keys() == {"large", "last"}
    assert graph.reproduce() == ["large", "last"]  # the run cache did not keep what the cache has not taken
    assert "a file grew too large" in running.said and "Traceback" not in running.said, running.said
