"""The paper's ResNet-18: a 3x3 stem without stride or pooling, eight basic blocks, a classifier on 4x4 averages.

Every block is a possible cut: 1 is the stem, 2 and 3 are layer 1, up to 9. At width 64 the edge of cut 3 (after layer
1) has 149,824 parameters on RGB, as the paper prints; cut 5 (after layer 2) has 675,392. No operation is done in
place: DP-SGD's hooks forbid it. Differs from torchvision's: the stem, and averages over 4x4 instead of over all.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from splitprobe.models.layers import Block, InverseResidual, deconv, deconv_tanh, narrow
from splitprobe.params import ParamsError

STRIDES = (1, 1, 2, 1, 2, 1, 2, 1)  # of the basic blocks
POOL = 4  # pixels a side that the head averages


@dataclass(frozen=True)
class Settings:
    """The section ``model.resnet18``, which is empty."""


class Residual(nn.Module):
    """Two convolutions with BatchNorm beside a shortcut: identity, or 1x1 where the size changes; no activation after.

    (B, in, h, w) to (B, out, h / stride, w / stride).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False), nn.BatchNorm2d(out_channels),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False), nn.BatchNorm2d(out_channels),
        )  # fmt: skip
        self.shortcut = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            projection = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both."""
        return self.body(x) + self.shortcut(x)


def widths(width: int) -> list[int]:
    """Channels after the stem and after each basic block."""
    outside = [width]
    for stride in STRIDES:
        outside.append(outside[-1] * stride)
    return outside


class ResNet18:
    """The network's family: its settings and its blocks."""

    Settings = Settings

    @staticmethod
    def blocks(settings: Settings, channels: int, side: int, classes: int, width: int) -> list[nn.Module]:
        """Stem, eight basic blocks and the head, for images (channels, side, side); the stem has ``width`` channels.

        Raises ParamsError when the side is no multiple of 32: three halvings, then averages over 4x4.
        """
        if side % (8 * POOL):
            raise ParamsError(f"side = {side}: resnet18 needs a multiple of {8 * POOL}")
        stem = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        blocks: list[nn.Module] = [Block(channels, width, 1, stem, nn.BatchNorm2d(width), nn.ReLU())]
        inside = width
        for stride in STRIDES:
            outside = inside * stride
            blocks.append(Block(inside, outside, stride, Residual(inside, outside, stride), nn.ReLU()))
            inside = outside
        cells = (side // 8 // POOL) ** 2
        head = [nn.AvgPool2d(POOL), nn.Flatten(), nn.Linear(inside * cells, classes)]
        return [*blocks, nn.Sequential(*head)]

    @staticmethod
    def decoder(z_channels: int, cut: int, width: int, channels: int) -> nn.Sequential:
        """The paper's decoder: z (B, z_channels, h, w) to x_hat (B, channels, H, W) in [0, 1].

        An inverse block for each basic block, one more where it had halved the size. At width 64: 149,699 parameters
        at cut 3, 941,635 at cut 5.
        """
        outside, layers, inside = widths(width), [], z_channels
        for block in range(cut - 1, 0, -1):
            layers.append(InverseResidual(inside, outside[block]))
            inside = outside[block]
            if STRIDES[block - 1] > 1:
                layers.append(InverseResidual(inside, outside[block - 1], 2))
                inside = outside[block - 1]
        return nn.Sequential(*layers, deconv(inside, channels, 3), nn.Sigmoid())

    @staticmethod
    def funnel_decoder(z_channels: int, cut: int, width: int, channels: int) -> nn.Sequential:
        """The authors' decoder of SiftFunnel's z; 92,291 parameters at width 64, 2 channels, cut 3."""
        inside, outside = (widths(width)[cut - i] for i in (2, 1))  # what the funnel replaced
        n = narrow(inside, z_channels)
        undone = [
            deconv_tanh(z_channels, n, 3), deconv(n, n, 3), deconv(n, n, 3), nn.Tanh(), deconv(n, n, 3),
            deconv(n, outside, 3),
        ]  # fmt: skip
        return nn.Sequential(*undone, *ResNet18.decoder(outside, cut, width, channels)[1:])
