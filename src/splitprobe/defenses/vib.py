"""Variational information bottleneck at the cut: z' = z + sigma e is sent, KL(p(z'|x) || N(0, I)) is penalized.

After Wang and others 2024 (IBAL), without its adversary, as the paper ran it. The paper's edge has no more parameters
than the plain one, so the mean is the plain feature and the deviation a constant: the penalty becomes a pull of z
towards 0 at a fixed noise. The KL is averaged over the entries of z, so that its weight means the same for every cut.
The sample is what is sent, in training, at test and to every attacker; without it there is no bound on information.
Expected: some noise in the reconstruction, little loss of accuracy.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from splitprobe.defenses.base import Batch, Noisy
from splitprobe.losses import gaussian_kl
from splitprobe.params import bounded


@dataclass(frozen=True)
class Settings:
    """The section ``defense.vib``."""

    beta: float = bounded(0.0, 1000.0)
    sigma: float = bounded(1e-6, 1000.0)


class Vib(Noisy):
    """Constant Gaussian noise on z and a standard normal prior, trained in: what is sent is a sample of p(z'|x)."""

    title = "VIB"
    Settings = Settings

    def penalty(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted KL per entry of z, in nats."""
        mean = batch.z.float()
        return {"kl": self.settings.beta * gaussian_kl(mean, torch.full_like(mean, self.settings.sigma)).mean()}
