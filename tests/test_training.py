import json
import math

import pytest
import torch
from torch import nn

from splitprobe import runtime as runtimes
from splitprobe.artifacts import read_csv
from splitprobe.models.split import Shape
from splitprobe.schedule import Adam, Rate, Schedule, batches, renew_statistics
from splitprobe.target import Blueprint, load_target
from splitprobe.training import Settings, Trainer, train_target


def test_an_epoch_shuffles_all_full_batches():
    generator = torch.Generator().manual_seed(0)
    parts = list(batches(10, 4, generator))
    assert [len(p) for p in parts] == [4, 4]
    assert len(set(torch.cat(parts).tolist())) == 8
    assert [len(p) for p in batches(3, 4, generator)] == [3]


def test_statistics_are_those_of_the_inputs():
    """Not of what was seen before, however much smaller the inputs are."""
    net = nn.Sequential(nn.BatchNorm2d(3, momentum=0.1), nn.Dropout(0.5)).eval()
    x = 1e-3 * torch.randn(64, 3, 4, 4, generator=torch.Generator().manual_seed(0)) + 0.5
    renew_statistics(net, net, x.split(16))
    assert torch.allclose(net[0].running_mean, x.mean((0, 2, 3)), atol=1e-6)
    variances = torch.stack([part.var((0, 2, 3)) for part in x.split(16)])
    assert torch.allclose(net[0].running_var, variances.mean(0), rtol=1e-4)
    assert net[0].momentum == 0.1 and not net[0].training and not net.training


def test_a_small_set_gets_more_epochs():
    schedule = Schedule(3, 1e-3, "cosine", 100)
    assert schedule.on(1000, 100) == Schedule(10, 1e-3, "cosine", 100)
    assert schedule.on(990, 100).epochs == 12  # nine full batches each
    assert schedule.on(5000, 100).epochs == 3
    assert schedule.on(50, 100).epochs == 100


def test_rates():
    def run(kind, losses, factor=0.5, patience=1):
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)
        settings = Adam(16, (0.5, 0.9), True, factor, patience, 1)
        rate, seen = Rate(optimizer, Schedule(len(losses), 1.0, kind, 0), settings), []
        for loss in losses:
            seen.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            rate.step(loss)
        return seen

    assert run("constant", [1, 1, 1]) == [1, 1, 1]
    assert run("cosine", [1, 1, 1, 1]) == pytest.approx([(1 + math.cos(math.pi * i / 4)) / 2 for i in range(4)])
    assert run("plateau", [1, 1, 1, 1, 0.5]) == [1, 1, 1, 0.5, 0.5]


def test_the_stage_learns_writes_and_repeats(params, paths, cpu, make_cell):
    params.tree["scales"]["demo"]["target"]["cnn"] |= {"epochs": 6, "lr": 3e-3}
    results = [train_target(make_cell(), params, paths, cpu) for _ in range(2)]
    assert results[0] == results[1]
    result = json.loads(paths.record("cnn/unprotected").read_text())
    assert result["accuracy"] > 0.5  # four colors: chance is 0.25
    assert result["z_shape"] == [16, 8, 8]
    assert result["z_bytes"] == 16 * 8 * 8 * 4
    assert result["edge_macs"] == 3 * 8 * 9 * 32 * 32 + 8 * 16 * 9 * 16 * 16
    rows = read_csv(paths.curve("cnn/unprotected", "target"))
    assert [r["epoch"] for r in rows] == list("123456")
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    best = max(rows, key=lambda r: float(r["validation_accuracy"]))
    assert result["training"]["best_epoch"] == int(best["epoch"])
    assert result["validation_accuracy"] == pytest.approx(float(best["validation_accuracy"]), abs=1e-6)


def test_the_seed_matters(params, paths, cpu, make_cell):
    first = train_target(make_cell(), params, paths, cpu)
    weights = load_target(paths.target("cnn/unprotected"), cpu).edge.state_dict()
    params.seed = 2
    train_target(make_cell(), params, paths, cpu)
    other = load_target(paths.target("cnn/unprotected"), cpu).edge.state_dict()
    assert first["provenance"]["seed"] == 1
    assert not torch.equal(weights["1.0.weight"], other["1.0.weight"])


def test_only_epochs_with_the_defense_in_force_are_chosen(params, paths, cpu, make_cell):
    params.tree["scales"]["demo"]["target"]["cnn"] |= {"epochs": 8, "lr": 3e-3, "schedule": "constant"}
    result = train_target(make_cell("nls"), params, paths, cpu)
    rows = read_csv(paths.curve("cnn/nls", "target"))
    factors = [float(row["smoothing_factor"]) for row in rows]
    assert factors == pytest.approx([0, 0, 0, 0, 0, -0.0125, -0.05, -0.05])
    chosen = [r for r in rows if float(r["smoothing_factor"]) == -0.05]
    best = max(chosen, key=lambda r: float(r["validation_accuracy"]))
    assert result["training"]["best_epoch"] == int(best["epoch"]) >= 7
    assert result["validation_accuracy"] == pytest.approx(float(best["validation_accuracy"]), abs=1e-6)


def test_an_inference_time_defense_reuses_the_weights(params, paths, cpu, make_cell):
    plain = train_target(make_cell(), params, paths, cpu)
    noisy = train_target(make_cell("gaussian_noise", start="targets/cnn/unprotected"), params, paths, cpu)
    names = ("cnn/gaussian_noise", "cnn/unprotected")
    ours, theirs = (load_target(paths.target(name), cpu).edge.state_dict() for name in names)
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)
    assert noisy["training"] == {**plain["training"], "reused_from": "cnn/unprotected"}
    assert noisy["draws"] == 3
    assert read_csv(paths.curve("cnn/gaussian_noise", "target")) == []


def test_the_curve_names_every_term(params, paths, cpu, make_cell):
    train_target(make_cell("siftfunnel"), params, paths, cpu)
    row = read_csv(paths.curve("cnn/siftfunnel", "target"))[0]
    terms = sum(float(row[k]) for k in ("task", "dcor", "pearson", "l1"))
    assert float(row["loss"]) == pytest.approx(terms, rel=1e-4)
    assert int(row["dead_channels"]) <= 12


def test_a_dead_edge_is_warned_about_and_stays_finite(params, cpu, make_cell, caplog):
    blueprint = Blueprint.from_params(make_cell("siftfunnel"), Shape(3, 32, 4, 8), params)
    trainer = Trainer(blueprint, params.section("training", Settings), Schedule(1, 1e-6, "constant", 0), cpu, 1, 16)
    convolutions = [m for m in trainer.edge.modules() if isinstance(m, torch.nn.Conv2d)]
    last = next(m for m in convolutions if m.kernel_size == (5, 5))
    with torch.no_grad():
        last.bias.fill_(-1e3)
    images, labels = torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8), torch.arange(16) % 4
    (row,) = trainer.fit((images, labels), (images, labels), "dead")
    assert row["dead_channels"] == 12
    assert math.isfinite(row["loss"])
    assert row["dcor"] == row["pearson"] == row["l1"] == 0
    assert "every channel of z is dead" in caplog.text


def test_bfloat16_agrees_with_float32_within_what_two_seeds_differ_by(params, make_cell):
    losses = {}
    source = torch.Generator().manual_seed(0)
    images, labels = torch.randint(0, 256, (32, 3, 32, 32), generator=source).to(torch.uint8), torch.arange(32) % 4
    for precision, seed in (("float32", 1), ("bfloat16", 1), ("float32", 2)):
        runtime = runtimes.Runtime(torch.device("cpu"), precision, True, precision)
        blueprint = Blueprint.from_params(make_cell("siftfunnel"), Shape(3, 32, 4, 8), params)
        settings, schedule = params.section("training", Settings), params.scaled("target.cnn", Schedule)
        trainer = Trainer(blueprint, settings, schedule, runtime, seed, len(images))
        with runtime.seeded(seed, "layers"):
            losses[precision, seed] = trainer.epoch(images, labels)["loss"]
    same = abs(losses["float32", 1] - losses["bfloat16", 1])
    assert same < abs(losses["float32", 1] - losses["float32", 2])
