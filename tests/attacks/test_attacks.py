import itertools
import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from splitprobe.attacks import ATTACKS, generator, hybrid, mle
from splitprobe.attacks.base import DENOISER, Scene, assess, intercepted, scored
from splitprobe.attacks.mle import Paper, PaperMle, Plan, Trial, Tuned, TunedMle, decibels, total_variation
from splitprobe.attacks.optimized import run_mle
from splitprobe.core.artifacts import DamagedFile, read_csv, read_npz, strict, write_checkpoint, write_npz
from splitprobe.core.params import ParamsError
from splitprobe.core.registry import lookup
from splitprobe.learning import measures, optimizers
from splitprobe.models.denoiser import Denoiser
from splitprobe.targets.judge import recognized
from splitprobe.targets.prior import Prior


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    small = torch.rand(48, 3, 4, 4, generator=generator)
    return (torch.nn.functional.interpolate(small, size=32, mode="bilinear") * 255).to(torch.uint8)


def nothing(attack, loss: float) -> torch.Tensor:
    """Stands in for a training step."""
    attack.optimizer.step()
    return torch.tensor(loss)


def plan(**changed):
    """The least budget, and what is changed of it."""
    return Plan(**(dict.fromkeys(Plan.__dataclass_fields__, 1) | changed))


def build(name, target, params, test):
    """The attacks of one line of ATTACKS, those before it being fitted where it starts from them."""
    built = {DENOISER: lambda: Prior(Denoiser(3, 32, 8).requires_grad_(False), 1.0, 0.01, frozenset())}
    for other in ATTACKS:
        attacks, images = lookup(ATTACKS, other, "attack")(target, params, test, built)
        built |= {attack.name: attack for attack in attacks}
        if other == name:
            return attacks, images
        if name in ("hybrid", "prior") and other == "generator":
            for attack in attacks:
                if attack.name.startswith("strong"):
                    attack.fit(test.flip(0))
    raise AssertionError(name)


def decoder(name, target, params, test):
    """One decoder by its name, and the images to attack."""
    attacks, images = build("generator", target, params, test)
    return next(attack for attack in attacks if attack.name == name), images


@pytest.mark.parametrize("family", list(ATTACKS))
@pytest.mark.parametrize("defense", ["unprotected", "gaussian_noise", "dropout", "siftfunnel"])
def test_every_attack_keeps_the_contract(family, defense, make_target, params, images, assessed):
    target = make_target(defense)
    weights = {k: v.clone() for k, v in target.edge.state_dict().items()}
    runs = []
    for _ in range(2):
        attacks, attacked = build(family, target, params, images[:4])
        runs.append(assessed(attacks, images[4:24], attacked))
    assert strict(runs[0][:2]) == strict(runs[1][:2])  # same seed, same result
    for attack in attacks:
        access = attack.access.removeprefix("strong ").split(",")[0]
        assert access in ("white-box", "gray-box", "black-box", "cloud-side")
        picture = runs[0][2][attack.name]
        assert picture.dtype == np.uint8
        assert picture.shape == (len(attacked), 32, 32, 3)
        assert json.dumps(runs[0][1][attack.name])
    assert not target.edge.training
    assert all(torch.equal(weights[k], v) for k, v in target.edge.state_dict().items())
    assert all(p.grad is None for p in target.edge.parameters())


def test_the_gray_box_attack_is_there_only_for_a_changed_architecture(make_target, params, images):
    def names(target):
        return [a.name for a in build("generator", target, params, images)[0]]

    assert names(make_target("unprotected")) == ["black_box", "strong"]
    assert names(make_target("siftfunnel")) == ["black_box", "gray_box", "cloud_side", "strong"]
    assert names(make_target("ae")) == ["black_box", "gray_box", "strong"]
    assert names(make_target("vib")) == ["black_box", "repeated", "strong", "strong_repeated"]
    borrowed = make_target("nopeek", architecture="siftfunnel")
    assert names(borrowed) == ["black_box", "gray_box", "cloud_side", "strong"]


def test_the_cloud_side_attack_sees_the_widened_feature(make_target, params, images):
    target = make_target("siftfunnel")
    attack, _ = decoder("cloud_side", target, params, images)
    (seen,) = intercepted(attack, images[:4])
    assert torch.equal(seen, target.cloud[0](target.features(images[:4])))
    assert attack.access == "cloud-side"
    assert attack.reconstruct(seen, (3, 32, 32)).shape == (4, 3, 32, 32)


@pytest.mark.parametrize("defense", ["unprotected", "vib", "dropout", "siftfunnel"])
def test_a_decoder_s_step_in_bfloat16_is_nearly_that_in_float32(defense, make_target, params, images, cpu):
    images, losses = images[:16], {}
    for precision in ("float32", "bfloat16"):
        target = replace(make_target(defense), runtime=cpu.at(precision))
        for attack in build("generator", target, params, images)[0]:
            z = attack.observe(target.features(images), attack.generator("release"))
            attack.decoder.train()
            losses[precision, attack.name] = [attack.step(z, images).item() for _ in range(2)]
    names = {name for _, name in losses}
    assert len(names) >= 2
    for name in names:
        plain = losses["float32", name]
        assert plain[1] < plain[0]
        assert losses["bfloat16", name] == pytest.approx(plain, rel=0.02), name


def test_a_decoder_s_measured_precision_leaves_no_trace_in_its_fit(make_target, params, images, cpu, undecided):
    (undecided, measured), states = undecided, {}
    for key, place in (("given", cpu), ("measured", undecided), ("noted", undecided)):
        for name in ("gray_box", "strong"):
            attack, _ = decoder(name, replace(make_target("siftfunnel"), runtime=place), params, images[:8])
            attack.fit(images[8:])
            assert attack.runtime.precision == "float32"
            states[key, name] = attack.decoder.state_dict()
    assert len(measured) == 4, "each decoder once in each precision"
    for (_, name), state in states.items():
        assert all(torch.equal(state[key], value) for key, value in states["given", name].items())


@pytest.mark.parametrize("defense", ["unprotected", "dropout", "topk", "siftfunnel"])
def test_steps_of_attacks_never_wait_for_the_device(defense, make_target, params, images, waits):
    target = make_target(defense)
    for attack in build("generator", target, params, images)[0]:
        z = attack.observe(target.features(images), attack.generator("release"))
        attack.step(z, images)
        with waits:
            attack.step(z, images)
        assert not waits.found, attack.name
    for attack in build("mle", target, params, images)[0]:
        (z,) = intercepted(attack, images[:4])
        x = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
        optimizer = attack.optimizer([x], [attack.chosen]) if attack.name == "tuned" else optimizers.SGD([x], 0.1)
        step = attack.stepper([x], z, optimizer)
        step()
        with waits:
            step()
        assert not waits.found, attack.name


def test_what_differs_from_step_to_step_is_not_recorded(make_target, params, images, monkeypatch):
    asked = {}
    monkeypatch.setattr(mle, "Replay", lambda *arguments: asked.setdefault(name, arguments[-1]))
    for name, family in (("paper", "mle"), ("tuned", "mle"), ("hybrid", "hybrid"), ("prior", "prior")):
        built = build(family, make_target("siftfunnel"), params, images)[0]
        attack = next(attack for attack in built if attack.name == name)
        attack.stepper([torch.rand(1, 3, 32, 32)], None, None)
    assert asked == {"paper": True, "tuned": True, "hybrid": True, "prior": False}


def test_the_generator_learns_and_keeps_its_best_epoch(make_target, params, images):
    params.tree["scales"]["generator"] |= {"epochs": 40, "lr": 2e-2}
    attack, _ = decoder("black_box", make_target(), params, images[:8])
    attack.fit(images[8:])
    errors = [row["black_box_mse"] for row in attack.curve]
    assert errors[-1] < errors[0] / 2
    assert attack.holdout_mse == min(errors)
    assert attack.best_epoch == 1 + errors.index(min(errors))
    assert attack.sizes == (36, 4)
    held = attack.shuffled(images[8:])[-4:]
    assert attack.error([attack.target.features(held)], held) == pytest.approx(min(errors), abs=1e-7)


def test_the_generator_sees_fresh_noise_at_each_step(make_target, params, images, monkeypatch):
    target = make_target("gaussian_noise")
    attack, _ = decoder("black_box", target, params, images)
    seen = []
    monkeypatch.setattr(type(attack), "step", lambda self, z, x: seen.append(z) or nothing(self, 0.0))
    attack.fit(images[:10])
    z = target.features(images[:9])
    noise = [part.sort(0).values - z.sort(0).values for part in seen]
    assert len(noise) == 2
    assert not torch.allclose(noise[0], noise[1])


def test_repeated_queries_average_the_noise_away(make_target, params, images):
    target = make_target("gaussian_noise")  # sigma 0.8
    attack, _ = decoder("repeated", target, params, images)
    assert (attack.name, attack.access, attack.facts()["queries"]) == ("repeated", "black-box, 16 queries", 16)
    z = target.features(images)
    errors = {queries: next(intercepted(with_queries(attack, queries), images)) - z for queries in (1, 16)}
    assert errors[1].std().item() == pytest.approx(0.8, rel=0.02)
    assert errors[16].std().item() == pytest.approx(0.8 / 4, rel=0.02)


def test_repeated_queries_of_dropout_see_the_union_of_the_masks(make_target, params, images):
    target = make_target("dropout")  # rate 0.8
    attack, _ = decoder("repeated", target, params, images)
    z = target.features(images)
    hidden = (next(intercepted(attack, images)) == 0) & (z != 0)
    assert hidden.sum().item() / (z != 0).sum().item() == pytest.approx(0.8**16, abs=0.005)


def test_the_strong_decoders_see_what_dropout_left_out(make_target, params, images):
    """A value, or a 0, and beside it whether it came through; the paper's decoders get z alone."""
    mask = generator.with_mask(torch.tensor([0.5, 0.0, -2.0, 1e-9]).reshape(1, 2, 1, 2))
    assert mask.flatten().tolist() == pytest.approx([0.5, 0, -2, 1e-9, 1, 0, 1, 1])
    target = make_target("dropout")
    z = target.features(images)
    for strong, paper, queries in (("strong", "black_box", 1), ("strong_repeated", "repeated", 16)):
        attacks = [decoder(name, target, params, images)[0] for name in (strong, paper)]
        seen, without = (next(intercepted(attack, images)) for attack in attacks)
        values, came = seen.chunk(2, 1)
        assert torch.equal(values, without)  # the same releases
        assert torch.equal(values, z * came)
        assert came.unique().tolist() == [0, 1]
        assert came[z != 0].mean().item() == pytest.approx(1 - 0.8**queries, abs=0.01)
        assert attacks[0].decoder.mean.shape[1] == 2 * z.shape[1]
    for name in ("topk", "vib"):  # what top-k sets to zero was small
        assert decoder("strong", make_target(name), params, images)[0].decoder.mean.shape[1] == z.shape[1]


def test_a_missing_entry_and_one_that_is_nearly_zero_are_decoded_differently(make_target, params, images):
    """Of one channel nothing came through, or values that are zero but for rounding."""
    attack, _ = decoder("strong", make_target("dropout"), params, images)
    attack.fit(images[:40])
    z = torch.rand(8, attack.decoder.mean.shape[1] // 2, 8, 8, generator=torch.Generator().manual_seed(0))
    missing, small = z.clone(), z.clone()
    missing[:, 0], small[:, 0] = 0, 1e-12
    pictures = [attack.reconstruct(attack.view(each), (3, 32, 32)) for each in (missing, small)]
    assert (pictures[0] - pictures[1]).abs().max() > 1e-3


def test_many_releases_tell_a_zero_of_the_feature_from_a_missing_entry(make_target, params):
    """Of one release both look alike; the chance that an entry has never come through falls as 0.8^n."""
    attack, _ = decoder("strong_repeated", make_target("dropout"), params, torch.zeros(2, 3, 32, 32))
    z = torch.zeros(40, 4, 8, 8)
    z[:, ::2] = 1e-6
    generator = torch.Generator().manual_seed(0)
    once, many = (with_queries(attack, queries).observe(z, generator)[:, 4:] for queries in (1, 100))
    assert once[:, ::2].mean().item() == pytest.approx(0.2, abs=0.02)
    assert (once[:, 1::2] == 0).all()
    assert torch.equal(many, (z != 0).float())


def test_scores_are_means_over_the_draws_of_a_random_release(make_target, params, images, assessed):
    attack, attacked = decoder("black_box", make_target("gaussian_noise"), params, images[:8])
    _, results, pictures = assessed([attack], images[8:], attacked)
    assert results["black_box"]["draws"] == attack.draws == 3
    draws = list(intercepted(attack, attacked))
    assert not torch.equal(draws[0], draws[1])
    errors = [measures.mse(attacked, attack.reconstruct(z, (3, 32, 32))).mean().item() for z in draws]
    assert results["black_box"]["mse"] == pytest.approx(sum(errors) / 3, rel=1e-5)
    assert len(pictures["black_box"]) == len(attacked)
    plain, _ = decoder("black_box", make_target(), params, images[:8])
    assert plain.draws == 1


@pytest.mark.parametrize("defense", ["unprotected", "gaussian_noise"])
def test_decoders_are_scored_on_the_first_images_too(make_target, params, images, judge, defense):
    attack, attacked = decoder("black_box", make_target(defense), params, images[:8])
    labels = torch.arange(8) % 4
    _, results, _ = assess([attack], images[8:], attacked, labels, judge, 3)
    found = results["black_box"]
    draws = [attack.reconstruct(z, (3, 32, 32)) for z in intercepted(attack, attacked)]
    expected = scored(attacked[:3], labels[:3], judge, torch.cat([x_hat[:3] for x_hat in draws]))
    shared = {key.removeprefix("shared_"): value for key, value in found.items() if key.startswith("shared_")}
    assert shared == {
        key: expected[key] for key in ("mse", "psnr_db", "ssim", "recognized", "identified", "perceptual")
    }
    assert shared["psnr_db"] != found["psnr_db"]
    _, results, _ = assess([attack], images[8:], attacked, labels, judge, 8)
    assert results["black_box"]["shared_psnr_db"] == results["black_box"]["psnr_db"]


def with_queries(attack, queries):
    attack.queries = queries
    return attack


def test_the_strong_decoder_sees_flipped_images_with_their_own_features(make_target, params, images, monkeypatch):
    """Where the target's training flips, and the paper's decoders never."""
    seen = {}
    monkeypatch.setattr(
        generator.Generator,
        "step",
        lambda self, z, x: seen.setdefault(self.name, []).append((z, x)) or nothing(self, 0.0),
    )
    target = make_target()
    for flip in (False, True):
        params.tree["training"]["flip"] = flip
        seen.clear()
        for name in ("black_box", "strong"):
            attack, _ = decoder(name, target, params, images[:8])
            attack.fit(images[8:])
        for name, steps in seen.items():
            turned = 0
            for z, x in steps:
                assert torch.allclose(z, target.features(x), atol=1e-6)
                turned += sum(not (x[i] == images).flatten(1).all(1).any() for i in range(len(x)))
                mirrored = torch.stack([*images, *images.flip(3)])
                assert all((x[i] == mirrored).flatten(1).all(1).any() for i in range(len(x)))
            shown = sum(len(x) for _, x in steps)
            assert shown == 72
            assert 20 < turned < 52 if flip and name == "strong" else turned == 0


def test_the_strong_decoder_is_fitted_until_its_error_stops_falling(make_target, params, images, monkeypatch):
    """The fabricated error is least after 4 epochs of one step: 3 more without a lower one, then a third of all."""
    params.tree["scales"]["strong"] |= {"steps": 100, "patience": 3, "cooldown": 0.3}
    attack, _ = decoder("strong", make_target(), params, images[:8])
    errors = iter([9, 7, 6, 4, *[5] * 96])
    weights = []

    def error(self, z, x):
        weights.append(self.decoder.net[1].weight.clone())
        return float(next(errors))

    monkeypatch.setattr(generator.Generator, "error", error)
    attack.fit(images[8:])
    facts = attack.facts()
    assert (facts["steps"], facts["best_epoch"], facts["most_steps"], facts["still_improving"]) == (10, 4, 100, False)
    assert torch.equal(attack.decoder.net[1].weight, weights[3])
    assert facts["holdout_mse"] == 4
    params.tree["scales"]["strong"] |= {"steps": 5}
    attack, _ = decoder("strong", make_target(), params, images[:8])
    errors = iter([9, 7, 6, 4, 3])
    attack.fit(images[8:])
    assert (attack.facts()["steps"], attack.facts()["still_improving"]) == (5, True)


def test_a_diverged_attack_is_marked_and_crashes_nothing(make_target, params, images, monkeypatch, assessed):
    attack, attacked = decoder("black_box", make_target(), params, images[:8])
    monkeypatch.setattr(type(attack), "step", lambda self, z, x: nothing(self, math.nan))
    with torch.no_grad():
        next(attack.decoder.parameters()).fill_(math.nan)
    _, results, _ = assessed([attack], images[8:], attacked)
    assert results["black_box"]["failed"] is True
    assert all(math.isnan(results["black_box"][key]) for key in ("psnr_db", "recognized", "identified"))


def test_an_attack_at_the_mean_image_is_failed_and_one_that_knows_is_not(make_target, images, assessed):
    attack = PaperMle(make_target(), 1, Paper(0.01, 0.9, 0.0), plan(images=8), images[:8])
    mean = images[8:].float().mean(0).div(255).expand(8, 3, 32, 32)
    attack.reconstruct = lambda z, shape: mean
    _, results, _ = assessed([attack], images[8:], images[:8])
    assert results["paper"]["failed"] is True
    assert results["paper"]["identified"] == 1 / 8  # the same answer for all: one is right
    attack.reconstruct = lambda z, shape: images[:8].float() / 255
    _, results, _ = assessed([attack], images[8:], images[:8])
    assert results["paper"]["failed"] is False
    assert results["paper"]["psnr_db"] > 100
    assert results["paper"]["identified"] == 1


def test_shares_are_means_over_the_draws(judge, images):
    """The second draw has the images in reverse: none is its own original, the judge names what it sees."""
    x, labels = images[:8], torch.arange(8) % 4
    values = x.float() / 255
    one, two = (scored(x, labels, judge, x_hat) for x_hat in (values, torch.cat([values, values.flip(0)])))
    assert (one["identified"], two["identified"]) == (1, 0.5)
    reverse = scored(x, labels, judge, values.flip(0))
    assert two["recognized"] == pytest.approx((one["recognized"] + reverse["recognized"]) / 2)
    assert two["mse"] == pytest.approx(reverse["mse"] / 2)


def test_the_held_out_part_is_a_fair_sample_of_sorted_images(make_target, params, images):
    attack, _ = decoder("black_box", make_target(), params, images)
    ordered = torch.arange(200).reshape(200, 1, 1, 1)
    shuffled = attack.shuffled(ordered).flatten()
    assert sorted(shuffled.tolist()) == list(range(200))
    assert torch.equal(shuffled, attack.shuffled(ordered).flatten())
    assert 60 < shuffled[-50:].float().mean() < 140  # the tail of the order given would be 174.5


def test_total_variation_by_hand():
    x = torch.zeros(2, 1, 2, 3)
    x[1, 0, 1, 2] = 1.0
    # one of 3 vertical and one of 4 horizontal differences
    assert total_variation(x).tolist() == pytest.approx([0, 1 / 3 + 1 / 4])


def test_the_papers_loss_by_hand(make_target, images):
    target = make_target()
    attack = PaperMle(target, 1, Paper(0.01, 0.9, 1000.0), plan(images=2), images[:2])
    x, z = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)), target.features(images[:2])
    vertical = (x[:, :, 1:] - x[:, :, :-1]).square().sum() / (3 * 31 * 32)
    horizontal = (x[..., 1:] - x[..., :-1]).square().sum() / (3 * 32 * 31)
    expected = (target.edge(x) - z).square().mean() + 1000 * ((vertical + horizontal) / 2).sqrt()
    assert attack.loss(x, z).item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_papers_start_scores_what_clamped_noise_scores(make_target, images):
    attack = PaperMle(make_target(), 1, Paper(1e-9, 0.0, 0.0), plan(images=8), images[:8])
    x_hat = attack.reconstruct(attack.target.features(images[:8]), (3, 32, 32))
    # E clamp(n)^2 - 2 E clamp(n) E x + E x^2 for n ~ N(0, 1): E clamp = .3156, E clamp^2 = .2579
    x = images[:8].float() / 255
    expected = 0.2579 - 2 * 0.3156 * x.mean().item() + x.square().mean().item()
    assert (x_hat - x).square().mean().item() == pytest.approx(expected, rel=0.03)


def test_the_tuned_attack_chooses_among_its_trials_and_moves(make_target, images):
    target = make_target(cut=1)
    budget = plan(images=4, most_steps=100, trial_images=2, trial_steps=30, final_images=2)
    attack = TunedMle(target, 1, Tuned((1e-9, 0.05), (0.0,), (1.0,), 0.05), budget, images[:4])
    attack.fit(images[8:])
    assert attack.chosen.lr == 0.05  # the other cannot move
    facts = attack.facts()
    assert (facts["trials"], facts["finalists"], facts["lr"]) == (2, 1, 0.05)
    assert 0 < facts["steps"] <= facts["most_steps"] == 100
    assert facts["still_improving"] is (facts["steps"] == 100)
    z = target.features(images[:4])
    x_hat = attack.reconstruct(z, (3, 32, 32))
    x = images[:4].float() / 255
    assert (x_hat - x).square().mean() < (x - 0.5).square().mean() / 3
    assert 0 <= x_hat.min() <= x_hat.max() <= 1


def test_trials_in_one_batch_equal_trials_one_by_one(make_target, images):
    """Of four trials the two best go on, each with two decays; every one is repeated here on its own."""
    target = make_target()
    budget = plan(images=2, most_steps=6, trial_images=2, trial_steps=6, finalists=2, final_images=2)
    joint = TunedMle(target, 1, Tuned((0.02, 0.1), (0.0, 0.5), (1.0, 0.01), 0.05), budget, images[:2])
    joint.fit(images[8:])
    trial = joint.shuffled(images[8:])[:2]
    z = target.features(trial)

    def alone(setting, steps):
        single = TunedMle(target, 1, joint.settings, budget, trial)
        single.chosen, single.steps, single.weights = setting, steps, setting.tv
        return decibels(trial, single.reconstruct(z, (3, 32, 32))).mean().item()

    steps = range(7)
    highest = {setting: max(alone(setting, n) for n in steps) for setting in joint.trials}
    going_on = sorted(joint.trials, key=highest.get)[2:]
    values = {
        (replace(setting, decay=decay), n): alone(replace(setting, decay=decay), n)
        for setting in going_on for decay in (1.0, 0.01) for n in steps
    }  # fmt: skip
    assert values[joint.chosen, joint.steps] == pytest.approx(max(values.values()), abs=1e-3)
    assert joint.choice_psnr_db == pytest.approx(max(values.values()), abs=1e-3)


def test_the_rate_falls_by_the_chosen_decay_over_the_most_steps(make_target, images):
    attack = TunedMle(make_target(), 1, Tuned((0.1,), (0.0,), (1.0,), 0.05), plan(most_steps=10), images[:1])
    x = torch.full((1, 3, 32, 32), 0.5, requires_grad=True)
    optimizer = attack.optimizer([x], [Trial(0.1, 0.0, 0.01)])
    z = attack.target.features(images[:1])
    rates, step = [], attack.stepper([x], z, optimizer)
    for _ in range(11):
        rates.append(optimizer.param_groups[0]["lr"])
        step()
    assert rates == pytest.approx([0.1 * 0.01 ** (i / 10) for i in range(11)])


def test_checkpoints_begin_at_no_step_and_end_at_the_most():
    assert sorted(mle.checkpoints(1)) == [0, 1]
    assert sorted(mle.checkpoints(12)) == list(range(13))
    many = sorted(mle.checkpoints(1000))
    assert (many[:4], many[-1]) == ([0, 1, 2, 3], 1000)
    assert max(b / a for a, b in itertools.pairwise(many[10:])) < 1.25


def test_the_best_of_the_curves_is_the_first_of_equal_ones():
    assert mle.best({0: [1.0, 2.0], 3: [5.0, -math.inf], 7: [5.0, 4.0]}) == (3, 0)


def test_an_image_does_not_touch_its_neighbors_in_the_tuned_attack(make_target, images):
    target = make_target()
    z = target.features(images[:3])
    attack = TunedMle(target, 1, Tuned((0.05,), (0.01,), (1.0,), 0.05), plan(images=3), images[:3])
    x = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1)).requires_grad_()
    (together,) = torch.autograd.grad(attack.loss(x, z), x)
    (alone,) = torch.autograd.grad(attack.loss(x[:1], z[:1]), x)
    assert torch.allclose(together[:1], alone[:1], atol=1e-6)
    assert alone[1:].abs().max() == 0


def test_the_stages_write_results_pictures_and_curves(params, paths, cpu, make_target, judge, prior):
    target = make_target("siftfunnel")
    target.save(paths.target("cnn/siftfunnel"))
    with pytest.raises(FileNotFoundError, match=r"1\.pt is missing: `dvc repro train_generator@cnn/siftfunnel` fits"):
        run_mle("cnn/siftfunnel", params, paths, cpu)
    stages = (generator.train_generator, run_mle)
    fitted, optimized = (stage("cnn/siftfunnel", params, paths, cpu) for stage in stages)
    stored = json.loads(paths.result("cnn/siftfunnel", "generator.json").read_text())
    names = ["black_box", "gray_box", "cloud_side", "strong"]
    assert (list(fitted), list(optimized)) == (names, ["paper", "tuned", "hybrid", "prior"])
    assert list(stored["decoders"]) == names
    assert stored["shared_images"] == params.raw("scales.mle.images") == 4
    assert all("shared_psnr_db" in found for found in stored["decoders"].values())
    assert set(stored["floors"]) == {"gray", "mean_image", "mean_color"}
    stored = json.loads(paths.result("cnn/siftfunnel", "mle.json").read_text())
    assert stored["images"] == 4
    assert stored["judge"]["chance"] == 0.25
    shown = {*measures.SCORES, "recognized", "recognized_adapted", "identified", "perceptual"}
    assert shown <= stored["floors"]["gray"].keys()
    assert [stored["variants"][name]["trials"] for name in ("tuned", "hybrid", "prior")] == [12, 15, 4]
    assert stored["provenance"]["cell"] == "cnn/siftfunnel"
    pictures = read_npz(paths.result("cnn/siftfunnel", "generator.npz"))
    assert set(pictures) == {"x", *names}
    curve = read_csv(paths.curve("cnn/siftfunnel", "generator"))
    assert list(curve[0]) == ["epoch", *(f"{name}_mse" for name in names)]
    rows = read_csv(paths.curve("cnn/siftfunnel", "mle"))
    assert float(rows[-1]["tuned_loss"]) < float(rows[0]["tuned_loss"])


def test_the_strong_decoders_are_saved_for_other_stages(params, paths, cpu, make_target, judge, images):
    target = make_target("gaussian_noise")
    target.save(paths.target("cnn/gaussian_noise"))
    fitted = generator.train_generator("cnn/gaussian_noise", params, paths, cpu)
    loaded = generator.load_decoders(target, params.seed, paths)
    assert set(loaded) == {"strong", "strong_repeated"}
    for name, decoder in loaded.items():
        assert (decoder.queries, decoder.access) == (fitted[name].queries, fitted[name].access)
        for seen, same in zip(intercepted(decoder, images), intercepted(fitted[name], images), strict=True):
            assert torch.equal(decoder.reconstruct(seen, (3, 32, 32)), fitted[name].reconstruct(same, (3, 32, 32)))
        assert torch.equal(decoder.holdout(images), fitted[name].holdout(images))


def results(paths, cell):
    """What both stages stored of a cell."""
    return [json.loads(paths.result(cell, f"{stage}.json").read_text()) for stage in ("generator", "mle")]


@pytest.mark.slow
def test_both_stages_ask_the_same_second_judge(params, paths, cpu, make_target, judge):
    """Adapted to the decoder of several releases, and scored on the images that both attack: the floors agree."""
    target = make_target("gaussian_noise")
    target.save(paths.target("cnn/gaussian_noise"))
    params.tree["scales"]["mle"]["images"] = 32
    params.tree["scales"]["second_judge"] |= {"steps": 4, "lr": 0.01}
    generator.train_generator("cnn/gaussian_noise", params, paths, cpu)
    run_mle("cnn/gaussian_noise", params, paths, cpu)
    decoders, optimized = results(paths, "cnn/gaussian_noise")
    assert decoders["floors"] == optimized["floors"]
    assert decoders["judge"] == optimized["judge"]
    assert (decoders["judge"]["adapted_steps"], decoders["judge"]["adapted_images"]) == (4, 32)
    scene = Scene.open("cnn/gaussian_noise", paths, cpu)
    second, x = generator.load_second_judge(scene, paths).judge, scene.test.float() / 255
    assert decoders["judge"]["adapted_accuracy_on_originals"] == recognized(second, x, scene.labels)
    assert not all(map(torch.equal, second.cloud.state_dict().values(), judge.cloud.state_dict().values()))


def test_auxiliary_images_without_labels_give_no_second_judge(params, paths, cpu, make_target, judge):
    arrays = read_npz(paths.images("objects"))
    arrays["labels"] = np.where(arrays["split"] == 3, -1, arrays["labels"])
    write_npz(paths.images("objects"), **arrays)
    make_target().save(paths.target("cnn/unprotected"))
    generator.train_generator("cnn/unprotected", params, paths, cpu)
    run_mle("cnn/unprotected", params, paths, cpu)
    for result in results(paths, "cnn/unprotected"):
        assert result["judge"]["adapted_accuracy_on_originals"] is None
        attacks = (result.get("decoders") or result["variants"]).values()
        for scores in (*attacks, *result["floors"].values()):
            assert scores["recognized_adapted"] is None
            assert "no labels of the target's classes" in scores["recognized_adapted_reason"]


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        (["white_box"], r"decoders\[0\] = 'white_box': choose one of 'black_box'"),
        ([], r"decoders = \[\]: at least 1 items are needed"),
        (["strong", "strong"], r"decoders = \['strong', 'strong'\]: 'strong' is listed twice"),
        (["gray_box", "cloud_side"], r"decoders = \['gray_box', 'cloud_side'\]: 'strong' must be among them"),
        (["black_box", "strong_repeated"], r"'strong' must be among them, since the hybrid attack and a bound"),
    ],
)
def test_decoders_are_known_ones_and_the_one_that_others_go_on_from(params, make_target, images, listed, message):
    params.tree["attack"]["generator"]["decoders"] = listed
    with pytest.raises(ParamsError, match=message):
        build("generator", make_target(), params, images)


def test_a_result_says_on_how_many_images_trials_were_run(make_target, images):
    budget = plan(images=1, most_steps=2, trial_images=100, trial_steps=1)
    attack = TunedMle(make_target(), 1, Tuned((0.05,), (0.0,), (1.0,), 0.05), budget, images[:1])
    attack.fit(images[:3])
    assert attack.facts()["trial_images"] == 3


def test_curves_are_thinned(make_target, images):
    budget = plan(images=1, most_steps=2 * mle.CURVE_POINTS)
    attack = TunedMle(make_target(), 1, Tuned((0.05,), (0.0,), (1.0,), 0.05), budget, images[:1])
    attack.reconstruct(attack.target.features(images[:1]), (3, 32, 32))
    assert len(attack.curve) == mle.CURVE_POINTS


def test_the_strong_decoder_sees_every_channel_at_one_scale(make_target, params, images):
    attack, _ = decoder("strong", make_target("siftfunnel"), params, images[:8])
    attack.fit(images[8:])
    z = attack.target.features(images[8:])
    seen = (z - attack.decoder.mean) * attack.decoder.scale
    live = z.std((0, 2, 3)) > 0
    assert live.any()
    assert seen.mean((0, 2, 3)).abs().max() < 0.5
    assert seen.std((0, 2, 3))[live].tolist() == pytest.approx([1.0] * int(live.sum()), rel=0.2)
    # a feature a thousand times smaller is the same to it
    smaller, _ = decoder("strong", make_target("siftfunnel"), params, images[:8])
    release = smaller.target.defense.combined_release
    smaller.target.defense.combined_release = lambda *how: 1e-3 * release(*how)
    smaller.fit(images[8:])
    assert smaller.holdout_mse == pytest.approx(attack.holdout_mse, rel=1e-3)


def test_statistics_and_standardization_leave_the_held_out_images_alone(make_target, params, images, monkeypatch):
    attack, _ = decoder("strong", make_target(), params, images[:8])
    sizes = []
    monkeypatch.setattr(type(attack.decoder), "standardize", lambda self, parts: sizes.append(sum(map(len, parts))))
    renew = generator.renew_statistics
    monkeypatch.setattr(
        generator,
        "renew_statistics",
        lambda net, run, inputs: renew(net, run, [sizes.append(len(z)) or z for z in inputs]),
    )
    attack.fit(images[8:])
    assert attack.sizes == (36, 4)
    assert sizes == [36] * 3  # once, then the statistics of two epochs, in one batch each


@pytest.fixture
def beyond(make_target, params, images, monkeypatch):
    """A hybrid attack whose edge is the identity and whose answers are known.

    Each image is flat at 0.5. The decoder's image lies 0.2 below it and what is released 0.2 above, so that the way
    from the one to the other leads through the image, ten steps of Adam at a rate of 0.02 from the start.
    """
    flat = torch.full((len(images), 3, 32, 32), 128, dtype=torch.uint8)
    target = make_target()
    target.edge = torch.nn.Identity()
    params.tree["attack"]["mle"]["hybrid"] |= {"lr": [0.02], "tv": [0.0], "decay": [1.0]}

    def make(most_steps, trial_steps=5):
        params.tree["scales"]["mle"] |= {"most_steps": most_steps, "trial_steps": trial_steps}
        generators, _ = generator.build(make_target(), params, flat, {})
        decoder = next(attack for attack in generators if attack.name == "strong")
        (attack,), attacked = hybrid.build(target, params, flat[:8], {"strong": decoder})
        monkeypatch.setattr(attack, "view", lambda z: z + 0.2)
        monkeypatch.setattr(decoder, "reconstruct", lambda z, shape: z - 0.4)
        attack.fit(flat[8:])
        return attack, attacked

    return make


def steps_through(x: float, goal: float, lr: float) -> list[float]:
    """Where Adam stands after 0, 1, ... steps on the square of (x - goal)."""
    point, places = torch.tensor([x], requires_grad=True), [x]
    optimizer = optimizers.Adam([point], lr)
    for _ in range(40):
        optimizer.zero_grad()
        (point - goal).square().sum().backward()
        optimizer.step()
        places.append(point.item())
    return places


def test_the_hybrid_takes_the_steps_that_bring_auxiliary_images_nearest(beyond):
    """On a linear edge with a known best number of steps; the feature is met better only after it."""
    value = 128 / 255
    errors = [(place - value) ** 2 for place in steps_through(value - 0.2, value + 0.2, 0.02)]
    known = errors.index(min(errors))
    assert 10 <= known <= 13
    attack, attacked = beyond(20)
    facts = attack.facts()
    assert (facts["steps"], facts["most_steps"], facts["still_improving"]) == (known, 20, False)
    x_hat = attack.reconstruct(attack.observe(attacked.float() / 255, None), (3, 32, 32))
    assert x_hat.sub(value).square().mean().item() == pytest.approx(min(errors), abs=1e-7)
    assert facts["choice_psnr_db"] == pytest.approx(-10 * math.log10(min(errors)), abs=1e-2)
    # a bound before that is said to be one
    attack, _ = beyond(6)
    assert (attack.facts()["steps"], attack.facts()["still_improving"]) == (6, True)


def test_trials_end_where_nothing_improves_any_more(beyond, monkeypatch):
    taken = []
    monkeypatch.setattr(hybrid.Hybrid, "after", counted(hybrid.Hybrid.after, taken))
    attack, _ = beyond(1000, trial_steps=30)
    # the trials, then the finalists up to the first check that is late enough
    last = min(step for step in mle.checkpoints(1000) if step >= attack.steps + 30)
    assert len(taken) == 30 + last


def counted(call, calls):
    """The call, which notes each time that it is made."""

    def run(*arguments):
        calls.append(1)
        return call(*arguments)

    return run


def test_the_hybrid_leaves_its_start_where_no_step_brings_the_images_nearer(beyond, monkeypatch):
    attack, attacked = beyond(20)
    start = attacked.float() / 255 + 1e-3
    monkeypatch.setattr(attack.decoder, "reconstruct", lambda z, shape: z - 0.199)
    attack.choose(attacked)
    assert (attack.facts()["steps"], attack.facts()["still_improving"]) == (0, False)
    x_hat = attack.reconstruct(attack.observe(attacked.float() / 255, None), (3, 32, 32))
    assert torch.allclose(x_hat, start, atol=1e-6)
    assert attack.facts()["start_psnr_db"] == pytest.approx(60, abs=0.1)


def test_a_trial_that_diverges_is_never_chosen(beyond, monkeypatch):
    attack, attacked = beyond(20)
    attack.trials = [Trial(math.nan, 0.0), Trial(0.02, 0.0)]
    attack.choose(attacked)
    assert attack.chosen.lr == 0.02
    assert math.isfinite(attack.choice_psnr_db)


def test_the_hybrid_chooses_on_images_its_decoder_was_not_fitted_on(make_target, params, images, monkeypatch):
    (attack,), _ = build("hybrid", make_target(), params, images[:8])
    seen = []
    monkeypatch.setattr(type(attack), "choose", lambda self, chosen: seen.append(chosen))
    attack.fit(images[8:])
    assert torch.equal(seen[0], attack.decoder.shuffled(images[8:])[-4:])
    attack.decoder.fit(images[8:])
    assert attack.decoder.sizes == (36, 4)


def test_the_hybrid_combines_as_many_releases_as_its_decoder(make_target, params, images):
    attacks, _ = build("hybrid", make_target("gaussian_noise"), params, images[:8])
    assert [(attack.name, attack.queries, attack.access, attack.decoder.name) for attack in attacks] == [
        ("hybrid", 16, "white-box, 16 queries", "strong_repeated"),
        ("hybrid_once", 1, "white-box", "strong"),
    ]
    noise = [next(intercepted(attack, images[:8])) - attack.target.features(images[:8]) for attack in attacks]
    assert [part.std().item() for part in noise] == pytest.approx([0.8 / 4, 0.8], rel=0.05)


def test_the_hybrid_gives_its_decoder_the_mask(make_target, params, images):
    for attack in build("hybrid", make_target("dropout"), params, images[:4])[0]:
        z = next(intercepted(attack, images[:4]))
        seen = next(intercepted(attack.decoder, images[:4]))  # of the same releases
        assert torch.equal(seen, generator.with_mask(z))
        assert torch.equal(attack.start(z, (3, 32, 32)), attack.decoder.reconstruct(seen, (3, 32, 32)))
        assert attack.reconstruct(z, (3, 32, 32)).shape == (4, 3, 32, 32)


def test_what_came_through_dropout_is_compared_entry_by_entry(make_target):
    observed = torch.tensor([0.0, 3.0, 4.0, 0.0]).reshape(1, 1, 2, 2)
    z_hat = torch.tensor([0.0, 2.0, 5.0, 0.0]).reshape(1, 1, 2, 2)
    found = make_target("dropout").defense.mismatch(z_hat, observed, 1)
    assert found.flatten().tolist() == pytest.approx([0, -1, 1, 0], abs=1e-5)


@pytest.mark.parametrize("queries", [1, 16])
def test_a_zero_from_dropout_says_as_much_as_masks_allow(make_target, queries):
    """Minus the logarithm of its likelihood, in units in which a Gaussian's is the squared distance."""
    defense, hidden = make_target("dropout").defense, 0.8**queries
    variance = 0.1**2 * 12.5  # the mean square of what came through
    observed = torch.tensor([3.0, 4.0, 0.0, 0.0]).reshape(1, 1, 2, 2)

    def counted(value):
        z_hat = torch.tensor([3.0, 4.0, value, 0.0]).reshape(1, 1, 2, 2)
        return defense.mismatch(z_hat, observed, queries).square().sum().item()

    for value in (0.01, 0.3, 1.0, 5.0):
        likelihood = hidden + (1 - hidden) * math.exp(-(value**2) / (2 * variance))
        assert counted(value) == pytest.approx(-2 * variance * math.log(likelihood), rel=2e-3)
    assert counted(0.03) == pytest.approx((1 - hidden) * 9e-4, rel=1e-2)  # a Gaussian near zero
    assert counted(50.0) == pytest.approx(-2 * variance * math.log(hidden), rel=1e-5)  # and no more


def test_dropout_that_hides_nothing_is_compared_as_no_dropout(make_target, images):
    defense = make_target("dropout").defense
    defense = type(defense)(replace(defense.settings, rate=0.0))
    z = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)).sub(0.5).clamp_min(0)
    z_hat = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(1)).requires_grad_()
    mismatch = defense.mismatch(z_hat, z, 1)
    assert torch.allclose(mismatch.square(), (z_hat - z).square(), atol=1e-5)
    (gradient,) = torch.autograd.grad(mismatch.square().sum(), z_hat)
    assert torch.allclose(gradient, 2 * (z_hat - z), atol=1e-4)


def test_dropout_that_hides_everything_has_a_gradient(make_target):
    z_hat = torch.zeros(1, 1, 2, 2, requires_grad=True)
    mismatch = make_target("dropout").defense.mismatch(z_hat, torch.zeros(1, 1, 2, 2), 1)
    (gradient,) = torch.autograd.grad(mismatch.square().sum(), z_hat)
    assert gradient.abs().max() == 0
    assert mismatch.square().sum() < 1e-12


def test_decoders_of_another_cell_or_network_are_refused(params, paths, cpu, make_target):
    target = make_target()
    file = paths.decoders(target.cell.name)
    settings = asdict(params.section("attack.generator", generator.Settings))
    decoder = generator.residual_decoder(target, 8, 1)
    fine = {"cell": target.cell.name, "settings": settings, "size": {"width": 8, "blocks": 1}}
    fine["decoders"] = {"strong": decoder.state_dict()}
    write_checkpoint(file, fine)
    loaded = generator.load_decoders(target, 1, paths)["strong"].decoder.state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in decoder.state_dict().items())
    for changes, why in (
        ({"cell": "cnn/ae"}, "it is that of cnn/ae"),
        ({"size": {"width": 16, "blocks": 1}}, "size mismatch"),
        ({"size": {"width": 8}}, "blocks"),
        ({"settings": {**settings, "queries": "many"}}, "queries = 'many'"),
        ({"decoders": {"strong": {}}}, "Missing key"),
        ({"decoders": 3}, ""),
    ):
        write_checkpoint(file, fine | changes)
        with pytest.raises(DamagedFile, match=rf"1\.pt cannot be used: .*{why}.*train_generator@cnn/unprotected"):
            generator.load_decoders(target, 1, paths)
    for name in fine:
        write_checkpoint(file, {key: value for key, value in fine.items() if key != name})
        with pytest.raises(DamagedFile, match=f"it has no '{name}'"):
            generator.load_decoders(target, 1, paths)
