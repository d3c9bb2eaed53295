import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import own_sources
import pytest
import torch

from splitprobe.core import runtime
from splitprobe.core.artifacts import read_json
from splitprobe.core.params import ParamsError
from splitprobe.engine.view import last_line


def settings(**changes):
    """The section ``runtime`` of a float32 CPU, and what is changed of it."""
    plain = {"device": "cpu", "precision": "float32", "channels_last": True, "threads": 1}
    return runtime.Settings(
        **{**plain, "graphs": True, "repeatable": True, "compile": None, "memory": "auto", **changes}
    )


def test_seeds_depend_on_seed_and_purpose_alone():
    assert runtime.derive(1, "a", 2) == runtime.derive(1, "a", 2)
    assert len({runtime.derive(s, name) for s in (0, 1) for name in ("a", "b")}) == 4
    assert 0 <= runtime.derive(1, "a") < 2**63


def test_seeded_blocks_repeat_and_leave_the_global_generator_alone(cpu):
    before = torch.get_rng_state()
    draws = []
    for _ in range(2):
        with cpu.seeded(3, "x"):
            draws.append(torch.rand(4))
    assert torch.equal(*draws)
    assert torch.equal(before, torch.get_rng_state())


def test_resident_images_are_channels_last_and_stay_so_when_indexed(cpu):
    images = cpu.images(torch.arange(2 * 4 * 4 * 3, dtype=torch.uint8).reshape(2, 4, 4, 3).numpy())
    assert images.shape == (2, 3, 4, 4)
    assert images[0, 1, 0, 2] == 7
    picked = images[torch.tensor([1, 0])].float() / 255
    assert picked.is_contiguous(memory_format=torch.channels_last)


def test_float32_means_float32_on_a_gpu_too(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)  # torch's default
    runtime.start(settings())
    assert not torch.backends.cudnn.allow_tf32
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_training_on_a_gpu_repeats():
    place, ends = runtime.start(settings(device="cuda")), []
    for _ in range(2):
        with place.seeded(1, "net"):
            layers = (torch.nn.Conv2d(3, 16, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten())
            net = place.place(torch.nn.Sequential(*layers, torch.nn.Linear(64, 4)))
        draws, step = place.generator(1, "images"), torch.optim.SGD(net.parameters(), 0.1)
        for _ in range(5):
            step.zero_grad()
            net(torch.rand(32, 3, 32, 32, device=place.device, generator=draws)).square().mean().backward()
            step.step()
        ends.append(net[0].weight.detach().clone())
    assert torch.equal(*ends)


def test_an_absent_gpu_is_refused():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ParamsError, match=r"runtime\.device = 'cuda'"):
        runtime.start(settings(device="cuda"))


@pytest.mark.parametrize("repeatable", [True, False])
def test_repeatable_kernels_are_asked_for_or_not(monkeypatch, repeatable):
    for name in ("benchmark", "deterministic"):
        monkeypatch.setattr(torch.backends.cudnn, name, repeatable if name == "benchmark" else not repeatable)
    runtime.start(settings(repeatable=repeatable))
    assert (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark) == (repeatable, not repeatable)


def test_a_cpu_computes_in_float32_unless_bfloat16_is_asked_for(monkeypatch):
    monkeypatch.setattr(runtime, "_faster_precision", lambda *_: pytest.fail("it was measured"))
    names = {}
    for asked in ("auto", "float32", "bfloat16"):
        place = runtime.start(settings(precision=asked))
        assert place.settled("work", None) is place
        names[asked] = place.name.rpartition(", ")[2]
    assert names == {"auto": "float32", "float32": "float32", "bfloat16": "bfloat16"}


@pytest.mark.parametrize(
    ("device", "least", "steps", "compiled"),
    [("cuda", 100, 100, True), ("cuda", 100, 99, False), ("cuda", None, 10**6, False), ("cpu", 100, 100, False)],
)
def test_what_is_called_often_on_a_gpu_is_compiled(monkeypatch, device, least, steps, compiled):
    monkeypatch.setattr(torch, "compile", lambda function, dynamic: lambda x: ("compiled", function(x), dynamic))
    place = runtime.Runtime(torch.device(device), "float32", True, "", compile=least)
    assert place.compiled(lambda x: x + 1, steps)(1) == (("compiled", 2, False) if compiled else 2)


def test_where_the_compiler_fails_the_function_runs_as_it_is(monkeypatch, caplog):
    tried = []

    def fails(function, dynamic):
        def run(x):
            tried.append(x)
            raise torch._dynamo.exc.InternalTorchDynamoError("no C compiler\nand more")

        return run

    monkeypatch.setattr(torch, "compile", fails)
    run = runtime.Runtime(torch.device("cuda"), "float32", True, "", compile=1).compiled(lambda x: x + 1, 1)
    assert [run(1), run(2)] == [2, 3] and tried == [1]
    assert [record.message for record in caplog.records] == ["a network is not compiled: no C compiler"]


@pytest.fixture
def undecided(tmp_path, monkeypatch) -> runtime.Runtime:
    """As on a GPU, on a machine where nothing was measured yet."""
    monkeypatch.setattr(runtime, "MACHINE", tmp_path / "machine.json")
    return runtime.Runtime(torch.device("cpu"), "auto", True, "GPU")


def test_what_is_undecided_is_float32(undecided):
    with undecided.autocast():
        assert torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype == torch.float32
    with undecided.at("bfloat16").autocast():
        assert torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype == torch.bfloat16
    assert [undecided.at(p).name for p in ("auto", "float32", "bfloat16")] == ["GPU", "GPU, float32", "GPU, bfloat16"]
    assert undecided.at("float32").at("bfloat16") == undecided.at("bfloat16")


def test_the_precision_of_each_work_is_measured_once_and_remembered(undecided, monkeypatch):
    made = []

    def build(place):
        torch.rand(3)  # as weights are drawn
        return lambda: made.append(place.precision)

    torch.manual_seed(5)
    before = torch.get_rng_state()
    chosen = undecided.settled("training of a network", build)
    assert torch.equal(before, torch.get_rng_state())
    steps = runtime.WARM_UP + runtime.TIMED
    assert made == ["float32"] * steps + ["bfloat16"] * steps
    (key,) = read_json(runtime.MACHINE)
    assert key.startswith(f"torch {torch.__version__}, ")
    assert key.endswith("channels_last=True, graphs=False, repeatable=False, training of a network")
    # the note decides, whatever a clock would say now
    for seconds in ({"float32": 2.0, "bfloat16": 1.0}, {"float32": 1.0, "bfloat16": 2.0}):
        monkeypatch.setattr(runtime, "_step_seconds", lambda place, _, seconds=seconds: seconds[place.precision])
        assert undecided.settled("training of a network", build) == chosen
        name = f"training of another, {seconds['float32']}"
        assert undecided.settled(name, build).precision == min(seconds, key=seconds.get)
    assert len(read_json(runtime.MACHINE)) == 3


def test_a_small_gain_does_not_count(undecided, monkeypatch):
    monkeypatch.setattr(runtime, "_step_seconds", lambda place, _: {"float32": 1.1, "bfloat16": 1.0}[place.precision])
    assert undecided.settled("work", None).precision == "float32"


def test_threads_are_those_of_the_params_unless_the_command_line_asks_for_others(monkeypatch):
    before = torch.get_num_threads()
    try:
        runtime.start(settings(threads=2))
        assert torch.get_num_threads() == 2
        monkeypatch.setenv("SPLITPROBE_THREADS", "3")
        assert runtime.start(settings(threads=2)).name == "CPU, 3 threads, float32"
    finally:
        torch.set_num_threads(before)


def test_progress_goes_where_another_program_reads_it(tmp_path, monkeypatch):
    monkeypatch.setenv("SPLITPROBE_PROGRESS", str(tmp_path / "stage.progress"))
    for _ in runtime.progress(range(1, 4), "cnn/vib"):
        pass
    assert last_line(tmp_path / "stage.progress") == "cnn/vib: 3/3 epoch"


@pytest.mark.parametrize("text", ["", "[1]", '{"KEY": NaN}', '{"KEY": 3}', '{"KEY": {"precision": "float8"}}'])
def test_a_damaged_note_of_the_precision_is_made_anew(undecided, monkeypatch, text):
    monkeypatch.setattr(runtime, "_step_seconds", lambda place, _: {"float32": 2.0, "bfloat16": 1.0}[place.precision])
    undecided.settled("work", None)
    (key,) = read_json(runtime.MACHINE)
    runtime.MACHINE.write_text(text.replace("KEY", key))
    assert undecided.settled("work", None).precision == "bfloat16"
    assert read_json(runtime.MACHINE) == {key: {"precision": "bfloat16", "bfloat16_speedup": 2.0}}


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        ("ValueError('bad key')", 1, "error: bad key"),
        ("ParamsError('bad key')", 1, "error: bad key"),
        ("FileNotFoundError('a is missing')", 1, "error: a is missing"),
        ("PermissionError(13, 'Permission denied', 'out')", 1, "error: [Errno 13] Permission denied: 'out'"),
        ("OSError(28, 'No space left on device', 'out')", 1, "error: the disk is full: there is no space for out"),
        ("DiskFull('the disk is full: out')", 1, "error: the disk is full: out"),
        ("KeyboardInterrupt", 130, "stopped by Ctrl-C"),
    ],
)
def test_a_user_error_ends_in_one_line(error, code, said):
    program = (
        "from splitprobe.core.runtime import run_stage\nfrom splitprobe.core.params import ParamsError\n"
        "from splitprobe.core.artifacts import DiskFull\n"
        f"def main(arguments):\n    raise {error}\nrun_stage(main)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stderr.splitlines()[0] == said
    assert "Traceback" not in done.stderr and len(done.stderr.splitlines()) <= 2


# ---------------------------------------------------------------- what every stage imports first

STAGE = """
import own_sources
import sys, time
from pathlib import Path

def wait():
    Path("started").touch()
    time.sleep(60)

if sys.argv[1] == "imports":
    wait()  # as long as torch takes
from splitprobe.core.artifacts import atomic
from splitprobe.core.runtime import run_stage

def main(arguments):
    with atomic(Path("out/result")) as stream:
        stream.write("half")
        wait()

run_stage(main)
"""


@pytest.fixture
def stage(tmp_path) -> Path:
    """A script beside a copy of what every stage imports first, in the folder that it works in."""
    (tmp_path / "stages").mkdir()
    shutil.copy(own_sources.__file__, tmp_path / "stages")
    (tmp_path / "stages" / "stage.py").write_text(STAGE)
    (tmp_path / "out").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("number", "status", "when"),
    [(signal.SIGINT, 130, "work"), (signal.SIGTERM, 143, "work"), (signal.SIGHUP, 129, "work"),
     (signal.SIGINT, 130, "imports")],
)  # fmt: skip
def test_a_stage_that_is_stopped_says_so_in_one_line_and_leaves_nothing(stage, number, status, when):
    command = [sys.executable, "stages/stage.py", when]
    with subprocess.Popen(command, cwd=stage, stderr=subprocess.PIPE, text=True) as process:
        while not (stage / "started").exists():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        process.send_signal(number)
        said = process.stderr.read()
    assert process.returncode == status
    assert said.strip() == f"stopped by {number.name}"
    assert not [*(stage / "out").iterdir()]


def test_another_python_is_named_with_the_way_out(stage, monkeypatch):
    done = subprocess.run(  # without the packages of any environment
        [sys.executable, "-S", "-E", "stages/stage.py", "work"], cwd=stage, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: `python` is {sys.executable}, which has no torch, numpy, ruamel, tqdm: activate")
    assert "bin/activate" in line and "pip install -e ." in line
    monkeypatch.setattr(own_sources, "OLDEST", (99, 0))
    with pytest.raises(SystemExit, match=f"which is Python {sys.version.split()[0]}: activate"):
        own_sources.check_environment()


def test_this_environment_is_one():
    own_sources.check_environment()
    assert signal.getsignal(signal.SIGTERM) != own_sources.stop, "the tests import it without being a stage"
