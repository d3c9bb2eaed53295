"""Gaussian noise on the transmitted feature (He, Zhang, Lee 2020): z' = z + sigma e, e ~ N(0, I).

As in the paper, the network is trained without noise and the noise is added at inference. sigma = 0.8 is the default of
the paper's code; the value behind its table was not printed. Expected: accuracy falls, while a decoder trained on noisy
features still sees the image.
"""

from dataclasses import dataclass

from splitprobe.core.params import bounded
from splitprobe.defenses.base import Noisy


@dataclass(frozen=True)
class Settings:
    """The section ``defense.gaussian_noise``; ``sigma`` is the standard deviation of the noise, in the units of z."""

    sigma: float = bounded(0.0, 1000.0)


class GaussianNoise(Noisy):
    """Adds fresh noise of standard deviation ``sigma`` at each query."""

    title = "Gaussian noise"
    Settings = Settings
