"""The paper's ResNet-18: a 3x3 stem without stride or pooling, eight basic blocks, a classifier on 4x4 averages.

Stem and blocks are the possible cuts: cut 1 is after the stem, cuts 2 and 3 in layer 1, and so on up to 9. At width 64
the edge of cut 3 (after layer 1) has 149,824 parameters on RGB, as the paper prints; cut 5 (after layer 2) has 675,392.
Differs from torchvision's: the stem, and averages over 4x4 instead of over the whole map.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from splitprobe.core.params import ParamsError
from splitprobe.models.layers import Block, InverseResidual, deconv, deconv_tanh, narrow

STRIDES = (1, 1, 2, 1, 2, 1, 2, 1)  # of the basic blocks; stride 2 also doubles the channels
POOL = 4  # pixels a side that the head averages


@dataclass(frozen=True)
class Settings:
    """The section ``model.resnet18``, which is empty."""


class Residual(nn.Module):
    """Two convolutions with BatchNorm, plus a shortcut: the identity, or 1x1 where size or channels change.

    Maps (B, in_channels, h, w) to (B, out_channels, h / stride, w / stride). There is no activation after the sum.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        # no operation in place: DP-SGD's hooks forbid it
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
        """The sum of convolutions and shortcut for x (B, in_channels, h, w)."""
        return self.body(x) + self.shortcut(x)


def widths(width: int) -> list[int]:
    """Channels after the stem and after each basic block, for a stem of ``width`` channels."""
    channels = [width]
    for stride in STRIDES:
        channels.append(channels[-1] * stride)
    return channels


class ResNet18:
    """The ResNet's settings, blocks and decoders."""

    Settings = Settings

    @staticmethod
    def blocks(settings: Settings, channels: int, side: int, classes: int, width: int) -> list[nn.Module]:
        """Stem, eight basic blocks and the head, for images (channels, side, side); the stem has ``width`` channels.

        Raises ParamsError when the side is not a multiple of 32, for three halvings and then averages over 4x4.
        """
        if side % (8 * POOL):
            raise ParamsError(f"side = {side}: resnet18 needs a multiple of {8 * POOL}")
        stem = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        blocks: list[nn.Module] = [Block(channels, width, 1, stem, nn.BatchNorm2d(width), nn.ReLU())]
        in_channels = width
        for stride in STRIDES:
            out_channels = in_channels * stride
            blocks.append(
                Block(in_channels, out_channels, stride, Residual(in_channels, out_channels, stride), nn.ReLU())
            )
            in_channels = out_channels
        cells = (side // 8 // POOL) ** 2
        head = [nn.AvgPool2d(POOL), nn.Flatten(), nn.Linear(in_channels * cells, classes)]
        return [*blocks, nn.Sequential(*head)]

    @staticmethod
    def decoder(z_channels: int, cut: int, width: int, channels: int) -> nn.Sequential:
        """The paper's decoder: z (B, z_channels, h, w) to x_hat (B, channels, H, W) in [0, 1].

        There is an inverse block for each basic block, and one more where that block had halved the size. At width 64:
        149,699 parameters at cut 3, 941,635 at cut 5.
        """
        channels_after, layers, in_channels = widths(width), [], z_channels
        for block in range(cut - 1, 0, -1):
            layers.append(InverseResidual(in_channels, channels_after[block]))
            in_channels = channels_after[block]
            if STRIDES[block - 1] > 1:
                layers.append(InverseResidual(in_channels, channels_after[block - 1], 2))
                in_channels = channels_after[block - 1]
        return nn.Sequential(*layers, deconv(in_channels, channels, 3), nn.Sigmoid())

    @staticmethod
    def funnel_decoder(z_channels: int, cut: int, width: int, channels: int) -> nn.Sequential:
        """The authors' decoder of SiftFunnel's z; 92,291 parameters at width 64, 2 channels, cut 3."""
        in_channels, out_channels = (widths(width)[cut - i] for i in (2, 1))  # of the block that the funnel replaced
        n = narrow(in_channels, z_channels)  # channels behind the funnel's first convolution
        undo_funnel = [
            deconv_tanh(z_channels, n, 3), deconv(n, n, 3), deconv(n, n, 3), nn.Tanh(), deconv(n, n, 3),
            deconv(n, out_channels, 3),
        ]  # fmt: skip
        return nn.Sequential(*undo_funnel, *ResNet18.decoder(out_channels, cut, width, channels)[1:])

    @staticmethod
    def cloud_decoder(wide_channels: int, z_channels: int, cut: int, width: int, channels: int) -> nn.Sequential:
        """The authors' decoder of z widened to ``wide_channels``: a layer narrows it, then the decoder of z follows.

        93,449 parameters at width 64, 2 channels, cut 3.
        """
        narrowing = deconv_tanh(wide_channels, z_channels, 3)
        return nn.Sequential(narrowing, ResNet18.funnel_decoder(z_channels, cut, width, channels))
