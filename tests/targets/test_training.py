import json
import math
from dataclasses import replace

import pytest
import torch

from splitprobe.core import runtime as runtimes
from splitprobe.core.artifacts import read_csv
from splitprobe.core.params import ParamsError
from splitprobe.defenses.nls import NegativeLabelSmoothing
from splitprobe.learning.schedule import Course
from splitprobe.report.frame import lines
from splitprobe.targets.target import load_target
from splitprobe.targets.training import Diverged, Plan, Settings, Trainer, train_target


def test_the_stage_learns_writes_and_repeats(params, paths, cpu, make_cell):
    params.tree["scales"]["target"]["cnn"] |= {"epochs": 6, "lr": 3e-3}
    results = [train_target(make_cell(), params, paths, cpu) for _ in range(2)]
    assert results[0] == results[1]
    result = json.loads(paths.result("cnn/unprotected", "target.json").read_text())
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
    params.tree["scales"]["target"]["cnn"] |= {"epochs": 8, "lr": 3e-3, "schedule": "constant"}
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


def test_of_several_rates_the_best_one_of_short_trials_trains_in_full(params, paths, cpu, make_cell):
    plan = params.tree["scales"]["target"]["cnn"]
    plan |= {"epochs": 6, "lr": 3e-3}
    alone = train_target(make_cell(), params, paths, cpu)
    assert (alone["training"]["candidates"], alone["training"]["trials"]) == ([3e-3], [])
    weights = load_target(paths.target("cnn/unprotected"), cpu).edge.state_dict()
    plan |= {"lr": "1e-7 3e-3", "trial_epochs": 3}
    chosen = train_target(make_cell(), params, paths, cpu)["training"]
    assert (chosen["lr"], chosen["candidates"], chosen["trial_epochs"]) == (3e-3, [1e-7, 3e-3], 3)
    for trial in chosen["trials"]:
        rows = read_csv(paths.trial("cnn/unprotected", trial["lr"]))
        assert [row["epoch"] for row in rows] == list("123")
        assert trial["validation_accuracy"] == pytest.approx(max(float(row["validation_accuracy"]) for row in rows))
    assert chosen["trials"][0]["validation_accuracy"] < chosen["trials"][1]["validation_accuracy"]
    # the trials leave no trace in the training that follows
    again = load_target(paths.target("cnn/unprotected"), cpu).edge.state_dict()
    assert all(torch.equal(weights[key], again[key]) for key in weights)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dpsgd", "nls", "infoscissors"])
def test_trials_work_for_defenses_with_phases_estimators_and_private_batches(params, paths, cpu, make_cell, name):
    params.tree["scales"]["target"]["cnn"] |= {"lr": [1e-3, 2e-3], "epochs": 2, "warmup": 0.5}
    training = train_target(make_cell(name), params, paths, cpu)["training"]
    scores = {trial["lr"]: trial["validation_accuracy"] for trial in training["trials"]}
    assert scores[training["lr"]] == max(scores.values())


def test_a_trial_that_diverges_is_not_chosen(params, paths, cpu, make_cell, monkeypatch):
    fit = Trainer.fit

    def diverging(self, *arguments):
        if self.schedule.lr == 1.0:
            raise Diverged("it diverged")
        return fit(self, *arguments)

    monkeypatch.setattr(Trainer, "fit", diverging)
    params.tree["scales"]["target"]["cnn"]["lr"] = [1.0, 1e-3]
    result = train_target(make_cell(), params, paths, cpu)
    listed = {(item, quantity): (value, why) for item, quantity, value, _, why in lines(result, "target")}
    assert result["training"]["lr"] == 1e-3
    assert read_csv(paths.trial("cnn/unprotected", 1.0)) == []
    assert listed["training trials 0", "lr"] == (1.0, "")
    written = json.loads(paths.result("cnn/unprotected", "target.json").read_text())["training"]["trials"][0]
    assert (written["validation_accuracy"], written["validation_accuracy_reason"]) == (None, "not finite (nan)")
    params.tree["scales"]["target"]["cnn"]["lr"] = [1.0]
    with pytest.raises(Diverged):
        train_target(make_cell(), params, paths, cpu)


def test_no_epoch_is_kept_before_selection_begins(params, paths, cpu, make_cell):
    plan = {"epochs": 5, "lr": 3e-3, "schedule": "constant", "select_after": 3}
    params.tree["scales"]["target"]["cnn"] |= plan
    result = train_target(make_cell(), params, paths, cpu)["training"]
    rows = read_csv(paths.curve("cnn/unprotected", "target"))[3:]
    best = max(rows, key=lambda row: float(row["validation_accuracy"]))
    assert result["best_epoch"] == int(best["epoch"]) > 3
    with pytest.raises(ParamsError, match="select_after = 3: fewer than the 3 epochs are needed"):
        replace(params.scaled("target.cnn", Plan), epochs=3).check()


def test_a_small_set_raises_all_numbers_of_epochs_alike(params):
    plan = replace(params.scaled("target.cnn", Plan), epochs=4, least_steps=100, trial_epochs=3, select_after=2)
    raised = plan.on(100, 10)
    assert (raised.epochs, raised.trial_epochs, raised.select_after) == (10, 8, 5)
    assert (raised.trial().epochs, raised.trial().select_after) == (8, 4)
    assert plan.on(1000, 10) == plan


@pytest.mark.slow
def test_only_steps_that_are_made_count_for_the_warm_up(params, make_blueprint, cpu):
    """A private batch in parts is one step: here of 16 images, 4 at once."""
    params.tree["defense"]["dpsgd"] |= {"batch_size": 16, "physical_batch_size": 4}
    course = Course(2, 1.0, "constant", 0, 100.0)
    trainer = Trainer(make_blueprint("dpsgd"), params.section("training", Settings), course, cpu, 1, 64)
    images, labels = torch.randint(0, 256, (64, 3, 32, 32)).to(torch.uint8), torch.arange(64) % 4
    trainer.epoch(images, labels)
    assert trainer.rate.steps == 4
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(4 / 100)


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(), lambda x: x[x > 0], lambda x: torch.tensor(1.0), lambda x: bool(x.sum() > 0),
        lambda x: x.unique(), lambda x: torch.linalg.inv(x), lambda x: x.nonzero(),
    ],
)  # fmt: skip
def test_waits_are_noticed(waits, wait):
    x = torch.eye(3)
    with waits:
        (x + 1).square().sum(0)
        assert not waits.found
        wait(x)
    assert waits.found


def test_a_step_is_recorded_anew_where_the_defense_s_schedule_moves(make_trainer, monkeypatch):
    trainer, renewed = make_trainer("nls", epochs=5), []
    monkeypatch.setattr(trainer.replay, "renew", lambda: renewed.append(trainer.defense.factor))
    images, labels = torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8), torch.arange(16) % 4
    rows = list(trainer.fit((images, labels), (images, labels), "ramp"))
    factors = [row["smoothing_factor"] for row in rows]
    # at its first value, wherever it moves, and at the end, where the memory is given back
    moved = [factor for last, factor in zip([None, *factors], factors, strict=False) if factor != last]
    assert renewed == [*moved, factors[-1]] and len(moved) > 2


@pytest.mark.parametrize(
    "name", ["siftfunnel", *(pytest.param(name, marks=pytest.mark.slow) for name in ("infoscissors", "dpsgd"))]
)
def test_a_measured_precision_leaves_no_trace_in_the_training(
    params, paths, cpu, make_cell, tmp_path, monkeypatch, name
):
    seconds, steps = {"float32": 1.0, "bfloat16": 1.0}, []

    def step_seconds(place, build):
        steps.append(build(place)())
        return seconds[place.precision]

    monkeypatch.setattr(runtimes, "MACHINE", tmp_path / "machine.json")
    monkeypatch.setattr(runtimes, "_step_seconds", step_seconds)
    undecided, states = runtimes.Runtime(cpu.device, "auto", True, "GPU"), []
    for place in (cpu.at("float32"), undecided, undecided):
        result = train_target(make_cell(name), params, paths, place)
        states.append(load_target(paths.target(f"cnn/{name}"), cpu).edge.state_dict())
        assert result["provenance"]["device"].endswith("float32" if place is undecided else "test")
    for state in states[1:]:
        assert all(torch.equal(state[key], value) for key, value in states[0].items())
    assert len(steps) == 2, "once in each precision"
    (key,) = json.loads(runtimes.MACHINE.read_text())
    size = 8 if name == "dpsgd" else 16  # its own
    sizes = f"training of cnn 8 wide cut at 2, unprotected, {name}, none, none, 3x32x32, 4 classes, batch {size}"
    assert key.endswith(sizes)


def test_a_defense_may_need_float32_whatever_is_asked_for(make_trainer, cpu, monkeypatch):
    place = cpu.at("bfloat16")
    assert make_trainer("nls", place=place).runtime is place
    monkeypatch.setattr(NegativeLabelSmoothing, "full_precision", True)
    assert make_trainer("nls", place=place).runtime.precision == "float32"


def test_a_dead_edge_is_warned_about_and_stays_finite(make_trainer, caplog):
    trainer = make_trainer("siftfunnel", lr=1e-6)
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


@pytest.mark.parametrize(("name", "changes"), [("infoscissors", {}), ("ae", {"adversary": 1.0})])
def test_an_estimator_is_compared_with_a_fresh_one(params, paths, cpu, make_cell, caplog, name, changes):
    params.tree["defense"][name] |= {
        **changes,
        "inner_steps": 1,
        "lr": 1e-6,
    }  # one that learns nothing
    params.tree["training"] |= {"estimator_share": 3.0, "estimator_ratio": 1.0}
    params.tree["scales"]["target"]["cnn"]["estimator_steps"] = 1
    result = train_target(make_cell(name), params, paths, cpu)["estimator"]
    assert result["steps"] == 2 * 4 + 1  # two epochs of 64 images in batches of 16, and one to follow the last
    assert result["fresh_steps"] == 40  # 27 are asked for; an epoch has 4 batches with 5 steps on each
    assert result["ratio"] == pytest.approx(result["error"] / result["fresh_error"])
    assert result["outrun"] == (result["ratio"] > 1.0) == ("ratio_reason" in result) == ("outran" in caplog.text)
    # the table of all numbers has it, with the reason where the row is to be marked
    listed = {quantity: (value, why) for _, quantity, value, _, why in lines(result, "target", "estimator")}
    assert listed["ratio"] == (result["ratio"], result.get("ratio_reason", ""))
    assert listed["outrun"] == (float(result["outrun"]), "")
    assert train_target(make_cell(), params, paths, cpu)["estimator"] == {}


def test_the_estimator_of_the_chosen_epoch_is_kept(make_trainer):
    trainer = make_trainer("infoscissors", epochs=2)
    images = torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels, states = torch.arange(16) % 4, []
    for _ in trainer.fit((images, labels), (images, labels), "followed"):
        states.append({key: value.clone() for key, value in trainer.defense.estimator.net.state_dict().items()})
    kept = trainer.defense.estimator.net.state_dict()
    assert all(torch.equal(kept[key], states[trainer.best_epoch - 1][key]) for key in kept)


@pytest.mark.parametrize(("name", "changes"), [("infoscissors", {}), ("ae", {"adversary": 1.0})])
def test_an_estimator_learns_from_features_in_bfloat16(params, make_blueprint, name, changes):
    params.tree["defense"][name] |= changes
    runtime = runtimes.Runtime(torch.device("cpu"), "bfloat16", True, "bfloat16")
    settings, schedule = params.section("training", Settings), params.scaled("target.cnn", Plan).course(1e-3)
    trainer = Trainer(make_blueprint(name), settings, schedule, runtime, 1, 16)
    images, labels = torch.randint(0, 256, (16, 3, 32, 32)).to(torch.uint8), torch.arange(16) % 4
    trainer.defense.begin_epoch(2)
    assert math.isfinite(trainer.epoch(images, labels)["loss"])
    assert math.isfinite(trainer.compare_estimator(images, images, 1)["ratio"])


def test_bfloat16_agrees_with_float32_within_what_two_seeds_differ_by(params, make_blueprint):
    losses = {}
    source = torch.Generator().manual_seed(0)
    images, labels = torch.randint(0, 256, (32, 3, 32, 32), generator=source).to(torch.uint8), torch.arange(32) % 4
    for precision, seed in (("float32", 1), ("bfloat16", 1), ("float32", 2)):
        runtime = runtimes.Runtime(torch.device("cpu"), precision, True, precision)
        settings, schedule = params.section("training", Settings), params.scaled("target.cnn", Plan).course(1e-3)
        trainer = Trainer(make_blueprint("siftfunnel"), settings, schedule, runtime, seed, len(images))
        with runtime.seeded(seed, "layers"):
            losses[precision, seed] = trainer.epoch(images, labels)["loss"]
    same = abs(losses["float32", 1] - losses["bfloat16", 1])
    assert same < abs(losses["float32", 1] - losses["float32", 2])
