"""MID (Wang, Zhang, Jia, AAAI 2021) as the paper ran it: an information bottleneck behind the last block, in the cloud.

The flattened output of the last block gives mean and deviation (softplus(raw - 5)) of a normal vector of half its
length (ResNet-18: of the same length). A sample of this vector goes to the head, in training and at test. beta KL(. ||
N(0, I)), summed over the vector, is added to the loss.

The transmitted z lies before the bottleneck and carries no noise, so nothing bounds what z says about x. Expected: z
leaks as much as unprotected. At the CNN's width 128 the bottleneck alone has 268 million weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from splitprobe.core.params import bounded
from splitprobe.defenses.base import Batch, Defense
from splitprobe.learning.losses import gaussian_kl


@dataclass(frozen=True)
class Settings:
    """The section ``defense.mid``.

    ``latent_share`` is the length of the vector relative to its input; ``shift`` is subtracted before the softplus;
    ``hidden_per_class`` and ``dropout`` describe the layer that a head of one layer gets.
    """

    beta: float = bounded(0.0, 1000.0)
    shift: float = bounded(-20.0, 20.0)
    latent_share: float = bounded(0.001, 4.0)
    hidden_per_class: int = bounded(1, 1000)
    dropout: float = bounded(0.0, 0.95)


class Sample(nn.Module):
    """Draws from the normal vectors whose moments (B, 2 k) come in.

    It draws at test too, from torch's global generator.
    """

    def __init__(self, shift: float) -> None:
        super().__init__()
        self.shift = shift

    def moments(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation, each (B, k) in float32, of raw moments (B, 2 k)."""
        mean, raw_deviation = raw.float().chunk(2, 1)
        # the paper's guard: a deviation of exactly 0 has no logarithm
        return mean, F.softplus(raw_deviation - self.shift) + 1e-7

    def forward(self, raw: Tensor) -> Tensor:
        """One draw (B, k) for raw moments (B, 2 k)."""
        mean, deviation = self.moments(raw)
        return mean + deviation * torch.randn_like(mean)


class Mid(Defense):
    """The bottleneck and its KL; edge and z are those of the plain network."""

    title = "MID"
    Settings = Settings
    stochastic_cloud = True

    def modify(self, edge: nn.Sequential, cloud: nn.Sequential) -> tuple[nn.Sequential, nn.Sequential]:
        """Put the bottleneck between the last block and the head; the head's first layer shrinks with it.

        A linear layer gives the moments of the shorter vector, of which a sample goes on. A head of one layer
        (ResNet-18's) gets a hidden layer, as in the paper.
        """
        *blocks, head = cloud
        position = next(i for i, layer in enumerate(head) if isinstance(layer, nn.Linear))
        first, rest, settings = head[position], head[position + 1 :], self.settings
        latent = max(1, round(first.in_features * settings.latent_share))
        moments = nn.Sequential(*head[:position], nn.Linear(first.in_features, 2 * latent))
        if not len(rest):
            hidden = settings.hidden_per_class * first.out_features
            rest = [nn.Dropout(settings.dropout), nn.Linear(hidden, first.out_features)]
            tail = [nn.Linear(latent, hidden), *rest]
        else:
            tail = [nn.Linear(latent, first.out_features), *rest]
        return edge, nn.Sequential(*blocks, moments, nn.Sequential(Sample(settings.shift), *tail))

    def penalty(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted KL in nats, summed over the vector, averaged over the batch."""
        # the cloud's last part is the head, which begins with the draw; the part before it gives the moments
        mean, deviation = Sample(self.settings.shift).moments(batch.activations[-2])
        return {"kl": self.settings.beta * gaussian_kl(mean, deviation).sum(1).mean()}
