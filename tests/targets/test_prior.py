"""The training of the prior: near the least error there is on Gaussians, and what the stage writes."""

import json
from dataclasses import replace

import pytest
import torch

from splitprobe.core.artifacts import DamagedFile, write_checkpoint
from splitprobe.core.params import ParamsError, typed
from splitprobe.datasets.base import open_dataset
from splitprobe.models.denoiser import levels
from splitprobe.targets.prior import LEVELS, Plan, Training, load_prior, train_prior

SIDE, COMMON, OWN = 8, 0.2, 0.06  # deviations: of what all pixels of an image share, of each pixel alone


def flat(number: int) -> torch.Tensor:
    """uint8 images (number, 1, SIDE, SIDE) of a common gray value and a little noise, both Gaussian."""
    draws = torch.Generator().manual_seed(0)
    gray = COMMON * torch.randn(number, 1, 1, 1, generator=draws)
    x = 0.5 + gray + OWN * torch.randn(number, 1, SIDE, SIDE, generator=draws)
    return (x * 255).round().clamp(0, 255).to(torch.uint8)


def least(sigma: float) -> float:
    """The error of the best denoiser of these over that of the best pixel-by-pixel one.

    Both are linear: of a variance v under noise, v sigma^2 / (v + sigma^2) is left. The covariance has the eigenvalue
    OWN^2, and for the direction in which all pixels agree SIDE^2 COMMON^2 more.
    """
    pixels = SIDE**2

    def left(variance):
        return variance * sigma**2 / (variance + sigma**2)

    best = (left(OWN**2 + pixels * COMMON**2) + (pixels - 1) * left(OWN**2)) / pixels
    return best / left(OWN**2 + COMMON**2)


@pytest.fixture
def plan(params) -> Plan:
    return replace(params.scaled("prior", Plan), batch_size=32, high=1.0, low=0.05, lr=5e-3, average=0.95)


@pytest.mark.slow
def test_the_trained_denoiser_comes_near_the_least_error(plan, cpu):
    training = Training(flat(320), replace(plan, steps=120, patience=120, lr=1e-2, batch_size=16), False, cpu, 1)
    before = training.errors()
    found = training.fit("test")
    bounds = [least(sigma) for sigma in levels(1.0, 0.05, LEVELS)]
    assert before == pytest.approx([1] * LEVELS, rel=0.25)  # of few held-out images
    for error, bound in zip(found, bounds, strict=True):
        assert error > 0.9 * bound
    # of the way from the pixel-by-pixel answer to the least error, the greater part
    ways = [(1 - error) / (1 - bound) for error, bound in zip(found, bounds, strict=True)]
    assert min(ways) > 0.4 and sum(ways) / LEVELS > 0.6
    assert (training.steps, training.an_epoch) == (128, 16)  # whole epochs


def test_the_mean_of_the_weights_by_hand(plan, cpu):
    training = Training(flat(40), replace(plan, average=0.2), False, cpu, 1)
    name = "enter.weight"
    mean = training.mean.state_dict()[name].clone()
    for step in (1, 2, 3, 4):
        training.step(training.images)
        kept = min(0.2, step / (10 + step))
        mean = kept * mean + (1 - kept) * training.denoiser.state_dict()[name]
        assert torch.allclose(training.mean.state_dict()[name], mean, atol=1e-7)


def test_flips_and_held_out_images(plan, cpu, monkeypatch):
    images = torch.arange(40, dtype=torch.uint8)[:, None, None, None].repeat(1, 1, SIDE, SIDE)
    images[..., -1] = 255
    seen = []
    for flip in (False, True):
        training = Training(images, replace(plan, steps=4), flip, cpu, 1)
        error = training.denoiser.relative_error
        monkeypatch.setattr(training.denoiser, "relative_error", lambda x, *how, e=error: seen.append(x) or e(x, *how))
        training.fit("test")
        x = torch.cat(seen) * 255
        turned = (x[:, 0, 0, 0] == 255).double().mean().item()
        assert 0.3 < turned < 0.7 if flip else turned == 0
        used, held = {*x.amin((1, 2, 3)).round().int().tolist()}, {*training.held_out.tolist()}
        assert len(held) == 8 and not used & held, "the gray value of an image is its place"
        seen.clear()


def test_steps_in_bfloat16_are_nearly_those_in_float32(plan, cpu):
    found = []
    for precision in ("float32", "bfloat16"):
        training = Training(flat(40), plan, False, cpu.at(precision), 1)
        found.append([training.step(training.images).item() for _ in range(3)])
    assert found[1] == pytest.approx(found[0], rel=0.05)


def test_a_measured_precision_leaves_no_trace(params, paths, cpu, undecided):
    (undecided, measured), states = undecided, []
    for place in (cpu, undecided, undecided):
        train_prior("objects", params, paths, place)
        states.append(load_prior(paths, "objects", cpu).denoiser.state_dict())
    assert all(torch.equal(state[key], value) for state in states[1:] for key, value in states[0].items())
    assert len(measured) == 2


def test_the_stage_writes_and_repeats(params, paths, cpu):
    first, again = (train_prior("objects", params, paths, cpu) for _ in range(2))
    assert first == again == json.loads(paths.prior("objects").with_suffix(".json").read_text())
    assert (first["fit_images"], first["holdout_images"]) == (51, 13)
    assert first["training"]["steps_run"] == 3  # an epoch
    assert [row["noise"] for row in first["relative_error"]] == pytest.approx(levels(1.0, 0.01, LEVELS))
    assert first["provenance"]["cell"] == "prior/objects"
    prior = load_prior(paths, "objects", cpu)
    assert (prior.high, prior.low, len(prior.held_out)) == (1.0, 0.01, 13)
    images = cpu.images(open_dataset(paths, "objects")[0].role("auxiliary")[0])
    training = Training(images, params.scaled("prior", Plan), True, cpu, params.seed, "objects")
    training.fit("test")
    state = training.mean.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in prior.denoiser.state_dict().items())
    assert prior.held_out == frozenset(training.held_out.tolist())


def test_bad_settings_are_refused(params):
    plain = params.raw("scales.prior")
    for key, value, message in (
        ("width", 12, r"scales\.prior\.width = 12: a multiple of 8 is needed"),
        ("low", 1.0, r"scales\.prior\.low = 1: must be below scales\.prior\.high = 1"),
        ("average", 1.0, r"scales\.prior\.average = 1\.0: must be at most"),
        ("steps", 0, r"scales\.prior\.steps = 0: must be at least 1"),
    ):
        with pytest.raises(ParamsError, match=message):
            typed(Plan, {**plain, key: value}, "scales.prior")


def test_a_missing_prior_and_another_data_sets_are_named(paths, cpu, prior):
    with pytest.raises(
        FileNotFoundError, match=r"priors/faces\.pt is missing: `dvc repro train_prior@faces` trains it"
    ):
        load_prior(paths, "faces", cpu)
    paths.prior("objects").rename(paths.prior("faces"))
    with pytest.raises(DamagedFile, match=r"it is that of objects; delete it and run `dvc repro train_prior@faces`"):
        load_prior(paths, "faces", cpu)
    write_checkpoint(paths.prior("faces"), {"dataset": "faces"})
    with pytest.raises(DamagedFile, match="it has no 'size'"):
        load_prior(paths, "faces", cpu)
