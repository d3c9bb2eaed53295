"""Feature dropout (He, Zhang, Lee 2020): z' = z M, each entry kept with probability 1 - rate, not rescaled.

As in the paper, on a network trained without it. rate = 0.8 follows from the paper's non-zero count (6,509 is 0.2 of
32,549). Expected: accuracy collapses, while a decoder trained on dropped features still sees the image; of n releases
of one image only rate^n of the entries are lost to all.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from splitprobe.defenses.base import Defense
from splitprobe.params import bounded


@dataclass(frozen=True)
class Settings:
    """The section ``defense.dropout``."""

    rate: float = bounded(0.0, 0.999)


class FeatureDropout(Defense):
    """Zeroes a fresh random share ``rate`` of the feature's entries at each query."""

    title = "Dropout"
    Settings = Settings
    stochastic = True

    def release(self, z: Tensor, generator: torch.Generator) -> Tensor:
        """Z with a fresh mask."""
        return self.combined_release(z, 1, generator)

    def combined_release(self, z: Tensor, queries: int, generator: torch.Generator) -> Tensor:
        """Every entry that survived in any of n masks: kept entries are exact, so their mean would throw away most."""
        return z * torch.empty_like(z).bernoulli_(self._seen(queries), generator=generator)

    def mismatch(self, z_hat: Tensor, observed: Tensor, queries: int) -> Tensor:
        """Entries that came through are compared as they are; a zero says something only as far as it is no mask's."""
        return torch.where(observed == 0, self._seen(queries) ** 0.5 * z_hat, z_hat - observed)

    def _seen(self, queries: int) -> float:
        """The share of entries that at least one of n masks keeps."""
        return 1 - self.settings.rate**queries
