"""The engine's parts that need no processes: the view, the order of a build, the lock file, the environment."""

import contextlib
import copy
import errno
import os
import shutil
import signal
from pathlib import Path

import pytest
from dvc.utils.serialize import load_yaml, modify_yaml
from throwaway import ROOT, stage

from splitprobe.core import artifacts
from splitprobe.core.artifacts import write_json
from splitprobe.engine import cli, cluster
from splitprobe.engine.launcher import Outcome, quiet_cores
from splitprobe.engine.plan import COMMAND, OUTPUT, BadPlan, read_plan
from splitprobe.engine.repository import LockFile, Repository
from splitprobe.engine.run import Build, known_seconds, note_stages
from splitprobe.engine.steps import DiskFull, Step
from splitprobe.engine.view import View, duration, last_line


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0, "0 s"),
        (48.4, "48 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.7, "1 h 00 min"),
        (7800, "2 h 10 min"),
        (90000, "25 h 00 min"),
    ],
)
def test_a_duration_is_written_in_two_units(seconds, text):
    assert duration(seconds) == text


def test_the_time_left_counts_what_is_known_and_averages_what_is_not(monkeypatch, tmp_path):
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    view = View(4, {"a": 10.0, "b": 30.0, "c": 20.0}, live=False)
    assert view.remaining() == 0
    view.left = {"a", "b", "new"}
    assert view.remaining() == 10 + 30 + 20  # one that is unknown counts as the average of those that are left
    view.slots = 2
    assert view.remaining() == 30
    (tmp_path / "a.log").touch()
    view.start("a", tmp_path / "a.log")
    view.picture()
    now += 4
    assert view.remaining() == (60 - 4) / 2
    now += 1000  # it takes longer than the last time: the others still take theirs
    assert view.remaining() == (60 - 10) / 2
    view.end("a", "built", 12.0)
    assert view.left == {"b", "new"} and view.remaining() == (30 + 30) / 2


def test_without_records_the_time_left_follows_what_was_built_by_now():
    view = View(3, {}, live=False)
    view.left = {"a", "b", "c"}
    assert view.remaining() == 0
    view.end("a", "built", 7.0)
    assert view.remaining() == 14


def test_the_state_of_a_progress_bar_is_its_last_line(tmp_path):
    file = tmp_path / "progress"
    assert last_line(file) == ""
    for text, last in [
        ("", ""),
        ("\r\n", ""),
        ("one", "one"),
        ("\rone 1/2\rone 2/2\n", "one 2/2"),
        ("a\nb \r  \r", "b"),
    ]:
        file.write_text(text)
        assert last_line(file) == last
    file.write_bytes("é".encode()[1:] + b"x" * 3000 + b"\rthe end")
    assert last_line(file) == "the end"


def test_seconds_of_stages_are_kept_for_the_next_build(tmp_path):
    file = tmp_path / "seconds" / "stages.json"
    assert known_seconds(file) == {}
    note_stages(file, {})
    assert not file.exists()
    note_stages(file, {"a": 1.234, "b": 2.0})
    note_stages(file, {"b": 3.0})
    assert known_seconds(file) == {"a": 1.23, "b": 3.0}
    for text in ("[1]", "{", '{"a": "long"}', '{"a": null}'):
        file.write_text(text)
        assert known_seconds(file) == {}


def test_threads_are_quiet_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert quiet_cores(3)["OMP_WAIT_POLICY"] == "passive"
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    chosen = quiet_cores(3)
    assert chosen.pop("OMP_WAIT_POLICY") == "active"
    assert chosen == dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "3")


# The lock file: DVC's own way with it is the reference.

VALUES = {
    "null": None,
    "numbers": [1e-4, 1e-05, 0.1, 1.0, 1e22, -0.0, 100000000000000000000, 1e300, float("inf"), 3, 0, True, False],
    "texts": [
        "yes",
        "null",
        "~",
        "1e-4",
        "1_000",
        "0x10",
        "012",
        "1:30",
        "2020-01-01",
        "",
        " a ",
        "a: b",
        "a #b",
        "#",
        "é",
    ],
    "more": [
        "- a",
        "*a",
        "&a",
        "!a",
        "%a",
        "@a",
        "'",
        '"',
        "'a'",
        "a\nb",
        "a\n",
        "\t",
        "<<",
        "=",
        "on",
        ".5",
        ".inf",
        "{}",
    ],
    "long": "word " * 60 + "x" * 200,
    "empty": [{}, [], ""],
    "deep": {"a": {"b": [{"c": None, "d": [[1, 2], []]}, None]}, "1": 2},
}


def entry(name: str, value: object) -> dict:
    """The entry of a stage in dvc.lock."""
    params = {"params.yaml": {"key": copy.deepcopy(value)}}
    return {"cmd": f"python stages/{name}.py", "params": params, "outs": [{"path": name}]}


def by_dvc(file: Path, entries: dict) -> bytes:
    """What DVC writes, stage by stage."""
    for name, value in entries.items():
        with modify_yaml(str(file)) as tree:
            if not tree:
                tree["schema"] = "2.0"
            tree["stages"] = tree.get("stages", {})
            tree["stages"][name] = value
    return file.read_bytes()


@pytest.fixture(scope="module")
def committed() -> dict:
    """Some stages of the repository's own dvc.lock: the first of each script."""
    stages = load_yaml(str(ROOT / "dvc.lock"))["stages"]
    first = {name.partition("@")[0]: name for name in reversed(stages)}
    return {name: stages[name] for name in first.values()}


@pytest.mark.parametrize("kind", ["committed", *VALUES])
def test_the_lock_file_has_the_bytes_that_dvc_writes(tmp_path, committed, kind):
    entries = committed if kind == "committed" else {"a": entry("a", VALUES[kind]), "b": entry("b", [VALUES[kind]])}
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    LockFile(str(mine)).update(entries, list(entries))
    assert mine.read_bytes() == by_dvc(theirs, entries)
    # what is read again is written again
    changed = {"a": entry("a", 2), "new": entry("new", VALUES.get(kind, 1))}
    LockFile(str(mine)).update(changed, [*entries, "new"])
    assert mine.read_bytes() == by_dvc(theirs, changed)


def test_new_stages_enter_the_lock_file_in_the_order_of_the_graph(tmp_path):
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    by_dvc(mine, {"z": entry("z", 1)})
    by_dvc(theirs, {"z": entry("z", 1)})
    lock, order = LockFile(str(mine)), ["a", "b", "c", "d", "z"]
    for name in ("c", "a", "d", "b"):
        lock.update({name: entry(name, 1)}, order)
    assert mine.read_bytes() == by_dvc(theirs, {name: entry(name, 1) for name in "abcd"})


def test_the_lock_file_keeps_what_others_write_into_it(tmp_path):
    file = tmp_path / "dvc.lock"
    lock = LockFile(str(file))
    lock.update({"a": entry("a", 1)}, ["a", "b"])
    by_dvc(file, {"other": entry("other", 1)})
    lock.update({"b": entry("b", 1)}, ["a", "b"])
    assert load_yaml(str(file))["stages"] == {name: entry(name, 1) for name in ("a", "other", "b")}


def test_a_lock_file_that_cannot_be_written_stays_as_it_was(tmp_path, monkeypatch):
    file = tmp_path / "dvc.lock"
    lock = LockFile(str(file))
    lock.update({"a": entry("a", 1)}, ["a"])
    before = file.read_bytes()

    @contextlib.contextmanager
    def full(path: Path):
        with artifacts.atomic(path) as stream:
            yield stream
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("splitprobe.engine.repository.atomic", full)
    with pytest.raises(DiskFull, match="there is no space for"):
        lock.update({"b": entry("b", 1)}, ["a", "b"])
    assert file.read_bytes() == before and list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_is_full_when_the_lock_file_is_written_is_named(make_graph, monkeypatch, number):
    def full(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "dvc.lock")

    graph = make_graph(stage("a"))
    graph.reproduce()
    with graph.dvc():
        repository = Repository(graph.root)
        with repository.open(), repository.locked():
            (step,) = repository.plan([])
            repository.record(step)
        with monkeypatch.context() as patch, pytest.raises(DiskFull, match=r"dvc\.lock"):
            patch.setattr(LockFile, "update", full)
            repository.write()
        repository.write()  # nothing was lost: there is room again
        repository.repo.close()
    assert list(graph.recorded()) == ["a"]


# The order of a build, with a book and a pool that only note what they are asked.


class Notes:
    """A book and a pool that note what is submitted."""

    def __init__(self) -> None:
        self.root, self.submitted = Path("/"), []

    def submit(self, job, priority: float, gpu: bool) -> None:
        self.submitted.append(job.name)


def step(name: str, *needs: str, alone: bool = False) -> Step:
    return Step(name, f"python stages/{name}.py", "/nowhere", (), frozenset(needs), False, alone)


@pytest.fixture
def make_build(tmp_path):
    def make(*steps: Step, seconds: dict[str, float] | None = None) -> Build:
        build = Build(Notes(), View(len(steps), seconds or {}, live=False), tmp_path)
        build.prepare(list(steps))
        return build

    return make


def names(build: Build) -> list[str]:
    return [step.name for step in build.ready()]


def test_the_longest_way_to_the_end_goes_first(make_build):
    steps = [step("short"), step("long"), step("begins"), step("middle", "begins"), step("ends", "middle", "short")]
    build = make_build(*steps, seconds={"short": 1.0, "long": 9.0, "begins": 2.0, "middle": 3.0, "ends": 5.0})
    assert build.urgency == {"short": 6.0, "long": 9.0, "begins": 10.0, "middle": 8.0, "ends": 5.0}
    assert names(build) == ["begins", "long", "short"]


def test_without_records_the_longest_chain_goes_first(make_build):
    assert names(make_build(step("alone"), step("a"), step("b", "a"), step("c", "b"))) == ["a", "alone"]


def test_a_stage_waits_for_those_that_it_needs_and_that_are_due(make_build):
    build = make_build(step("b", "a", "not_due"), step("c", "b"), step("d", "not_due"))
    assert build.waiting == {"b": set(), "c": {"b"}, "d": set()}
    build.settle(build.steps["b"], "built", 1.0)
    assert set(names(build)) == {"c", "d"}


def test_a_stage_that_must_be_alone_runs_when_nothing_else_does(make_build):
    build = make_build(step("first", alone=True), step("second", alone=True), step("beside"), step("after", "beside"))
    assert names(build) == ["beside"]
    build.running.add("beside")
    del build.waiting["beside"]
    assert names(build) == []
    build.settle(build.steps["beside"], "built", 1.0)
    assert names(build) == ["after"]
    build.settle(build.steps["after"], "built", 1.0)
    assert names(build) == ["first"]


def test_a_failure_skips_all_that_depends_on_it_and_only_that(make_build):
    build = make_build(step("a"), step("b", "a"), step("c", "b"), step("d"), step("e", "d", "b"), step("f", "d"))
    build.fail(build.steps["b"], "broken")
    assert build.failed == {"b": "broken"} and build.skipped == {"c": "b", "e": "b"}
    assert set(build.waiting) == {"a", "d", "f"} == build.view.left


def test_a_killed_stage_gets_three_attempts_and_none_once_the_build_is_over(make_build):
    build = make_build(step("a"), step("b"))
    for name in ("a", "b"):
        del build.waiting[name]
        build.running.add(name)
        build.submit(build.book, build.steps[name])
    for i in range(3):
        assert "a" not in build.failed
        build.log("a").write_text(f"attempt {i}")  # it has run
        build.end(build.book, build.steps["a"], Outcome(-9, 1.0, 1.0))
    assert build.failed == {"a": "killed 3 times"} and build.book.submitted == ["a", "b", "a", "a"]
    build.signal = 2
    build.end(build.book, build.steps["b"], Outcome(-9, 1.0, 1.0))
    assert build.book.submitted == ["a", "b", "a", "a"]


def test_a_stage_that_cannot_even_begin_is_given_up(make_build):
    """As where the fork server itself dies of what it imports."""
    build = make_build(step("a"))
    del build.waiting["a"]
    build.running.add("a")
    build.submit(build.book, build.steps["a"])
    for _ in range(100):
        if "a" in build.running:
            build.end(build.book, build.steps["a"], Outcome(-9, 0.0, 0.0))
    assert "a" in build.failed


def test_a_checkout_whose_package_is_a_link_is_not_started_again_and_again(tmp_path, monkeypatch):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "splitprobe").symlink_to(Path(cli.__file__).parents[1])
    started = []
    monkeypatch.setattr(os, "execv", lambda *words: started.append(words))
    cli.use_own_sources(tmp_path)
    assert started == []


STEP = {
    "name": "a", "command": "python stages/a.py cnn/ae", "folder": ".", "outs": ["data/demo/a.b/c=2"], "needs": [],
    "gpu": False, "alone": False, "first": False, "inputs": {},
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        *(({"command": command}, "not a script in stages") for command in (
            "touch harm", "python -c 1", "python stages/a.py; touch harm", "python stages/a.py $(touch harm)",
            "python stages/../a.py", "python /a.py", "python a.py", "python stages/a.py\ntouch harm", "",
        )),
        *(({"outs": ["data/fine", out]}, "not below data, metrics or plots") for out in (
            "../data/a", "data/../../a", "data", "/etc", "src/a", "data/.", "data/..", "data//a", "", "data/a/",
        )),
    ],
)  # fmt: skip
def test_a_plan_can_run_scripts_of_the_checkout_and_nothing_else(tmp_path, changes, why):
    file = tmp_path / "plan.json"
    write_json(file, {"version": 1, "steps": [STEP]})
    (step,), _ = read_plan(file, tmp_path)
    assert (step.command, step.outs, step.folder) == (STEP["command"], ("data/demo/a.b/c=2",), str(tmp_path))
    write_json(file, {"version": 1, "steps": [STEP, STEP | {"name": "b"} | changes]})
    with pytest.raises(BadPlan, match=rf"plan\.json: b would .*{why}"):
        read_plan(file, tmp_path)


def test_a_plan_of_the_real_graph_is_accepted():
    stages = load_yaml(str(ROOT / "dvc.lock"))["stages"].values()
    assert all(COMMAND.fullmatch(stage["cmd"]) for stage in stages)
    assert all(OUTPUT.fullmatch(out["path"]) for stage in stages for out in stage["outs"])


@pytest.mark.slow
def test_a_scheduler_of_a_local_run_can_be_reached_from_this_machine_alone():
    with cluster.local(1, 1, []) as client:
        addresses = [client.scheduler.address, *client.scheduler_info()["workers"]]
        assert len(addresses) == 2 and all(address.startswith("tcp://127.0.0.1:") for address in addresses)


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_command_that_is_stopped_says_so_in_one_line(monkeypatch, capsys, name, status):
    def stopped(*_: object) -> None:  # as if the signal came in the command's first line
        (signal.default_int_handler if name == "SIGINT" else cli._terminated)(signal.Signals[name], None)

    monkeypatch.setitem(cli.COMMANDS, "run", stopped)
    monkeypatch.chdir(ROOT)
    assert cli.main(["run"]) == status
    assert capsys.readouterr().err == f"stopped by {name}\n"


@pytest.mark.parametrize("how", ["nothing", "no_scm"])
def test_a_copy_without_git_says_what_to_do(make_graph, how):
    graph = make_graph(stage("a"))
    shutil.rmtree(graph.root / ".git")
    if how == "no_scm":
        with open(graph.root / ".dvc" / "config", "a") as stream:
            stream.write("    no_scm = true\n")
        graph.reproduce()
        assert "1 stages are up to date" in graph.call("run")
        said = graph.call("run", "--save", "name", status=1)
    else:
        said = graph.call("run", status=1)
    assert said.splitlines()[-1].startswith(f"error: {graph.root} is no Git repository (a copy from a ZIP?)")
    assert "git init" in said and "dvc config core.no_scm true" in said
