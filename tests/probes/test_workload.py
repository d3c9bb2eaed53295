"""How long a scale will take: work counted right, and what earlier builds noted."""

import copy
import math

import pytest
import torch
from graph_tools import ROOT

from splitprobe.core.recipe import Study
from splitprobe.core.runtime import Runtime
from splitprobe.engine import cli
from splitprobe.information.critics import PaperCritic, SeparableCritic
from splitprobe.information.settings import Separable
from splitprobe.models import count
from splitprobe.probes import workload
from splitprobe.probes.workload import Cells, Estimate, critic_work, estimates, flops, flops_of

EDGE = 2 * (3 * 16 * 9 * 32 * 32 + 16 * 32 * 9 * 16 * 16)  # a CNN 16 wide, cut behind its second block
CLOUD = 2 * (32 * 64 * 9 * 8 * 8 + 64 * 128 * 9 * 4 * 4 + 128 * 2 * 2 * 50 + 50 * 10)


@pytest.fixture(scope="module")
def whole():
    return Study(ROOT, "demo")


@pytest.fixture
def study(whole):
    other = copy.copy(whole)
    other.params = copy.deepcopy(whole.params)
    scales = other.params.tree["scales"]
    scales["model"]["cnn"]["width"] = 16
    scales["target"]["cnn"] |= {"epochs": 4, "lr": 1e-3, "least_steps": 0, "trial_epochs": 1}
    scales["data"]["objects"] |= {"train": 1000, "validation": 100, "test": 200, "auxiliary": 500}
    return other


def test_a_training_is_its_steps_with_validation_and_statistics(study):
    # 1000 images are 7 batches of 128; 4 batches renew BatchNorm's statistics
    epoch, scored = 3 * 7 * 128 + 100 + 4 * 128, 200 + 100
    found = Cells(study).work("train_target", "cnn/unprotected")
    assert found == (4 * epoch + scored) * (EDGE + CLOUD)
    study.params.tree["scales"]["target"]["cnn"]["lr"] = "1e-4 1e-3"
    assert Cells(study).work("train_target", "cnn/unprotected") == (6 * epoch + scored) * (EDGE + CLOUD)
    study.params.tree["scales"]["repeats"]["cnn"] = 3
    assert Cells(study).work("train_target", "cnn/gaussian_noise") == 3 * scored * (EDGE + CLOUD), "no training"


def test_networks_are_counted_without_memory_as_they_are_with_it(study, make_blueprint):
    cells = Cells(study)
    cell, params, source = cells.opened("train_target", "cnn/siftfunnel")
    blueprint, _, z, edge, cloud = cells.network(cell, params, source)
    real_edge, real_cloud = blueprint.build()
    assert (edge, cloud) == (2 * count.macs(real_edge, torch.zeros(1, 3, 32, 32)), flops(real_cloud, z))


def test_optimized_images_are_their_steps_with_trials_and_finalists(study):
    study.params.tree["scales"]["mle"] = {
        "images": 6, "steps": 10, "most_steps": 20, "trial_images": 2, "trial_steps": 5, "finalists": 1,
        "final_images": 3,
    }  # fmt: skip
    grid = {"lr": [0.1, 0.2], "tv": [1.0, 2.0, 3.0], "decay": [1.0, 0.1]}
    study.params.tree["attack"]["mle"] |= {"tuned": {"start_noise": 0.1, **grid}, "hybrid": grid}
    other = 6 * 2 * 5 + 1 * 2 * 3 * 20 + 6 * 20
    assert Cells(study).work("run_mle", "cnn/unprotected") == 2 * (6 * 10 + 2 * other) * EDGE


def test_decoders_are_their_steps_with_held_out_images_and_features(study):
    study.params.tree["scales"]["generator"] |= {"epochs": 3, "least_steps": 0, "images": 50}
    study.params.tree["attack"]["generator"]["decoders"] = ["strong", "black_box"]
    study.params.tree["scales"]["strong"]["steps"] = 7
    cells = Cells(study)
    decoders = cells.decoders(*cells.opened("train_generator", "cnn/unprotected"))
    black, strong = (flops(*decoders[name]) for name in ("black_box", "strong"))
    # of 500 auxiliary images 50 are held out; 450 are 3 batches of 128
    own, features = 3 * 3 * 128 + 50 + 450, 500 * EDGE
    expected = (3 * own + 50) * black + features
    expected += (3 * own + 50) * strong + features + 3 * 3 * 128 * EDGE  # 7 steps are 3 epochs, of flipped images
    assert cells.work("train_generator", "cnn/unprotected") == expected
    assert cells.decoders(*cells.opened("train_generator", "cnn/vib")).keys() == {"strong", "black_box"}
    study.params.tree["attack"]["generator"]["decoders"] = ["strong", "black_box", "repeated", "gray_box"]
    names = {cell: [*Cells(study).decoders(*cells.opened("train_generator", cell))] for cell in ("cnn/vib", "cnn/ae")}
    assert names == {"cnn/vib": ["strong", "black_box", "repeated"], "cnn/ae": ["strong", "black_box", "gray_box"]}


def test_a_critics_work_is_that_of_its_images_and_of_its_pairs():
    x, z, generator = (3, 16, 16), (8, 4, 4), torch.Generator().manual_seed(0)
    like = torch.randn(40, *x), torch.randn(40, *z)
    each, pair = critic_work(x, z, Separable(4, 4))
    critic = SeparableCritic([like], 4, 4, 1.0).eval()
    assert flops_of(lambda: critic(*like, generator)) == pytest.approx(40 * each + 40**2 * pair)
    assert pair > 0
    each, pair = critic_work(x, z, None)
    paper = PaperCritic(x, z)
    assert (flops_of(lambda: paper(*like, generator)), pair) == (pytest.approx(40 * each), 0)


def test_recorded_seconds_go_before_counted_work_and_those_of_other_scales(study):
    study.params.tree["scales"]["left_out"] = "*/* !cnn/unprotected !cnn/gaussian_noise !cnn/siftfunnel !cnn/nopeek"
    recorded = {"train_target@cnn/unprotected": 7.5}
    elsewhere = {"prepare@faces": 1.0, "prepare@xray": 3.0, "build_report": 9.0}
    found = {one.stage: one for one in estimates(study, 1e9, recorded, elsewhere)}
    assert found["train_target@cnn/unprotected"].seconds == 7.5
    noise = Cells(study).work("train_target", "cnn/gaussian_noise") / 1e9
    assert (found["train_target@cnn/gaussian_noise"].seconds, found["prepare@objects"].seconds) == (noise, 2.0)
    assert (found["measure_cost@cnn/siftfunnel"].seconds, found["measure_cost@cnn/siftfunnel"].source) == (
        None,
        workload.UNKNOWN,
    )
    assert "train_target@budget/nls" not in found, "left out at this scale"
    assert {one.kind for one in found.values()} >= {"train_mine", "measure_knowledge", "collect_numbers"}
    text = workload.table(list(found.values()), "demo", 1e9, asked=True)
    lines = [line.split() for line in text.splitlines()]
    assert ["train_target", "1", "8", "recorded"] in lines
    assert ["prepare", "3", "6", "recorded", "at", "another", "scale"] in lines
    total = sum(one.seconds or 0 for one in found.values())
    assert ["whole", "plan", str(len(found)), f"{total:,.0f}", f"{total / 3600:.1f}", "hours"] in lines
    assert "1.0 GFLOP/s (as given)" in text


@pytest.mark.parametrize("name", ["full", "paper"])
def test_every_stage_of_the_large_scales_can_be_counted(name):
    study = Study(ROOT, name)
    for script in workload.COUNTS:
        keys = [key for own, key in study.instances() if own == script][:1]
        assert all(math.isfinite(Cells(study).work(script, key)) for key in keys)


def test_the_rate_is_that_of_training_steps(study, monkeypatch):
    clock = iter([10.0, 12.0])
    monkeypatch.setattr(workload.time, "perf_counter", lambda: next(clock))
    study.params.tree["training"]["batch_size"] = 4
    place = Runtime(torch.device("cpu"), "float32", False, "cpu")
    rate = workload.measured_rate(study, place)
    assert rate == workload.BENCH_STEPS * 3 * 4 * (EDGE + CLOUD) / 2.0


def test_the_command_prints_it_and_refuses_what_does_not_belong_to_it(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    options = cli.parser().parse_args(["plan", "--estimate", "--flops", "1e12", "cnn"])
    with pytest.raises(cli.Problem, match="leave targets and --all out"):
        cli.plan(options, ROOT)
    with pytest.raises(cli.Problem, match="belong to --estimate"):
        cli.plan(cli.parser().parse_args(["plan", "--flops", "1e12"]), ROOT)
    with pytest.raises(SystemExit):
        cli.parser().parse_args(["plan", "--estimate", "--flops", "0"])
    monkeypatch.setattr(workload, "estimates", lambda *_: iter([Estimate("prepare@faces", 60.0, "counted")]))
    assert cli.plan(cli.parser().parse_args(["plan", "--estimate", "--scale", "tiny", "--flops", "1e12"]), ROOT) == 0
    assert "Scale tiny" in capsys.readouterr().out
