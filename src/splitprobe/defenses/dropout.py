"""Feature dropout (He, Zhang, Lee 2020): z' = z M, each entry kept with probability 1 - rate, not rescaled.

As in the paper, the network was trained without dropout. rate = 0.8 follows from the paper's count of non-zero entries
(6,509 is 0.2 of 32,549). Expected: accuracy collapses, while a decoder trained on dropped features still sees the
image. Of n releases of one image, only rate^n of the entries are missing from all.

Whoever intercepts it sees which entries came through, but not whether a zero is a mask's or the ReLU's. Of one release
both look alike; of many, what never came through is a zero of the feature.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from splitprobe.core.params import bounded
from splitprobe.defenses.base import Defense


@dataclass(frozen=True)
class Settings:
    """The section ``defense.dropout``; ``near_zero`` is the attacker's, see :meth:`FeatureDropout.mismatch`."""

    rate: float = bounded(0.0, 0.999)
    near_zero: float = bounded(1e-6, 1000.0)


class FeatureDropout(Defense):
    """Zeroes a fresh random share ``rate`` of the feature's entries at each query."""

    title = "Dropout"
    Settings = Settings
    stochastic = True
    masks = True

    def release(self, z: Tensor, generator: torch.Generator) -> Tensor:
        """The feature z (B, c, h, w) with a fresh mask, in the same shape."""
        return self.combined_release(z, 1, generator)

    def combined_release(self, z: Tensor, queries: int, generator: torch.Generator) -> Tensor:
        """The entries of z (B, c, h, w) that at least one of ``queries`` masks kept, and zeros elsewhere."""
        return next(iter(self.releases([z], len(z), queries, generator)))

    def releases(self, parts: Iterable[Tensor], n: int, queries: int, generator: torch.Generator) -> Iterator[Tensor]:
        """As for any defense. All masks are drawn at once: drawn part by part they would not be those of the whole."""
        mask, start = None, 0
        for z in parts:
            if mask is None:
                mask = z.new_empty_strided((n, *z.shape[1:]), z.stride(), dtype=torch.bool)  # a byte an entry, not four
                mask.bernoulli_(1 - self.settings.rate**queries, generator=generator)
            yield z * mask[start : start + len(z)]
            start += len(z)

    def mismatch(self, z_hat: Tensor, observed: Tensor, queries: int) -> Tensor:
        """The difference by entry (B, c, h, w) where a value came through; elsewhere how unlikely the zero is.

        An observed zero comes from a mask, with the probability ``hidden``, or from the feature. For a candidate's
        entry u its likelihood is hidden + (1 - hidden) exp(-u^2 / 2 d^2), where d is ``near_zero`` times the root mean
        square of the values that came through. Squared, the mismatch is -2 d^2 times its logarithm: u^2 without masks,
        and never above -2 d^2 log(hidden). So a zero says little where masks are many.
        """
        seen, hidden = observed != 0, observed.new_full((), self.settings.rate**queries)
        energy = observed.square().sum((1, 2, 3)) / seen.sum((1, 2, 3)).clamp_min(1)
        variance = (self.settings.near_zero**2 * energy.clamp_min(1e-12))[:, None, None, None]
        likelihood = torch.logaddexp(hidden.log(), torch.log1p(-hidden) - z_hat.square() / (2 * variance))
        unlikely = -2 * variance * likelihood.clamp_max(0)
        # the root, because the attack squares the mismatch; the least value, because the root of 0 has no gradient
        return torch.where(seen, z_hat - observed, (unlikely + 1e-12 * variance).sqrt())
