"""Pairs of an image and its feature, and the same images with the features of others, which say nothing of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

Release = Callable[[Tensor, torch.Generator], Tensor]


def partners(n: int, generator: torch.Generator) -> Tensor:
    """For each of n >= 2 images another one, (n,), drawn at random; nobody is its own partner or that of two."""
    order = torch.randperm(n, device=generator.device, generator=generator)
    return torch.empty_like(order).scatter_(0, order, order.roll(1))


def null(name: str, values: Sequence[Tensor]) -> dict[str, float]:
    """``null_<name>`` and ``null_<name>_std``: mean and deviation of a measure over shuffled pairs; empty for none."""
    if not values:
        return {}
    deviation, mean = torch.std_mean(torch.stack(list(values)))
    return {f"null_{name}": mean.item(), f"null_{name}_std": deviation.item()}


@dataclass(frozen=True)
class Pairs:
    """x (N, C, H, W), uint8 or float, and z (N, c, h, w) before release, on the device.

    ``release`` is drawn anew each time a batch is taken. ``normalize`` is the edge's first step, on x in [0, 1] (uint8
    is divided by 255, float is taken as it is). ``partner`` (N,) says whose z each x has; None: its own.
    """

    x: Tensor
    z: Tensor
    release: Release
    normalize: Callable[[Tensor], Tensor]
    partner: Tensor | None = None

    def first(self, n: int) -> Pairs:
        """The first n pairs, before any were shuffled."""
        return Pairs(self.x[:n], self.z[:n], self.release, self.normalize)

    def split(self, last: int) -> tuple[Pairs, Pairs]:
        """All pairs but the last ones, and these, before any were shuffled."""
        rest = Pairs(self.x[-last:], self.z[-last:], self.release, self.normalize)
        return self.first(len(self.x) - last), rest

    def shuffled(self, generator: torch.Generator) -> Pairs:
        """The same images, each with the z of another: independent by construction."""
        return replace(self, partner=partners(len(self.x), generator))

    @torch.no_grad()
    def take(self, part: Tensor | slice, noise: torch.Generator) -> tuple[Tensor, Tensor]:
        """Normalized float32 x and freshly released z of the pairs that ``part`` selects."""
        x = self.x[part]
        x = x.float() / 255 if x.dtype == torch.uint8 else x
        z = self.z[part if self.partner is None else self.partner[part]]
        return self.normalize(x), self.release(z, noise)
