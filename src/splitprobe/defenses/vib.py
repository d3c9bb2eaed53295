"""Variational information bottleneck at the cut: z' = z + sigma e is sent, KL(p(z'|x) || N(0, I)) is penalized.

After Wang and others 2024 (IBAL), without its adversary, as the paper ran it. The paper's edge has no more parameters
than the plain one, so here the mean is the plain feature and the deviation is a constant. The penalty thus pulls z
towards 0 at a fixed noise. Training always uses the sample. With ``send = sample`` it is also what is sent at test and
to every attacker; without it there is no bound on information. With ``send = mean`` z itself is sent. The paper's row
must have done this, because it counts 18,069 non-zero entries of 65,536 and noise leaves none at zero. Expected: some
noise in the reconstruction, little loss of accuracy.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from splitprobe.core.params import bounded
from splitprobe.defenses.base import Batch, Noisy
from splitprobe.learning.losses import gaussian_kl


@dataclass(frozen=True)
class Settings:
    """The section ``defense.vib``: weight of the KL, deviation of the noise in the units of z, and what is sent."""

    beta: float = bounded(0.0, 1000.0)
    sigma: float = bounded(1e-6, 1000.0)
    send: str = bounded(choices=("sample", "mean"))


class Vib(Noisy):
    """Constant Gaussian noise on z, trained in, with a standard normal prior; a sample is sent, or the mean."""

    title = "VIB"
    Settings = Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.stochastic = settings.send == "sample"

    def training_release(self, z: Tensor, generator: torch.Generator) -> Tensor:
        """A sample for z (B, c, h, w), in the same shape, whatever is sent at test."""
        return super().combined_release(z, 1, generator)

    def combined_release(self, z: Tensor, queries: int, generator: torch.Generator) -> Tensor:
        """The mean of ``queries`` samples for z (B, c, h, w); z itself where the mean is sent."""
        return super().combined_release(z, queries, generator) if self.stochastic else z

    def penalty(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted KL in nats, averaged over the entries of z and the batch."""
        mean = batch.z.float()
        # a mean over the entries, not a sum, so that the weight means the same for every cut
        return {"kl": self.settings.beta * gaussian_kl(mean, torch.full_like(mean, self.settings.sigma)).mean()}
