"""Autoencoder at the cut (Azizian and Bajic, IEEE TIP 2024): an encoder on the edge, its decoder in the cloud.

The encoder halves the channels of z. With ``adversary = 0`` there is no adversary and an L1 penalty on z, as the
SiftFunnel paper ran it. With a positive weight it is the published defense without its compression term. A
reconstructor is then trained beside the network to rebuild x from z, and the network is rewarded for its error. That
error is L1 plus the L1 of Sobel gradients. Published is one step of the reconstructor for each of the network;
``inner_steps`` gives it more, so that it is not outrun.

In a short training no weight of L1 makes z sparse. z is sent as it leaves BatchNorm and ReLU, and L1 acts on just that.
But BatchNorm gives each channel mean 0, so that about half of its entries are above 0 until its shift has fallen far
below 0 in units of its scale, and Adam moves a shift by no more than about the sum of the learning rates: by 0.05 in
the demo's training, whatever the weight. A stronger L1 shrinks all of z instead, which the cloud undoes. Weights of 1,
3, 10, 30 and 100 were compared by their density and accuracy on validation images alone, never by what attacks get. At
the demo's length all left half of the entries or more; in trainings of eight times that length stronger ones had fewer
entries left, but none came down to the 8 % that the paper prints, and accuracy fell with them. So 1 stays; the tables
have what each scale reaches.

The paper's encoder has 2,065,536 parameters at width 128, cut 2, so the edge has 2,365,056, as printed. Expected:
without the adversary, z leaks about as much as the plain network's z, at half the size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from splitprobe.core.params import bounded
from splitprobe.defenses.base import Batch, Defense, Site
from splitprobe.learning.companion import Companion
from splitprobe.learning.estimator import Estimator
from splitprobe.models.layers import Block, InverseResidual, deconv, deconv_tanh
from splitprobe.models.split import Layout


@dataclass(frozen=True)
class Settings:
    """The section ``defense.ae``: weights of L1, adversary and its edges; lr and inner steps of the reconstructor."""

    l1: float = bounded(0.0, 1000.0)
    adversary: float = bounded(0.0, 1000.0)
    edges: float = bounded(0.0, 1000.0)
    lr: float = bounded(1e-6, 1.0)
    inner_steps: int = bounded(1, 100)


class Coder(nn.Module):
    """Two branches are summed, then follow a convolution to ``out_channels``, BatchNorm and ReLU.

    The short branch is one convolution, the long branch two with SiLU between them. Used as encoder and as decoder.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()

        def convolution(channels: int) -> nn.Conv2d:
            return nn.Conv2d(in_channels, channels, 3, padding=1)

        self.short = convolution(in_channels)
        self.long = nn.Sequential(convolution(in_channels), nn.SiLU(), convolution(in_channels))
        self.out = nn.Sequential(convolution(out_channels), nn.BatchNorm2d(out_channels), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, h, w) to (B, out_channels, h, w)."""
        return self.out(self.short(x) + self.long(x))


def sobel(images: Tensor) -> Tensor:
    """Horizontal and vertical Sobel gradients of images (B, C, H, W), as (2, B, C, H - 2, W - 2)."""
    across = torch.arange(-1, 2, dtype=images.dtype, device=images.device)
    smooth = 2 - across.abs()  # 1, 2, 1; made on the device, so that Python does not wait for it
    channels = images.shape[1]
    kernels = [torch.outer(a, b).expand(channels, 1, 3, 3) for a, b in ((smooth, across), (across, smooth))]
    # one group for each channel: the gradients of colors stay apart
    return torch.stack([F.conv2d(images, kernel, groups=channels) for kernel in kernels])


class AutoEncoder(Defense):
    """A network with half the channels at the cut, trained with or without an adversarial reconstructor."""

    title = "AE"
    Settings = Settings

    def modify(self, edge: nn.Sequential, cloud: nn.Sequential) -> tuple[nn.Sequential, nn.Sequential]:
        """Append the encoder to the edge's last block and put the decoder first in the cloud."""
        last = edge[-1]
        half_channels = last.out_channels // 2
        encoding_block = Block(
            last.in_channels, half_channels, last.stride, last, Coder(last.out_channels, half_channels)
        )
        # part of the last block, so that the edge keeps its number of blocks
        return nn.Sequential(*edge[:-1], encoding_block), nn.Sequential(Coder(half_channels, last.out_channels), *cloud)

    def prepare(self, site: Site) -> None:
        """Build the reconstructor; without an adversary, build nothing."""
        if self.settings.adversary:
            # seeded apart: the network's own random numbers stay the same with and without an adversary
            with site.runtime.seeded(site.seed, "adversary"):
                net = Companion(site.layout.mirror(site.layout.z_channels), site.runtime)
            error = self.reconstruction_error
            self.estimator = Estimator(net, self.settings.lr, self.settings.inner_steps, error, error)

    def reconstruction_error(self, net: nn.Module, x: Tensor, z: Tensor) -> Tensor:
        """L1 error of x (B, C, H, W) rebuilt from z, plus ``edges`` times that of its Sobel gradients; a scalar."""
        x_hat = net(z)
        return F.l1_loss(x_hat, x) + self.settings.edges * F.l1_loss(sobel(x_hat), sobel(x))

    def inner_step(self, batch: Batch) -> dict[str, Tensor]:
        """Train the reconstructor, where there is one, on the detached batch; returns its error."""
        return {"adversary_error": self.estimator.follow(batch.x, batch.z)} if self.estimator else {}

    def penalty(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted mean of |z| and, with an adversary, the weighted reward for the reconstructor's error."""
        # float(): under autocast z may be bfloat16
        terms = {"l1": self.settings.l1 * batch.z.float().abs().mean()}
        if self.estimator:
            # negative: the network gains where the reconstructor errs
            error = self.reconstruction_error(self.estimator.net, batch.x, batch.z)
            terms["adversary"] = -self.settings.adversary * error
        return terms

    def gray_box_decoder(self, layout: Layout) -> nn.Module | None:
        """The authors' decoder: convolutions that undo the encoder, then the plain decoder of the network's family.

        It has 2,006,659 parameters for the CNN (width 128, cut 2) and 279,107 for ResNet-18 (width 64, cut 3). As
        published, there is no activation between the middle convolutions. The authors' decoder for VGG16 is not known;
        here VGG16 follows the rule of the CNN.
        """
        wide_channels, plain = 2 * layout.z_channels, layout.mirror(2 * layout.z_channels)
        undo = [deconv_tanh(layout.z_channels, wide_channels, 3), deconv(wide_channels, wide_channels, 3)]
        if isinstance(plain[0], InverseResidual):
            undo += [nn.SiLU(), deconv(wide_channels, wide_channels, 3), deconv(wide_channels, wide_channels, 3)]
            plain[0] = plain[0].body  # the body alone: the first block stands without its shortcut
        else:
            undo += [deconv(wide_channels, wide_channels, 3)]
        return nn.Sequential(*undo, *plain)
