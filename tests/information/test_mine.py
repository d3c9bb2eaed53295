import copy
import dataclasses
import json
import math

import pytest
import torch
from torch import nn

from splitprobe.core import runtime as runtimes
from splitprobe.core.artifacts import read_csv, read_npz
from splitprobe.information import mine
from splitprobe.information.critics import log_mean_exp
from splitprobe.information.effective import effective_information
from splitprobe.information.gaussian import correlated_pairs, mutual_information
from splitprobe.information.measure import measure_information
from splitprobe.information.mine import Falling, Mine, bound, estimate_calibrated, estimate_paper
from splitprobe.information.pairs import Pairs, partners
from splitprobe.information.settings import Budget, Converging, Optimizer, Plan, Separable, Settings


def as_it_is(parts, n, generator):
    return iter(parts)


def gaussian(shape, nats, n=8000, held=2000):
    rho = math.sqrt(1 - math.exp(-2 * nats / math.prod(shape)))
    assert mutual_information(rho, math.prod(shape)) == pytest.approx(nats)
    x, z = correlated_pairs(n, shape, rho, torch.Generator().manual_seed(1))
    return Pairs(x[held:], z[held:], as_it_is, nn.Identity()), Pairs(x[:held], z[:held], as_it_is, nn.Identity())


def test_closed_form_by_hand():
    assert mutual_information(0.0, 5) == 0
    assert mutual_information(0.8, 2) == pytest.approx(-math.log(0.36))


def test_pairs_are_correlated_as_asked():
    x, z = correlated_pairs(20000, (3,), 0.7, torch.Generator().manual_seed(0))
    assert torch.corrcoef(torch.stack((x[:, 1], z[:, 1])))[0, 1].item() == pytest.approx(0.7, abs=0.02)
    assert torch.corrcoef(torch.stack((x[:, 1], z[:, 2])))[0, 1].item() == pytest.approx(0, abs=0.03)


@pytest.mark.parametrize(
    ("shape", "nats"),
    [
        ((1, 1, 1), 1.0),
        pytest.param((1, 1, 1), 0.3, marks=pytest.mark.slow),
        pytest.param((20, 1, 1), 0.5, marks=pytest.mark.slow),
        pytest.param((20, 1, 1), 2.0, marks=pytest.mark.slow),
        pytest.param((1, 4, 5), 2.0, marks=pytest.mark.slow),
    ],
)
def test_calibrated_mine_and_infonce_on_correlated_gaussians(shape, nats, cpu):
    fit, held = gaussian(shape, nats)
    # its own settings: the accuracy promised here must not hang on what a study chooses in params.yaml
    how = Optimizer(5e-3, (0.8, 0.99), 0.01, 128)
    settings = Settings(3, 0.1, how, how, Separable(64, 8))
    budget = Converging(steps=200, patience=65, cooldown=0.4, null_steps=40, fit_images=6000, held_out_images=2000)
    found, _ = estimate_calibrated(fit, held, settings, budget, cpu, 1, "")
    # the stated error: 0.1 nats and a tenth; from below, since a critic in training gives a lower bound
    assert found.keys() == {"calibrated", "infonce"}
    for estimate in found.values():
        assert nats - (0.1 + 0.1 * nats) < estimate["mi_nats"] < nats + 0.1
        assert estimate["cap_nats"] == pytest.approx(math.log(2000))
        assert (estimate["held_out_images"], estimate["averaged_epochs"]) == (2000, 3)
        assert 0 < estimate["mi_nats_std"] < 0.1


def calibrated(fit, held, params, cpu, seed=1, **budget):
    """The estimate with the settings of params.yaml."""
    budget = {"steps": 40, "patience": 20, "cooldown": 0.3, "null_steps": 40, **budget}
    plan = Converging(fit_images=len(fit.x), held_out_images=len(held.x), **budget)
    return estimate_calibrated(fit, held, params.section("mine", Settings), plan, cpu, seed, "")


def test_a_converged_bound_is_near_the_truth_where_five_epochs_fall_short(params, cpu):
    fit, held = gaussian((1, 4, 4), 2.0, 1600, 600)
    short, _ = calibrated(fit, held, params, cpu, steps=5 * 7, patience=5 * 7, null_steps=1)
    long, _ = calibrated(fit, held, params, cpu, steps=300, patience=14, null_steps=1)
    for name, least in (("calibrated", 1.8), ("infonce", 1.9)):
        assert short[name]["still_rising"]
        assert not long[name]["still_rising"]
        assert short[name]["mi_nats"] < least < long[name]["mi_nats"] < 2.05
        assert short[name]["steps"] < long[name]["steps"] < long[name]["most_steps"]


@pytest.mark.parametrize("shape", [(1, 1, 1), (20, 1, 1)])
def test_independent_pairs_share_nothing(shape, params, cpu):
    fit, held = gaussian(shape, 0.0, 3000, 1000)
    found, _ = calibrated(fit, held, params, cpu)
    for estimate in found.values():
        assert -0.15 < estimate["mi_nats"] < 0.01
        assert -0.15 < estimate["null_nats"] < 0.01


def test_the_null_is_near_zero_where_the_estimate_is_not(params, cpu):
    fit, held = gaussian((1, 4, 5), 2.0, 1500, 500)
    found, _ = calibrated(fit, held, params, cpu)
    for estimate in found.values():
        assert -0.5 < estimate["null_nats"] < 0.05
        assert 0 < estimate["null_nats_std"] < 0.2
        assert estimate["mi_nats"] > 1


def test_the_papers_null_is_near_zero_for_identical_pairs(params, cpu):
    x = torch.randn(96, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    fit, held = (Pairs(part, part, as_it_is, nn.Identity()) for part in (x[:64], x[64:]))
    settings = params.section("mine", Settings)
    settings = dataclasses.replace(settings, paper=dataclasses.replace(settings.paper, lr=0.05))
    found, _ = estimate_paper(fit, held, settings, Budget(20, 0, 3, 64, 32), cpu, 1, "")
    assert found["null_epochs"] == 3
    assert abs(found["null_nats"]) < 0.01
    assert found["mi_nats"] > found["null_nats"] + 3 * found["null_nats_std"]


def test_chance_is_the_spread_over_many_draws_of_independent_pairs():
    """T = x z of independent standard normals: the mean of T over 100 pairs has a deviation of 0.1."""
    x, z = torch.randn(2, 400, 100, generator=torch.Generator().manual_seed(0))
    means = (x * z).mean(1)
    stated = torch.stack([mine.chance(a * b, a * b.roll(1)) for a, b in zip(x, z, strict=True)])
    assert means.std().item() == pytest.approx(0.1, abs=0.01)
    # on its own pair less on another: twice the variance, so it errs on the safe side
    assert stated.mean().item() == pytest.approx(0.1 * math.sqrt(2), abs=0.01)


def test_partners_are_others_and_each_is_one_once():
    for n in (2, 3, 50):
        found = partners(n, torch.Generator().manual_seed(n))
        assert sorted(found.tolist()) == list(range(n))
        assert (found != torch.arange(n)).all()


def test_a_shuffled_pair_has_the_z_of_its_partner():
    x = torch.arange(5.0).reshape(5, 1, 1, 1)
    shuffled = Pairs(x, 10 * x, as_it_is, nn.Identity()).shuffled(torch.Generator().manual_seed(0))
    images, z = shuffled.take(torch.tensor([3, 1]), torch.Generator())
    assert images.flatten().tolist() == [3, 1]
    assert z.flatten().tolist() == (10.0 * shuffled.partner[[3, 1]]).tolist()


def test_what_decides_the_end_is_neither_fitted_nor_read(params, cpu, monkeypatch):
    seen = {"epoch": set(), "stopping": set(), "held_out": set()}

    def spied(name, run):
        def spy(self, pairs, *rest):
            seen[name] |= set(pairs.x.flatten(1)[:, 0].tolist())
            return run(self, pairs, *rest)

        return spy

    for name in seen:
        monkeypatch.setattr(Mine, name, spied(name, getattr(Mine, name)))
    fit, held = gaussian((1, 1, 1), 1.0, 300, 100)
    calibrated(fit, held, params, cpu, steps=2, patience=1)
    assert {name: len(images) for name, images in seen.items()} == {"epoch": 180, "stopping": 20, "held_out": 100}
    assert not seen["epoch"] & seen["stopping"]
    assert not (seen["epoch"] | seen["stopping"]) & seen["held_out"]


@pytest.mark.parametrize(
    ("values", "epochs", "rising"), [((1, 2, 3, 4, 5, 6), 6, True), ((1, 2, 2, 2, 9, 9), 5, False)]
)
def test_training_ends_where_the_bound_has_stopped_rising(values, epochs, rising, params, cpu, monkeypatch):
    """Patience of two epochs, then a way down of a fifth of all: 4 epochs until it is seen, and one more."""
    given = iter(values * 2)
    monkeypatch.setattr(Mine, "stopping", lambda self, pairs, n: float(next(given)))
    fit, held = gaussian((1, 1, 1), 1.0, 1320, 50)
    budget = {"steps": 48, "patience": 16, "cooldown": 0.2, "null_steps": 1}
    for estimate in calibrated(fit, held, params, cpu, **budget)[0].values():
        assert (estimate["epochs"], estimate["steps"], estimate["still_rising"]) == (epochs, 8 * epochs, rising)
        assert (estimate["stop_images"], estimate["fit_images"]) == (127, 1143)


def test_the_bound_that_decides_is_not_capped_by_its_few_images(params, cpu):
    """Identical pairs: 20 images can certify log 20, the bound that 5,000 are trained for goes to log 5,000."""
    x = torch.randn(20, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    critic = mine.SeparableCritic([(x, x)], 4, 8, 20.0)
    critic.embed = lambda x, z: (x, x)
    critic.sums = lambda a, b: (torch.full((20,), 20.0), torch.full((20,), -20.0 + math.log(19)), None)
    estimator = Mine(critic, params.section("mine", Settings).calibrated, cpu, 1, "t")
    pairs = Pairs(x, x, as_it_is, nn.Identity())
    assert estimator.stopping(pairs, 5000) == pytest.approx(math.log(5000), abs=1e-3)


def estimators(params, x, z):
    """Both estimators, on some images and features."""
    settings = params.section("mine", Settings)
    with runtimes.Runtime(torch.device("cpu"), "float32", True, "").seeded(1, "critics"):
        critics = (mine.PaperCritic(x.shape[1:], z.shape[1:]), mine.SeparableCritic([(x, z)], 8, 8, 3.0))
    return [
        lambda place, critic=critic, own=own: Mine(copy.deepcopy(critic), own, place, 1, "t")
        for critic, own in zip(critics, (settings.paper, settings.calibrated), strict=True)
    ]


@pytest.fixture
def images_and_features():
    source = torch.Generator().manual_seed(0)
    x = torch.rand(16, 3, 16, 16, generator=source)
    return x, nn.functional.avg_pool2d(x, 2) + 0.1 * torch.rand(16, 3, 8, 8, generator=source)


def test_a_step_of_mine_never_waits_for_the_device(params, cpu, images_and_features, waits):
    x, z = images_and_features
    for make in estimators(params, x, z):
        estimator, order = make(cpu), cpu.generator(0)
        pairs = Pairs((255 * x).to(torch.uint8), z, as_it_is, nn.Identity()).shuffled(order)
        part = torch.arange(8)
        estimator.step(*pairs.take(part, order), 16, order)
        with waits:
            estimator.step(*pairs.take(part, order), 16, order)
        assert not waits.found, type(estimator.critic).__name__


def test_steps_of_mine_in_bfloat16_are_nearly_those_in_float32(params, cpu, images_and_features):
    x, z = images_and_features
    for make in estimators(params, x, z):
        values = []
        for precision in ("float32", "bfloat16"):
            estimator, order = make(cpu.at(precision)), cpu.generator(0)
            values.append([estimator.step(x, z, 16, order).item() for _ in range(3)])
        assert values[0][2] > values[0][0]
        assert values[1] == pytest.approx(values[0], rel=0.05, abs=0.02), type(estimator.critic).__name__


def test_a_measured_precision_leaves_no_trace_in_an_estimate(params, cpu, images_and_features, undecided):
    (x, z), (undecided, measured) = images_and_features, undecided
    pairs, found = Pairs(x, z, as_it_is, nn.Identity()), []
    settings = params.section("mine", Settings)
    for place in (cpu, undecided, undecided):
        found.append(estimate_paper(pairs, pairs, settings, Budget(2, 0, 1, 16, 16), place, 1, ""))
    assert found[0] == found[1] == found[2]
    assert len(measured) == 2


def test_the_papers_estimate_stays_under_its_cap_for_identical_pairs(params, cpu):
    x = torch.randn(64, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    pairs = Pairs(x, x, as_it_is, nn.Identity())
    settings = params.section("mine", Settings)
    settings = dataclasses.replace(settings, paper=dataclasses.replace(settings.paper, lr=0.05))
    found, rows = estimate_paper(pairs, pairs, settings, Budget(3, 0, 1, 64, 64), cpu, 1, "")
    assert max(row["nats"] for row in rows) <= found["cap_nats"] == pytest.approx(0.97351, abs=1e-5)
    assert found["best_epoch_nats"] == max(row["nats"] for row in rows)


def test_the_bound_equals_equation_11_by_a_slow_loop():
    joint, marginal = torch.tensor([0.2, 0.9, 0.4]), torch.tensor([0.1, 0.3, 0.8, 0.5])
    slow = -math.log(sum(math.exp(t) for t in marginal.tolist()) / 4) + sum(joint.tolist()) / 3
    assert bound(joint, log_mean_exp(marginal), 0).item() == pytest.approx(slow, abs=1e-6)


@pytest.mark.parametrize("size", [90.0, 1e4])
def test_large_critic_outputs_overflow_nothing(size):
    joint = torch.tensor([size, size], requires_grad=True)
    value = bound(joint, log_mean_exp(torch.tensor([size, -size])), 0)
    value.backward()
    assert value.item() == pytest.approx(math.log(2), abs=1e-3)
    assert torch.isfinite(joint.grad).all()


def test_the_bound_over_all_pairs_equals_a_slow_loop():
    scores = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
    others = scores[~torch.eye(5, dtype=torch.bool)]
    found = bound(scores.diagonal(), log_mean_exp(others), 1 / 5)
    mean_exp = sum(math.exp(t) for row in scores.tolist() for t in row) / 25
    assert found.item() == pytest.approx(scores.diagonal().mean().item() - math.log(mean_exp), abs=1e-6)


def test_without_the_joint_share_a_separating_critic_has_no_cap_and_with_it_log_n():
    joint, log_marginal = torch.full((50,), 1e4), torch.tensor(-1e4)
    assert bound(joint, log_marginal, 0).item() == 2e4
    assert bound(joint, log_marginal, 1 / 50).item() == pytest.approx(math.log(50), abs=2e-3)


def test_the_calibrated_estimate_stays_under_its_cap_for_identical_pairs(params, cpu):
    x = torch.randn(900, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    fit, held = (Pairs(x[part], x[part], as_it_is, nn.Identity()) for part in (slice(600), slice(600, 900)))
    found, rows = calibrated(fit, held, params, cpu, steps=40, patience=40, null_steps=1)
    for name, column in (("calibrated", "nats"), ("infonce", "infonce_nats")):
        estimate = found[name]
        assert max(row[column] for row in rows) <= estimate["cap_nats"] == pytest.approx(math.log(300))
        assert estimate["mi_nats"] > estimate["cap_nats"] - 1.5
        last = [row[column] for row in rows][-params.section("mine", Settings).average :]
        assert estimate["mi_nats"] == pytest.approx(sum(last) / len(last))


def sums(scores):
    """As a critic gives them: the diagonal, and log-sum-exp of the rest by row and by column."""
    others = scores.masked_fill(torch.eye(len(scores), dtype=torch.bool), -math.inf)
    return scores.diagonal(), torch.logsumexp(others, 1), torch.logsumexp(others, 0)


def random_scores(seed, n=7):
    return 3 * torch.randn(n, n, generator=torch.Generator().manual_seed(seed))


def test_infonce_equals_a_slow_loop():
    t, n = random_scores(0), 7
    by_row = sum(t[i, i] - math.log(sum(math.exp(t[i, j]) for j in range(n)) / n) for i in range(n)) / n
    by_column = sum(t[i, i] - math.log(sum(math.exp(t[j, i]) for j in range(n)) / n) for i in range(n)) / n
    assert mine.infonce(*sums(t)).item() == pytest.approx((by_row + by_column).item() / 2, abs=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_infonce_lies_between_the_bound_of_the_same_scores_and_log_n(seed):
    t = random_scores(seed) + torch.diag(torch.full((7,), 2.0 * seed))
    joint, by_x, by_z = sums(t)
    log_marginal = torch.logsumexp(by_x, 0) - math.log(42)
    assert bound(joint, log_marginal, 1 / 7) < mine.infonce(joint, by_x, by_z) < math.log(7)


def test_infonce_feels_no_constant_and_reaches_log_n():
    t = random_scores(1)
    assert mine.infonce(*sums(t + 50)).item() == pytest.approx(mine.infonce(*sums(t)).item(), abs=1e-5)
    assert mine.infonce(*sums(torch.zeros(7, 7))).item() == pytest.approx(0, abs=1e-6)
    assert mine.infonce(*sums(1e4 * torch.eye(7))).item() == pytest.approx(math.log(7))


def test_infonce_of_any_critic_is_a_lower_bound_on_average():
    """A critic that was never trained, on pairs of 1 nat: the mean over many batches stays below it."""
    x, z = correlated_pairs(8 * 4000, (1,), math.sqrt(1 - math.exp(-2)), torch.Generator().manual_seed(0))
    # twice the slope of the best critic: it is too sure of itself
    t = torch.einsum("bid,bjd->bij", x.reshape(-1, 8, 1), z.reshape(-1, 8, 1)) * 12
    found = torch.stack([mine.infonce(*sums(one)) for one in t])
    assert found.mean() + 3 * found.std() / math.sqrt(len(found)) < 1


def test_uint8_images_are_divided_by_255_and_normalized():
    images = torch.arange(12, dtype=torch.uint8).reshape(1, 3, 2, 2)
    z = torch.zeros(1, 1, 1, 1)
    whole, ready = (Pairs(x, z, as_it_is, lambda x: 2 * x) for x in (images, images.float() / 255))
    for pairs in (whole, ready):
        x, _ = pairs.take(slice(1), torch.Generator())
        assert torch.equal(x, images.float() / 255 * 2)


def test_the_learning_rate_falls_to_zero(params, cpu):
    fit, held = gaussian((1, 1, 1), 1.0, 60, 20)
    settings = dataclasses.replace(params.section("mine", Settings).calibrated, batch_size=10)
    critic = mine.SeparableCritic([(fit.x, fit.z)], 8, 8, 3.0)
    estimator = Mine(critic, settings, cpu, 1, "t")
    estimator.run(fit, held, Falling(estimator.optimizer, 2, 4), 20, "")
    assert estimator.optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)


def test_the_same_seed_gives_the_same_numbers_and_another_does_not(params, cpu):
    fit, held = gaussian((1, 4, 5), 1.0, 300, 100)
    settings, budget = params.section("mine", Settings), Budget(2, 0, 2, 200, 100)
    paper = [estimate_paper(fit, held, settings, budget, cpu, seed, "") for seed in (1, 1, 2)]
    for (first, rows), (again, same), (other, different) in (
        [calibrated(fit, held, params, cpu, seed, steps=4) for seed in (1, 1, 2)], paper,
    ):  # fmt: skip
        assert (first, rows) == (again, same)
        assert first != other
        assert rows != different


def test_noise_is_fresh_at_every_step_and_equal_in_every_reading(params, cpu):
    seen = []

    def release(parts, n, generator):
        for z in parts:
            noise = torch.randn(z.shape, generator=generator)
            seen.append(noise)
            yield z + noise

    x = torch.zeros(40, 1, 4, 4)
    fit, held = (Pairs(x[:n], x[:n], release, nn.Identity()) for n in (40, 10))
    settings = dataclasses.replace(params.section("mine", Settings).calibrated, batch_size=10)
    critic = mine.SeparableCritic([(x, x)], 8, 8, 3.0)
    estimator = Mine(critic, settings, cpu, 1, "t")
    estimator.run(fit, held, Falling(estimator.optimizer, 2, 4), 10, "")
    steps, readings = seen[:4] + seen[5:9], [seen[4], seen[9]]
    assert len({tuple(noise[0, 0, 0].tolist()) for noise in steps}) == 8
    assert torch.equal(*readings)


def test_a_summary_averages_the_last_epochs():
    rows = [{"epoch": i, "fit_nats": 0.0, "nats": v} for i, v in enumerate((9.0, 1.0, 2.0, 3.0))]
    found = mine.summary(rows, 3, cap_nats=9.0)
    assert found["mi_nats"] == pytest.approx(2)
    assert found["mi_nats_std"] == pytest.approx(1)
    assert found["best_epoch_nats"] == 9
    assert math.isnan(mine.summary(rows, 1)["mi_nats_std"])


def test_effective_information_by_hand():
    z = torch.zeros(2, 3, 2, 2)
    z[0, 0] = 1
    z[1, 1, 0, 0] = -2
    assert effective_information([z[:1], z[1:]]) == {
        "nonzero_per_image": 2.5, "capacity": 12, "density": 2.5 / 12, "channels": 3, "dead_channels": 1,
    }  # fmt: skip
    with pytest.raises(ValueError, match="at least one image"):
        effective_information([z[:0]])


@pytest.mark.parametrize("defense", ["siftfunnel", "gaussian_noise"])
def test_results_and_curve_are_written(defense, params, paths, make_target):
    name = f"cnn/{defense}"
    target = make_target(defense)
    first, again = (measure_information(target, params, paths, lambda x: x.float() / 255) for _ in range(2))
    assert again == first
    bound = first["mine"]["decoder"]
    assert bound["mi_nats"] == pytest.approx(bound["cap_nats"])  # x_hat is x
    stored = json.loads(paths.result(name, "information.json").read_text())
    plan = params.scaled("mine", Plan)
    assert stored["mine"]["calibrated"]["held_out_images"] == plan.calibrated.held_out_images
    assert stored["mine"]["paper"]["cap_nats"] == pytest.approx(mine.paper_cap(plan.paper.held_out_images))
    assert stored["mine"]["infonce"]["cap_nats"] == pytest.approx(math.log(plan.calibrated.held_out_images))
    bits, images = stored["entropy"], plan.calibrated.held_out_images
    assert bits["raw_bits_per_image"] == 8 * stored["effective"]["capacity"]
    assert 0 < bits["coded_bits_per_image"] < bits["raw_bits_per_image"]
    assert (bits["levels"], bits["fit_images"], bits["images"]) == (256, plan.calibrated.fit_images, images)
    assert stored["dependence"]["images"] == images
    assert 0 < stored["dependence"]["dcor_squared"] < 1
    histograms = read_npz(paths.result(name, "information.npz"))
    assert histograms["counts"].shape == (stored["effective"]["channels"], 256)
    entries = bits["fit_images"] * stored["effective"]["capacity"] // stored["effective"]["channels"]
    assert (histograms["counts"].sum(1) == entries).all()
    assert (histograms["low"] <= histograms["high"]).all()
    effective = stored["effective"]
    if defense == "gaussian_noise":
        assert effective["nonzero_per_image"] == effective["capacity"]  # noise hides every zero
    rows = read_csv(paths.curve(name, "information"))
    for column, name in (("calibrated_nats", "calibrated"), ("infonce_nats", "infonce")):
        assert float(rows[-1][column]) == pytest.approx(first["mine"][name]["mi_nats"], abs=1.0)
