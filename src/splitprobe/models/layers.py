"""Building blocks shared by the networks: normalization, attention, channel expansion, transposed convolutions.

Source: the paper's section on SiftFunnel; squeeze-and-excitation (Hu 2018), CBAM (Woo 2018), triplet attention
(Misra 2021).
"""

import torch
from torch import Tensor, nn


class Block(nn.Sequential):
    """A piece of a network between two possible cuts; knows its channels and its spatial stride."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.in_channels, self.out_channels, self.stride = in_channels, out_channels, stride


class Normalize(nn.Module):
    """(x - mean) / std per channel, for x in [0, 1]. It is the edge's own first step, so attackers work in [0, 1]."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        # not persistent: the blueprint in a checkpoint already holds the statistics
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x (B, C, H, W); the shape stays."""
        return (x - self.mean) / self.std


class SqueezeExcite(nn.Module):
    """Scales each channel by a gate computed from all channel means; 2 c floor(c/r) parameters for reduction r."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.gate = nn.Sequential(
            nn.Linear(channels, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, channels, bias=False), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels of x (B, c, h, w); the shape stays."""
        return x * self.gate(x.mean((2, 3)))[:, :, None, None]


class _PlaneGate(nn.Module):
    """A gate for one plane of the feature: [max, mean] over ``axis``, 7x7 convolution, BatchNorm, sigmoid."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(1, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.stack((x.amax(self.axis), x.mean(self.axis)), 1)
        return torch.sigmoid(self.norm(self.conv(pooled))).squeeze(1).unsqueeze(self.axis)


class TripletAttention(nn.Module):
    """Multiplies the feature by the mean of three gates, for the (H, W), (C, W) and (C, H) planes; 300 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.ModuleList(_PlaneGate(axis) for axis in (1, 2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Gate x (B, c, h, w); the shape stays."""
        planes = sum(gate(x) for gate in self.gates)  # broadcast: each gate is 1 wide along its axis
        return x * (planes / len(self.gates))


class Cbam(nn.Module):
    """A channel gate from shared 1x1 convolutions on mean and max, then a spatial gate.

    2 c floor(c/r) + 98 parameters for reduction r; torchsummary counts the two shared convolutions twice.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.shared = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=False), nn.ReLU(), nn.Conv2d(hidden, channels, 1, bias=False)
        )
        self.spatial = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Gate x (B, c, h, w), first by channel, then by place; the shape stays."""
        x = x * torch.sigmoid(self.shared(x.mean((2, 3), keepdim=True)) + self.shared(x.amax((2, 3), keepdim=True)))
        return x * torch.sigmoid(self.spatial(torch.cat((x.mean(1, keepdim=True), x.amax(1, keepdim=True)), 1)))


class ChannelExpand(nn.Sequential):
    """The cloud's first step behind a funnel: more channels, same size (the authors call it Up), then attention."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
            TripletAttention(),
        )
        self.out_channels = out_channels


def bottleneck(
    edge: nn.Sequential, cloud: nn.Sequential, channels: int, *after: nn.Module
) -> tuple[nn.Sequential, nn.Sequential]:
    """Edge and cloud with a 3x3 convolution to ``channels`` at the edge's end, and one back at the cloud's beginning.

    ``after`` are layers behind the first of them. They are part of the last block, so that the edge keeps its number of
    blocks.
    """
    last = edge[-1]
    narrowing = nn.Conv2d(last.out_channels, channels, 3, padding=1)
    widening = nn.Conv2d(channels, last.out_channels, 3, padding=1)
    block = Block(last.in_channels, channels, last.stride, last, narrowing, *after)
    return nn.Sequential(*edge[:-1], block), nn.Sequential(widening, *cloud)


class InverseResidual(nn.Module):
    """A basic block run backwards, the unit of the paper's ResNet decoders.

    Two transposed convolutions stand beside a shortcut. ``stride`` 2 doubles the size. The shortcut is the identity, or
    a transposed convolution where size or channels change. There is no activation after the sum, as published.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        # kernel 2 + stride with padding 1: stride 1 keeps the size, stride 2 doubles it
        first = nn.ConvTranspose2d(in_channels, out_channels, 2 + stride, stride, padding=1, bias=False)
        second = nn.ConvTranspose2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.body = nn.Sequential(
            first, nn.BatchNorm2d(out_channels), nn.Tanh(), second, nn.BatchNorm2d(out_channels)
        )  # fmt: skip
        self.shortcut = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            projection = nn.ConvTranspose2d(in_channels, out_channels, stride, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(out_channels))

    def forward(self, z: Tensor) -> Tensor:
        """Map (B, in_channels, h, w) to (B, out_channels, h stride, w stride)."""
        return self.body(z) + self.shortcut(z)


def narrow(channels: int, released: int) -> int:
    """Channels behind SiftFunnel's first convolution: a quarter, as published, but at least those that it releases."""
    # in narrow networks a quarter would be fewer channels than z has: z would only repeat them
    return max(channels // 4, released)


def deconv(in_channels: int, out_channels: int, kernel: int) -> nn.ConvTranspose2d:
    """A transposed convolution with padding 1; kernel 3 keeps the size, kernel 4 doubles it."""
    return nn.ConvTranspose2d(in_channels, out_channels, kernel, stride=kernel - 2, padding=1)


def deconv_tanh(in_channels: int, out_channels: int, kernel: int) -> nn.Sequential:
    """A :func:`deconv` with BatchNorm and Tanh behind it: the unit of the paper's decoders."""
    return nn.Sequential(deconv(in_channels, out_channels, kernel), nn.BatchNorm2d(out_channels), nn.Tanh())
