"""Feature dropout (He, Zhang, Lee 2020): z' = z M, each entry kept with probability 1 - rate, not rescaled.

As in the paper, on a network trained without it. rate = 0.8 follows from the paper's non-zero count (6,509 is 0.2 of
32,549). Expected: accuracy collapses, while a decoder trained on dropped features still sees the image.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Binomial

from splitprobe.defenses.base import Defense
from splitprobe.params import bounded


@dataclass(frozen=True)
class Settings:
    """The section ``defense.dropout``."""

    rate: float = bounded(0.0, 0.999)


class FeatureDropout(Defense):
    """Zeroes a fresh random share ``rate`` of the feature's entries at each query."""

    title = "Dropout"
    Settings = Settings
    stochastic = True

    def release(self, z: Tensor, generator: torch.Generator) -> Tensor:
        """Z with a fresh mask."""
        return z * torch.empty_like(z).bernoulli_(1 - self.settings.rate, generator=generator)

    def expected_release(self, z: Tensor) -> Tensor:
        """Each entry at the share of the time that it is kept."""
        return z * (1 - self.settings.rate)

    def mean_release(self, z: Tensor, queries: int, generator: torch.Generator) -> Tensor:
        """How often an entry is kept in n masks is binomial: one uniform draw and its inverse, not n masks."""
        if queries == 1:
            return self.release(z, generator)
        kept = Binomial(queries, torch.tensor(1 - self.settings.rate, dtype=torch.float64))
        cumulative = kept.log_prob(torch.arange(queries, dtype=torch.float64)).exp().cumsum(0)
        uniform = torch.rand(z.shape, device=z.device, generator=generator)
        return z * torch.bucketize(uniform, cumulative.to(uniform)) / queries
