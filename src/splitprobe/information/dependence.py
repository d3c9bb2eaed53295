"""Bias-corrected distance correlation: whether z depends on x at all, from few images of many entries.

Source: Székely and Rizzo, "The distance correlation t-test of independence in high dimension" (2013). The plain squared
distance correlation of n independent pairs tends to 1 as entries are added. With U-centered distances its mean stays at
0, so values of features of different sizes can be compared. It falls below 0 by chance, as any unbiased estimate of 0
must. In many dimensions it sees linear dependence above all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from splitprobe.information.pairs import null
from splitprobe.learning.losses import NEGLIGIBLE, pairwise_distances

LEAST = 4  # images; with fewer, U-centered distances have no degree of freedom


def u_centered(distances: Tensor) -> Tensor:
    """U-centered distances (n, n), in float64; every row and column sums to 0, and the diagonal is 0.

    From distances (n, n), subtract row and column sums over n - 2 and add the total over (n - 1)(n - 2).
    """
    n = len(distances)
    distances = distances.to(torch.float64, copy=True).fill_diagonal_(0)
    sums = distances.sum(0)
    centered = distances - sums[:, None] / (n - 2) - sums[None, :] / (n - 2) + sums.sum() / ((n - 1) * (n - 2))
    return centered.fill_diagonal_(0)


def dependence(x: Tensor, z: Tensor, shuffles: Sequence[Tensor] = ()) -> dict[str, Any]:
    """``dcor_squared`` of n images x (n, ...) and their z (n, ...), with the number of ``images``.

    It is 1 for z = a x + b with a number a, has mean 0 for independent x and z, and is 0 where x or z does not vary.
    ``shuffles`` are indices (n,) that give each x the z of another; with them, the mean and deviation over these are
    in the result. Memory is O(n^2 + n D). Raises ValueError for fewer than 4 images.
    """
    n = len(x)
    if n < LEAST:
        raise ValueError(f"distance correlation of {n} images: U-centering needs at least {LEAST}")
    with torch.no_grad():
        distances = [pairwise_distances(points) for points in (x, z)]
        a, b = map(u_centered, distances)
        variances = a.square().sum(), b.square().sum()
        thresholds = [NEGLIGIBLE * d.double().square().sum() for d in distances]
        # NaN fails the comparison, so a feature that diverged is not called constant
        constant = any(variance <= threshold for variance, threshold in zip(variances, thresholds, strict=True))
        root = (variances[0] * variances[1]).sqrt()
        # shuffling z shuffles rows and columns of its distances alike, before centering or after
        products = [(a * b).sum(), *((a * b[other][:, other]).sum() for other in shuffles)]
        own, *others = (torch.zeros_like(root) if constant else product / root for product in products)
    return {"dcor_squared": own.item(), **null("dcor_squared", others), "images": n}
