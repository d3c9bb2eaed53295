"""Gaussian noise on the transmitted feature (He, Zhang, Lee 2020): z' = z + sigma e, e ~ N(0, I).

As in the paper the network is trained without noise and the noise is added at inference. sigma = 0.8 is the default of
the paper's code; the value behind its table was not printed. Expected: accuracy falls, a decoder trained on noisy
features still sees the image.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from splitprobe.defenses.base import Defense
from splitprobe.params import bounded


@dataclass(frozen=True)
class Settings:
    """The section ``defense.gaussian_noise``."""

    sigma: float = bounded(0.0, 1000.0)


class GaussianNoise(Defense):
    """Adds fresh noise of standard deviation ``sigma``, in the feature's own units, at each query."""

    title = "Gaussian noise"
    Settings = Settings
    stochastic = True

    def release(self, z: Tensor, generator: torch.Generator) -> Tensor:
        """Z plus fresh noise."""
        return self.mean_release(z, 1, generator)

    def mean_release(self, z: Tensor, queries: int, generator: torch.Generator) -> Tensor:
        """The mean of n normal draws is one of a deviation smaller by sqrt(n)."""
        # torch fills a contiguous tensor many times faster than a channels-last one
        noise = torch.empty_like(z, memory_format=torch.contiguous_format).normal_(generator=generator)
        return z + self.settings.sigma / queries**0.5 * noise
