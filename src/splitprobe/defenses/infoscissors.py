"""InfoSCISSORS (Duan and others 2023, first as PrivaScissors): penalize a CLUB upper bound on I(x; z).

I_hat = mean_i [log q(x_i | z_i) - mean_j log q(x_j | z_i)] with q(x | z) = N(g(z), I), per entry of x. g is a decoder
with its own Adam. It is fitted by maximum likelihood on detached features before each step of the network. For the
first ``warmup`` of the epochs it learns alone. q(x | z) follows the original (a server that decodes), while the paper's
code has q(z | x). The paper runs the term on the input side only.

Expected: the network can lower the bound by fooling this one decoder; a decoder trained afterwards sees more.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from splitprobe.core.params import bounded
from splitprobe.defenses.base import Batch, Defense, Site
from splitprobe.learning import optimizers


@dataclass(frozen=True)
class Settings:
    """The section ``defense.infoscissors``; ``warmup`` is the share of epochs in which the decoder learns alone."""

    weight: float = bounded(0.0, 10000.0)
    lr: float = bounded(1e-6, 1.0)
    inner_steps: int = bounded(1, 100)
    warmup: float = bounded(0.0, 0.9)


def club(x: Tensor, mean: Tensor) -> Tensor:
    """The CLUB bound with q(x | z) = N(mean, I), in nats per entry of x; it may have any sign.

    Takes x (B, ...) and the decoder's means (B, ...) in the same order and shape.
    """
    x, mean = x.flatten(1).float(), mean.flatten(1).float()
    matched = (x - mean).square().mean()
    # mean_j (x_j - m)^2 = m^2 - 2 m mean(x) + mean(x^2): O(B D), without a tensor of B x B x D
    all_pairs = (mean.square() - 2 * mean * x.mean(0) + x.square().mean(0)).mean()
    return (all_pairs - matched) / 2


class InfoScissors(Defense):
    """Penalizes the CLUB bound, with a decoder as the conditional distribution of x given z."""

    title = "InfoSCISSORS"
    Settings = Settings

    def prepare(self, site: Site) -> None:
        """Build the decoder and its optimizer, and find the number of epochs in which it learns alone."""
        # at least one epoch is left, in which the defense is in force
        self.alone, self.learning_alone = min(round(self.settings.warmup * site.epochs), site.epochs - 1), False
        with site.runtime.seeded(site.seed, "estimator"):
            self.estimator = site.runtime.place(site.layout.mirror(site.layout.z_channels))
        self.optimizer = optimizers.Adam(self.estimator.parameters(), self.settings.lr)

    def begin_epoch(self, epoch: int) -> dict[str, float]:
        """Note whether the decoder still learns alone; returns the weight of the bound in this epoch."""
        self.learning_alone = epoch <= self.alone
        return {"club_weight": 0.0 if self.learning_alone else self.settings.weight}

    @property
    def in_force(self) -> bool:
        """False while the decoder learns alone."""
        return not self.learning_alone

    def inner_step(self, batch: Batch) -> dict[str, Tensor]:
        """Fit the decoder to x given z by maximum likelihood.

        Returns its mean squared error, and the variance of x to compare it with.
        """
        batch = batch.detached()
        self.estimator.requires_grad_(True)
        for _ in range(self.settings.inner_steps):
            error = F.mse_loss(self.estimator(batch.z).float(), batch.x)
            self.optimizer.zero_grad(set_to_none=True)
            error.backward()
            self.optimizer.step()
        self.estimator.requires_grad_(False)  # the network's loss must not change it
        return {"estimator_mse": error.detach(), "x_variance": batch.x.var(0, correction=0).mean()}

    def penalty(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted bound; 0 while the decoder learns alone."""
        weight = 0.0 if self.learning_alone else self.settings.weight
        return {"club": weight * club(batch.x, self.estimator(batch.z))}
