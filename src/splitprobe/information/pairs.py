"""Pairs of an image and its feature, and the same images with the features of others, which say nothing of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from splitprobe.learning.parts import pixels

if TYPE_CHECKING:  # the calibration, which has pairs of its own, then depends on no target
    from splitprobe.targets.target import Features

PART = 1024  # pairs at a time of a whole set; changes memory, not results
# what is sent of n images, whose z comes in parts (k, c, h, w), part by part
Release = Callable[[Iterable[Tensor], int, torch.Generator], Iterator[Tensor]]


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
    is divided by 255, float is taken as it is). ``partner`` (N,) says whose of all z each x has; None: its own.
    """

    x: Tensor
    z: Tensor | Features
    release: Release
    normalize: Callable[[Tensor], Tensor]
    partner: Tensor | None = None

    def between(self, start: int, stop: int) -> Pairs:
        """The pairs from one number up to another."""
        if self.partner is not None:
            return replace(self, x=self.x[start:stop], partner=self.partner[start:stop])
        z = self.z[start:stop] if isinstance(self.z, Tensor) else self.z.window(start, stop)
        return replace(self, x=self.x[start:stop], z=z)

    def first(self, n: int) -> Pairs:
        """The first n pairs, or all where there are fewer."""
        return self.between(0, min(n, len(self.x)))

    def split(self, last: int) -> tuple[Pairs, Pairs]:
        """All pairs but the last ones, and these."""
        rest = len(self.x) - last
        return self.first(rest), self.between(rest, len(self.x))

    def shuffled(self, generator: torch.Generator) -> Pairs:
        """The same images, each with the z of another: independent by construction."""
        return replace(self, partner=partners(len(self.x), generator))

    @torch.no_grad()
    def take(self, part: Tensor | slice, noise: torch.Generator) -> tuple[Tensor, Tensor]:
        """Normalized float32 x and freshly released z of the pairs that ``part`` selects."""
        return self.normalize(pixels(self.x[part])), self.sent(self._z(part), noise)

    def sent(self, z: Tensor, noise: torch.Generator) -> Tensor:
        """What is sent of a batch of images with the features z (B, c, h, w)."""
        return next(self.release([z], len(z), noise))

    @torch.no_grad()
    def parts(self, noise: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the same of all pairs, in parts of PART; the noise is that of one set."""
        slices = [slice(start, start + PART) for start in range(0, len(self.x), PART)]
        sent = self.release(map(self._z, slices), len(self.x), noise)
        yield from ((self.normalize(pixels(self.x[part])), z) for part, z in zip(slices, sent, strict=True))

    def _z(self, part: Tensor | slice) -> Tensor:
        return self.z[part if self.partner is None else self.partner[part]]
