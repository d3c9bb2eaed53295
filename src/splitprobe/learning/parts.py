"""Sets of images and features that are worked on in parts, so that no more of them is held than has to be."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import torch
from torch import Tensor

CHECKED = 4096  # images that are looked at for values that are not finite at a time


def joined(parts: Iterable[Tensor], n: int) -> Tensor:
    """Parts (k, ...) of n rows in all as one tensor (n, ...), in their memory layout.

    It is filled as the parts come, so that no more than one of them is held twice; a single part is returned as it is.
    Raises ValueError for parts that have not n rows in all.
    """
    whole, start = None, 0
    for part in parts:
        if whole is None:
            whole = part if len(part) == n else part.new_empty_strided((n, *part.shape[1:]), part.stride())
        if whole is not part and start + len(part) <= n:
            whole[start : start + len(part)] = part
        start += len(part)
    if whole is None or start != n:
        raise ValueError(f"{start} rows in all the parts of a set of {n}")
    return whole


def pixels(images: Tensor) -> Tensor:
    """Images as floats in [0, 1]: uint8 divided by 255, floats as they are."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


def all_finite(values: Tensor) -> bool:
    """Whether all values (N, ...) are finite."""
    # in parts: torch takes a copy to look at
    return all(bool(torch.isfinite(part).all()) for part in values.split(CHECKED))


class Moments:
    """Mean and deviation of each channel over a set that comes in parts (k, C, h, w).

    As ``torch.std_mean`` of the set, with N - 1 in the denominator; a constant channel has a deviation of exactly 0.
    Parts are joined in float64 (Chan, Golub and LeVeque 1979), so that their sizes decide nothing.
    """

    def __init__(self) -> None:
        self.count, self.mean, self.spread = 0, torch.zeros(()), torch.zeros(())

    def add(self, part: Tensor) -> None:
        """Take in another part."""
        variance, mean = torch.var_mean(part.double(), (0, 2, 3), correction=0, keepdim=True)
        own = part.numel() // part.shape[1]
        if not self.count:
            self.count, self.mean, self.spread = own, mean, variance * own
            return
        total, away = self.count + own, mean - self.mean
        self.mean = self.mean + away * (own / total)
        self.spread = self.spread + variance * own + away.square() * (self.count * own / total)
        self.count = total

    def result(self) -> tuple[Tensor, Tensor]:
        """Deviation and mean, (1, C, 1, 1) each in float32."""
        return (self.spread / (self.count - 1)).sqrt().float(), self.mean.float()


def exactly(values: Tensor) -> contextlib.AbstractContextManager:
    """A block in which operations on such values keep their precision, even where networks run in a lower one."""
    # the meta device, on which shapes are counted, has no lower one
    return contextlib.nullcontext() if values.is_meta else torch.autocast(values.device.type, enabled=False)
