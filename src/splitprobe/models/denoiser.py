"""A denoiser of images: the generative prior that an attacker trains on auxiliary images.

A small U-Net in the form of Karras et al. (2022, Table 1): of y = x + sigma n it makes

    D(y) = skip y + out F(in y, ln sigma / 4),

where x has mean 0 and deviation s, skip = s^2 / (sigma^2 + s^2), out = sigma s / sqrt(sigma^2 + s^2) and in =
1 / sqrt(sigma^2 + s^2). F then has inputs and targets of deviation 1 at every noise level, and its mean squared error
is that of D over out^2: the error of the best pixel-by-pixel answer, skip y. So 1 is what knowing mean and deviation
alone scores. Minimizing it is denoising score matching (Vincent 2011), as DDPM's prediction of the noise is: D(y) - y
is sigma^2 times the score. F sees images folded by 2 and has two sizes of maps, with GroupNorm, and a scale and a shift
of each channel by the noise level.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FOLD = 2  # pixels a side that become channels: layers as large as the image would cost more than all others
GROUPS = 8  # of channels that are normalized together
WAVES = 8  # cosines and sines each, of the noise level


class Conditioned(nn.Module):
    """The identity plus two 3x3 convolutions; the noise level scales and shifts what stands between them."""

    def __init__(self, channels: int, level: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.GroupNorm(GROUPS, channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1)
        )
        self.norm, self.affine = nn.GroupNorm(GROUPS, channels), nn.Linear(level, 2 * channels)
        self.second = nn.Sequential(nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1))
        for parameter in self.second[1].parameters():  # the block begins as the identity
            nn.init.zeros_(parameter)

    def forward(self, h: Tensor, level: Tensor) -> Tensor:
        """Add to h (B, c, h, w) what the convolutions make of it under ``level`` (B, k)."""
        scale, shift = self.affine(level)[:, :, None, None].chunk(2, 1)
        return h + self.second(self.norm(self.first(h)) * (1 + scale) + shift)


class Denoiser(nn.Module):
    """Estimates x (B, channels, side, side), in [0, 1], from x plus Gaussian noise of a known deviation.

    ``width`` is the channels of the larger maps, a multiple of 8; the smaller have twice as many. Raises ValueError for
    a side that cannot be halved twice.
    """

    def __init__(self, channels: int, side: int, width: int) -> None:
        super().__init__()
        if side % (2 * FOLD):
            raise ValueError(f"images {side} pixels wide cannot be halved twice, as the denoiser needs")
        # of the images: filled before training, and part of the weights
        self.register_buffer("mean", torch.full((1, channels, 1, 1), 0.5))
        self.register_buffer("deviation", torch.tensor(0.25))
        self.register_buffer("waves", 2.0 ** torch.linspace(-1, 3, WAVES), persistent=False)
        level = 2 * width
        self.level = nn.Sequential(nn.Linear(2 * WAVES, level), nn.SiLU(), nn.Linear(level, level), nn.SiLU())
        self.enter = nn.Conv2d(channels * FOLD**2, width, 3, padding=1)
        self.down, self.up = Conditioned(width, level), Conditioned(width, level)
        self.narrow = nn.Conv2d(width, 2 * width, 2, stride=2)
        self.inner = nn.ModuleList(Conditioned(2 * width, level) for _ in range(2))
        self.widen = nn.Sequential(nn.Conv2d(2 * width, 4 * width, 1), nn.PixelShuffle(2))
        self.leave = nn.Sequential(
            nn.GroupNorm(GROUPS, width), nn.SiLU(), nn.Conv2d(width, channels * FOLD**2, 3, padding=1)
        )
        for parameter in self.leave[2].parameters():  # training begins at the error of the pixel-by-pixel answer
            nn.init.zeros_(parameter)

    @torch.no_grad()
    def standardize(self, images: Tensor, chosen: Tensor) -> None:
        """Take the mean of each channel, and the deviation around it, from chosen (k,) uint8 images of (N, C, H, W)."""

        def parts() -> Iterator[Tensor]:
            return (images[index].double() / 255 for index in chosen.split(1024))

        pixels = len(chosen) * images[0, 0].numel()
        mean = sum(part.sum((0, 2, 3)) for part in parts()) / pixels
        square = sum((part - mean[:, None, None]).square().sum() for part in parts()) / (pixels * images.shape[1])
        self.mean.copy_(mean[None, :, None, None])
        self.deviation.copy_(square.sqrt().clamp_min(1e-3))  # images may all be equal

    def factors(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """skip, out and in, as the module defines them, of noise levels (B,); (B, 1, 1, 1) each."""
        sigma, own = sigma[:, None, None, None], self.deviation
        total = sigma.square() + own.square()
        return own.square() / total, sigma * own / total.sqrt(), 1 / total.sqrt()

    def residual(self, y: Tensor, sigma: Tensor) -> Tensor:
        """F for centered noisy images y (B, C, H, W) with noise levels (B,)."""
        phase = sigma.log()[:, None] / 4 * self.waves * math.pi
        level = self.level(torch.cat([phase.cos(), phase.sin()], 1))
        h = self.down(self.enter(F.pixel_unshuffle(self.factors(sigma)[2] * y, FOLD)), level)
        low = self.narrow(h)
        for block in self.inner:
            low = block(low, level)
        return F.pixel_shuffle(self.leave(self.up(h + self.widen(low), level)), FOLD)

    def forward(self, y: Tensor, sigma: Tensor) -> Tensor:
        """Denoise y (B, C, H, W), noisy images around [0, 1], with noise levels (B,)."""
        skip, out, _ = self.factors(sigma)
        centered = y - self.mean
        return self.mean + skip * centered + out * self.residual(centered, sigma).float()

    def relative_error(self, x: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
        """Squared errors (B,) per element of denoising x + sigma noise, over that of the best pixel-by-pixel answer.

        x (B, C, H, W) is in [0, 1], ``noise`` of deviation 1.
        """
        skip, out, _ = self.factors(sigma)
        centered = x - self.mean
        noisy = centered + sigma[:, None, None, None] * noise
        return (self.residual(noisy, sigma).float() - (centered - skip * noisy) / out).square().mean((1, 2, 3))


def levels(high: float, low: float, number: int) -> list[float]:
    """Noise levels from ``high`` to ``low`` in equal ratios; ``low`` alone where one is asked for."""
    return [high * (low / high) ** (i / (number - 1)) for i in range(number)] if number > 1 else [low]
