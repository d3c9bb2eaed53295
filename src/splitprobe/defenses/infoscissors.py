"""InfoSCISSORS (Duan and others 2023, first as PrivaScissors): penalize a CLUB upper bound on I(x; z).

I_hat = mean_i [log q(a_i | b_i) - mean_j log q(a_j | b_i)], per entry of a. ``form`` says which is which:

- ``decoder``: q(x | z) = N(g(z), I), as the original has it (a server that decodes); g is the paper's decoder.
- ``encoder``: q(z | x), as in the paper's code: two small fully connected networks of x give the mean and, through a
  Tanh, the logarithm of the variance.

q is fitted by maximum likelihood on detached features before each step of the network. The bound holds only while q is
fitted: an edge that learns faster than q is rewarded for misleading it. So q has its own learning rate and makes
``inner_steps`` for each step of the network, and learns alone for the first ``warmup`` of the epochs (rounded up). The
result tells by how much a q fitted afterwards is better. The paper runs the term on the input side only.

Expected: some loss of detail in z; what one decoder cannot tell, a larger one may.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from splitprobe.core.params import bounded
from splitprobe.defenses.base import Batch, Defense, Site
from splitprobe.learning.companion import Companion
from splitprobe.learning.estimator import Estimator


@dataclass(frozen=True)
class Settings:
    """The section ``defense.infoscissors``.

    ``warmup`` is the share of epochs in which q learns alone; ``hidden`` are the units of q(z | x)'s hidden layers.
    """

    weight: float = bounded(0.0, 10000.0)
    form: str = bounded(choices=("decoder", "encoder"))
    hidden: int = bounded(1, 65536)
    lr: float = bounded(1e-6, 1.0)
    inner_steps: int = bounded(1, 100)
    warmup: float = bounded(0.0, 0.9)


def club(target: Tensor, mean: Tensor, log_variance: Tensor | None = None) -> Tensor:
    """The CLUB bound of q(target | .) = N(mean, exp(log_variance)), in nats per entry; it may have any sign.

    Takes tensors (B, ...) in the same order and shape; without ``log_variance`` the variance is 1.
    """
    target, mean = target.flatten(1).float(), mean.flatten(1).float()
    precision = 1.0 if log_variance is None else (-log_variance.flatten(1).float()).exp()
    matched = (target - mean).square()
    # mean_j (t_j - m)^2 = m^2 - 2 m mean(t) + mean(t^2): O(B D), without a tensor of B x B x D
    all_pairs = mean.square() - 2 * mean * target.mean(0) + target.square().mean(0)
    return (precision * (all_pairs - matched)).mean() / 2


class Encoder(nn.Module):
    """q(z | x) of the paper's code: mean and log-variance of z's entries, from two networks of one hidden layer."""

    def __init__(self, inputs: int, outputs: int, hidden: int) -> None:
        super().__init__()

        def layers() -> list[nn.Module]:
            return [nn.Flatten(), nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs)]

        self.mean, self.log_variance = nn.Sequential(*layers()), nn.Sequential(*layers(), nn.Tanh())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, each (B, outputs), for x (B, ...)."""
        return self.mean(x), self.log_variance(x)


def decoder_error(net: nn.Module, x: Tensor, z: Tensor) -> Tensor:
    """Mean squared error of x (B, C, H, W) decoded from z; half of it is -log q(x | z), up to a constant."""
    return F.mse_loss(net(z), x)


def encoder_loss(net: nn.Module, x: Tensor, z: Tensor) -> Tensor:
    """-2 log q(z | x) per entry, up to a constant."""
    mean, log_variance = net(x)
    return ((mean - z.flatten(1).float()).square() * (-log_variance).exp() + log_variance).mean()


def encoder_error(net: nn.Module, x: Tensor, z: Tensor) -> Tensor:
    """Mean squared error of q(z | x)'s mean."""
    return F.mse_loss(net(x)[0], z.flatten(1).float())


class InfoScissors(Defense):
    """Penalizes the CLUB bound, with a network that is fitted beside as the conditional distribution."""

    title = "InfoSCISSORS"
    Settings = Settings

    def prepare(self, site: Site) -> None:
        """Build q, and find the number of epochs in which it learns alone."""
        # rounded up, so that few epochs have a warm-up too; at least one is left, in which the defense is in force
        self.alone, self.learning_alone = min(math.ceil(self.settings.warmup * site.epochs), site.epochs - 1), False
        with site.runtime.seeded(site.seed, "estimator"):
            if self.settings.form == "decoder":
                net, loss, error = site.layout.mirror(site.layout.z_channels), decoder_error, decoder_error
            else:
                net = Encoder(math.prod(site.x_shape), math.prod(site.z_shape), self.settings.hidden)
                loss, error = encoder_loss, encoder_error
        pace = self.settings.inner_steps
        self.estimator = Estimator(Companion(net, site.runtime), self.settings.lr, pace, loss, error)

    def begin_epoch(self, epoch: int) -> dict[str, float]:
        """Note whether q still learns alone; returns the weight of the bound in this epoch."""
        self.learning_alone = epoch <= self.alone
        return {"club_weight": 0.0 if self.learning_alone else self.settings.weight}

    @property
    def in_force(self) -> bool:
        """False while q learns alone."""
        return not self.learning_alone

    def inner_step(self, batch: Batch) -> dict[str, Tensor]:
        """Fit q; returns the mean squared error behind it, and the variance of its target to compare it with."""
        self.estimator.follow(batch.x, batch.z)
        with torch.no_grad():
            error = self.estimator.error(self.estimator.net, batch.x, batch.z)
            target = batch.x if self.settings.form == "decoder" else batch.z.float()
            return {"estimator_mse": error, "target_variance": target.var(0, correction=0).mean()}

    def penalty(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted bound; 0 while q learns alone."""
        weight = 0.0 if self.learning_alone else self.settings.weight
        if self.settings.form == "decoder":
            bound = club(batch.x, self.estimator.net(batch.z))
        else:
            bound = club(batch.z, *self.estimator.net(batch.x))
        return {"club": weight * bound}
