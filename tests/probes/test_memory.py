"""What stages need of memory: counted from shapes, met by what they really take, and equal results either way."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from graph_tools import ROOT

from splitprobe.attacks.generator import train_generator
from splitprobe.attacks.optimized import run_mle
from splitprobe.core.params import ParamsError
from splitprobe.core.recipe import Study
from splitprobe.core.runtime import SHARE, Runtime, Settings
from splitprobe.datasets import sections
from splitprobe.engine import cli
from splitprobe.probes import memory
from splitprobe.probes.estimate import train_mine
from splitprobe.probes.memory import GIB, Line, Live, Need, Stages, largest
from splitprobe.targets.training import train_target

COUNTS = {"train": 64, "validation": 32, "test": 32, "auxiliary": 64}  # of the data set on disk
# a plain one, a stochastic one, one whose strong decoders are told which entries came; runs of whole stages take long
CELLS = ("unprotected", *(pytest.param(name, marks=pytest.mark.slow) for name in ("vib", "dropout")))
ALLOWED = 1.3  # of what must be resident


@pytest.fixture
def saved(make_target, paths, judge, prior):
    """An untrained target, where the stages look for it."""

    def save(defense):
        target = make_target(defense)
        target.save(paths.target(target.cell.name))
        return target.cell

    return save


@pytest.fixture
def stages(params, make_cell):
    def of(defense):
        source = replace(params.section("scales.data.objects", sections.Source), **COUNTS)
        return Stages(make_cell(defense), params, source, 8)

    return of


def test_live_bytes_by_hand():
    weight = torch.ones(10)
    with Live([weight]) as live:
        a = weight * 2  # 40 bytes
        b = a.view(2, 5)
        b.add_(1)
        c = a.double()  # 80
        assert live.now == 120
        del a
        assert live.now == 120, "its memory is still seen through b"
        del b, c
        assert (live.now, live.peak) == (0, 120)
        parts = torch.ones(6).split(2)
        assert live.now == 24
        del parts
        assert live.now == 0


def test_a_step_holds_weights_gradients_moments_and_what_is_saved():
    net = torch.nn.Sequential(torch.nn.Linear(8, 16, bias=False), torch.nn.Tanh(), torch.nn.Linear(16, 4, bias=False))
    net, x = net.to("meta"), torch.empty(32, 8, device="meta")
    optimizer = torch.optim.Adam(net.parameters(), 1e-3, foreach=False)

    def step():
        optimizer.zero_grad(set_to_none=True)
        net(x).sum().backward()
        optimizer.step()

    weights = 4 * (8 * 16 + 16 * 4)
    found = memory.trained(step, [net], [optimizer])
    # x and the output of tanh are saved; Adam has two moments, and two counters of steps
    assert found.held == weights * 4 + 2 * 4 + 4 * 32 * (8 + 16)
    assert found.peak >= found.held


def test_needs_of_phases_are_the_largest_and_those_of_what_lies_beside_are_added():
    assert largest([Need(3, 4), Need(1, 9)]) == Need(3, 9)
    assert Need(3, 9).beside(2) == Need(5, 11)


@pytest.mark.slow
@pytest.mark.parametrize("defense", CELLS)
def test_stages_take_little_more_than_must_be_resident(defense, saved, stages, params, paths, cpu):
    cell, found = saved(defense), stages(defense)
    streamed, kept = found.train_generator()
    mine = found.train_mine()
    for keep in (False, True):
        place = replace(cpu, memory=2**40 if keep else 0)
        for work, need in ((train_generator, (streamed, kept)), (run_mle, (found.run_mle(),) * 2), (train_mine, mine)):
            with Live() as live:
                work(cell.name, params, paths, place)
            assert live.peak <= ALLOWED * need[keep].held, (work.__name__, keep)


def test_a_training_takes_little_more_than_must_be_resident(stages, params, paths, cpu, make_cell):
    params.tree["scales"]["target"]["cnn"]["lr"] = "1e-4 1e-3"  # trials too
    with Live() as live:
        train_target(make_cell("vib"), params, paths, cpu)
    assert live.peak <= ALLOWED * stages("vib").train_target().held


@pytest.mark.parametrize("defense", [*CELLS, pytest.param("siftfunnel", marks=pytest.mark.slow)])
def test_results_are_the_same_with_features_kept_and_streamed(defense, saved, params, paths, cpu):
    cell, written = saved(defense), []
    for memory_of in (0, 2**40):
        place = replace(cpu, memory=memory_of)
        train_generator(cell.name, params, paths, place)
        train_mine(cell.name, params, paths, place)
        files = [paths.result(cell.name, name) for name in ("generator.json", "information.json")]
        files += [paths.curve(cell.name, name) for name in ("generator", "information")]
        written.append([file.read_text() for file in files])
    assert written[0] == written[1]
    assert json.loads(written[0][0])["images"] == 32


def test_what_is_kept_is_decided_by_the_setting(monkeypatch):
    place = Runtime(torch.device("cpu"), "float32", True, "", memory=round(2 * GIB))
    assert (place.keeps(round(2 * SHARE * GIB)), place.keeps(round(2 * SHARE * GIB) + 1)) == (True, False)
    monkeypatch.setattr("splitprobe.core.runtime.free", lambda device: 8 * GIB)
    assert replace(place, memory=None).keeps(round(8 * SHARE * GIB))
    assert not replace(place, memory=None).keeps(round(8 * SHARE * GIB) + 1)


def test_stages_that_share_a_device_share_what_it_has_free(monkeypatch, tmp_path):
    from splitprobe.core import runtime

    monkeypatch.setattr(runtime, "Path", lambda name: tmp_path / "meminfo")
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    4096 kB\n")
    assert runtime.free(torch.device("cpu")) == 4096 * 1024
    monkeypatch.setenv(runtime.PLACES, "4")
    assert runtime.free(torch.device("cpu")) == 1024 * 1024
    (tmp_path / "meminfo").unlink()
    assert runtime.free(torch.device("cpu")) == float("inf")


def test_the_setting_needs_a_unit():
    def of_size(memory):
        return Settings("cpu", "float32", True, 1, True, True, None, memory)

    assert of_size("1.5 GiB").most == 1.5 * GIB
    assert of_size("24GiB").most == 24 * GIB
    assert of_size("auto").most is None
    for wrong in ("24", "24 GB", "lots", "-1 GiB"):
        with pytest.raises(ParamsError, match=rf"runtime\.memory = '{wrong}': write auto or a size such as '24 GiB'"):
            of_size(wrong)


def test_kept_features_are_those_of_all_images_that_a_stage_reads(stages):
    found = stages("unprotected")
    z = 16 * 8 * 8 * 4
    assert found.z.nbytes == z
    assert (found.keeps("train_generator"), found.keeps("train_mine")) == (64 * z, (64 + 32) * z)
    streamed, kept = found.train_mine()
    assert (kept.held - streamed.held, kept.peak - streamed.peak) == ((64 + 32) * z,) * 2


def test_a_row_says_what_a_device_of_a_size_does():
    small, large = Need(1 * GIB, 2 * GIB), Need(20 * GIB, 21 * GIB)
    needs = {"train_target": (small, small), "run_mle": (small, small)}
    needs |= {"train_generator": (small, large), "train_mine": (small, large)}
    line = Line("cnn/x", 2048, needs, {"train_generator": 18 * GIB, "train_mine": 12 * GIB})
    text = memory.table([line], "paper", 24 * GIB)
    row = next(row for row in text.splitlines() if row.startswith("| cnn/x"))
    assert row == (
        "| cnn/x | 2 | **2.00 (1.00)** | 21.00 (20.00) | **2.00 (1.00)** | **2.00 (1.00)** | **21.00 (20.00)** | "
        "2.00 (1.00) | 21.00 | yes |"
    )
    assert text.endswith("All are within 24 GiB.")
    assert memory.table([line], "paper", 20 * GIB).endswith("All are within 20 GiB."), "there it streams both"
    assert memory.table([line], "paper", GIB).endswith("Not within 1 GiB: cnn/x.")


def study(scale: str, *cells: str) -> Study:
    """The real study with a few of its cells."""
    other = copy.copy(Study(ROOT, scale))
    other.cells = list(cells)
    other.variables = {**other.variables, "datasets": ["objects"]}
    return other


@pytest.mark.slow
def test_the_committed_table_is_what_the_code_computes():
    computed = memory.table(memory.lines(study("paper", "cnn/siftfunnel")), "paper", 24 * GIB).splitlines()
    committed = (ROOT / "metrics/paper/memory.md").read_text().splitlines()
    rows = [row for row in computed if row.startswith("| ") and not row.startswith("| cell")]
    assert len(rows) == 3 and set(rows) <= set(committed)
    assert committed[-1] == "All are within 24 GiB."


def test_the_command_asks_for_a_size(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit):
        cli.parser().parse_args(["plan", "--memory", "24"])
    assert "a size such as '24 GiB' is needed" in capsys.readouterr().err
    for arguments, why in ((["--estimate"], "ask for one of them"), (["--all"], "leave targets and --all out")):
        with pytest.raises(cli.Problem, match=why):
            cli.plan(cli.parser().parse_args(["plan", "--memory", "24 GiB", *arguments]), ROOT)
    monkeypatch.setattr(memory, "lines", lambda _: iter([]))
    assert cli.plan(cli.parser().parse_args(["plan", "--memory", "24 GiB", "--scale", "full"]), ROOT) == 0
    assert "# Memory that scale full needs" in capsys.readouterr().out
