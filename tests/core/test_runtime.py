import subprocess
import sys

import pytest
import torch

from splitprobe.core import runtime
from splitprobe.core.params import ParamsError
from splitprobe.engine.view import last_line


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
    runtime.start(runtime.Settings("cpu", "float32", True, 1))
    assert not torch.backends.cudnn.allow_tf32
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_training_on_a_gpu_repeats():
    place, ends = runtime.start(runtime.Settings("cuda", "float32", True, 1)), []
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
        runtime.start(runtime.Settings("cuda", "float32", True, 1))


def test_the_precision_is_measured_once_and_remembered(tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "MACHINE", tmp_path / "machine.json")
    chosen = runtime.start(runtime.Settings("cpu", "auto", True, 1)).precision
    assert chosen in ("float32", "bfloat16")
    monkeypatch.setattr(runtime, "_step_seconds", lambda *_: pytest.fail("measured twice"))
    assert runtime.start(runtime.Settings("cpu", "auto", True, 1)).precision == chosen


def test_threads_are_those_of_the_params_unless_the_command_line_asks_for_others(monkeypatch):
    before = torch.get_num_threads()
    try:
        runtime.start(runtime.Settings("cpu", "float32", True, 2))
        assert torch.get_num_threads() == 2
        monkeypatch.setenv("SPLITPROBE_THREADS", "3")
        assert runtime.start(runtime.Settings("cpu", "float32", True, 2)).name == "CPU, 3 threads, float32"
    finally:
        torch.set_num_threads(before)


def test_progress_goes_where_another_program_reads_it(tmp_path, monkeypatch):
    monkeypatch.setenv("SPLITPROBE_PROGRESS", str(tmp_path / "stage.progress"))
    for _ in runtime.progress(range(1, 4), "cnn/vib"):
        pass
    assert last_line(tmp_path / "stage.progress") == "cnn/vib: 3/3 epoch"


@pytest.mark.parametrize(("error", "code"), [("ValueError('bad key')", 1), ("ParamsError('bad key')", 1)])
def test_a_user_error_ends_in_one_line(error, code):
    program = (
        "from splitprobe.core.runtime import run_stage\nfrom splitprobe.core.params import ParamsError\n"
        f"def main(arguments):\n    raise {error}\nrun_stage(main)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stderr.startswith("error: bad key\n")
    assert "Traceback" not in done.stderr
