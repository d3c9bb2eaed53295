"""Building a network and cutting it in two: ``logits = cloud(edge(x))`` for x (B, C, H, W) in [0, 1]."""

from dataclasses import dataclass

from torch import nn

from splitprobe.core.params import ParamsError, bounded
from splitprobe.core.registry import lookup
from splitprobe.models import MODELS
from splitprobe.models.layers import Normalize


@dataclass(frozen=True)
class Color:
    """Mean and standard deviation of x for each channel of color images, in [0, 1]."""

    mean: tuple[float, ...] = bounded(0.0, 1.0, items=(3, 3))
    std: tuple[float, ...] = bounded(1e-3, 1.0, items=(3, 3))


@dataclass(frozen=True)
class Gray:
    """The same of gray images."""

    mean: tuple[float, ...] = bounded(0.0, 1.0, items=(1, 1))
    std: tuple[float, ...] = bounded(1e-3, 1.0, items=(1, 1))


@dataclass(frozen=True)
class Normalization:
    """The section ``normalization``: statistics of color and of gray images."""

    rgb: Color
    gray: Gray

    def layer(self, channels: int) -> Normalize:
        """The edge's first step, for images of 1 or 3 channels."""
        chosen = self.gray if channels == 1 else self.rgb
        return Normalize(chosen.mean, chosen.std)


@dataclass(frozen=True)
class Shape:
    """What a network must fit: image channels, image side in pixels, classes, and the width of its first block."""

    channels: int
    side: int
    classes: int
    width: int


@dataclass(frozen=True)
class Layout:
    """What a decoder must fit.

    The family of the network, the channels of z, the cut, the width of the first block, and the image's channels.
    """

    model: str
    z_channels: int
    cut: int
    width: int
    channels: int

    def mirror(self, z_channels: int) -> nn.Sequential:
        """The family's decoder for the plain cut, from features of ``z_channels`` channels.

        Only its first layer depends on that number.
        """
        family = lookup(MODELS, self.model, "model")
        return family.decoder(z_channels, self.cut, self.width, self.channels)

    def funnel_decoder(self) -> nn.Sequential:
        """The family's decoder for SiftFunnel's z, which mirrors the funnel."""
        family = lookup(MODELS, self.model, "model")
        return family.funnel_decoder(self.z_channels, self.cut, self.width, self.channels)

    def cloud_decoder(self, wide_channels: int) -> nn.Sequential:
        """The family's decoder for SiftFunnel's z behind the cloud's first step, of ``wide_channels`` channels."""
        family = lookup(MODELS, self.model, "model")
        return family.cloud_decoder(wide_channels, self.z_channels, self.cut, self.width, self.channels)


def build(model: str, settings: object, normalization: Normalization, shape: Shape) -> nn.Sequential:
    """The whole plain network: its normalization, then its blocks, of which the last is the classifier head."""
    family = lookup(MODELS, model, "model")
    blocks = family.blocks(settings, shape.channels, shape.side, shape.classes, shape.width)
    return nn.Sequential(normalization.layer(shape.channels), *blocks)


def split(net: nn.Sequential, cut: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Edge (normalization and the first ``cut`` blocks) and cloud (the rest); they share the network's layers.

    Raises ParamsError for a cut that leaves no block on one side.
    """
    # the normalization is no block, and the last block (the head) stays in the cloud
    last = len(net) - 2
    if not 1 <= cut <= last:
        raise ParamsError(f"cut = {cut}: this network can be cut after block 1 to {last}")
    return net[: cut + 1], net[cut + 1 :]
