"""Autoencoder at the cut (Azizian and Bajic, IEEE TIP 2024): an encoder on the edge, its decoder in the cloud.

``adversary = 0`` is the form of the paper: no adversary, an L1 penalty on z. With a weight it is the published defense
without its compression term: a reconstructor is trained beside to rebuild x from z (L1 plus the L1 of Sobel gradients),
and the network is rewarded for its error. The paper's encoder has 2,065,536 parameters at width 128, cut 2, so the edge
has 2,365,056 as printed. Expected: without the adversary z leaks about what the plain network's does, at half the size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from splitprobe import optimizers
from splitprobe.defenses.base import Batch, Defense, Site
from splitprobe.models.layers import Block, InverseResidual, deconv, deconv_tanh
from splitprobe.models.split import Layout
from splitprobe.params import bounded


@dataclass(frozen=True)
class Settings:
    """The section ``defense.ae``."""

    l1: float = bounded(0.0, 1000.0)
    adversary: float = bounded(0.0, 1000.0)
    edges: float = bounded(0.0, 1000.0)
    lr: float = bounded(1e-6, 1.0)


class Coder(nn.Module):
    """Two branches (a convolution; two with SiLU between) summed, a convolution to the new width, BatchNorm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()

        def convolution(outside: int) -> nn.Conv2d:
            return nn.Conv2d(in_channels, outside, 3, padding=1)

        self.short = convolution(in_channels)
        self.long = nn.Sequential(convolution(in_channels), nn.SiLU(), convolution(in_channels))
        self.out = nn.Sequential(convolution(out_channels), nn.BatchNorm2d(out_channels), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, h, w) to (B, out, h, w)."""
        return self.out(self.short(x) + self.long(x))


def sobel(images: Tensor) -> Tensor:
    """Horizontal and vertical Sobel gradients of images (B, C, H, W), as (2, B, C, H - 2, W - 2)."""
    smooth = images.new_tensor([1.0, 2.0, 1.0])
    across = images.new_tensor([-1.0, 0.0, 1.0])
    channels = images.shape[1]
    kernels = [torch.outer(a, b).expand(channels, 1, 3, 3) for a, b in ((smooth, across), (across, smooth))]
    return torch.stack([F.conv2d(images, kernel, groups=channels) for kernel in kernels])


class AutoEncoder(Defense):
    """Half the channels at the cut, with or without an adversarial reconstructor."""

    title = "AE"
    Settings = Settings

    def modify(self, edge: nn.Sequential, cloud: nn.Sequential) -> tuple[nn.Sequential, nn.Sequential]:
        """The encoder joins the edge's last block, the decoder stands first in the cloud."""
        last = edge[-1]
        narrow = last.out_channels // 2
        coded = Block(last.in_channels, narrow, last.stride, last, Coder(last.out_channels, narrow))
        return nn.Sequential(*edge[:-1], coded), nn.Sequential(Coder(narrow, last.out_channels), *cloud)

    def prepare(self, site: Site) -> None:
        """Build the reconstructor, where there is one, and its optimizer."""
        if self.settings.adversary:
            with site.runtime.seeded(site.seed, "adversary"):
                self.reconstructor = site.runtime.place(site.layout.mirror(site.layout.z_channels))
            self.optimizer = optimizers.Adam(self.reconstructor.parameters(), self.settings.lr)

    def reconstruction_error(self, batch: Batch) -> Tensor:
        """L1 of the reconstruction plus ``edges`` times L1 of its Sobel gradients."""
        x_hat = self.reconstructor(batch.z).float()
        return F.l1_loss(x_hat, batch.x) + self.settings.edges * F.l1_loss(sobel(x_hat), sobel(batch.x))

    def inner_step(self, batch: Batch) -> dict[str, Tensor]:
        """One step of the reconstructor."""
        if not self.settings.adversary:
            return {}
        self.reconstructor.requires_grad_(True)
        error = self.reconstruction_error(batch.detached())
        self.optimizer.zero_grad(set_to_none=True)
        error.backward()
        self.optimizer.step()
        self.reconstructor.requires_grad_(False)  # the network's loss is not to move it
        return {"adversary_error": error.detach()}

    def penalty(self, batch: Batch) -> dict[str, Tensor]:
        """Mean |z|, weighted, and the reward for the reconstructor's error."""
        terms = {"l1": self.settings.l1 * batch.z.float().abs().mean()}
        if self.settings.adversary:
            terms["adversary"] = -self.settings.adversary * self.reconstruction_error(batch)
        return terms

    def gray_box_decoder(self, layout: Layout) -> nn.Module | None:
        """The authors' decoder: convolutions that undo the encoder, then the family's plain decoder.

        2,006,659 parameters for the CNN (width 128, cut 2), 279,107 for ResNet-18 (width 64, cut 3). No activation
        between the middle ones, as published; theirs for VGG16 is not known, this is the CNN's rule.
        """
        wide, plain = 2 * layout.z_channels, layout.mirror(2 * layout.z_channels)
        undo = [deconv_tanh(layout.z_channels, wide, 3), deconv(wide, wide, 3)]
        if isinstance(plain[0], InverseResidual):
            undo += [nn.SiLU(), deconv(wide, wide, 3), deconv(wide, wide, 3)]
            plain[0] = plain[0].body  # without its shortcut
        else:
            undo += [deconv(wide, wide, 3)]
        return nn.Sequential(*undo, *plain)
