"""Negative label smoothing (Struppek, Hintersdorf, Kersting, ICLR 2024): targets with a negative share for each class.

L = (1 - a)(-log p_y) + a mean_k(-log p_k) with a < 0, which is unbounded below. As published, the factor is 0 for half
of the epochs, grows to a / 2 over the next quarter, and is a in the last one; the training curve shows it. The method
was made against attacks on the training data of a classifier, not against attacks on features. Expected: z leaks as
much as unprotected.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from splitprobe.core.params import bounded
from splitprobe.defenses.base import Defense, Site
from splitprobe.learning.losses import soft_cross_entropy


@dataclass(frozen=True)
class Settings:
    """The section ``defense.nls``; ``factor`` is the a of the loss, at most 0."""

    factor: float = bounded(-0.5, 0.0)


def ramp(progress: float) -> float:
    """The share of the factor that is in force at a progress in [0, 1]: 0, then linear from 0 to 1/2, then 1."""
    if progress >= 0.75:
        return 1.0
    return max(0.0, (progress - 0.5) / 0.25 / 2)


class NegativeLabelSmoothing(Defense):
    """Cross-entropy to labels whose wrong classes have a negative share."""

    title = "Negative label smoothing"
    Settings = Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.epochs, self.factor = 1, settings.factor

    def prepare(self, site: Site) -> None:
        """Note the number of epochs, over which the ramp is laid."""
        self.epochs = site.epochs

    def begin_epoch(self, epoch: int) -> dict[str, float]:
        """Set this epoch's factor by the ramp and return it for the training curve."""
        # the last epoch has the full factor even in a run too short to reach the last quarter
        progress = 1.0 if epoch == self.epochs else (epoch - 1) / self.epochs
        self.factor = self.settings.factor * ramp(progress) or 0.0  # turns -0.0 into 0.0
        return {"smoothing_factor": self.factor}

    @property
    def in_force(self) -> bool:
        """True once the factor is the full one."""
        # at factor 0 the epoch trains the unprotected network
        return self.factor == self.settings.factor

    def task_loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy to the smoothed labels, a scalar; unlike torch's own, it counts negative shares."""
        classes = logits.shape[1]
        one_hot = F.one_hot(y, classes).to(torch.float32)
        return soft_cross_entropy(logits, (1 - self.factor) * one_hot + self.factor / classes)
