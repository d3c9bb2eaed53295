"""Variational information bottleneck at the cut: z' = z + sigma e is sent, KL(p(z'|x) || N(0, I)) is penalized.

After Wang and others 2024 (IBAL), without its adversary, as the paper ran it. The paper's edge has no more parameters
than the plain one, so here the mean is the plain feature and the deviation is a constant. The penalty thus pulls z
towards 0 at a fixed noise. The sample is what is sent, in training, at test and to every attacker; without it there is
no bound on information. Expected: some noise in the reconstruction, little loss of accuracy.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from splitprobe.core.params import bounded
from splitprobe.defenses.base import Batch, Noisy
from splitprobe.learning.losses import gaussian_kl


@dataclass(frozen=True)
class Settings:
    """The section ``defense.vib``: weight of the KL, and standard deviation of the noise in the units of z."""

    beta: float = bounded(0.0, 1000.0)
    sigma: float = bounded(1e-6, 1000.0)


class Vib(Noisy):
    """Constant Gaussian noise on z, trained in, with a standard normal prior: what is sent is a sample of p(z'|x)."""

    title = "VIB"
    Settings = Settings

    def penalty(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted KL in nats, averaged over the entries of z and the batch."""
        mean = batch.z.float()
        # a mean over the entries, not a sum, so that the weight means the same for every cut
        return {"kl": self.settings.beta * gaussian_kl(mean, torch.full_like(mean, self.settings.sigma)).mean()}
