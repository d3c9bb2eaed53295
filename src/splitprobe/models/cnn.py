"""The paper's CNN: four blocks of convolution, BatchNorm, max-pool, ReLU (in this order), then a two-layer head.

Source: the paper's experiments, after Yang's classifier (adversarial-model-inversion). At width 128 and 64x64 the edge
of cut 2 has 299,520 parameters, as the paper prints.
"""

from dataclasses import dataclass

from torch import nn

from splitprobe.core.params import ParamsError, bounded
from splitprobe.models.layers import Block, deconv, deconv_tanh, narrow

BLOCKS = 4


@dataclass(frozen=True)
class Settings:
    """The section ``model.cnn``; the head's hidden layer has ``hidden_per_class`` units for each class."""

    hidden_per_class: int = bounded(1, 100)
    dropout: float = bounded(0.0, 0.95)


class Cnn:
    """The CNN's settings, blocks and decoders."""

    Settings = Settings

    @staticmethod
    def blocks(settings: Settings, channels: int, side: int, classes: int, width: int) -> list[nn.Module]:
        """The four blocks and the head, for images (channels, side, side); the first block has ``width`` channels.

        Raises ParamsError when the side is not a multiple of 16, the network's total stride.
        """
        if side % 2**BLOCKS:
            raise ParamsError(f"side = {side}: the cnn halves its images {BLOCKS} times, use a multiple of {2**BLOCKS}")
        blocks: list[nn.Module] = []
        in_channels = channels
        for i in range(BLOCKS):
            out_channels = width * 2**i
            convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1)
            blocks.append(
                Block(
                    in_channels, out_channels, 2, convolution, nn.BatchNorm2d(out_channels), nn.MaxPool2d(2), nn.ReLU()
                )
            )
            in_channels = out_channels
        hidden, flat = settings.hidden_per_class * classes, in_channels * (side // 2**BLOCKS) ** 2
        # nothing but dropout between the two linear layers, as in the original
        head = [nn.Flatten(), nn.Linear(flat, hidden), nn.Dropout(settings.dropout), nn.Linear(hidden, classes)]
        return [*blocks, nn.Sequential(*head)]

    @staticmethod
    def decoder(z_channels: int, cut: int, width: int, channels: int) -> nn.Sequential:
        """The paper's decoder: z (B, z_channels, h, w) to x_hat (B, channels, h 2^cut, w 2^cut) in [0, 1].

        530,819 parameters at cut 2, width 128.
        """
        layers, in_channels = [], z_channels
        for level in range(cut - 1, 0, -1):
            out_channels = width * 2 ** (level - 1)
            layers.append(deconv_tanh(in_channels, out_channels, 4))
            in_channels = out_channels
        return nn.Sequential(*layers, deconv(in_channels, channels, 4), nn.Sigmoid())

    @staticmethod
    def funnel_decoder(z_channels: int, cut: int, width: int, channels: int) -> nn.Sequential:
        """The authors' decoder of SiftFunnel's z; 80,555 parameters at width 128, 12 channels, cut 2.

        Its last layers have no activation between them, as published.
        """
        c, narrowed = z_channels, narrow(width, z_channels)
        doubling = [deconv(narrowed if i == 0 else width, width, 4) for i in range(cut - 1)]
        return nn.Sequential(
            deconv_tanh(c, c, 3), deconv(c, c, 3), deconv(c, c, 3), nn.Tanh(), deconv(c, c, 3), deconv(c, narrowed, 3),
            *doubling, deconv(width, channels, 4), nn.Sigmoid(),
        )  # fmt: skip

    @staticmethod
    def cloud_decoder(wide_channels: int, z_channels: int, cut: int, width: int, channels: int) -> nn.Sequential:
        """The authors' decoder of z widened to ``wide_channels``; 697,499 parameters at width 128, 12 channels, cut 2.

        Two layers narrow the feature, in place of the first of the decoder of z.
        """
        narrowing = [deconv_tanh(wide_channels, n, 3) for n in (wide_channels, z_channels)]
        return nn.Sequential(*narrowing, *Cnn.funnel_decoder(z_channels, cut, width, channels)[1:])
