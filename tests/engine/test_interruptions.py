"""A build that is stopped or killed leaves no process and no half-written file, and the next one goes on from there."""

import os
import signal
from collections.abc import Iterator

import pytest
from throwaway import Graph, Running, alive, description, stage, wait_for

pytestmark = pytest.mark.slow  # real builds in processes of their own

HALF = """
if not (control / f"{name}.go").exists():
    Path(out).write_text("half")
    (Path(out).parent / f".{Path(out).name}.x1").write_text("half")
    note(subprocess.Popen(["sleep", "1000"]).pid, f"{name}.pids")
hold()
"""
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
# `first` to `fourth` wait for each other; a run is stopped while one of them, and `beside`, hold
STAGES = ("first", "second", "third", "fourth")


@pytest.fixture(scope="module")
def graph(make_graph) -> Graph:
    chain = [stage(name, *STAGES[:i][-1:]) for i, name in enumerate(STAGES)]
    graph = make_graph(*chain, stage("beside"))
    graph.control_by(second=HALF, third=DEAF + HALF, fourth=HALF, beside=DEAF + HALF)
    return graph


def left(graph: Graph, *names: str) -> list[str]:
    """What still runs of what these stages have started."""
    return [description(pid) for pid in sorted(alive(pid for name in names for pid in graph.pids(name)))]


def whole(graph: Graph) -> set[str]:
    """The stages whose outputs are there; half-written and temporary files there must not be."""
    found = graph.outputs()
    assert all(text.startswith(name.removeprefix("data/").encode()) for name, text in found.items()), found
    return {name.removeprefix("data/") for name in found}


@pytest.fixture(scope="module")
def running(graph) -> Iterator[Running]:
    """A driver with two stages that hold."""
    driver = graph.splitprobe("--workers", "2")
    driver.until("two stages run", lambda: graph.held("second", "beside"))
    yield driver
    driver.kill()


# The tests of this file go through the life of one build, in this order.


@pytest.mark.parametrize("command", ["splitprobe", "repro"])
def test_a_second_build_names_the_first_and_leaves_it_alone(graph, running, command):
    other = getattr(graph, command)()
    assert other.status() not in (0, None), other.said
    assert f"PID {running.pid}" in other.said and "splitprobe run" in other.said
    assert running.process.poll() is None and not graph.recorded().keys() & {"second", "beside"}
    assert alive(graph.pids("second")) == set(graph.pids("second"))
    assert graph.ran() in (["first", "second", "beside"], ["first", "beside", "second"], ["beside", "first", "second"])


def test_a_setting_on_the_command_line_waits_for_the_build(graph, running):
    before = (graph.root / "params.yaml").read_text()
    other = graph.splitprobe("-S", "data.first=5")
    assert other.status() == 1, other.said
    assert f"PID {running.pid}" in other.said and (graph.root / "params.yaml").read_text() == before


def test_ctrl_c_stops_all_stages_and_records_what_was_finished(graph, running):
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does it: all of the driver's group get it
    assert running.status() == 130, running.said
    assert left(graph, "second", "beside") == [], running.said
    wait_for("no process of the build is left", lambda: not graph.inhabitants())  # Python's own are a moment later
    assert whole(graph) == {"first"} == set(graph.recorded())
    assert "Traceback" not in running.said, running.said


def test_sigterm_does_the_same_in_the_next_build(graph):
    graph.forget()
    graph.release("second")
    running = graph.splitprobe("--workers", "1", "fourth")
    running.until("the next stage runs", lambda: graph.held("third"))
    running.until_said("second built")
    running.process.send_signal(signal.SIGTERM)
    assert running.status() == 143, running.said
    assert left(graph, "second", "third") == [], running.said
    wait_for("no process of the build is left", lambda: not graph.inhabitants())
    assert whole(graph) == {"first", "second"} == set(graph.recorded())
    assert graph.ran() == ["second", "third"]


def test_a_driver_that_is_killed_leaves_no_stage_behind(graph):
    graph.forget()
    graph.release("third")
    running = graph.splitprobe("--workers", "1", "fourth")
    running.until("the next stage runs", lambda: graph.held("fourth"))
    running.until_said("third built")
    running.process.kill()
    running.status()
    wait_for("no process of the build is left", lambda: not left(graph, "third", "fourth") and not graph.inhabitants())
    assert graph.ran() == ["third", "fourth"]
    assert {"first", "second"} <= set(graph.recorded())


def test_a_build_leaves_the_stages_of_dvc_repro_alone(graph):
    (graph.control / "beside.held").unlink()
    graph.control_by(beside="hold()")
    repro = graph.repro("beside")
    repro.until("DVC runs the stage", lambda: graph.held("beside"))
    other = graph.splitprobe()
    assert other.status() == 1, other.said
    assert f"PID {repro.pid}" in other.said and "dvc" in other.said and "repro" in other.said
    graph.release("beside")
    assert repro.status() == 0, repro.said
    assert "beside" in graph.recorded()


def test_the_build_after_a_kill_runs_just_what_was_not_finished(graph):
    graph.forget()
    graph.release("fourth")
    graph.run("--workers", "1")
    assert graph.ran() == ["fourth"]
    assert whole(graph) == {*STAGES, "beside"} == set(graph.recorded())
    assert graph.due() == {}
