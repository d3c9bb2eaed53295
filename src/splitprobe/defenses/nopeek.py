"""NoPeek (Vepakomma and others 2020): cross-entropy plus the distance correlation of x and z, nothing else.

The distances are true ones and the term is the squared distance correlation, as in SiftFunnel's loss: NoPeek is
SiftFunnel's ablation without the funnel. Most public code squares the distances and so sees linear dependence only.
Expected: less detail in z at a moderate loss of accuracy, with the same number of edge parameters.
"""

from dataclasses import dataclass

from torch import Tensor

from splitprobe.core.params import bounded
from splitprobe.defenses.base import Batch, Defense
from splitprobe.learning.losses import distance_correlation


@dataclass(frozen=True)
class Settings:
    """The section ``defense.nopeek``; ``weight`` multiplies the squared distance correlation."""

    weight: float = bounded(0.0, 1000.0)


class NoPeek(Defense):
    """Penalizes the distance correlation of x and z; the network stays the plain one."""

    title = "NoPeek"
    Settings = Settings

    def penalty(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted squared distance correlation of x and z, a scalar."""
        return {"dcor": self.settings.weight * distance_correlation(batch.x, batch.z)}
