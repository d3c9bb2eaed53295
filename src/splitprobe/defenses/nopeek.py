"""NoPeek (Vepakomma and others 2020): cross-entropy plus the distance correlation of x and z, nothing else.

The distances are true ones and the term is the squared distance correlation, as in SiftFunnel's loss, of which this is
the ablation without the funnel (most public code squares the distances and so sees linear dependence only).
Expected: less detail in z at a moderate loss of accuracy, the same number of edge parameters.
"""

from dataclasses import dataclass

from torch import Tensor

from splitprobe.defenses.base import Batch, Defense
from splitprobe.losses import distance_correlation
from splitprobe.params import bounded


@dataclass(frozen=True)
class Settings:
    """The section ``defense.nopeek``."""

    weight: float = bounded(0.0, 1000.0)


class NoPeek(Defense):
    """Distance correlation alone, on the plain network."""

    title = "NoPeek"
    Settings = Settings

    def penalty(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted squared distance correlation."""
        return {"dcor": self.settings.weight * distance_correlation(batch.x, batch.z)}
