"""Bias-corrected distance correlation: whether z depends on x at all, from few images of many entries.

Székely and Rizzo, "The distance correlation t-test of independence in high dimension" (2013). The plain squared
distance correlation of n independent pairs tends to 1 as entries are added; with U-centered distances its mean stays
at 0, so that values of features of different sizes can be compared. It falls below 0 by chance, as any unbiased
estimate of 0 must. In many dimensions it sees linear dependence above all.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from splitprobe.losses import NEGLIGIBLE, pairwise_distances

LEAST = 4  # images: below them U-centered distances have no degree of freedom


def u_centered(distances: Tensor) -> Tensor:
    """Distances (n, n) less their row and column sums over n - 2, plus the total over (n - 1)(n - 2); diagonal 0.

    In float64, every row and column sums to 0.
    """
    n = len(distances)
    distances = distances.to(torch.float64, copy=True).fill_diagonal_(0)
    sums = distances.sum(0)
    centered = distances - sums[:, None] / (n - 2) - sums[None, :] / (n - 2) + sums.sum() / ((n - 1) * (n - 2))
    return centered.fill_diagonal_(0)


def dependence(x: Tensor, z: Tensor) -> dict[str, Any]:
    """``dcor_squared`` of n images x (n, ...) and their z (n, ...), with ``images``; memory O(n^2 + n D).

    1 for z = a x + b with a number a, mean 0 for independent ones, 0 where x or z does not vary. Raises ValueError for
    fewer than 4 images.
    """
    n = len(x)
    if n < LEAST:
        raise ValueError(f"distance correlation of {n} images: U-centering needs at least {LEAST}")
    with torch.no_grad():
        distances = [pairwise_distances(points) for points in (x, z)]
        a, b = map(u_centered, distances)
        variances = a.square().sum(), b.square().sum()
        rounding = [NEGLIGIBLE * d.double().square().sum() for d in distances]
        # as a comparison that NaN fails, so that a feature that diverged is not called constant
        constant = any(variance <= least for variance, least in zip(variances, rounding, strict=True))
        value = 0.0 if constant else ((a * b).sum() / (variances[0] * variances[1]).sqrt()).item()
    return {"dcor_squared": value, "images": n}
