"""Stages that one fork server runs one after the other, or side by side, know nothing of each other."""

import contextlib
import json
import os
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy
import psutil
import pytest
from throwaway import ROOT, alive, wait_for

from splitprobe.engine.launcher import Job, Launcher, Outcome

pytestmark = pytest.mark.slow  # real builds in processes of their own

# changes whatever a process can change of itself
DIRT = """
import os, random, signal, sys
import matplotlib, numpy, torch
import matplotlib.pyplot

out = sys.argv[1]
random.seed(1), numpy.random.seed(1), torch.manual_seed(1)
torch.use_deterministic_algorithms(True)
torch.set_default_dtype(torch.float64)
torch.set_num_threads(3)
torch.set_grad_enabled(False)
torch.set_float32_matmul_precision("medium")
torch.backends.cudnn.deterministic = True
matplotlib.rcParams["lines.linewidth"] = 77
matplotlib.pyplot.figure()
numpy.seterr(all="ignore")
ballast = b"x" * 400_000_000
os.environ["DIRT"] = "1"
sys.argv.append("dirt")
sys.path.insert(0, "/dirt")
sys.modules["colorsys"] = sys
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
with open(out, "w") as stream:
    stream.write(f"{random.random()} {numpy.random.rand()} {torch.rand(1).item()}")
os.chdir("/")
os.umask(0o077)
"""
PROBE = """
import colorsys, json, os, random, signal, sys
import matplotlib, numpy, torch
import matplotlib.pyplot

memory = [line.split() for line in open("/proc/self/status") if line.startswith("VmRSS")]
mask = os.umask(0)
os.umask(mask)
seen = {
    "generators": [random.random(), numpy.random.rand(), torch.rand(1).item()],
    "torch": [torch.are_deterministic_algorithms_enabled(), str(torch.get_default_dtype()), torch.get_num_threads(),
              torch.is_grad_enabled(), torch.get_float32_matmul_precision(), torch.backends.cudnn.deterministic],
    "matplotlib": [matplotlib.rcParams["lines.linewidth"], matplotlib.pyplot.get_fignums()],
    "numpy": numpy.geterr(),
    "process": [os.environ.get("DIRT"), os.environ.get("ONLY_ONCE"), sys.argv, os.getcwd(), "/dirt" in sys.path, mask,
                colorsys.__name__, str(signal.getsignal(signal.SIGUSR1)), "splitprobe" in sys.modules],
}
with open(sys.argv[1], "w") as stream:
    json.dump(seen, stream)
with open(sys.argv[1] + ".memory", "w") as stream:
    stream.write(memory[0][1])
"""


class Place:
    """A folder with scripts, and a fork server for it."""

    def __init__(self, root: Path, preload: str | None) -> None:
        self.root = root
        (root / "stages").mkdir()
        # a variable that is absent means the modules that a build loads in advance
        environment = {} if preload is None else {"SPLITPROBE_PRELOAD": preload}
        self.launcher = Launcher(ROOT / "src", {**environment, "OMP_NUM_THREADS": "1"})
        self.servers = [self.launcher.started()]

    def close(self) -> None:
        """End the server."""
        self.launcher.close()
        for server in self.servers:
            server.wait()
            with contextlib.suppress(BrokenPipeError):
                server.stdin.close()
            server.stdout.close()

    def write(self, **scripts: str) -> None:
        """Write stages/NAME.py."""
        for name, text in scripts.items():
            (self.root / "stages" / f"{name}.py").write_text(text)

    def job(self, command: str, **environment: str) -> Job:
        """The job of a command."""
        return Job("stage", command, str(self.root), str(self.root / "log"), (), environment)

    def run(self, command: str, **environment: str) -> Outcome:
        """Run a command to its end."""
        if self.launcher.started() not in self.servers:
            self.servers.append(self.launcher.started())
        return self.launcher.run(self.job(command, **environment))

    def text(self, name: str) -> str:
        """A file that a stage has written."""
        return (self.root / name).read_text()


@pytest.fixture
def make_place(tmp_path) -> Iterator[Callable[[str | None], Place]]:
    made = []

    def make(preload: str | None = "") -> Place:
        made.append(Place(tmp_path.resolve(), preload))
        return made[-1]

    yield make
    for place in made:
        place.close()


def test_what_a_stage_writes_does_not_depend_on_what_its_worker_ran_before(make_place, monkeypatch):
    monkeypatch.delenv("SPLITPROBE_PRELOAD", raising=False)
    place = make_place(None)
    place.write(dirt=DIRT, probe=PROBE)
    for i in range(2):  # so each is run before the other and after it
        assert place.run("python stages/probe.py out", ONLY_ONCE=str(i)).status == 0, place.text("log")
        (place.root / "out").rename(place.root / f"probe{i}")
        assert place.run(f"python stages/dirt.py dirt{i}").status == 0, place.text("log")
        if i == 0:
            first = int(place.text("out.memory"))
    probes = [json.loads(place.text(f"probe{i}")) for i in range(2)]
    # without a seed, Python's and NumPy's numbers are any numbers, but not those that follow the other stage's
    drawn = [[probe["generators"].pop(0) for _ in range(2)] for probe in probes]
    for i, leaked in enumerate((random.Random(1).random, numpy.random.RandomState(1).rand)):
        assert [leaked(), leaked()][1] not in [values[i] for values in drawn]
    assert [probe["process"].pop(1) for probe in probes] == ["0", "1"]
    assert probes[0] == probes[1] and place.text("dirt0") == place.text("dirt1")
    assert probes[0]["torch"] == [False, "torch.float32", 1, True, "highest", False]
    assert probes[0]["process"][-1] is False, "the fork server has imported splitprobe"
    assert int(place.text("out.memory")) < first + 250_000  # kB, of 400 MB; modules that are loaded meanwhile take some


def test_a_module_that_was_edited_is_read_anew(make_place):
    place = make_place()
    place.write(helper="VALUE = 1", reads="import helper, sys; open(sys.argv[1], 'w').write(str(helper.VALUE))")
    assert place.run("python stages/reads.py before").status == 0
    place.write(helper="VALUE = 1 + 1")
    assert place.run("python stages/reads.py after").status == 0
    assert (place.text("before"), place.text("after")) == ("1", "2")


def test_stages_that_run_side_by_side_have_their_own_folder_arguments_and_log(make_place):
    place = make_place()
    script = """
import os, sys, time
from pathlib import Path

Path(sys.argv[1]).touch()
while not Path(sys.argv[2]).exists():
    time.sleep(0.01)
print("of", sys.argv[1], os.environ["OWN"])
os.environ["OWN"] = "changed"
os.mkdir(f"{sys.argv[1]}.folder")
os.chdir(f"{sys.argv[1]}.folder")
"""
    place.write(meets=script)
    outcomes = {}

    def run(own: str, other: str) -> None:
        log = str(place.root / f"{own}.log")
        job = Job(own, f"python stages/meets.py {own} {other}", str(place.root), log, (), {"OWN": own})
        outcomes[own] = place.launcher.run(job)

    threads = [threading.Thread(target=run, args=names) for names in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [outcomes[name].status for name in "ab"] == [0, 0]
    assert (place.text("a.log"), place.text("b.log")) == ("of a a\n", "of b b\n")


@pytest.mark.parametrize(
    "command, status, said",
    [
        ("python stages/exits.py 0", 0, ""),
        ("python stages/exits.py 7", 7, ""),
        ("python stages/exits.py error: text", 1, "error: text"),
        ("python stages/raises.py", 1, "ZeroDivisionError"),
        ("python stages/missing.py", 1, "missing.py"),
        ("python stages/broken.py", 1, "SyntaxError"),
        ("python stages/killed.py", -9, ""),
        ("echo 'by sh' > file && cat file && exit 4", 4, "by sh"),
        ("python -c 'import sys; sys.exit(5)'", 5, ""),
    ],
)
def test_a_stage_ends_as_it_would_on_its_own(shared_place, command, status, said):
    place = shared_place
    (place.root / "log").unlink(missing_ok=True)
    outcome = place.run(command)
    assert outcome.status == status and outcome.killed == (status < 0)
    assert said in place.text("log")


@pytest.fixture(scope="module")
def shared_place(tmp_path_factory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("place").resolve(), "")
    place.write(
        exits="import sys; words = sys.argv[1:]; sys.exit(int(words[0]) if len(words) == 1 else ' '.join(words))",
        raises="1 / 0",
        broken="(",
        killed="import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        waits="""
import os, signal, subprocess, sys, time

if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "1000"])
with open("pids.new", "w") as stream:
    stream.write(f"{os.getpid()} {child.pid}")
os.rename("pids.new", sys.argv[1])
try:
    time.sleep(1000)
finally:
    open(sys.argv[1] + ".tidy", "w").close()
""",
    )
    yield place
    place.close()


def test_arguments_are_those_of_a_serial_build(shared_place):
    shared_place.write(tells="import sys; print(sys.argv)")
    (shared_place.root / "log").unlink(missing_ok=True)
    shared_place.run("python stages/tells.py 'a b' --c=d")
    assert shared_place.text("log") == "['stages/tells.py', 'a b', '--c=d']\n"


@pytest.mark.parametrize("how", ["gentle", "deaf"])
def test_a_stage_that_nobody_wants_is_stopped_with_what_it_has_started(shared_place, how):
    """It may tidy up; one that does not listen is killed."""
    place, pids = shared_place, shared_place.root / f"pids.{how}"
    outcome = place.launcher.run(place.job(f"python stages/waits.py {pids.name} {how}"), abandoned=pids.exists)
    assert outcome.status == (143 if how == "gentle" else -9)
    assert (place.root / f"{pids.name}.tidy").exists() == (how == "gentle")
    wait_for("its child's end", lambda: not alive(map(int, pids.read_text().split())))


@pytest.mark.parametrize("command", ["python stages/waits.py {} deaf", "echo $$ > {}.new; mv {}.new {}; sleep 1000"])
def test_a_fork_server_that_is_killed_takes_its_stages_along(make_place, shared_place, command):
    place, pids = make_place(), shared_place.root / "pids.orphan"
    pids.unlink(missing_ok=True)
    job, outcomes = shared_place.job(command.replace("{}", pids.name)), []
    thread = threading.Thread(target=lambda: outcomes.append(place.launcher.run(job)))
    thread.start()
    wait_for("the stage runs", pids.exists)
    stage = psutil.Process(int(pids.read_text().split()[0]))
    try:
        stage.parent().kill()
        thread.join()
        assert outcomes[0].killed
        wait_for("the stage's end", lambda: not alive([stage.pid]), patience=5)
    finally:
        for process in (*(stage.children() if stage.is_running() else ()), stage):
            if process.is_running():
                os.kill(process.pid, 9)
    assert place.run("exit 3").status == 3  # by another server


def test_closing_waits_until_the_stages_have_ended(shared_place, make_place):
    place, pids = make_place(), shared_place.root / "pids.closed"
    thread = threading.Thread(
        target=place.launcher.run, args=(shared_place.job(f"python stages/waits.py {pids.name} deaf"),)
    )
    thread.start()
    wait_for("the stage runs", pids.exists)
    place.launcher.close()
    left = alive(map(int, pids.read_text().split()))
    thread.join()
    assert not left


def test_a_server_that_has_ended_leaves_no_open_file(make_place):
    place = make_place()
    assert place.run("exit 0").status == 0
    place.launcher.close()
    (server,) = place.servers
    wait_for("both ends of the pipes are closed", lambda: server.stdin.closed and server.stdout.closed, patience=5)
