"""InfoSCISSORS (Duan and others 2023, first as PrivaScissors): penalize a CLUB upper bound on I(x; z).

I_hat = mean_i [log q(x_i | z_i) - mean_j log q(x_j | z_i)] with q(x | z) = N(g(z), I), per entry of x. g is a decoder
with its own Adam, fitted by maximum likelihood on detached features before each step of the network; for the first
``warmup`` of the epochs it learns alone. q(x | z) follows the original (a server that decodes); the paper's code has
q(z | x). The mean over all pairs takes O(B D), by expanding the square. The paper runs the term on the input side only.
Expected: a bound that the network can lower by fooling this one decoder; a decoder trained afterwards sees more.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from splitprobe import optimizers
from splitprobe.defenses.base import Batch, Defense, Site
from splitprobe.params import bounded


@dataclass(frozen=True)
class Settings:
    """The section ``defense.infoscissors``."""

    weight: float = bounded(0.0, 10000.0)
    lr: float = bounded(1e-6, 1.0)
    inner_steps: int = bounded(1, 100)
    warmup: float = bounded(0.0, 0.9)


def club(x: Tensor, mean: Tensor) -> Tensor:
    """CLUB with q(x | z) = N(mean, I), in nats per entry of x, for x (B, ...) and means (B, ...); any sign.

    mean_j (x_j - m)^2 = m^2 - 2 m mean(x) + mean(x^2), so that no B x B x D tensor is needed.
    """
    x, mean = x.flatten(1).float(), mean.flatten(1).float()
    matched = (x - mean).square().mean()
    all_pairs = (mean.square() - 2 * mean * x.mean(0) + x.square().mean(0)).mean()
    return (all_pairs - matched) / 2


class InfoScissors(Defense):
    """CLUB with a decoder as the conditional distribution."""

    title = "InfoSCISSORS"
    Settings = Settings

    def prepare(self, site: Site) -> None:
        """Build the decoder and its optimizer."""
        self.alone, self.learning_alone = min(round(self.settings.warmup * site.epochs), site.epochs - 1), False
        with site.runtime.seeded(site.seed, "estimator"):
            self.estimator = site.runtime.place(site.layout.mirror(site.layout.z_channels))
        self.optimizer = optimizers.Adam(self.estimator.parameters(), self.settings.lr)

    def begin_epoch(self, epoch: int) -> dict[str, float]:
        """Whether the estimator still learns alone."""
        self.learning_alone = epoch <= self.alone
        return {"club_weight": 0.0 if self.learning_alone else self.settings.weight}

    @property
    def in_force(self) -> bool:
        """Not while the estimator learns alone."""
        return not self.learning_alone

    def inner_step(self, batch: Batch) -> dict[str, Tensor]:
        """Maximum likelihood of x given z; the reading is the squared error of a guess, to compare with variance."""
        batch = batch.detached()
        self.estimator.requires_grad_(True)
        for _ in range(self.settings.inner_steps):
            error = F.mse_loss(self.estimator(batch.z).float(), batch.x)
            self.optimizer.zero_grad(set_to_none=True)
            error.backward()
            self.optimizer.step()
        self.estimator.requires_grad_(False)  # the network's loss is not to move it
        return {"estimator_mse": error.detach(), "x_variance": batch.x.var(0, correction=0).mean()}

    def penalty(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted bound, 0 while the estimator learns alone."""
        weight = 0.0 if self.learning_alone else self.settings.weight
        return {"club": weight * club(batch.x, self.estimator(batch.z))}
