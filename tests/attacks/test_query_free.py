"""The query-free attack: its discrepancy by hand, a toy edge that it finds, and what it may use of the target."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from splitprobe.attacks.base import intercepted
from splitprobe.attacks.query_free import KERNELS, QueryFree, discrepancy
from splitprobe.core.params import ParamsError
from splitprobe.learning import measures
from splitprobe.models import split as splitting
from splitprobe.models.layers import Block


def test_the_discrepancy_by_hand():
    """Of two points at distance d, the mean over all four pairs is d^2 / 2."""
    one, other = torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 3.0)
    expected = 2 * len(KERNELS) - 2 * sum(math.exp(-1 / width) for width in KERNELS)
    assert discrepancy(one, other).item() == pytest.approx(expected, rel=1e-5)
    some = torch.rand(6, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    assert discrepancy(some, some.flip(0)).item() == pytest.approx(0, abs=1e-5)
    assert discrepancy(one.expand(3, 1, 2, 2), one.expand(2, 1, 2, 2)).item() == 0
    assert discrepancy(some[:3], some[3:]).item() > 0


def colored(count, seed):
    """Images of 8x8 pixels with bright spots on darkness: their brightness is not distributed like its opposite."""
    draw = torch.Generator().manual_seed(seed)
    spots = torch.rand(count, 3, 2, 2, generator=draw).pow(3)
    return (nn.functional.interpolate(spots, size=8, mode="bilinear") * 255).round().to(torch.uint8)


@pytest.fixture
def linear(monkeypatch, make_target):
    """A target whose edge halves the image and scales its channels, and an attacker who knows this but for the factors.

    The substitute's begin at 0.6, its offsets at 0.
    """

    def fresh(*_):
        scaling = nn.Conv2d(3, 3, 1, groups=3)
        nn.init.constant_(scaling.weight, 0.6), nn.init.zeros_(scaling.bias)
        return nn.Sequential(nn.Identity(), Block(3, 3, 2, nn.AvgPool2d(2), scaling), nn.Flatten(), nn.Identity())

    target, edge = make_target(cut=1), fresh()[:2]
    edge[1][1].weight.data.copy_(torch.tensor([0.9, 0.4, 1.2]).reshape(3, 1, 1, 1))
    edge[1][1].bias.data.copy_(torch.tensor([0.1, 0.3, -0.2]))
    monkeypatch.setattr(splitting, "build", fresh)
    return replace(target, edge=edge.eval().requires_grad_(False))


@pytest.fixture
def settings(params):
    """A budget with which the toy edge is found in a second."""
    params.tree["scales"]["query_free"] = {"steps": 80, "images": 48, "lr": 5e-2}
    params.tree["scales"]["generator"] |= {"epochs": 40, "lr": 5e-2}
    params.tree["attack"]["query_free"] = {**params.tree["attack"]["query_free"], "discriminator_width": 4}
    return params


def test_a_substitute_in_bfloat16_comes_near_that_in_float32(make_target, params, cpu):
    found, images = [], torch.randint(0, 256, (16, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    images = images.to(torch.uint8)
    for precision in ("float32", "bfloat16"):
        attack = QueryFree(replace(make_target(), runtime=cpu.at(precision)), params, images[:8])
        attack.fit(images[8:])
        found.append(attack.mmd)
    assert found[1] == pytest.approx(found[0], rel=0.05)


def test_a_linear_edge_is_found_and_beats_the_mean_image(linear, settings):
    images, auxiliary = colored(160, 1), colored(160, 2)
    attack = QueryFree(linear, settings, images)
    attack.fit(auxiliary)
    found, right = (target.edge[1][1].weight.flatten() for target in (attack.decoder.target, linear))
    assert torch.allclose(found, right, rtol=0.25)
    (z,) = intercepted(attack, images)
    own = measures.mse(images, attack.reconstruct(z, (3, 8, 8))).mean()
    assert own < 0.8 * measures.mse(images, measures.blind(images, auxiliary)["mean_image"]).mean()


def brief(settings):
    """So short that nothing is learned."""
    settings.tree["scales"]["query_free"]["steps"] = 2
    settings.tree["scales"]["generator"]["epochs"] = 1


def test_it_never_queries_the_edge_with_its_own_images(make_target, settings):
    brief(settings)
    target, seen = make_target(), []
    images, auxiliary = (torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8) for n in (6, 20))
    target.edge.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    weights = {key: value.clone() for key, value in target.edge.state_dict().items()}
    attack = QueryFree(target, settings, images)
    attack.fit(auxiliary)
    assert len(seen) == 1
    assert torch.equal(seen[0], images.float() / 255)
    assert all(torch.equal(value, weights[key]) for key, value in target.edge.state_dict().items())
    facts = attack.facts()
    assert (facts["queries"], facts["intercepted"], facts["substitute_steps"]) == (0, 6, 2)
    assert facts["fit_images"] + facts["holdout_images"] == 20
    mine, theirs = attack.decoder.target.edge.state_dict(), target.edge.state_dict()
    assert {key: value.shape for key, value in mine.items()} == {key: value.shape for key, value in theirs.items()}
    assert not torch.equal(mine["1.0.weight"], theirs["1.0.weight"])


@pytest.mark.parametrize("defense", ["siftfunnel", "ae", "gaussian_noise"])
def test_the_substitute_has_plain_layers_and_the_shape_of_z(defense, make_target, settings):
    brief(settings)
    target, images = make_target(defense), torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8)
    attack = QueryFree(target, settings, images[:4])
    attack.fit(images)
    substitute = attack.decoder.target
    assert substitute.features(images).shape == target.features(images).shape
    assert not substitute.defense.stochastic
    assert torch.equal(substitute.defense.release(images, None), images)
    assert "Squeeze" not in str(substitute.edge)
    (z,) = intercepted(attack, images[:4])
    assert attack.reconstruct(z, (3, 32, 32)).shape == (4, 3, 32, 32)


def test_the_same_seed_gives_the_same_and_another_another(make_target, settings):
    brief(settings)
    images = torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8)
    found = []
    for seed in (1, 1, 2):
        attack = QueryFree(make_target(), settings.seeded(seed, "seed"), images[:4])
        attack.fit(images[4:])
        (z,) = intercepted(attack, images[:4])
        found.append(attack.reconstruct(z, (3, 32, 32)))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_a_dead_feature_crashes_nothing(make_target, settings):
    brief(settings)
    target, images = make_target(), torch.randint(0, 256, (12, 3, 32, 32), dtype=torch.uint8)
    for parameter in target.edge[-1].parameters():
        parameter.data.zero_()
    attack = QueryFree(target, settings, images[:4])
    attack.fit(images[4:])
    assert attack.reconstruct(target.features(images[:4]), (3, 32, 32)).isfinite().all()
    assert attack.mmd == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("attack.query_free", "mmd", 1.5),
        ("attack.query_free", "momentum", 1.0),
        ("attack.query_free", "discriminator_lr", 0.0),
        ("attack.query_free", "discriminator_width", 0),
        ("scales.query_free", "steps", 0),
        ("scales.query_free", "images", 1),
        ("scales.query_free", "lr", -1.0),
    ],
)
def test_settings_out_of_range_are_refused(section, key, value, make_target, settings):
    above, name = section.split(".")
    settings.tree[above][name] = {**settings.tree[above][name], key: value}
    with pytest.raises(ParamsError, match=rf"{section}\.{key} = {value}: must be at (least|most)"):
        QueryFree(make_target(), settings, torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
