"""The paper's VGG16 with BatchNorm: thirteen convolutions, five poolings, a three-layer head.

A block is one convolution with BatchNorm and ReLU, and with the pooling that follows it, so that every block is a
possible cut. In the paper's count of layers, its cut "17" is cut 5 here, "10" is cut 3, and the first pooling is cut 2.
At width 64 on RGB these edges have 556,608, 113,088 and 38,976 parameters. Differs from torchvision's: BatchNorm
throughout, a head on what is left of the image, the authors' dropout.
"""

from dataclasses import dataclass

from torch import nn

from splitprobe.core.params import ParamsError, bounded
from splitprobe.models.layers import Block, deconv, deconv_tanh, narrow

# channels of each convolution as a multiple of the width, and whether a pooling follows
LAYERS = (
    (1, False), (1, True), (2, False), (2, True), (4, False), (4, False), (4, True),
    (8, False), (8, False), (8, True), (8, False), (8, False), (8, True),
)  # fmt: skip
POOLINGS = 5


@dataclass(frozen=True)
class Settings:
    """The section ``model.vgg16``; the head's hidden layers have ``hidden_per_width`` units for each unit of width."""

    hidden_per_width: int = bounded(1, 1024)
    dropout: tuple[float, ...] = bounded(0.0, 0.95, items=(2, 2))


class Vgg16:
    """The VGG's settings, blocks and decoders."""

    Settings = Settings

    @staticmethod
    def blocks(settings: Settings, channels: int, side: int, classes: int, width: int) -> list[nn.Module]:
        """Thirteen blocks and the head, for images (channels, side, side); the first block has ``width`` channels.

        Raises ParamsError when the side is not a multiple of 32.
        """
        if side % 2**POOLINGS:
            raise ParamsError(f"side = {side}: vgg16 halves its images {POOLINGS} times, use a multiple of 32")
        blocks: list[nn.Module] = []
        in_channels = channels
        for multiple, pooled in LAYERS:
            out_channels = width * multiple
            layers = [nn.Conv2d(in_channels, out_channels, 3, padding=1), nn.BatchNorm2d(out_channels), nn.ReLU()]
            layers += [nn.MaxPool2d(2)] if pooled else []
            blocks.append(Block(in_channels, out_channels, 2 if pooled else 1, *layers))
            in_channels = out_channels
        hidden, flat = settings.hidden_per_width * width, in_channels * (side // 2**POOLINGS) ** 2
        head = [nn.Flatten()]
        for in_features, rate in zip((flat, hidden), settings.dropout, strict=True):
            head += [nn.Linear(in_features, hidden), nn.ReLU(), nn.Dropout(rate)]
        return [*blocks, nn.Sequential(*head, nn.Linear(hidden, classes))]

    @staticmethod
    def decoder(z_channels: int, cut: int, width: int, channels: int) -> nn.Sequential:
        """The paper's decoder: z (B, z_channels, h, w) to x_hat (B, channels, H, W) in [0, 1].

        It has one transposed convolution for each block, which doubles the size where the block had pooled. 1,396,099
        parameters at cut 5, width 64.
        """
        layers, in_channels = [], z_channels
        for block in range(cut - 1, 0, -1):
            multiple, pooled = LAYERS[block]
            out_channels = width * (LAYERS[block - 1][0] if pooled else multiple)
            layers.append(deconv_tanh(in_channels, out_channels, 4 if pooled else 3))
            in_channels = out_channels
        return nn.Sequential(*layers, deconv(in_channels, channels, 3), nn.Sigmoid())

    @staticmethod
    def funnel_decoder(z_channels: int, cut: int, width: int, channels: int) -> nn.Sequential:
        """The authors' decoder of SiftFunnel's z; 385,043 parameters at width 64, 4 channels, cut 5.

        The authors' decoder for cut 3 is not known; here it follows the same rule.
        """
        c, n = z_channels, narrow(width * LAYERS[cut - 2][0], z_channels)
        # n: channels behind the funnel's first convolution
        layers, in_channels = [deconv_tanh(c, c, 3), deconv(c, c, 3), nn.Tanh(), deconv(c, n, 3)], n
        for block in range(cut - 1, 0, -1):
            multiple, pooled = LAYERS[block - 1]
            unit = deconv if block == cut - 1 else deconv_tanh
            layers.append(unit(in_channels, width * multiple, 4 if pooled else 3))
            in_channels = width * multiple
        return nn.Sequential(*layers, deconv(in_channels, channels, 3), nn.Sigmoid())

    @staticmethod
    def cloud_decoder(wide_channels: int, z_channels: int, cut: int, width: int, channels: int) -> nn.Sequential:
        """A decoder of z widened to ``wide_channels``: a layer narrows it, then the decoder of z follows.

        The authors' own is not known; this has the form of theirs for ResNet-18.
        """
        narrowing = deconv_tanh(wide_channels, z_channels, 3)
        return nn.Sequential(narrowing, Vgg16.funnel_decoder(z_channels, cut, width, channels))
