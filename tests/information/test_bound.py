import math

import pytest
import torch

from splitprobe.information import bound as bounds
from splitprobe.information.bound import ROUNDING, decoder_bound, principal

SHAPE, D = (3, 2, 2), 12
VARIANCES = torch.tensor([3.0**-k for k in range(D)], dtype=torch.float64)


def images(n, seed):
    """Independent Gaussian coordinates with VARIANCES, turned into another basis and shifted."""
    generator = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(9)).double()).Q
    return (torch.randn(n, D, generator=generator).double() * VARIANCES.sqrt() @ turn.T + 0.3).reshape(n, *SHAPE)


def channel(x, gain, noise):
    """The mean of x given z = gain x + noise, and I(x; z)."""
    z = gain * (x - 0.3) + noise * torch.randn(x.shape, generator=torch.Generator().manual_seed(3)).double()
    turn = torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(9)).double()).Q
    weights = gain * VARIANCES / (gain**2 * VARIANCES + noise**2)
    x_hat = (z.flatten(1) @ turn * weights @ turn.T + 0.3).reshape(x.shape)
    return x_hat, (1 + gain**2 * VARIANCES / noise**2).log().sum().item() / 2


@pytest.mark.parametrize(("gain", "noise"), [(1.0, 0.5), (2.0, 0.1), (0.3, 1.0)])
def test_the_best_decoder_of_a_gaussian_channel_reaches_its_information(gain, noise):
    x = images(6000, 1)
    x_hat, truth = channel(x, gain, noise)
    found = decoder_bound(images(2000, 2), x, x_hat, D)
    assert found["mi_nats"] == pytest.approx(truth, rel=0.03, abs=0.02)
    assert (found["components"], found["images"]) == (D, 6000)
    fewer = decoder_bound(images(2000, 2), x, x_hat, 3)
    assert fewer["components"] == 3
    assert fewer["mi_nats"] == pytest.approx((1 + gain**2 * VARIANCES[:3] / noise**2).log().sum().item() / 2, rel=0.05)


def test_a_worse_decoder_scores_less_than_the_information():
    x = images(4000, 1)
    x_hat, truth = channel(x, 1.0, 0.5)
    for worse in (0.5 * x_hat, x_hat + 0.2, x_hat.flip(0)):
        assert decoder_bound(images(500, 2), x, worse, D)["mi_nats"] < truth - 0.1


@pytest.mark.parametrize("constant", ["mean", "gray"])
def test_a_constant_says_nothing(constant):
    x, basis = images(400, 1), images(300, 2)
    x_hat = (basis.mean(0, keepdim=True) if constant == "mean" else torch.full((1, *SHAPE), 0.5)).expand_as(x)
    assert decoder_bound(basis, x, x_hat, D)["mi_nats"] == 0


def test_an_exact_copy_reaches_what_8_bits_allow():
    basis, x = (torch.randint(0, 256, (200, 1, 4, 4), generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    basis, x = basis.to(torch.uint8), x.to(torch.uint8)
    found = decoder_bound(basis, x, x.float() / 255, 5)
    assert found["mi_nats"] == pytest.approx(found["cap_nats"])
    # every direction has the variance of a uniform pixel: 1/12 of 256 levels
    assert found["cap_nats"] == pytest.approx(5 / 2 * math.log(1 / 12 / ROUNDING), rel=0.01)


def test_uint8_and_float_images_are_the_same_and_chunks_change_nothing(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    basis, x = (torch.randint(0, 256, (40, 3, 4, 4), generator=generator, dtype=torch.uint8) for _ in range(2))
    x_hat = (x.float() / 255 + 0.1 * torch.randn(x.shape, generator=generator)).clamp(0, 1)
    whole = decoder_bound(basis, x, x_hat, 10)
    monkeypatch.setattr(bounds, "CHUNK", 7)
    assert decoder_bound(basis.float() / 255, x.float() / 255, x_hat, 10) == pytest.approx(whole)


@pytest.mark.parametrize("n", [8, 12, 300])
def test_principal_components_are_those_of_the_covariance(n):
    points = images(n, 4).flatten(1)
    mean, directions = principal(points, 5)
    assert torch.allclose(mean, points.mean(0))
    assert torch.allclose(directions.T @ directions, torch.eye(5).double(), atol=1e-8)
    largest = torch.linalg.eigvalsh(points.T.cov()).flip(0)[:5]
    assert torch.allclose((points @ directions).var(0), largest, rtol=1e-6)


def test_fewer_components_than_images_are_used():
    x, basis = images(6, 1), images(9, 2)
    assert decoder_bound(basis, x, x, 100)["components"] == 5
    assert decoder_bound(basis[:3], x, x, 100)["components"] == 2
    repeated = basis[:1].repeat(9, 1, 1, 1)  # no direction at all: any basis will do
    assert math.isfinite(decoder_bound(repeated, x, x, 4)["mi_nats"])


def test_bad_input_is_refused():
    x = images(6, 1)
    with pytest.raises(ValueError, match="must agree"):
        decoder_bound(x, x, x[:5], 2)
    with pytest.raises(ValueError, match="must agree"):
        decoder_bound(x[..., :1], x, x, 2)
    with pytest.raises(ValueError, match="1 basis images and 6 of x: at least 2"):
        decoder_bound(x[:1], x, x, 2)


def test_images_rebuilt_from_the_features_of_others_prove_nothing():
    x = images(400, 1)
    x_hat, _ = channel(x, 2.0, 0.1)
    shuffles = [torch.arange(400).roll(k) for k in (1, 5, 50)]
    found = decoder_bound(images(500, 2), x, x_hat, D, shuffles)
    slow = torch.tensor([decoder_bound(images(500, 2), x, x_hat.roll(-k, 0), D)["mi_nats"] for k in (1, 5, 50)])
    assert "null_nats" not in decoder_bound(images(500, 2), x, x_hat, D)
    assert slow.max() < 0.05
    assert found["null_nats"] == pytest.approx(slow.mean().item(), abs=1e-9)
    assert found["null_nats_std"] == pytest.approx(slow.std().item(), abs=1e-7)
