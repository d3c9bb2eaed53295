"""Top-k pruning of the feature: of each image's z the smallest values are set to zero, in training and at inference.

Source: the defense "topkprune" that ResSFL (Li and others, CVPR 2022, Table 4) and CEM (Xia and others, CVPR 2025)
compare with, from the code of both; its rates there are 0.5, 0.6 and 0.7. As in CEM's code it is trained in; ResSFL's
table puts it on an unprotected network. Differs: the code prunes the smallest values of a whole batch, here each image
is pruned for itself, as a device must that sends one image. Values are compared with their sign, as in the code.

PATROL (Ding and others, WACV 2024), which prunes the edge itself, is not this and is not here: its text and code could
not be obtained, and neither its Lipschitz term nor its pruning rule follows from what others say of it.

A decoder gets no mask beside z, as it does of dropout: there a missing entry may have had any value, here it was small,
and zero is nearly what it was.

Expected: kept entries are exact, so z leaks nearly as much as unprotected until hardly any are left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from splitprobe.core.params import bounded
from splitprobe.defenses.base import Defense


@dataclass(frozen=True)
class Settings:
    """The section ``defense.topk``; ``rate`` is the share of entries that are set to zero."""

    rate: float = bounded(0.0, 0.999)


class TopK(Defense):
    """Sets the smallest values of each image's feature to zero."""

    title = "Top-k pruning"
    Settings = Settings

    def release(self, z: Tensor, generator: torch.Generator) -> Tensor:
        """The feature z (B, c, h, w) with its smallest values set to zero, in the same shape."""
        values = z.flatten(1)
        smallest = values.detach().topk(self._pruned(z), 1, largest=False).indices
        return values.scatter(1, smallest, 0.0).view(z.shape)

    def mismatch(self, z_hat: Tensor, observed: Tensor, queries: int) -> Tensor:
        """The difference by entry (B, c, h, w) where a value came through; elsewhere what exceeds the least such value.

        Of a pruned entry an attacker knows only that it is not larger than any that was kept.
        """
        zero = observed == 0
        least = observed.masked_fill(zero, math.inf).amin((1, 2, 3), keepdim=True)
        # more zeros than were pruned: the feature had zeros of its own, and one of them was kept
        own_zeros = zero.sum((1, 2, 3), keepdim=True) > self._pruned(observed)
        least = least.masked_fill(own_zeros, 0.0)
        return torch.where(zero, (z_hat - least).relu(), z_hat - observed)

    def _pruned(self, z: Tensor) -> int:
        """The number of entries of each image that are set to zero."""
        return int(self.settings.rate * z.shape[1:].numel())
