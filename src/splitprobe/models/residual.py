"""A strong decoder: residual blocks on a standardized feature, whatever network the feature comes from.

It is not in the paper. Each channel is first brought to mean 0 and deviation 1, because several defenses only shrink z
by orders of magnitude, which stalls a plain decoder. A feature larger than a quarter of the image is folded into
channels, so that the blocks work on small maps at every cut. About 5 million parameters at width 224 with 4 blocks.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from splitprobe.learning.parts import Moments

SHARE = 4  # the blocks' maps are at most the image's side over this
NARROWEST = 16  # least number of channels in the last layers


class Residual(nn.Module):
    """The identity plus two 3x3 convolutions, each behind BatchNorm and ReLU; (B, c, h, w) to the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*normed(channels, channels), *normed(channels, channels))

    def forward(self, z: Tensor) -> Tensor:
        """Add to z (B, c, h, w) what the convolutions make of it."""
        return z + self.body(z)


def normed(in_channels: int, out_channels: int) -> tuple[nn.Module, ...]:
    """BatchNorm, ReLU and a 3x3 convolution, in this order."""
    return nn.BatchNorm2d(in_channels), nn.ReLU(), nn.Conv2d(in_channels, out_channels, 3, padding=1)


class ResidualDecoder(nn.Module):
    """Decodes z (B, *z_shape) to x_hat (B, channels, side, side) in [0, 1].

    Channels of z may be a mask; they are standardized as all are.
    The feature's map is square and divides the image's. There are ``width`` channels in ``blocks`` residual blocks.
    Each doubling of the size but the last halves the channels and adds a block. Raises ValueError for a map that no
    doubling brings to the image's side.
    """

    def __init__(self, z_shape: tuple[int, ...], channels: int, side: int, width: int, blocks: int) -> None:
        super().__init__()
        z_side = z_shape[-1]
        fold = max(1, z_side * SHARE // side)
        doublings = (side * fold // z_side).bit_length() - 1
        if z_side << doublings != side * fold:
            raise ValueError(f"a feature {z_side} wide cannot be doubled to an image {side} wide")
        self.register_buffer("mean", torch.zeros(1, z_shape[0], 1, 1))
        self.register_buffer("scale", torch.ones(1, z_shape[0], 1, 1))
        layers: list[nn.Module] = [nn.PixelUnshuffle(fold), nn.Conv2d(z_shape[0] * fold**2, width, 3, padding=1)]
        layers += [Residual(width) for _ in range(blocks)]
        for _ in range(doublings - 1):
            half_width = max(NARROWEST, width // 2)
            layers += [nn.Upsample(scale_factor=2), *normed(width, half_width), Residual(half_width)]
            width = half_width
        # the last doubling takes its pixels from channels: layers as large as the image would cost more than all others
        self.net = nn.Sequential(*layers, *normed(width, 4 * channels), nn.PixelShuffle(2), nn.Sigmoid())

    @torch.no_grad()
    def standardize(self, parts: Iterable[Tensor]) -> None:
        """Take mean and deviation of each channel from features that come in parts (k, *z_shape), for ``forward``.

        A constant channel is only centered.
        """
        statistics = Moments()
        for part in parts:
            statistics.add(part)
        deviation, mean = statistics.result()
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(deviation > 0, 1 / deviation, 1.0))

    def forward(self, z: Tensor) -> Tensor:
        """Decode z (B, *z_shape) to x_hat (B, channels, side, side) in [0, 1]."""
        return self.net((z - self.mean) * self.scale)
