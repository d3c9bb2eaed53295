"""ResSFL (Li and others, CVPR 2022): a bottleneck at the cut, trained against a strong inversion model.

Source: the paper's attacker-aware training and the authors' code (zlijingtao/ResSFL, the CIFAR-10 expert: cut 4 of
VGG11, option noRELU_C8S1). The edge ends in a 3x3 convolution to 8 channels without an activation, and the cloud begins
with one back. Before each step of the network, the adversary takes a step of Adam towards a higher SSIM(x, x_hat) on
detached features. The network then adds weight * max(0, SSIM - threshold) to its cross-entropy, with the adversary in
evaluation mode. The authors' numbers are kept: weight 0.3 and threshold 0.5 of the code, 1 step, learning rate 1e-3.

Differs: the adversary is the authors' in outline (4 residual blocks, as wide as the network's first block, then
upsampling), with the family's plain decoder for the upsampling. Its learning rate is constant, theirs falls with the
network's. It sees the features of the network's own training step, theirs a pass in evaluation mode. SSIM has the 7x7
window of this project's measure in place of an 11x11 Gaussian. The second half of the paper, in which the trained edge
starts another task's federated training, has no counterpart here: one network is trained for one task.

Expected: most of what is hidden, the bottleneck hides (``weight: 0`` is the bottleneck alone). The term holds one
adversary's SSIM near the threshold, and decoders that are fitted afterwards see somewhat more. Where the adversary
never reaches the threshold, as in trainings of a hundred steps, the row is the bottleneck alone: the training curve's
``adversary`` is then 0, with ``adversary_ssim`` below the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from splitprobe.core.params import bounded
from splitprobe.defenses.base import Batch, Defense, Site
from splitprobe.learning import optimizers
from splitprobe.learning.companion import Companion
from splitprobe.learning.measures import ssim_in_training
from splitprobe.models.layers import bottleneck, deconv_tanh
from splitprobe.models.residual import Residual
from splitprobe.models.split import Layout


@dataclass(frozen=True)
class Settings:
    """The section ``defense.ressfl``: channels of z, weight and threshold of the SSIM term, the adversary."""

    channels: int = bounded(1, 1024)
    weight: float = bounded(0.0, 1000.0)
    threshold: float = bounded(0.0, 1.0)
    blocks: int = bounded(0, 100)
    lr: float = bounded(1e-6, 1.0)
    inner_steps: int = bounded(1, 100)


class ResSfl(Defense):
    """A bottleneck, and a penalty on the similarity that an adversary's reconstructions reach."""

    title = "ResSFL"
    Settings = Settings

    def modify(self, edge: nn.Sequential, cloud: nn.Sequential) -> tuple[nn.Sequential, nn.Sequential]:
        """Narrow z to ``channels`` with a convolution at the edge's end, widen it with one in the cloud."""
        return bottleneck(edge, cloud, self.settings.channels)

    def prepare(self, site: Site) -> None:
        """Build the adversary and its optimizer; without a weight, build nothing."""
        if not self.settings.weight:
            return
        layout, width = site.layout, site.layout.width
        with site.runtime.seeded(site.seed, "adversary"):
            network = nn.Sequential(
                nn.Conv2d(layout.z_channels, width, 3, padding=1),
                *(Residual(width) for _ in range(self.settings.blocks)),
                *layout.mirror(width),
            )
            self.adversary = Companion(network, site.runtime)
        self.optimizer = optimizers.Adam(self.adversary.parameters(), self.settings.lr)

    def similarity(self, batch: Batch) -> Tensor:
        """The mean SSIM of x and what the adversary rebuilds from z, a scalar."""
        return ssim_in_training(batch.x, self.adversary(batch.z)).mean()

    def inner_step(self, batch: Batch) -> dict[str, Tensor]:
        """Train the adversary, where there is one, on the detached batch; returns the SSIM that it reached."""
        if not self.settings.weight:
            return {}
        batch = batch.detached()
        self.adversary.train().requires_grad_(True)
        for _ in range(self.settings.inner_steps):
            similarity = self.similarity(batch)
            self.optimizer.zero_grad(set_to_none=True)
            (-similarity).backward()
            self.optimizer.step()
        # as published; and the network's loss must not change it
        self.adversary.eval().requires_grad_(False)
        return {"adversary_ssim": similarity.detach()}

    def penalty(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted SSIM of the adversary's reconstructions, as far as it exceeds the threshold."""
        if not self.settings.weight:
            return {}
        return {"adversary": self.settings.weight * (self.similarity(batch) - self.settings.threshold).relu()}

    def gray_box_decoder(self, layout: Layout) -> nn.Module | None:
        """A convolution that undoes the bottleneck, then the plain decoder of the network's family."""
        return nn.Sequential(deconv_tanh(layout.z_channels, layout.width, 3), *layout.mirror(layout.width))
