"""Negative label smoothing (Struppek, Hintersdorf, Kersting, ICLR 2024): targets with a negative share for each class.

L = (1 - a)(-log p_y) + a mean_k(-log p_k) with a < 0, unbounded below. As published the factor is 0 for half of the
epochs, grows to a / 2 over the next quarter and is a in the last; the training curve shows it. Made against attacks on
the training data of a classifier, not against those on features. Expected: z leaks as much as unprotected.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from splitprobe.defenses.base import Defense, Site
from splitprobe.losses import soft_cross_entropy
from splitprobe.params import bounded


@dataclass(frozen=True)
class Settings:
    """The section ``defense.nls``."""

    factor: float = bounded(-0.5, 0.0)


def ramp(progress: float) -> float:
    """The share of the factor that is in force at a progress in [0, 1]: 0, then linear to 1/2, then 1."""
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
        """Note how long the ramp has."""
        self.epochs = site.epochs

    def begin_epoch(self, epoch: int) -> dict[str, float]:
        """The ramp's factor of this epoch."""
        progress = (
            1.0 if epoch == self.epochs else (epoch - 1) / self.epochs
        )  # the last epoch of a short run has it too
        self.factor = self.settings.factor * ramp(progress) or 0.0  # never -0.0
        return {"smoothing_factor": self.factor}

    @property
    def in_force(self) -> bool:
        """With the full factor; earlier epochs are those of the unprotected network."""
        return self.factor == self.settings.factor

    def task_loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """Soft cross-entropy that honors the negative share; torch's own ignores it."""
        classes = logits.shape[1]
        one_hot = F.one_hot(y, classes).to(torch.float32)
        return soft_cross_entropy(logits, (1 - self.factor) * one_hot + self.factor / classes)
