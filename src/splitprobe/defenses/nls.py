"""Negative label smoothing (Struppek, Hintersdorf, Kersting, ICLR 2024): targets with a negative share for each class.

L = (1 - a)(-log p_y) + a mean_k(-log p_k) with a < 0, which is unbounded below. As published (``ramp``), the factor is
0 for half of the epochs, grows to a / 2 over the next quarter, and is a in the last one; the training curve shows it.
Under a learning rate that falls to zero, the full factor then acts on the smallest steps alone: in ten epochs of a
cosine it gets 2 % of the sum of learning rates, so that the row may only repeat the unprotected one. ``constant`` is
the factor from the first epoch on. The method was made against attacks on the training data of a classifier, not
against attacks on features. Expected: z leaks as much as unprotected.
"""

from dataclasses import dataclass

from torch import Tensor

from splitprobe.core.params import bounded
from splitprobe.defenses.base import Defense, Site
from splitprobe.learning.losses import one_hot, soft_cross_entropy


@dataclass(frozen=True)
class Settings:
    """The section ``defense.nls``; ``factor`` is the a of the loss, at most 0, ``schedule`` how it comes into force."""

    factor: float = bounded(-0.5, 0.0)
    schedule: str = bounded(choices=("ramp", "constant"))


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
        """Set this epoch's factor by the schedule and return it for the training curve."""
        # the last epoch has the full factor even in a run too short to reach the last quarter
        progress = 1.0 if epoch == self.epochs else (epoch - 1) / self.epochs
        share = 1.0 if self.settings.schedule == "constant" else ramp(progress)
        self.factor = self.settings.factor * share or 0.0  # turns -0.0 into 0.0
        return {"smoothing_factor": self.factor}

    @property
    def in_force(self) -> bool:
        """True once the factor is the full one."""
        # at factor 0 the epoch trains the unprotected network
        return self.factor == self.settings.factor

    def task_loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy to the smoothed labels, a scalar; unlike torch's own, it counts negative shares."""
        classes = logits.shape[1]
        return soft_cross_entropy(logits, (1 - self.factor) * one_hot(y, classes) + self.factor / classes)
