"""Feature dropout (He, Zhang, Lee 2020): z' = z M, each entry kept with probability 1 - rate, not rescaled.

As in the paper, the network was trained without dropout. rate = 0.8 follows from the paper's count of non-zero entries
(6,509 is 0.2 of 32,549). Expected: accuracy collapses, while a decoder trained on dropped features still sees the
image. Of n releases of one image, only rate^n of the entries are missing from all.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from splitprobe.core.params import bounded
from splitprobe.defenses.base import Defense


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
        """The feature z (B, c, h, w) with a fresh mask, in the same shape."""
        return self.combined_release(z, 1, generator)

    def combined_release(self, z: Tensor, queries: int, generator: torch.Generator) -> Tensor:
        """The entries of z (B, c, h, w) that at least one of ``queries`` masks kept, and zeros elsewhere."""
        # kept entries are exact: the mean of the releases would throw most of that away
        return z * torch.empty_like(z).bernoulli_(self._kept_share(queries), generator=generator)

    def mismatch(self, z_hat: Tensor, observed: Tensor, queries: int) -> Tensor:
        """The difference by entry (B, c, h, w) where a value came through; elsewhere the weighted candidate.

        An observed zero comes from a mask or from the feature. It counts, squared, by the share of entries that the
        masks keep.
        """
        # the root, because the attack squares the mismatch
        return torch.where(observed == 0, self._kept_share(queries) ** 0.5 * z_hat, z_hat - observed)

    def _kept_share(self, queries: int) -> float:
        """The share of entries that at least one of ``queries`` masks keeps."""
        return 1 - self.settings.rate**queries
