"""The denoiser: its factors and noise levels in closed form, and that an untrained one is the pixel-by-pixel answer."""

import math

import pytest
import torch

from splitprobe.models.denoiser import Denoiser, levels


def test_noise_levels_fall_in_equal_ratios():
    assert levels(1.0, 0.01, 5) == pytest.approx([1, 10**-0.5, 0.1, 10**-1.5, 0.01])
    assert levels(2.0, 0.5, 1) == [0.5]


def test_factors_by_hand():
    net = Denoiser(3, 8, 8)
    net.deviation.fill_(0.3)
    skip, out, scale = (factor.flatten() for factor in net.factors(torch.tensor([0.4, 1e-6, 1e3])))
    assert skip.tolist() == pytest.approx([0.36, 1, 0], abs=1e-6)
    assert out.tolist() == pytest.approx([0.24, 1e-6, 0.3], rel=1e-5)
    assert scale.tolist() == pytest.approx([2, 1 / 0.3, 1e-3], rel=1e-5)


def test_mean_and_deviation_are_those_of_the_images():
    images = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    net = Denoiser(3, 8, 8)
    net.standardize(images, torch.arange(5))
    x = images.double() / 255
    assert net.mean.flatten().tolist() == pytest.approx(x.mean((0, 2, 3)).tolist())
    centered = x - x.mean((0, 2, 3))[:, None, None]
    assert net.deviation.item() == pytest.approx(centered.square().mean().sqrt().item())
    net.standardize(images[:1, :, :1, :1].expand(4, 3, 8, 8), torch.arange(4))
    assert net.deviation.item() == pytest.approx(1e-3)


def test_an_untrained_one_shrinks_each_pixel_to_the_mean():
    """Of pixels of mean 0.5 and deviation 0.3 under noise of 0.4, that leaves the error (0.3 * 0.4)^2 / 0.25."""
    net, draws = Denoiser(1, 16, 8), torch.Generator().manual_seed(0)
    net.deviation.fill_(0.3)
    x = 0.5 + 0.3 * torch.randn(64, 1, 16, 16, generator=draws)
    noise, sigma = torch.randn(x.shape, generator=draws), torch.full((64,), 0.4)
    with torch.no_grad():
        found = net(x + 0.4 * noise, sigma)
        relative = net.relative_error(x, sigma, noise)
    assert torch.allclose(found, 0.5 + 0.36 * (x + 0.4 * noise - 0.5), atol=1e-6)
    error = (found - x).square().mean((1, 2, 3))
    assert torch.allclose(relative, error / (0.3 * 0.4 / 0.5) ** 2, rtol=1e-4)
    assert relative.mean().item() == pytest.approx(1, rel=0.02)


def test_an_image_does_not_touch_its_neighbors():
    net = Denoiser(3, 8, 8)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0, 0.2)
        y, sigma = torch.rand(3, 3, 8, 8), torch.tensor([0.1, 0.5, 1.0])
        assert torch.allclose(net(y, sigma)[1:2], net(y[1:2], sigma[1:2]), atol=1e-5)
        assert not torch.allclose(net(y, sigma)[1:2], net(y[1:2], sigma[:1]), atol=1e-3), "the noise level counts"


def test_a_side_that_cannot_be_halved_twice_is_refused():
    with pytest.raises(ValueError, match="images 30 pixels wide cannot be halved twice"):
        Denoiser(3, 30, 8)
    assert math.prod(Denoiser(3, 12, 8)(torch.rand(1, 3, 12, 12), torch.ones(1)).shape) == 3 * 144
