"""The prior attack: on Gaussian images whose best denoiser is known, behind an edge that loses half of each."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from splitprobe.attacks import generator, hybrid, prior
from splitprobe.attacks.base import DENOISER
from splitprobe.core.params import ParamsError, typed
from splitprobe.targets.prior import Prior

DEVIATION = 0.2
STRIPES = torch.tensor([1.0, -1.0]).repeat(16).expand(1, 3, 32, 32)


class Half(nn.Module):
    """The even columns of x."""

    def forward(self, x):
        return x[..., ::2]


class Best(nn.Module):
    """The best denoiser of 0.5 + c STRIPES with c of DEVIATION: its part along STRIPES, shrunk."""

    def forward(self, y, sigma):
        pixels = STRIPES.numel()
        c = ((y - 0.5) * STRIPES).mean((1, 2, 3)) * DEVIATION**2 / (DEVIATION**2 + sigma**2 / pixels)
        return 0.5 + c[:, None, None, None] * STRIPES


def striped(number):
    c = DEVIATION * torch.randn(number, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    return ((0.5 + c * STRIPES).clamp(0, 1) * 255).round().to(torch.uint8)


@pytest.fixture
def attack(make_target, params, monkeypatch):
    """The prior attack and the hybrid one on stripes, from a decoder that answers gray; what they attack."""
    params.tree["attack"]["mle"]["hybrid"] |= {"lr": [0.05], "tv": [0.0, 0.1], "decay": [1.0]}
    params.tree["attack"]["prior"] |= {"weight": [0.0, 1.0], "images": 3, "high": 0.3, "low": 0.02}
    params.tree["scales"]["mle"] |= {"images": 8, "most_steps": 25, "trial_steps": 25}

    def make(denoiser=None, held_out=frozenset(), row="siftfunnel", fitted=True):
        target, images = make_target(), striped(48)
        generators, _ = generator.build(target, params, images, {})
        target.edge = Half()
        target.blueprint = replace(target.blueprint, cell=replace(target.cell, name=f"cnn/{row}"))
        decoder = next(each for each in generators if each.name == "strong")
        monkeypatch.setattr(decoder, "reconstruct", lambda z, shape: torch.full((len(z), *shape), 0.5))
        (first,), attacked = hybrid.build(target, params, images[:8], {"strong": decoder})
        if fitted:
            first.fit(images[8:])
        loaded = Prior(denoiser or Best(), 1.0, 0.01, held_out)
        found, _ = prior.build(target, params, images[:8], {"hybrid": first, DENOISER: lambda: loaded})
        return found, first, attacked, images[8:]

    return make


def error(attack, attacked):
    x = attacked.float() / 255
    return (attack.reconstruct(x[..., ::2], (3, 32, 32)) - x).square().mean().item()


def test_the_prior_gives_what_the_edge_has_lost(attack):
    """Total variation fills the lost columns with their neighbors' value, nothing leaves them gray."""
    (with_prior,), plain, attacked, auxiliary = attack()
    with_prior.fit(auxiliary)
    spread = (attacked.float() / 255 - 0.5).square().mean().item()
    assert error(plain, attacked) > 0.45 * spread
    assert error(with_prior, attacked) < 0.05 * spread
    facts = with_prior.facts()
    assert (facts["weight"], facts["tv"], facts["trials"]) == (1.0, plain.chosen.tv, 2)
    assert (facts["start"], facts["high"], facts["low"]) == ("strong", 0.3, 0.02)
    assert with_prior.access == "white-box"


def test_the_penalty_by_hand(attack):
    """A denoiser that answers white: the weighted mean square of what is missing to it."""

    class White(nn.Module):
        def forward(self, y, sigma):
            return torch.ones_like(y)

    (found,), *_ = attack(White(), fitted=False)
    found.start(torch.zeros(2, 3, 32, 16), (3, 32, 32))
    found.weigh(
        [prior.PriorTrial(0.1, 0.0, weight=3.0), prior.PriorTrial(0.1, 5.0, weight=0.0)], 1, torch.device("cpu")
    )
    x = torch.full((2, 3, 32, 32), 0.6, requires_grad=True)
    penalty = found.penalty(x)
    assert penalty.tolist() == pytest.approx([3 * 0.16, 0])
    (gradient,) = torch.autograd.grad(penalty.sum(), x)
    assert gradient[0].flatten()[0].item() == pytest.approx(3 * 2 * -0.4 / 3072)


def test_the_noise_falls_from_high_to_low_over_the_most_steps(attack, monkeypatch):
    seen = []

    class Noting(Best):
        def forward(self, y, sigma):
            seen.append(sigma[0].item())
            return super().forward(y, sigma)

    (found,), _, attacked, auxiliary = attack(Noting())
    found.plan = replace(found.plan, most_steps=5)
    found.fit(auxiliary)
    expected = [0.3 * (1 / 15) ** (i / 4) for i in range(5)]
    assert seen == pytest.approx(expected)
    seen.clear()
    error(found, attacked)
    assert seen == pytest.approx(expected[: found.steps])


def test_same_seed_same_result_whatever_stands_beside_an_image(attack):
    (found,), _, attacked, auxiliary = attack()
    found.fit(auxiliary)
    z = attacked.float()[..., ::2] / 255
    first, again, alone = (found.reconstruct(part, (3, 32, 32)) for part in (z, z, z[3:4]))
    assert torch.equal(first, again)
    assert torch.allclose(first[3:4], alone, atol=1e-5)
    (other,), _, _, _ = attack()
    other.fit(auxiliary)
    assert other.facts() | {"start_psnr_db": 0} == found.facts() | {"start_psnr_db": 0}


def test_it_chooses_on_images_that_the_prior_has_not_seen_first(attack, monkeypatch):
    (found,), *_, auxiliary = attack(fitted=False)
    held = found.decoder.holdout(torch.arange(40)).tolist()
    (found,), *_ = attack(held_out=frozenset({held[2]}), fitted=False)
    seen = []
    monkeypatch.setattr(found, "decide", lambda images, trials: seen.append(images))
    found.fit(auxiliary)
    expected = [held[2], *(i for i in held if i != held[2])]
    assert torch.equal(seen[0], auxiliary[expected])
    assert found.unseen == 1


def test_only_the_rows_that_are_named_are_attacked(attack, params):
    own = params.tree["attack"]["prior"]
    for rows, row, number in (
        (own["rows"], "siftfunnel", 1),
        (own["rows"], "nopeek", 0),
        ("nopeek", "nopeek", 1),
        ("", "ae", 0),
    ):
        own["rows"] = rows
        assert len(attack(row=row, fitted=False)[0]) == number


def test_noise_that_the_denoiser_does_not_know_is_refused(attack, params):
    own = params.tree["attack"]["prior"]
    own["high"] = 2.0
    with pytest.raises(ParamsError, match=r"attack\.prior\.high = 2: the denoiser is trained from .*low = 0\.01 to"):
        attack()
    with pytest.raises(ParamsError, match=r"attack\.prior\.low = 3: must be at most attack\.prior\.high = 2"):
        typed(prior.Settings, own | {"low": 3.0}, "attack.prior")
